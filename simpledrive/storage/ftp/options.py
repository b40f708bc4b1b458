"""What can be configured, and the sentences about what cannot be right. Touches no network."""

import re
import ssl
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from simpledrive.storage.base import AnchoredPath, Options
from simpledrive.storage.ftp.connections import Server
from simpledrive.storage.hosts import is_host


class FtpOptions(Options):
    host: str
    port: int = Field(21, ge=1, le=65535)
    username: str = "anonymous"
    password: SecretStr | None = None
    base_dir: str = ""
    tls: Literal["off", "explicit"] = "off"
    ca_bundle: AnchoredPath | None = None
    passive: bool = True
    timeout: float = Field(30, gt=0, le=3600)

    @field_validator("host")
    @classmethod
    def _is_a_host(cls, host: str) -> str:
        if not is_host(host):
            raise ValueError("it is a host's name or address alone, without ftp:// and port")
        return host

    @field_validator("username", "password", "base_dir")
    @classmethod
    def _fits_a_line(cls, value: str | SecretStr | None) -> str | SecretStr | None:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value or ""
        if re.search(r"[\r\n\0]", text):
            raise ValueError("it goes into a line of FTP and may hold no line break")
        if re.search(r"[\ud800-\udfff]", text):
            raise ValueError("it has bytes in it that are not UTF-8")
        return value

    @field_validator("ca_bundle")
    @classmethod
    def _is_usable(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        if path is None:
            return None
        if info.data.get("tls") == "off":
            raise ValueError("it is of no use with tls off; explicit turns TLS on")
        try:
            _tls(path)
        except OSError:
            raise ValueError("there is no file with certificates (PEM) at this path") from None
        return path

    def server(self) -> Server:
        return Server(
            host=self.host,
            port=self.port,
            username=self.username,
            password=self.password.get_secret_value() if self.password is not None else "",
            base=self.base_dir,
            tls=None if self.tls == "off" else _tls(self.ca_bundle),
            passive=self.passive,
            timeout=self.timeout,
        )


def _tls(ca_bundle: Path | None) -> ssl.SSLContext:
    """Checks certificates and names, by the system's authorities or by those of the file alone."""
    return ssl.create_default_context(cafile=ca_bundle)
