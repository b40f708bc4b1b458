"""What a caller may do: scopes, an id prefix, backends, and how much. Knows no database and no request.

Every call that serves a request takes a Caller and asks. What a caller may not see is answered as if it did
not exist, or with the same refusal whether it exists or not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, get_args

from simpledrive.errors import Forbidden

Scope = Literal["read", "write", "delete", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
ANYBODY = "anonymous"
ALL: frozenset[Scope] = frozenset(SCOPES)


@dataclass(frozen=True)
class Origin:
    """Where a request comes from, for the audit log: its id and the client's address. Empty for us."""

    request_id: str = ""
    address: str = ""


NOWHERE = Origin()


@dataclass(frozen=True)
class Caller:
    """A credential's rights. None stands for no limit.

    `key_id` names the credential without being one: it may be kept in a session, a record or a log.
    `backends` are those at which it may place bytes, in its order of preference; `max_bytes` is its largest
    upload; `quota_bytes` is what all blobs and versions it made may have together; `expires_at` is when it
    ends; `is_issued` says that it is a key of the database, which may be revoked at any moment.
    """

    name: str
    key_id: str
    scopes: frozenset[Scope]
    prefix: str = ""
    backends: tuple[str, ...] | None = None
    max_bytes: int | None = None
    quota_bytes: int | None = None
    expires_at: datetime | None = None
    is_issued: bool = False
    origin: Origin = field(default=NOWHERE, compare=False)

    def require(self, scope: Scope, id: str = "") -> None:
        """Returns if this caller may do that to that id (or to anything, for ""). Raises Forbidden."""
        if scope not in self.scopes:
            raise Forbidden(f"The key {self.name} lacks the scope {scope}.")
        if id and not id.startswith(self.prefix):
            raise Forbidden(f"The key {self.name} is confined to ids that begin with its prefix.")

    def require_everywhere(self, scope: Scope) -> None:
        """The same for what concerns the drive as a whole, which a key confined to a prefix may not see."""
        self.require(scope)
        if self.prefix:
            raise Forbidden(f"The key {self.name} is confined to ids that begin with its prefix.")

    @property
    def is_known(self) -> bool:
        """Whether this is one caller, and not anybody who comes without a credential."""
        return self.key_id != ANYBODY

    def covers(self, other: Caller) -> bool:
        """Whether the other may do nothing that this one may not."""
        return (
            other.scopes <= self.scopes
            and other.prefix.startswith(self.prefix)
            and (self.backends is None or (other.backends is not None and _all_in(other, self.backends)))
            and _no_more(other.max_bytes, self.max_bytes)
            and _no_more(other.quota_bytes, self.quota_bytes)
            and (
                self.expires_at is None
                or (other.expires_at is not None and other.expires_at <= self.expires_at)
            )
        )


def _all_in(other: Caller, backends: Iterable[str]) -> bool:
    return set(other.backends or ()) <= set(backends)


def _no_more(value: int | None, limit: int | None) -> bool:
    return limit is None or (value is not None and value <= limit)


SERVER = Caller("the drive itself", "server", ALL)
"""Who acts when nobody asks: sweeping, migrating, the command line."""
