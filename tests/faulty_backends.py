"""A far backend of each kind that fails when it is told to: a bucket and an FTP server, behind proxies.

Faults of the same name are the same as far as the protocols let them be: FTP says 421 where S3 says 503.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import pytest

from simpledrive.moving import running
from simpledrive.storage.ftp import connections
from simpledrive.storage.s3 import client
from tests.faulty_proxy import Answered, Closed, Corrupted, Fault, FaultyProxy, Reset, Stalled
from tests.ftp_faults import Break, Faults, FaultyFtp
from tests.ftp_servers import PASSWORD, FtpServer
from tests.strict_s3 import StrictS3
from tests.strict_signature import Asked, Refused

EARLY, LATE = 1000, 300_000
"""Bytes behind which a body breaks: in its first piece (behind the head of an answer), and in its second."""
OFTEN = 99
"""More often than anything is tried again."""
BUSY = b"HTTP/1.1 503 Slow Down\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
STORED = b'HTTP/1.1 200 OK\r\nConnection: close\r\nETag: "stored"\r\nContent-Length: 0\r\n\r\n'


class FaultyBackend(ABC):
    """A place for bytes, and what can happen there by name. `secrets` are to be in no message and no log."""

    kind: str
    secrets: tuple[str, ...]
    faults: dict[str, Callable[[], object]]

    def begin(self, fault: str) -> None:
        """From now on this happens, and nothing else."""
        self.calm()
        self._before = self.count()
        self.faults[fault]()

    @property
    def has_happened(self) -> bool:
        """Whether what was begun last has happened at all."""
        return self.count() > self._before

    @abstractmethod
    def count(self) -> int:
        """How often anything has happened."""

    @abstractmethod
    def config(self, **options: str) -> dict[str, str]:
        """The configuration of a backend here."""

    @abstractmethod
    def calm(self) -> None:
        """From now on nothing happens."""


class FaultyBucket(FaultyBackend):
    kind = "s3"

    def __init__(self, server: StrictS3, proxy: FaultyProxy) -> None:
        self._server, self._proxy = server, proxy
        self._closed = self._refused = 0
        self.secrets = (server.account.secret_key, "Signature=")
        put, get, any_request = b"PUT /", b"GET /", b""
        self.faults = {
            "refused": self._refuse,
            "idle connections are closed": self._close_idle,
            "busy three times": self._will(*[Answered(any_request, reply=BUSY)] * 3),
            "busy": self._will(*[Answered(any_request, reply=BUSY)] * OFTEN),
            "an upload is reset": self._will(Reset(put, up=LATE)),
            "each upload is reset": self._will(*[Reset(put, up=LATE)] * OFTEN),
            "uploads stall": self._will(Stalled(put, up=LATE)),
            "uploads are truncated and acknowledged": self._will(Answered(put, up=LATE, reply=STORED)),
            "the reply is lost": self._will(Reset(put, down=0)),
            "uploads are not allowed": self._say(Refused(403, "AccessDenied", "Access Denied")),
            "full": self._say(Refused(403, "QuotaExceeded", "The quota is used up.")),
            "a download is reset": self._will(Reset(get, down=LATE)),
            "each download is reset": self._will(*[Reset(get, down=0)] * OFTEN),
            "downloads stall": self._will(*[Stalled(get, down=EARLY)] * OFTEN),
            "a download breaks off for good": self._will(
                Closed(get, down=LATE), *[Reset(get, down=0)] * OFTEN
            ),
            "a download is corrupted": self._will(Corrupted(get, down=LATE)),
            "each download is corrupted": self._will(*[Corrupted(get, down=EARLY)] * OFTEN),
        }

    def config(self, **options: str) -> dict[str, str]:
        return self._server.config(endpoint_url=f"http://127.0.0.1:{self._proxy.port}", **options)

    def count(self) -> int:
        return self._proxy.happened + self._closed + self._refused + self._proxy.refusing

    def calm(self) -> None:
        self._server.next.clear()
        self._proxy.calm()
        if self._proxy.refusing:
            self._proxy.admit()

    def _refuse(self) -> None:
        self._proxy.refuse()
        self._close_idle()

    def _close_idle(self) -> None:
        self._closed += self._proxy.close_all()

    def _will(self, *faults: Fault) -> Callable[[], None]:
        return lambda: self._proxy.expect(*faults)

    def _say(self, refused: Refused) -> Callable[[], None]:
        """To look whether a key is in use is allowed, to store is not."""

        def answer(asked: Asked) -> Refused | None:
            if asked.method != "PUT":
                return None
            self._refused += 1
            return refused

        return lambda: self._server.next.extend([answer] * OFTEN)


class FaultyFtpServer(FaultyBackend):
    kind = "ftp"

    def __init__(self, server: FtpServer, proxy: FaultyFtp) -> None:
        self._server, self._proxy = server, proxy
        self.secrets = (PASSWORD,)
        self.faults = {
            "refused": self._refuse,
            "idle connections are closed": self._proxy.expel,
            "busy three times": self._turn_away(2),
            "busy": self._turn_away(OFTEN),
            "an upload is reset": self._will(lambda: Faults(upload=Break(LATE, "reset"))),
            "each upload is reset": self._will(lambda: Faults(upload=Break(LATE, "reset", OFTEN))),
            "uploads stall": self._will(lambda: Faults(upload=Break(LATE, "stall"))),
            "uploads are truncated and acknowledged": self._will(
                lambda: Faults(upload=Break(LATE, "close", OFTEN))
            ),
            "the reply is lost": self._will(lambda: Faults(lost={"RNTO": "reset"})),
            "uploads are not allowed": self._will(lambda: Faults(answers={"STOR": "553 You may not."})),
            "full": self._will(lambda: Faults(answers={"STOR": "552 Quota."})),
            "a download is reset": self._will(lambda: Faults(download=Break(LATE, "reset"))),
            "each download is reset": self._will(lambda: Faults(download=Break(0, "reset", OFTEN))),
            "downloads stall": self._will(lambda: Faults(download=Break(EARLY, "stall", OFTEN))),
            "a download breaks off for good": self._will(
                lambda: Faults(download=Break(LATE, "close", then=Break(0, "close", OFTEN)))
            ),
            "a download is corrupted": self._will(lambda: Faults(download=Break(LATE, "corrupt"))),
            "each download is corrupted": self._will(lambda: Faults(download=Break(EARLY, "corrupt", OFTEN))),
        }

    def config(self, **options: str) -> dict[str, str]:
        base_dir = f"faulty-{self._proxy.port}"
        return self._server.config(port=self._proxy.port, base_dir=base_dir, **options)

    def count(self) -> int:
        return self._proxy.happened + self._proxy.refusing

    def calm(self) -> None:
        self._proxy.faults = Faults()
        if self._proxy.refusing:
            self._proxy.admit()

    def _refuse(self) -> None:
        self._proxy.expel()
        self._proxy.refuse()

    def _will(self, faults: Callable[[], Faults]) -> Callable[[], None]:
        def begin() -> None:
            self._proxy.faults = faults()

        return begin

    def _turn_away(self, times: int) -> Callable[[], None]:
        def begin() -> None:
            self._proxy.faults = Faults(turned_away=times)
            self._proxy.expel()

        return begin


@pytest.fixture(params=["s3", "ftp"])
def far(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyBackend]:
    """Each kind of backend that is reached through a network."""
    monkeypatch.setattr(client, "PAUSES", (0.01,) * 4)
    monkeypatch.setattr(connections, "PAUSES", (0.01, 0.02))
    monkeypatch.setattr(running, "PAUSES", (0.01, 0.02))
    if request.param == "s3":
        server = request.getfixturevalue("strict_s3")
        yield FaultyBucket(server, request.getfixturevalue("s3_proxy"))
    else:
        ftp_server = request.getfixturevalue("pyftpdlib")
        with FaultyFtp(ftp_server.port) as proxy:
            yield FaultyFtpServer(ftp_server, proxy)
