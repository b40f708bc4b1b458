"""Who is asking, and what they may do.

Both faces turn a credential into a Caller here, and every call of the Drive takes one. For now there is one
key, API_TOKEN, which may do everything.
"""

import hashlib
import hmac
from dataclasses import dataclass
from typing import Literal

from simpledrive.errors import Forbidden, NotSignedIn

Scope = Literal["read", "write", "delete", "admin"]


@dataclass(frozen=True)
class Caller:
    """A credential's rights: its scopes, and the id prefix it is confined to.

    `key_id` names the credential without being one: it may be kept in a session, a record or a log.
    """

    name: str
    key_id: str
    scopes: frozenset[Scope]
    prefix: str = ""

    def require(self, scope: Scope, id: str = "") -> None:
        """Returns if this caller may do that to that id (or to anything, for ""). Raises Forbidden."""
        if scope not in self.scopes:
            raise Forbidden(f"The key {self.name} lacks the scope {scope}.")
        if id and not id.startswith(self.prefix):
            raise Forbidden(f"The key {self.name} is confined to ids that begin with its prefix.")


_ALL: frozenset[Scope] = frozenset({"read", "write", "delete", "admin"})


class Keys:
    """The credentials this drive accepts. Only their SHA-256 is held; comparison takes constant time."""

    def __init__(self, api_token: str) -> None:
        self._digest = hashlib.sha256(api_token.encode()).digest()
        key_id = hashlib.sha256(b"key id " + self._digest).hexdigest()[:32]
        self._first = Caller("API_TOKEN", key_id, _ALL)

    def verify(self, credential: str) -> Caller:
        """The caller that this credential stands for. Raises NotSignedIn."""
        presented = hashlib.sha256(credential.encode(errors="surrogatepass")).digest()
        if not hmac.compare_digest(presented, self._digest):
            raise NotSignedIn("This token is not valid here.")
        return self._first

    def named(self, key_id: str) -> Caller:
        """The caller whose session began with this key, while that key still counts. Raises NotSignedIn."""
        if not hmac.compare_digest(key_id.encode(), self._first.key_id.encode()):
            raise NotSignedIn("The key of this session is no longer valid.")
        return self._first


SERVER = Caller("the drive itself", "", _ALL)
"""Who acts when nobody asks: sweeping, migrating, the command line."""
