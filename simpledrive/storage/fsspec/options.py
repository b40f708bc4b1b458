"""What can be configured, and the sentences about what cannot be right. Touches no network."""

import os
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, ValidationInfo, field_validator

from simpledrive.paths import anchored
from simpledrive.storage.base import Options, folder_of
from simpledrive.storage.fsspec.filesystem import Arguments, Filesystem
from simpledrive.storage.fsspec.implementations import find


class FsspecOptions(Options):
    """`storage_options` are the implementation's own arguments, as fsspec calls them."""

    url: str
    timeout: float = Field(30, gt=0, le=3600)
    storage_options: dict[str, Any] = Field(default_factory=dict, repr=False, validate_default=True)

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, url: str) -> str:
        address = _split(url)
        if address.password is not None:
            raise ValueError("holds a password: that is one of the storage_options")
        if address.query or address.fragment:
            raise ValueError("holds more than scheme, user, host, port and path")
        if any(segment in (".", "..") for segment in address.path.split("/")):
            raise ValueError("holds a path with . or ..")
        find(address.scheme)
        return url

    @field_validator("storage_options")
    @classmethod
    def _are_arguments(cls, given: Arguments, info: ValidationInfo) -> Arguments:
        if {"url", "timeout"} <= info.data.keys():
            address = _split(info.data["url"])
            implementation = find(address.scheme)
            files = {name: given[name] for name in given.keys() & implementation.files}
            given = given | {name: _found(value, folder_of(info)) for name, value in files.items()}
            implementation.arguments(address, given, info.data["timeout"])
        return given

    @property
    def implementation(self) -> type[Filesystem]:
        return find(self._address.scheme)

    @property
    def where(self) -> str:
        """The URL without its user."""
        return self._address._replace(netloc=self._address.netloc.rpartition("@")[2]).geturl()

    @property
    def base(self) -> str:
        return self.implementation.base(self._address)

    @property
    def arguments(self) -> Arguments:
        return self.implementation.arguments(self._address, self.storage_options, self.timeout)

    @cached_property
    def _address(self) -> SplitResult:
        return _split(self.url)


def _found(value: object, folder: Path) -> object:
    """The whole path of a file that lies in the folder, or of each of several.

    What is none stays as it is: it may be a word that the implementation knows, as `cloud` for a token.
    """
    if isinstance(value, list):
        return [_found(each, folder) for each in value]
    if isinstance(value, str) and value and os.path.exists(path := anchored(value, folder)):
        return str(path)
    return value


def _split(url: str) -> SplitResult:
    # urlsplit's own complaints may quote what they could not read.
    try:
        address = urlsplit(url)
        usable = bool(address.scheme and (address.netloc or address.path) and address.port != 0)
    except ValueError:
        usable = False
    if not usable or not url.isprintable():
        raise ValueError("is not an address such as sftp://nas.example.org/srv/drive")
    return address
