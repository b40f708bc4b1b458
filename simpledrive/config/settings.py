"""`Settings`: every setting with its default, and the rules that a single value or two of them must keep.

It does not read anything (`reading` does), nor know what options a kind of storage takes (the storages do).
"""

from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

from pydantic import (
    AfterValidator,
    ByteSize,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict
from sqlalchemy.engine import URL, make_url

from simpledrive.config import backends
from simpledrive.config.backends import BUILTIN, Options
from simpledrive.config.placement import Mirrored, MirrorTable, Rule, flaws_of_mirrors, flaws_of_rules
from simpledrive.config.values import (
    AnchoredPath,
    Bytes,
    CounterUrl,
    HeaderToken,
    LogLevel,
    Origins,
    PartBytes,
    Proxies,
    RateLimit,
    Seconds,
    Timeout,
    database_url,
)
from simpledrive.errors import ConfigurationError

JSON_MEMORY_FACTOR = 3
"""What a JSON body takes in memory, in lengths of it: the document, its text, and what that decodes to."""
LEAST_ORPHAN_AGE = 3600


class Settings(BaseSettings):
    """Every setting, with its default; the environment has the same names in capitals.

    `Settings(port=0)` takes its keywords and the defaults, and looks nowhere else: only `load` reads the
    environment and the files. A field may lean on the fields above it, never on those below.
    """

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, validate_default=True
    )
    _sources: dict[str, str] = PrivateAttr(default_factory=dict)
    _secret_files: list[Path] = PrivateAttr(default_factory=list)

    folder: Annotated[Path, AfterValidator(Path.absolute)] = Field(
        default_factory=Path.cwd, description="Where .env and simpledrive.toml lie and relative paths begin"
    )

    app_env: Literal["production", "development", "testing"] = Field(
        "production", description="production, development or testing"
    )
    debug: bool = Field(False, description="Flask's debug mode; never where others can reach the drive")
    log_level: LogLevel = Field("INFO", description="DEBUG, INFO, WARNING, ERROR or CRITICAL")

    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 for every network")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on")
    workers: int = Field(2, ge=1, description="Server processes")
    threads: int = Field(64, ge=1, description="Threads a process; a slow transfer holds one")
    body_timeout: int = Field(
        30, ge=1, description="Seconds that a head may take, and a body make no progress"
    )
    run_jobs: bool = Field(
        True, description="Long work in a process beside these; false where `flask drive worker` does it"
    )
    worker_bandwidth: Bytes = Field(
        ByteSize(0), description="Bytes a second that a worker reads, all its work together; 0 for no limit"
    )
    trusted_proxies: Proxies = Field(
        "", description="Addresses or networks whose X-Forwarded-* headers count, with commas between"
    )
    cors_origins: Origins = Field(
        "", description="Origins whose pages may call the API, with commas between; * for all"
    )
    secure_cookies: bool = Field(False, description="true behind HTTPS: cookies never travel unencrypted")

    instance_path: AnchoredPath = Field(
        Path("instance"), description="Folder of what belongs to this drive: database, secrets, blobs"
    )
    database_url: str = Field(
        "sqlite:///instance/drive.db",
        repr=False,
        description="Database of the records: sqlite:///path or postgresql://user:password@host/name",
    )
    api_token: HeaderToken = Field(
        None, description="Bearer token that may do everything; made at the first start when not given"
    )
    secret_key: SecretStr | None = Field(
        None, description="Signs session cookies; made at the first start when not given"
    )

    anonymous_access: Literal["none", "read", "write"] = Field(
        "none", description="What callers without a key may do: none, read or write"
    )
    rate_limit: RateLimit = Field("100000/minute", description="Requests of one key; none for no limit")
    rate_limit_address: RateLimit = Field(
        "6000/minute", description="Requests without a valid key from one address; none for no limit"
    )
    failed_sign_ins: RateLimit = Field(
        "20/minute", description="Wrong keys from one address, then none is looked at; none for no limit"
    )
    rate_limit_storage: CounterUrl = Field(
        SecretStr("memory://"),
        description="Where limits are counted: memory:// in each process, or redis://host for all together",
    )

    log_format: Literal["auto", "json", "text"] = Field(
        "auto", description="json, text, or auto: text on a terminal and JSON elsewhere"
    )
    metrics_public: bool = Field(False, description="true lets anybody read /metrics; else the scope admin")
    probe_interval: Seconds = Field(60, description="Seconds between looks whether a backend can be reached")

    json_max_bytes: Bytes = Field(ByteSize(48 << 20), description="Largest JSON body; /v1/content takes more")
    json_memory_bytes: Bytes = Field(
        ByteSize(192 << 20), description="JSON bodies in flight, all together, in one process"
    )
    max_blob_bytes: Bytes = Field(ByteSize(0), description="Largest blob; 0 for no limit")

    files_max_bytes: Bytes = Field(ByteSize(20 << 20), description="Largest file of the File Share contract")

    sweep_interval: Seconds = Field(300, description="Seconds between the server's own sweeps; 0 for none")
    sweep_grace: Seconds = Field(600, description="Seconds that bytes nothing needs any more are still kept")
    orphan_age: Seconds = Field(86400, description="Seconds after which bytes that no record names go")
    history_days: int = Field(
        90, ge=0, le=36500, description="Days that earlier versions and deleted blobs are kept"
    )

    local_storage_path: AnchoredPath = Field(
        Path("instance/blobs"), description="Folder of the backend `local`"
    )
    staging_path: AnchoredPath = Field(
        Path("instance/blobs/staging"),
        description="Where bytes wait until they are checked; best on the disk of LOCAL_STORAGE_PATH",
    )

    # What S3_* and FTP_* are, an option of the kind is: tests/test_plain_settings.py compares them.
    s3_endpoint_url: str | None = Field(None, description="Address of the S3 service")
    s3_access_key_id: str | None = Field(None, description="S3 access key")
    s3_secret_access_key: SecretStr | None = Field(None, description="S3 secret key")
    s3_session_token: SecretStr | None = Field(None, description="Token of temporary S3 credentials")
    s3_region: str = Field("us-east-1", description="S3 region")
    s3_addressing: Literal["auto", "path", "virtual"] = Field(
        "auto", description="Where the bucket is named: path, virtual (in the host's name), or auto"
    )
    s3_prefix: str = Field("", description="What the names of all objects in the bucket begin with: a folder")
    s3_storage_class: str | None = Field(None, description="S3 storage class; else the bucket's own")
    s3_server_side_encryption: Literal["AES256", "aws:kms", "aws:kms:dsse"] | None = Field(
        None, description="S3 encryption at rest: AES256, aws:kms or aws:kms:dsse; else the bucket's own"
    )
    s3_kms_key_id: str | None = Field(None, description="Key for aws:kms; else the account's own")
    s3_ca_bundle: AnchoredPath | None = Field(
        None, description="File of certificates to trust at the S3 service; else the public ones"
    )
    s3_multipart_size: PartBytes = Field(ByteSize(64 << 20), description="Larger objects go to S3 in parts")
    s3_part_size: PartBytes = Field(ByteSize(16 << 20), description="Bytes of a part")
    s3_parts_at_once: int = Field(
        4, ge=1, le=64, description="Parts of one object that are on their way together"
    )
    s3_timeout: Timeout = Field(30, description="Seconds that the S3 service may be silent")
    s3_bucket_name: str | None = Field(None, description="S3 bucket; naming one makes the backend `s3`")

    ftp_port: int = Field(21, ge=1, le=65535, description="FTP port")
    ftp_username: str = Field("anonymous", description="FTP user")
    ftp_password: SecretStr | None = Field(None, description="FTP password")
    ftp_base_dir: str = Field("", description="Folder on the FTP server; else the login's own")
    ftp_tls: Literal["off", "explicit"] = Field(
        "off", description="explicit for FTPS (AUTH TLS); off sends password and bytes in clear"
    )
    ftp_ca_bundle: AnchoredPath | None = Field(
        None, description="File of the authorities that the server's certificate is from; else the system's"
    )
    ftp_passive: bool = Field(True, description="false for active mode: the server connects to the drive")
    ftp_timeout: Timeout = Field(30, description="Seconds that an FTP server may say nothing")
    ftp_host: str | None = Field(None, description="FTP server; naming one makes the backend `ftp`")

    named_backends: dict[str, Options] = Field(
        default_factory=dict, alias="backends", repr=False, description="The [backends.NAME] tables"
    )
    storage_backend: str = Field("local", description="Backend of new blobs that name none")
    mirrors: dict[str, MirrorTable] = Field(default_factory=dict, description="The table [mirrors]")
    rules: tuple[Rule, ...] = Field((), description="The tables [[rules]]")

    scrub_days: int = Field(
        30, ge=0, le=3650, description="Days in which the worker reads every byte once to check it; 0: never"
    )
    scrub_backends: str = Field(
        "", description="Backends that it reads, with commas between; * for all; else those of its own disks"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The keywords, then the layers that `load` hands over. The stock readers let misspelt names pass."""
        layers = cast(InitSettingsSource, init_settings).init_kwargs.pop("layers", ())
        return (init_settings, *layers)

    @model_validator(mode="before")
    @classmethod
    def _keep_together(cls, data: dict[str, Any]) -> dict[str, Any]:
        """Database and blobs lie in the instance folder, the staging with the blobs, wherever these are."""
        # Not by default factories: after one faulty field pydantic calls none, and false complaints follow.
        if "instance_path" in data:
            path = f"{data['instance_path']}/drive.db"
            url = URL.create("sqlite", database=path).render_as_string()
            data = {"database_url": url, "local_storage_path": f"{data['instance_path']}/blobs"} | data
        if "local_storage_path" in data:
            data = {"staging_path": f"{data['local_storage_path']}/staging"} | data
        return data

    @field_validator("database_url")
    @classmethod
    def _settle_database(cls, url: str, info: ValidationInfo) -> str:
        settled = database_url(url, info.data["folder"])
        if make_url(settled).database in {None, "", ":memory:"}:
            raise ValueError("names no database that outlives the process")
        return settled

    @field_validator("json_memory_bytes")
    @classmethod
    def _room_for_one_body(cls, budget: int, info: ValidationInfo) -> int:
        if budget < JSON_MEMORY_FACTOR * info.data.get("json_max_bytes", 0):
            raise ValueError(
                f"is less than {JSON_MEMORY_FACTOR} times JSON_MAX_BYTES, what the largest body takes"
            )
        return budget

    @field_validator("orphan_age")
    @classmethod
    def _room_for_a_slow_put(cls, age: int, info: ValidationInfo) -> int:
        if age < LEAST_ORPHAN_AGE and info.data.get("app_env") != "testing":
            raise ValueError(
                f"is less than {LEAST_ORPHAN_AGE}: bytes that are still on their way would be swept"
            )
        return age

    @field_validator("s3_bucket_name", "ftp_host")
    @classmethod
    def _all_or_nothing(cls, value: str | None, info: ValidationInfo) -> str | None:
        [family] = [family for family in BUILTIN.values() if family.maker == info.field_name]
        given = [
            name.upper()
            for name, other in info.data.items()
            if name.startswith(family.prefix) and other != cls.model_fields[name].default
        ]
        if value is None and given:
            raise ValueError(f"is missing, but {', '.join(given)} is given")
        return value

    @field_validator("named_backends")
    @classmethod
    def _settle_backends(cls, tables: dict[str, Options], info: ValidationInfo) -> dict[str, Options]:
        return backends.settled(tables, info.data)

    @field_validator("storage_backend")
    @classmethod
    def _names_a_backend(cls, name: str, info: ValidationInfo) -> str:
        known = _known(info.data, name)
        if name not in known:
            hint = {"s3": "; S3_BUCKET_NAME would add s3", "ftp": "; FTP_HOST would add ftp"}.get(name, "")
            raise ValueError(f"no backend is called {name!r}; known are {', '.join(sorted(known))}{hint}")
        return name

    @field_validator("mirrors")
    @classmethod
    def _mirrors_are_backends(cls, mirrors: dict[str, Mirrored], info: ValidationInfo) -> dict[str, Mirrored]:
        _refuse(flaws_of_mirrors(mirrors, _known(info.data, *mirrors, *_mirrors_of(mirrors))))
        return mirrors

    @field_validator("rules")
    @classmethod
    def _rules_name_backends(cls, rules: tuple[Rule, ...], info: ValidationInfo) -> tuple[Rule, ...]:
        _refuse(flaws_of_rules(rules, _known(info.data, *(rule.backend for rule in rules))))
        return rules

    @field_validator("scrub_backends")
    @classmethod
    def _names_backends(cls, text: str, info: ValidationInfo) -> str:
        named = [name.strip() for name in text.split(",") if name.strip()]
        known = backends.every(info.data)
        unknown = [name for name in named if name not in known and named != ["*"]]
        if unknown and "named_backends" in info.data:  # else these have a complaint of their own
            raise ValueError(f"no backend is called {unknown[0]!r}; known are {', '.join(sorted(known))}")
        return ",".join(named)

    @property
    def backends(self) -> dict[str, Options]:
        """Name to `kind` and options (plain values, secrets too) of every backend there is."""
        return backends.every(self.__dict__)

    @property
    def proxies(self) -> list[IPv4Network | IPv6Network]:
        """TRUSTED_PROXIES, read."""
        return [ip_network(proxy) for proxy in self.trusted_proxies.split(",") if proxy]

    @property
    def scrubbed(self) -> list[str]:
        """SCRUB_BACKENDS, read."""
        return [name for name in self.scrub_backends.split(",") if name]

    def with_secret(self, name: str, value: str, source: str) -> Self:
        """The same settings with one secret filled in."""
        settled = self.model_copy(update={name: SecretStr(value)})
        settled._sources = {**self._sources, name: source}
        return settled

    def secret(self, name: str) -> str:
        """The secret in plain, once `ensure_secrets` has seen to it that there is one."""
        value = getattr(self, name)
        if value is None:
            raise ConfigurationError(f"There is no {name.upper()}, and none was made.")
        return cast(SecretStr, value).get_secret_value()

    @property
    def sources(self) -> dict[str, str]:
        """Which source said it, by field name or `backends.NAME.option`; what is not in it is a default."""
        return self._sources

    @property
    def secret_files(self) -> list[Path]:
        """The files that secrets were read from, `.env` among them."""
        return self._secret_files


TABLES = ("backends", "mirrors", "rules")
"""What only a file can say, as tables."""

NAMES = tuple(
    name.upper() for name in Settings.model_fields if name not in {"folder", "named_backends", *TABLES}
)


def _known(data: dict[str, Any], *named: str) -> list[str]:
    """The names of all backends; of those that are named also which would be one but for a flaw.

    That flaw is told already.
    """
    makers = {name: BUILTIN[name].maker if name in BUILTIN else "named_backends" for name in named}
    return sorted({*backends.every(data), *(name for name in named if makers[name] not in data)})


def _mirrors_of(mirrors: dict[str, Mirrored]) -> list[str]:
    return [name for table in mirrors.values() for name in table.to]


def _refuse(flaws: list[str]) -> None:
    if flaws:
        raise ValueError("; ".join(flaws))
