"""API keys: issued, verified, revoked.

A key is `sd_` and 32 random bytes in base64url; it is shown once, and only its SHA-256 is kept. 256 random
bits need no slow hash. API_TOKEN is the first key: it may do everything and has no row.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from sqlalchemy import ColumnElement, inspect, or_, select, update
from sqlalchemy.orm import Session

from simpledrive import audit
from simpledrive.errors import (
    DriveError,
    Forbidden,
    Invalid,
    InvalidToken,
    KeyExists,
    KeyNotFound,
    NotSignedIn,
)
from simpledrive.ids import MAX_ID, unprintable, uuid7
from simpledrive.models import ApiKey, now
from simpledrive.rights import ALL, ANYBODY, NOWHERE, SCOPES, SERVER, Caller, Origin, Scope
from simpledrive.sql import Database, affected, insert

log = logging.getLogger(__name__)

MAX_NAME = 200
USED_EVERY = timedelta(minutes=1)
"""How exact `last_used_at` is: a write a request would cost more than the request."""


@dataclass(frozen=True)
class NewKey:
    """What is asked of a key that is to be made. What is None is as the maker has it himself.

    `id` is a UUID that stands for the asking, however often it is sent; None: each time is another.
    """

    name: str
    description: str = ""
    scopes: Iterable[str] | None = None
    prefix: str | None = None
    backends: Iterable[str] | None = None
    max_bytes: int | None = None
    quota_bytes: int | None = None
    expires_at: datetime | None = None
    id: str | None = None


class Keys:
    """The credentials this drive accepts.

    `anonymous` are the scopes of callers without any (ANONYMOUS_ACCESS); none means that there are no such.
    """

    def __init__(
        self,
        database: Database,
        api_token: str,
        secret_key: str,
        backends: Iterable[str],
        anonymous: frozenset[Scope],
    ) -> None:
        self._database, self._backends = database, frozenset(backends)
        self._digest = _digest(api_token)
        # This goes into sessions, records and answers: who has it cannot try tokens against it.
        mark = hmac.new(secret_key.encode(), api_token.encode(), "sha256").hexdigest()[:32]
        self._first = Caller("API_TOKEN", mark, ALL)
        self._anonymous = Caller(ANYBODY, ANYBODY, anonymous) if anonymous else None
        self._noted: dict[str, datetime] = {}

    # --- Who is asking

    def verify(self, credential: str, origin: Origin = NOWHERE) -> Caller:
        """The caller that this credential stands for. Raises InvalidToken."""
        presented = _digest(credential)
        if hmac.compare_digest(presented, self._digest):
            return replace(self._first, origin=origin)
        # Looked up by a digest: what the time tells of it, nobody can turn into a key.
        return self._caller(ApiKey.digest == presented, origin, "This key is not valid here.")

    def named(self, key_id: str, origin: Origin = NOWHERE) -> Caller:
        """The caller whose session began with this key, while that key still counts. Raises InvalidToken."""
        if hmac.compare_digest(key_id.encode(), self._first.key_id.encode()):
            return replace(self._first, origin=origin)
        return self._caller(ApiKey.id == key_id, origin, "The key of this session is no longer valid.")

    def nobody(self, origin: Origin = NOWHERE) -> Caller:
        """Who sends no credential, where such callers are let in. Raises NotSignedIn."""
        if self._anonymous is None:
            raise NotSignedIn("Send a token: Authorization: Bearer TOKEN.")
        return replace(self._anonymous, origin=origin)

    def _caller(self, there: ColumnElement[bool], origin: Origin, why: str) -> Caller:
        query = select(ApiKey).where(there)
        key = self._database.read(lambda session: session.scalars(query).one_or_none())
        if key is None or not counts(key):
            raise InvalidToken(why)
        self._note_use(key)
        return replace(rights_of(key), origin=origin)

    def _note_use(self, key: ApiKey) -> None:
        moment = now()
        # Tried or done, in this process or another: requests do not queue for it while the database is busy.
        noted = max(filter(None, (key.last_used_at, self._noted.get(key.id))), default=None)
        if noted is not None and moment - noted < USED_EVERY:
            return
        self._noted[key.id] = moment
        stale = or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < moment - USED_EVERY)
        used = update(ApiKey).where(ApiKey.id == key.id, stale).values(last_used_at=moment)
        try:
            self._database.write_if_free(lambda session: affected(session, used))
        except DriveError as error:  # a locked, read-only or full database still lets people read
            log.info("the last use of the key %s could not be noted: %s", key.name, error)

    # --- Managing keys: wants the scope admin, and reaches only keys that may do no more than the caller

    def issue(self, caller: Caller, new: NewKey) -> tuple[ApiKey, str]:
        """A key that may do no more than its maker, and the credential itself: the only time it is seen.

        Raises Forbidden, KeyExists, and Invalid with every field that is not acceptable.
        """
        caller.require("admin")
        if caller.quota_bytes is not None:
            raise Forbidden("A key with a quota makes no keys: together they could store more than it may.")
        credential = "sd_" + secrets.token_urlsafe(32)
        key = self._row(caller, new, _digest(credential))
        if not caller.covers(rights_of(key)):
            raise Forbidden(f"The key {caller.name} can only make keys that may do no more than itself.")

        def work(session: Session) -> None:
            row = {column.key: getattr(key, column.key) for column in inspect(ApiKey).column_attrs}
            added = insert(session, ApiKey).values(row).on_conflict_do_nothing().returning(ApiKey.id)
            if session.scalar(added) is not None:
                audit.note(session, caller, "key.created", key.id, name=key.name)
            elif session.scalar(select(ApiKey.digest).where(ApiKey.id == key.id)) != key.digest:
                raise KeyExists("This key was made before, and is shown only once.")

        self._database.write(work)
        return key, credential

    def all(self, caller: Caller) -> list[ApiKey]:
        """The keys that may do no more than the caller, oldest first; revoked ones too."""
        caller.require("admin")
        there = select(ApiKey).where(ApiKey.deleted_at.is_(None))
        oldest_first = there.order_by(ApiKey.created_at, ApiKey.id)
        keys = self._database.read(lambda session: session.scalars(oldest_first).all())
        return [key for key in keys if caller.covers(rights_of(key))]

    def get(self, caller: Caller, key_id: str) -> ApiKey:
        """One of `all`. Raises KeyNotFound."""
        caller.require("admin")
        key = None
        if unprintable(key_id) is None:
            key = self._database.read(lambda session: session.get(ApiKey, key_id))
        if key is None or key.deleted_at is not None or not caller.covers(rights_of(key)):
            raise KeyNotFound("There is no key with this id.")
        return key

    def name_of(self, caller: Caller, key_id: str) -> str | None:
        """What somebody is called who is known by this id, as far as the caller may know: himself, and `all`.

        None for others, and for a key that was deleted.
        """
        if key_id == caller.key_id:
            return caller.name
        for known in (self._first, SERVER):  # these have no rows
            if key_id == known.key_id:
                return known.name if caller.covers(known) else None
        try:
            return self.get(caller, key_id).name
        except (Forbidden, KeyNotFound):
            return None

    def revoke(self, caller: Caller, key_id: str) -> ApiKey:
        """From now on the key and every session that began with it are refused. Twice is fine."""
        key = self.get(caller, key_id)
        if key.revoked_at is not None:
            return key
        key.revoked_at = now()
        ended = update(ApiKey).where(ApiKey.id == key_id, ApiKey.revoked_at.is_(None))

        def work(session: Session) -> None:
            if affected(session, ended.values(revoked_at=key.revoked_at)):
                audit.note(session, caller, "key.revoked", key_id, name=key.name)

        self._database.write(work)
        return key

    def remove(self, caller: Caller, key_id: str) -> None:
        """Revokes a key and shows it to nobody any more; what it made stays, its owner has no name."""
        key = self.get(caller, key_id)
        there = (ApiKey.id == key_id, ApiKey.deleted_at.is_(None))
        revoked = {"revoked_at": key.revoked_at or now(), "deleted_at": now()}

        def work(session: Session) -> None:
            if affected(session, update(ApiKey).where(*there).values(revoked)):
                audit.note(session, caller, "key.deleted", key_id, name=key.name)

        self._database.write(work)

    def _row(self, caller: Caller, new: NewKey, digest: str) -> ApiKey:
        problems: list[tuple[str, str]] = []
        scopes = caller.scopes if new.scopes is None else set(new.scopes)
        backends = caller.backends if new.backends is None else list(dict.fromkeys(new.backends))
        usable = self._backends if caller.backends is None else self._backends & set(caller.backends)
        if not new.name.strip() or len(new.name) > MAX_NAME:
            problems.append(("name", f"A name has 1 to {MAX_NAME} characters."))
        for field, text in (
            ("name", new.name),
            ("description", new.description),
            ("prefix", new.prefix or ""),
        ):
            if (why := unprintable(text)) is not None:
                problems.append((field, why))
        if len(new.description) > MAX_NAME * 5:
            problems.append(("description", f"A description has at most {MAX_NAME * 5} characters."))
        if not scopes or not scopes <= ALL:
            problems.append(("scopes", f"Scopes are one or more of {', '.join(SCOPES)}."))
        if len(new.prefix or "") > MAX_ID:
            problems.append(
                ("prefix", f"An id has at most {MAX_ID} characters, and so has what it begins with.")
            )
        if new.backends is not None and not (backends and set(backends) <= usable):
            problems.append(("backends", f"Backends are one or more of {', '.join(sorted(usable))}."))
        for field, value in (("max_bytes", new.max_bytes), ("quota_bytes", new.quota_bytes)):
            if value is not None and not 0 <= value < 1 << 63:
                problems.append((field, "This is not a number of bytes."))
        if (why := _no_end(new.expires_at)) is not None:
            problems.append(("expires_at", why))
        if problems:
            raise Invalid(*problems)
        return ApiKey(
            id=new.id or str(uuid7()),
            digest=digest,
            name=new.name.strip(),
            description=new.description,
            scopes=[scope for scope in SCOPES if scope in scopes],
            prefix=caller.prefix if new.prefix is None else new.prefix,
            backends=None if backends is None else list(backends),
            max_bytes=caller.max_bytes if new.max_bytes is None else new.max_bytes,
            quota_bytes=new.quota_bytes,
            used_bytes=0,
            created_by=caller.key_id,
            created_at=now(),
            expires_at=caller.expires_at if new.expires_at is None else new.expires_at.astimezone(UTC),
            last_used_at=None,
            revoked_at=None,
            deleted_at=None,
        )


def _no_end(moment: datetime | None) -> str | None:
    """Why a key cannot end at this moment; None if it can."""
    if moment is None:
        return None
    try:
        return "This is in the past." if moment.astimezone(UTC) <= now() else None
    except OverflowError:
        return "This is further away than time is counted here."


def counts(key: ApiKey) -> bool:
    """Whether a key lets anybody in now: it was not revoked, and has not come to its end."""
    return key.revoked_at is None and (key.expires_at is None or key.expires_at > now())


def described(key: ApiKey) -> dict[str, Any]:
    """What is told of a key to whoever may do all that it may: everything but its digest."""
    return {
        "id": key.id,
        "name": key.name,
        "description": key.description,
        "scopes": key.scopes,
        "prefix": key.prefix,
        "backends": key.backends,
        "max_bytes": key.max_bytes,
        "quota_bytes": key.quota_bytes,
        "used_bytes": None if key.quota_bytes is None else key.used_bytes,
        "created_at": key.created_at,
        "created_by": key.created_by,
        "expires_at": key.expires_at,
        "last_used_at": key.last_used_at,
        "revoked_at": key.revoked_at,
    }


def rights_of(key: ApiKey) -> Caller:
    """What a key may do, revoked or not."""
    return Caller(
        name=key.name,
        key_id=key.id,
        scopes=cast(frozenset[Scope], frozenset(key.scopes)),
        prefix=key.prefix,
        backends=None if key.backends is None else tuple(key.backends),
        max_bytes=key.max_bytes,
        quota_bytes=key.quota_bytes,
        expires_at=key.expires_at,
        is_issued=True,
    )


def _digest(credential: str) -> str:
    return hashlib.sha256(credential.encode(errors="surrogatepass")).hexdigest()
