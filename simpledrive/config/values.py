"""What a single value has to look like, and what becomes of it: types for the fields of `Settings`.

Their sentences go on behind the setting's name: "DATABASE_URL is not a database URL such as ...".
"""

import importlib.util
import re
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal

import limits
from pydantic import AfterValidator, BeforeValidator, ByteSize, Field, SecretStr, ValidationInfo
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from simpledrive.paths import anchored


def _under_folder(path: Path, info: ValidationInfo) -> Path:
    return anchored(path, info.data["folder"])


def database_url(url: str, folder: Path) -> str:
    """The URL as SQLAlchemy wants it: psycopg for PostgreSQL, an absolute path for SQLite."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ValueError("is not a database URL such as postgresql://user:password@host/name") from None
    if parsed.drivername in {"postgres", "postgresql"}:
        parsed = parsed.set(drivername="postgresql+psycopg")
    elif parsed.drivername == "sqlite":
        name = parsed.database
        if not name or name == ":memory:" or name.startswith("file:"):
            return url
        parsed = parsed.set(database=str(anchored(name, folder)))
    elif parsed.drivername != "postgresql+psycopg":
        raise ValueError(f"{parsed.drivername}:// is not supported; known are sqlite:// and postgresql://")
    return parsed.render_as_string(hide_password=False)


def _header_safe(token: SecretStr | None) -> SecretStr | None:
    if token and not re.fullmatch(r"[!-~]+", token.get_secret_value()):
        raise ValueError("may hold only visible ASCII characters, because it travels in a header")
    return token


def _rate(text: str) -> str:
    """The limit as `limits` reads it; "" stands for none."""
    if text.strip() in ("", "none"):
        return ""
    try:
        [rate] = limits.parse_many(text)
    except ValueError:
        raise ValueError(f"is {text!r}, not a limit such as 20/minute, 5 per 10 seconds, or none") from None
    if not rate.amount:
        raise ValueError("lets nobody in: the least is 1; none stands for no limit")
    return text.strip()


def _origins(text: str) -> str:
    """Origins as browsers send them, with commas between; `*` alone stands for all."""
    origins = [origin.strip() for origin in text.split(",") if origin.strip()]
    for origin in origins:
        if not _ORIGIN.fullmatch(origin) and origins != ["*"]:
            raise ValueError(
                f"has {origin!r}, not an origin as browsers send it: https://host or https://host:port, in "
                "lower case, without a path, without the scheme's own port; or * alone"
            )
    return ",".join(origins)


def _proxies(text: str) -> str:
    """Addresses and networks, with commas between."""
    listed = [proxy.strip() for proxy in text.split(",") if proxy.strip()]
    for proxy in listed:
        try:
            ip_network(proxy)
        except ValueError:
            raise ValueError(
                f"has {proxy!r}, not an address such as 10.0.0.1 or a network such as 10.0.0.0/8"
            ) from None
    return ",".join(listed)


def _counter(url: SecretStr) -> SecretStr:
    scheme, separator, rest = url.get_secret_value().partition("://")
    if scheme == "memory" and separator and not rest:
        return url
    if scheme not in ("redis", "rediss", "redis+unix") or not rest:
        raise ValueError(
            "is neither memory:// nor a URL that begins with redis://, rediss:// or redis+unix://"
        )
    if importlib.util.find_spec("redis") is None:
        raise ValueError("wants Redis, and the package for it is not installed: pip install redis")
    return url


_ORIGIN = re.compile(
    r"(?!https://[^/]*:443$)(?!http://[^/]*:80$)[a-z][a-z0-9+.-]*://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?"
)

RateLimit = Annotated[str, AfterValidator(_rate)]
HeaderToken = Annotated[SecretStr | None, AfterValidator(_header_safe)]
Origins = Annotated[str, AfterValidator(_origins)]
Proxies = Annotated[str, AfterValidator(_proxies)]
CounterUrl = Annotated[SecretStr, AfterValidator(_counter)]
AnchoredPath = Annotated[Path, AfterValidator(_under_folder)]
Bytes = Annotated[ByteSize, Field(ge=0)]
Seconds = Annotated[int, Field(ge=0)]
Timeout = Annotated[float, Field(gt=0, le=3600)]
PartBytes = Annotated[ByteSize, Field(ge=5 << 20, le=5 << 30)]
"""What S3 takes by one request of several."""
LogLevel = Annotated[
    Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"],
    BeforeValidator(lambda value: value.upper() if isinstance(value, str) else value),
]
