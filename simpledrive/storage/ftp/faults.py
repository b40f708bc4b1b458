"""What becomes of a refusal, of the server, of TLS or of the network: here alone errors are translated."""

import ftplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from simpledrive.errors import StorageFull, StorageRefused, StorageUnavailable
from simpledrive.storage.ftp.connections import LoginRefused, NoTLS
from simpledrive.storage.ftp.protocol import code

FULL = {"452", "552"}


@contextmanager
def storage_errors(backend: str, timeout: float, operation: str) -> Iterator[None]:
    """Makes storage errors of all that a session raises."""
    try:
        yield
    except LoginRefused as error:
        why = f"the login is refused ({error}): a wrong user or password, no TLS, or too many sessions"
        raise StorageRefused(backend, operation, why) from error
    except NoTLS as error:
        raise StorageRefused(backend, operation, f"the server does no TLS ({error})") from error
    except (ftplib.error_perm, ftplib.error_temp) as error:
        if code(error) in FULL:
            raise StorageFull(backend, operation, f"no room ({code(error)})") from error
        if isinstance(error, ftplib.error_perm):
            raise StorageRefused(backend, operation, f"the server refuses ({code(error)})") from error
        raise StorageUnavailable(backend, operation, f"not now ({code(error)})") from error
    except EOFError as error:
        raise StorageUnavailable(backend, operation, "the server broke the connection off") from error
    except ssl.SSLCertVerificationError as error:
        why = f"the server's certificate is not trusted: {error.verify_message}"
        raise StorageRefused(backend, operation, why) from error
    except (ftplib.Error, ValueError, OverflowError) as error:
        # Numbers that are none end here too. A certificate's error is also a ValueError: hence below it.
        raise StorageUnavailable(backend, operation, "the server makes no sense") from error
    except TimeoutError as error:
        why = f"the server says nothing, or next to nothing, for {timeout:g} s"
        raise StorageUnavailable(backend, operation, why) from error
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise StorageUnavailable(backend, operation, why) from error
