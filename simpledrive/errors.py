"""Everything that can go wrong, as one tree. The domain raises these; the faces translate them.

    DriveError
    ├── ConfigurationError      the drive must not start like this; the message says what to change
    ├── RequestError            the caller's doing
    │   ├── BadRequest          cannot be read as what it claims to be
    │   │   ├── TruncatedBody   ended before its announced length
    │   │   │   └── Stalled     stopped coming
    │   │   └── DigestMismatch  is not what was announced
    │   ├── Invalid             readable, but a field is not acceptable
    │   ├── NotSignedIn         no credential, or not a valid one
    │   │   └── InvalidToken    a credential that is wrong, revoked or expired
    │   ├── Forbidden           a valid credential that may not do this
    │   ├── BlobNotFound        no such blob, as far as this caller may know
    │   ├── BlobExists          the id is taken
    │   ├── PreconditionFailed  the blob is not the one the caller named by its ETag
    │   ├── RangeNotSatisfiable the range begins past the end
    │   ├── BackendNotFound     no backend of this name is configured
    │   ├── MigrationNotFound   no such migration
    │   ├── WrongState          the migration is in a state in which that cannot be done
    │   ├── KeyNotFound         no such key, as far as this caller may know
    │   ├── KeyExists           a key was made by the same form before
    │   ├── KeyReused           an Idempotency-Key that stands for another request
    │   ├── QuotaExceeded       more bytes than the caller's key may still store
    │   ├── TooMany             more requests than the limits allow
    │   ├── TooLarge            more bytes than this door takes
    │   └── UnsupportedType     the body is of another type than this door takes
    ├── Busy                    out of memory budget, or the records are locked: try again soon
    ├── DatabaseUnavailable     the database does not answer
    ├── DatabaseFull            the database, or the disk under it, is full
    ├── StagingFull             no room to receive the bytes
    ├── IntegrityFault          recorded bytes are gone or altered, everywhere
    └── StorageError            a storage did not do as asked; names backend and operation
        ├── ObjectMissing       the key is not there
        ├── StorageUnavailable  try again: timeout, refused connection, broken transfer
        ├── StorageRefused      a person must act: credentials, permission
        │   └── MarkerRefused   the place is another drive's, or empty where bytes should be
        └── StorageFull         no room

This module imports nothing, so that everything may import it.
"""


class DriveError(Exception):
    """Base of all. `str(error)` is a sentence fit for a caller: no path, no secret, no traceback."""


class ConfigurationError(DriveError):
    """The drive must not start like this. The message names the setting and what is known."""


class RequestError(DriveError):
    """The caller's doing."""


class BadRequest(RequestError):
    """The request cannot be read as what it claims to be."""


class TruncatedBody(BadRequest):
    """The body ended before its announced length. Nothing was stored."""


class Stalled(TruncatedBody):
    """The body made no progress for too long. Nothing was stored."""


class DigestMismatch(BadRequest):
    """The bytes are not the ones that were announced. Nothing was stored."""


class Invalid(RequestError):
    """A readable request with unacceptable fields. `problems` is a list of (field, message)."""

    def __init__(self, *problems: tuple[str, str]) -> None:
        super().__init__("; ".join(f"{field}: {message}" for field, message in problems))
        self.problems = problems


class NotSignedIn(RequestError):
    """No credential, or not a valid one."""


class InvalidToken(NotSignedIn):
    """A credential that is none here, or no longer one. Never tells which."""


class Forbidden(RequestError):
    """A valid credential that may not do this. Never tells whether the blob exists."""


class BlobNotFound(RequestError):
    """No such blob, as far as this caller may know."""


class BlobExists(RequestError):
    """The id is taken; nothing was changed."""


class PreconditionFailed(RequestError):
    """The blob is not the one the caller named by its ETag; nothing was changed."""


class RangeNotSatisfiable(RequestError):
    """The range begins past the end of `size` bytes."""

    def __init__(self, size: int) -> None:
        super().__init__(f"The range begins past the end of {size} bytes.")
        self.size = size


class BackendNotFound(RequestError):
    """No backend of this name is configured. The message names those that are."""


class MigrationNotFound(RequestError):
    """There is no migration with that id."""


class WrongState(RequestError):
    """The migration is in a state in which that cannot be done. The message names it."""


class KeyNotFound(RequestError):
    """No such API key, as far as this caller may know."""


class KeyExists(RequestError):
    """A key with this id was made before; nothing was changed, and that key is not shown again."""


class KeyReused(RequestError):
    """The Idempotency-Key was used before, by this caller, for another request. Nothing was stored."""


class QuotaExceeded(RequestError):
    """More bytes than the quota of the caller's key still has room for. Nothing was stored."""


class TooMany(RequestError):
    """More requests than the limits allow. Try again after so many seconds."""

    def __init__(self, why: str, seconds: int) -> None:
        super().__init__(why)
        self.seconds = seconds


class TooLarge(RequestError):
    """More bytes than this door takes. Nothing was stored."""


class UnsupportedType(RequestError):
    """The body is of another media type than this door takes."""


class Busy(DriveError):
    """Nothing is wrong; there is no room or no lock just now. Try again in seconds."""


class DatabaseUnavailable(DriveError):
    """A database does not answer, or the connection to it broke."""


class DatabaseFull(DriveError):
    """A database, or the disk under it, is full."""


class StagingFull(DriveError):
    """There is no room to receive the bytes. Nothing was stored."""


class IntegrityFault(DriveError):
    """The bytes of a recorded blob are gone or altered on every backend that should hold them."""


class StorageError(DriveError):
    """A storage did not do as asked. Names backend and operation, never a secret."""

    def __init__(self, backend: str, operation: str, why: str) -> None:
        super().__init__(f"{backend}: {operation}: {why}")
        self.backend, self.operation, self.why = backend, operation, why

    @property
    def sentence(self) -> str:
        """Why, with the end of a sentence."""
        return self.why if self.why.endswith((".", "?", "!")) else f"{self.why}."


class ObjectMissing(StorageError):
    """The key is not there."""


class StorageUnavailable(StorageError):
    """Worth trying again: a timeout, a refused connection, a transfer that broke."""


class StorageRefused(StorageError):
    """A person must act: credentials, permission, a foreign marker."""


class MarkerRefused(StorageRefused):
    """The place belongs to another drive or backend, or is empty though bytes are recorded there."""


class StorageFull(StorageError):
    """No room at that backend."""
