"""What can be configured for a bucket, and where requests for it go."""

import posixpath
import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, ByteSize, Field, SecretStr, model_validator

from simpledrive.storage import sigv4
from simpledrive.storage.base import AnchoredPath, Options
from simpledrive.storage.hosts import is_address, is_host

MIB = 1 << 20
LEAST_PART = 5 * MIB
LARGEST_SINGLE_PUT = 5 << 30
DEFAULT_PORTS = {"http": 80, "https": 443}

BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
HOST_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{1,61})[a-z0-9]")
"""A bucket whose name can be part of a host's. One with dots would fail the check of the certificate."""
PATH = re.compile(r"[A-Za-z0-9!_.*'()-]+(/[A-Za-z0-9!_.*'()-]+)*")
"""One that every server takes as it stands, but for its dot segments."""
LONGEST_PREFIX = 512
REGION = re.compile(r"[A-Za-z0-9_-]{1,64}")

AFTER_ADDRESS = re.compile(r"\][^:]")
"""What urlsplit overlooks: `http://[::1]9000`."""

READ_LATER = {"GLACIER", "DEEP_ARCHIVE"}
"""Storage classes whose objects must be restored, for hours, before they can be read."""


def _endpoint(url: str) -> str:
    # urlsplit's own complaints may quote what they could not read.
    try:
        parts = urlsplit(url)
        usable = parts.scheme in DEFAULT_PORTS and parts.port != 0 and url.isascii()
        usable = usable and is_host(parts.hostname or "") and not AFTER_ADDRESS.search(parts.netloc)
    except ValueError:
        usable = False
    if not usable or not re.fullmatch(r"[!-~]+", url):
        raise ValueError("is not an address such as https://s3.example.org or http://127.0.0.1:9000")
    if parts.username is not None or parts.password is not None:
        raise ValueError("holds a user or a password: these are access_key_id and secret_access_key")
    if parts.query or parts.fragment:
        raise ValueError("is more than scheme, host, port and path")
    if parts.path.strip("/") and not _is_path(parts.path.removeprefix("/").removesuffix("/")):
        raise ValueError("holds a path that is not made of folder names with / between")
    return url


def _is_path(text: str) -> bool:
    return PATH.fullmatch(text) is not None and not {".", ".."} & set(text.split("/"))


def _bucket(name: str) -> str:
    if not BUCKET.fullmatch(name):
        raise ValueError("is not the name of a bucket: 2 or more letters, digits, dots, hyphens, underscores")
    return name


def _prefix(prefix: str) -> str:
    """As it stands before a key: empty, or with a slash at its end."""
    prefix = prefix.removesuffix("/")
    if not prefix:
        return ""
    if not _is_path(prefix) or len(prefix) > LONGEST_PREFIX:
        raise ValueError(
            f"is not made of folder names with / between, up to {LONGEST_PREFIX} letters, digits and !_.*'()-"
        )
    return f"{prefix}/"


def _region(region: str) -> str:
    if not REGION.fullmatch(region):
        raise ValueError("is not the name of a region such as us-east-1")
    return region


def _storage_class(name: str) -> str:
    if not re.fullmatch(r"[A-Z0-9_-]+", name):
        raise ValueError("is not a storage class such as STANDARD_IA")
    if name in READ_LATER:
        raise ValueError(f"{name} keeps objects that cannot be read at once; GLACIER_IR can")
    return name


def _ca_bundle(path: Path) -> Path:
    try:
        ssl.create_default_context(cafile=path)
    except ssl.SSLError:
        raise ValueError("names a file that holds no certificates in PEM form") from None
    except OSError as error:
        raise ValueError(f"names a file that cannot be read: {error.strerror}") from None
    return path


def _in_a_header(value: str) -> str:
    if not re.fullmatch(r"[!-~]+", value):
        raise ValueError("may hold only visible ASCII characters")
    return value


def _secret_in_a_header(value: SecretStr) -> SecretStr:
    _in_a_header(value.get_secret_value())
    return value


HeaderText = Annotated[str, AfterValidator(_in_a_header)]
HeaderSecret = Annotated[SecretStr, AfterValidator(_secret_in_a_header)]


