"""Sessions with one FTP server: how one is begun, which are kept, and what is asked a second time.

Only sessions that are in step are kept: who meets anything odd closes his. Nothing here limits how many are
in use at once, since a reader holds one for as long as its caller likes; the server's own limit is 421.
"""

# ruff: noqa: S321 (FTP is what this is for)

import ftplib
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import TypeVar

from simpledrive.storage.ftp.protocol import PlainFTP, SecureFTP, code
from simpledrive.storage.ftp.session import Session
from simpledrive.storage.repeating import persistently

T = TypeVar("T")

KEPT = 16
KEPT_SECONDS = 30
"""Servers close idle sessions after a minute or more, and firewalls forget them without a word."""
LIFETIME = 600
"""Seconds after which a session is begun anew: the TLS session that its data connections take up expires."""
PAUSES = (0.2, 0.8)
"""Seconds before each repetition, at most."""
BUSY = {"421", "425"}


class LoginRefused(Exception):
    """The server does not let this user in. Holds the reply's code alone: a server may echo the password."""


class NoTLS(Exception):
    """The server does not do TLS. Nothing was sent in clear."""


@dataclass(frozen=True)
class Server:
    """Where and as whom. `tls` is the context that certificates are checked by, or None for none."""

    host: str
    port: int
    username: str
    password: str = field(repr=False)
    base: str
    tls: ssl.SSLContext | None
    passive: bool
    timeout: float

    def begin(self) -> Session:
        ftp = PlainFTP() if self.tls is None else SecureFTP(context=self.tls)
        # Latin-1 reads every banner. What is sent in it is UTF-8 all the same (`_as_sent`).
        ftp.encoding = "latin-1"
        ftp.set_pasv(self.passive)
        try:
            ftp.connect(self.host, self.port, self.timeout)
            if isinstance(ftp, SecureFTP):
                _secure(ftp)
            self._log_in(ftp)
            if isinstance(ftp, SecureFTP):
                ftp.prot_p()
            return Session(ftp, _as_sent(self.base))
        except BaseException:
            ftp.close()
            raise

    def _log_in(self, ftp: PlainFTP) -> None:
        refused = ""
        try:
            ftplib.FTP.login(ftp, _as_sent(self.username), _as_sent(self.password))
        except (ftplib.error_perm, ftplib.error_temp, ftplib.error_reply) as error:
            if code(error) in BUSY:
                raise
            refused = code(error)
        # Outside of the handler: the reply is not to be in the traceback.
        if refused:
            raise LoginRefused(refused)


class Connections:
    """The sessions with a server that nobody uses just now, and new ones. Safe from several threads."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._lock = Lock()
        self._kept: list[tuple[float, Session]] = []

    def ask(self, question: Callable[[Session], T]) -> T:
        """What `question` returns. If the session breaks, it is asked again of a new one.

        So only what may be done twice may be asked: the server may have done it, and its reply was lost.
        """
        session, answer = self.hold(question)
        self.give_back(session)
        return answer

    def hold(self, question: Callable[[Session], T]) -> tuple[Session, T]:
        """As `ask`, but the session is the caller's from now on, who gives it back or closes it."""

        def passes(error: Exception) -> bool:
            if not _is_passing(error):
                return False
            self.close()  # what broke one has most likely broken all
            return True

        return persistently(lambda: self._ask_once(question, self._take()), passes, PAUSES)

    def give_back(self, session: Session) -> None:
        """Keeps a session that is in step for whoever asks next."""
        with self._lock:
            if len(self._kept) < KEPT and time.monotonic() - session.begun < LIFETIME:
                self._kept.append((time.monotonic(), session))
                return
        session.close()

    def close(self) -> None:
        """Gives up the sessions that nobody uses."""
        with self._lock:
            kept, self._kept = self._kept, []
        for _, session in kept:
            session.close()

    @staticmethod
    def _ask_once(question: Callable[[Session], T], session: Session) -> tuple[Session, T]:
        try:
            return session, question(session)
        except BaseException:
            session.close()
            raise

    def _take(self) -> Session:
        while (session := self._pop()) is not None:
            if session.in_step():
                return session
            session.close()
        return self._server.begin()

    def _pop(self) -> Session | None:
        """The one that was used last. If that is too old, all are."""
        with self._lock:
            if not self._kept:
                return None
            since, session = self._kept.pop()
        if time.monotonic() - since < KEPT_SECONDS:
            return session
        session.close()
        self.close()
        return None


def _is_passing(error: Exception) -> bool:
    """Whether, after this error, the same may go well by a new session."""
    if isinstance(error, ftplib.error_temp):
        return code(error) in BUSY
    return isinstance(error, EOFError | ConnectionError)


def _secure(ftp: SecureFTP) -> None:
    """AUTH TLS, and the handshake with the certificate's check."""
    try:
        ftp.auth()
    except (ftplib.error_perm, ftplib.error_temp) as error:
        if code(error) in BUSY:
            raise
        raise NoTLS(code(error)) from None


def _as_sent(text: str) -> str:
    """What the connection's encoding, Latin-1, turns into the UTF-8 of the text (RFC 2640)."""
    return text.encode().decode("latin-1")
