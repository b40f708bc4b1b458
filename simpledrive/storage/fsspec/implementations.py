"""The implementations of fsspec that the drive knows, by the scheme of their URL.

One that is not here would work by luck: fsspec does not say which of them show a file before it is complete,
which move by copying, and how long they wait. Their packages are loaded when a backend names them.
"""

from importlib import import_module
from typing import NamedTuple

from simpledrive.storage.fsspec.filesystem import Filesystem


class Implementation(NamedTuple):
    module: str
    name: str
    package: str
    """Which pip installs."""


WEBDAV = Implementation(f"{__package__}.webdav", "WebDav", "webdav4")

IMPLEMENTATIONS = {
    "file": Implementation(f"{__package__}.local", "Local", "fsspec"),
    "sftp": Implementation(f"{__package__}.sftp", "Sftp", "sshfs"),
    "webdav": WEBDAV,
    "webdavs": WEBDAV,
    "gs": Implementation(f"{__package__}.gcs", "GoogleCloudStorage", "gcsfs"),
    "abfs": Implementation(f"{__package__}.azure", "Azure", "adlfs"),
}


def find(scheme: str) -> type[Filesystem]:
    """The class for URLs of this scheme. Raises ValueError with a sentence that says what to do."""
    if scheme not in IMPLEMENTATIONS:
        known = ", ".join(f"{name}://" for name in IMPLEMENTATIONS)
        raise ValueError(f"begins with none of the schemes that the drive knows: {known}")
    module, name, package = IMPLEMENTATIONS[scheme]
    try:
        found: type[Filesystem] = getattr(import_module(module), name)
    except ImportError as error:
        raise ValueError(
            f"{scheme}:// wants the package {package} ({error}): pip install {package}"
        ) from None
    return found