class S3Options(Options):
    """Those of Amazon where nothing else is said; sizes in bytes, times in seconds."""

    bucket_name: Annotated[str, AfterValidator(_bucket)]
    access_key_id: HeaderText
    secret_access_key: HeaderSecret
    session_token: HeaderSecret | None = None
    endpoint_url: Annotated[str, AfterValidator(_endpoint)] | None = None
    region: Annotated[str, AfterValidator(_region)] = "us-east-1"
    addressing: Literal["auto", "path", "virtual"] = "auto"
    prefix: Annotated[str, AfterValidator(_prefix)] = ""
    storage_class: Annotated[str, AfterValidator(_storage_class)] | None = None
    server_side_encryption: Literal["AES256", "aws:kms", "aws:kms:dsse"] | None = None
    kms_key_id: HeaderText | None = None
    ca_bundle: Annotated[AnchoredPath, AfterValidator(_ca_bundle)] | None = None
    timeout: Annotated[float, Field(gt=0, le=3600)] = 30
    multipart_size: Annotated[ByteSize, Field(ge=LEAST_PART, le=LARGEST_SINGLE_PUT)] = ByteSize(64 * MIB)
    part_size: Annotated[ByteSize, Field(ge=LEAST_PART, le=LARGEST_SINGLE_PUT)] = ByteSize(16 * MIB)
    parts_at_once: Annotated[int, Field(ge=1, le=64)] = 4

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        endpoint = _address(self)
        if posixpath.basename(endpoint.path.rstrip("/")) == self.bucket_name:
            # It would be in each path twice, and some servers take the second one for a folder.
            raise ValueError("endpoint_url ends with the bucket's name, which is bucket_name alone")
        if self.addressing == "virtual":
            if not HOST_LABEL.fullmatch(self.bucket_name):
                raise ValueError("addressing 'virtual' wants a bucket_name of small letters, digits, hyphens")
            if is_address(endpoint.hostname or ""):
                raise ValueError("addressing 'virtual' wants an endpoint_url with a name, not an IP address")
        if self.kms_key_id is not None and not (self.server_side_encryption or "").startswith("aws:kms"):
            raise ValueError("kms_key_id wants server_side_encryption 'aws:kms'")
        if self.ca_bundle is not None and endpoint.scheme != "https":
            raise ValueError("ca_bundle wants an endpoint_url that begins with https://")
        return self

    @property
    def credentials(self) -> sigv4.Credentials:
        token = self.session_token.get_secret_value() if self.session_token else None
        return sigv4.Credentials(self.access_key_id, self.secret_access_key.get_secret_value(), token)

    @property
    def new_object_headers(self) -> dict[str, str]:
        """What a request that makes an object says of how it is to be kept."""
        headers = {
            "x-amz-storage-class": self.storage_class,
            "x-amz-server-side-encryption": self.server_side_encryption,
            "x-amz-server-side-encryption-aws-kms-key-id": self.kms_key_id,
        }
        return {name: value for name, value in headers.items() if value is not None}


@dataclass(frozen=True)
class Bucket:
    """Where a bucket is: `origin` (scheme and host) to connect to, `host` as signed, `root` before a key.

    The root is a path that begins and ends with a slash.
    """

    origin: str
    host: str
    root: str

    def path(self, key: str | None) -> str:
        """The path of an object, or of the bucket itself, as it is sent and signed."""
        if key is None:
            return sigv4.encode_path(self.root.rstrip("/") or "/")
        return sigv4.encode_path(self.root + key)


def bucket_of(options: S3Options) -> Bucket:
    """Path style is what every server understands; Amazon wants the bucket in the host's name."""
    endpoint, name = _address(options), options.bucket_name
    host = (endpoint.hostname or "").lower()
    virtual = options.addressing == "virtual" or (
        options.addressing == "auto"
        and host.endswith((".amazonaws.com", ".amazonaws.com.cn"))
        and HOST_LABEL.fullmatch(name) is not None
    )
    if ":" in host:
        host = f"[{host}]"
    if endpoint.port not in (None, DEFAULT_PORTS[endpoint.scheme]):
        host = f"{host}:{endpoint.port}"
    host = f"{name}.{host}" if virtual else host
    mounted = endpoint.path.rstrip("/")
    return Bucket(f"{endpoint.scheme}://{host}", host, f"{mounted}/" if virtual else f"{mounted}/{name}/")


def _address(options: S3Options) -> SplitResult:
    china = ".cn" if options.region.startswith("cn-") else ""
    return urlsplit(options.endpoint_url or f"https://s3.{options.region}.amazonaws.com{china}")
