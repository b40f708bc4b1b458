"""What a bucket's storage asks for, and what it makes of the answers of servers of all kinds."""

import hashlib
import io
import logging
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
import trustme

from simpledrive.errors import (
    ConfigurationError,
    ObjectMissing,
    StorageError,
    StorageFull,
    StorageRefused,
    StorageUnavailable,
)
from simpledrive.storage import sigv4, taken
from simpledrive.storage.base import MARKER, Storage, new_key
from simpledrive.storage.registry import build
from simpledrive.storage.s3 import ahead, answers, client, parts
from simpledrive.storage.s3 import storage as storing
from simpledrive.storage.s3.answers import MOST_MARKS, Unreadable
from simpledrive.storage.s3.client import LONGEST_ANSWER, Client, Request
from simpledrive.storage.s3.options import S3Options, bucket_of
from simpledrive.streams.source import BLOCK, Source
from tests.children import PATIENCE
from tests.contract import LONG_AGO, in_threads, is_there, put, tomorrow
from tests.sources import content, read_whole, source_of
from tests.strict_s3 import Canned, StrictS3
from tests.strict_signature import Account, Asked, Refused

IN_PARTS = {"multipart_size": "5MiB", "part_size": "5MiB"}
ATTEMPTS = 1 + len(client.PAUSES)
DATA = content(2 * BLOCK)
LARGE = content(12 * BLOCK)
WORKS = {"kind": "s3", "bucket_name": "drive", "access_key_id": "id", "secret_access_key": "hidden"}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PAUSES", (0.01,) * 4)


@pytest.fixture
def make_storage(strict_s3: StrictS3) -> Iterator[Callable[..., Storage]]:
    made = []

    def make(**options: str) -> Storage:
        made.append(build("far", strict_s3.config(**options)))
        return made[-1]

    yield make
    for storage in made:
        storage.close()


@pytest.fixture
def storage(make_storage: Callable[..., Storage]) -> Storage:
    return make_storage()


# options


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"bucket_name": None}, "'bucket_name' is missing"),
        ({"access_key_id": None}, "'access_key_id' is missing"),
        ({"secret_access_key": None}, "'secret_access_key' is missing"),
        ({"secret_access_key": "hid\nden"}, "only visible ASCII"),
        ({"access_key_id": ""}, "only visible ASCII"),
        ({"session_token": "hid den"}, "only visible ASCII"),
        ({"bucket_name": "a/hidden"}, "is not the name of a bucket"),
        ({"bucket_name": ".."}, "is not the name of a bucket"),
        ({"endpoint_url": "s3.example.org"}, "is not an address such as https://s3.example.org"),
        ({"endpoint_url": "ftp://s3.example.org"}, "is not an address such as"),
        ({"endpoint_url": "https://host:hidden"}, "is not an address such as"),
        ({"endpoint_url": "https://ho st"}, "is not an address such as"),
        ({"endpoint_url": "https://a..b"}, "is not an address such as"),
        ({"endpoint_url": f"https://{'a' * 64}.org"}, "is not an address such as"),
        ({"endpoint_url": "https://host\\x"}, "is not an address such as"),
        ({"endpoint_url": "http://[::1]9000"}, "is not an address such as"),
        ({"endpoint_url": "https://me:hidden@host"}, "holds a user or a password"),
        ({"endpoint_url": "https://host/some/drive/"}, "endpoint_url ends with the bucket's name"),
        ({"endpoint_url": "https://host/a//b"}, "holds a path that is not made of folder names"),
        ({"endpoint_url": "https://host/a/../b"}, "holds a path that is not made of folder names"),
        ({"endpoint_url": "https://host/a%2Fb"}, "holds a path that is not made of folder names"),
        ({"endpoint_url": "https://host?x=hidden"}, "is more than scheme, host, port and path"),
        ({"region": "eu west"}, "is not the name of a region such as us-east-1"),
        ({"addressing": "host"}, "'auto', 'path' or 'virtual'"),
        ({"addressing": "virtual", "bucket_name": "My.Bucket"}, "wants a bucket_name of small letters"),
        ({"addressing": "virtual", "endpoint_url": "http://127.0.0.1"}, "fit together: addressing 'virtual'"),
        ({"prefix": "/a"}, "is not made of folder names"),
        ({"prefix": "a//b"}, "is not made of folder names"),
        ({"prefix": "a/../b"}, "is not made of folder names"),
        ({"prefix": "a/./b"}, "is not made of folder names"),
        ({"prefix": "a b"}, "is not made of folder names"),
        ({"prefix": "a" * 600}, "is not made of folder names"),
        ({"storage_class": "cold"}, "is not a storage class such as STANDARD_IA"),
        ({"storage_class": "GLACIER"}, "GLACIER keeps objects that cannot be read at once"),
        ({"server_side_encryption": "rot13"}, "'server_side_encryption' is not acceptable"),
        ({"kms_key_id": "k"}, "kms_key_id wants server_side_encryption 'aws:kms'"),
        ({"ca_bundle": "/nowhere/ca.pem"}, "names a file that cannot be read: No such file"),
        ({"ca_bundle": __file__}, "holds no certificates"),
        ({"timeout": "0"}, "greater than 0"),
        ({"part_size": "1MiB"}, "'part_size' is not acceptable"),
        ({"multipart_size": "6GiB"}, "'multipart_size' is not acceptable"),
        ({"bucket": "b"}, "Did you mean 'bucket_name'?"),
    ],
)
def test_wrong_options_stop_the_start_with_a_sentence(options: dict[str, str | None], says: str) -> None:
    config = {name: value for name, value in (WORKS | options).items() if value is not None}
    with pytest.raises(ConfigurationError) as caught:
        build("far", config)
    assert says in str(caught.value)
    assert "'far' of kind 's3'" in str(caught.value)
    assert "hidden" not in str(caught.value).replace("a/hidden", "")


def test_a_ca_bundle_wants_https(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(bundle)
    with pytest.raises(ConfigurationError, match="begins with https://"):
        build("far", WORKS | {"endpoint_url": "http://host", "ca_bundle": str(bundle)})


@pytest.mark.parametrize(
    ("options", "url", "host"),
    [
        ({}, "https://drive.s3.us-east-1.amazonaws.com/k", "drive.s3.us-east-1.amazonaws.com"),
        ({"region": "eu-west-1"}, "https://drive.s3.eu-west-1.amazonaws.com/k", None),
        ({"region": "cn-north-1"}, "https://drive.s3.cn-north-1.amazonaws.com.cn/k", None),
        ({"addressing": "path"}, "https://s3.us-east-1.amazonaws.com/drive/k", "s3.us-east-1.amazonaws.com"),
        ({"bucket_name": "my.drive"}, "https://s3.us-east-1.amazonaws.com/my.drive/k", None),
        ({"endpoint_url": "http://Minio.lan:9000/"}, "http://minio.lan:9000/drive/k", "minio.lan:9000"),
        ({"endpoint_url": "https://ceph:443"}, "https://ceph/drive/k", "ceph"),
        ({"endpoint_url": "http://[::1]:9000"}, "http://[::1]:9000/drive/k", "[::1]:9000"),
        ({"endpoint_url": "http://ceph", "addressing": "virtual"}, "http://drive.ceph/k", "drive.ceph"),
        ({"endpoint_url": "http://ceph", "bucket_name": "Old_One"}, "http://ceph/Old_One/k", "ceph"),
        ({"endpoint_url": "https://ref.example.co/v1/s3/"}, "https://ref.example.co/v1/s3/drive/k", None),
        ({"endpoint_url": "http://h/(s3)", "addressing": "virtual"}, "http://drive.h/%28s3%29/k", "drive.h"),
    ],
)
def test_a_bucket_is_where_its_options_say(options: dict[str, str], url: str, host: str | None) -> None:
    given = {name: value for name, value in (WORKS | options).items() if name != "kind"}
    bucket = bucket_of(S3Options.model_validate(given))
    assert bucket.origin + bucket.path("k") == url
    assert bucket.path(None) == (bucket.path("k").removesuffix("/k") or "/")
    if host is not None:
        assert bucket.host == host


def test_building_touches_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def touched(*args: object, **kwargs: object) -> None:
        pytest.fail("the network was touched")

    monkeypatch.setattr(socket, "getaddrinfo", touched)
    monkeypatch.setattr(socket, "socket", touched)
    build("far", WORKS).close()


# what is sent


@pytest.mark.parametrize(
    "key", ["../other/victim", "a/./b", "a//b", "~tilde", "a%2Fb", "ü ö+&=?#", "trailing/", "e\u0301"]
)
def test_a_path_is_sent_as_it_is_signed(strict_s3: StrictS3, key: str) -> None:
    options = {name: value for name, value in strict_s3.config().items() if name != "kind"}
    asking = Client("far", S3Options.model_validate(options))
    asking.ask(Request("put", "PUT", key, content=source_of(b"abc")), bool)
    assert list(strict_s3.objects) == [key]
    assert strict_s3.seen[-1].path == "/drive" + sigv4.encode_path(f"/{key}")
    assert asking.size("size", key) == 3
    asking.close()


def test_what_a_put_sends(storage: Storage, strict_s3: StrictS3) -> None:
    source = source_of(DATA)
    key = new_key(source.sha256)
    storage.put(key, source)
    sent = strict_s3.seen[-1]
    assert (sent.method, sent.path, sent.query) == ("PUT", f"/drive/{key}", "")
    assert sent.headers["x-amz-content-sha256"] == source.sha256
    assert sent.headers["content-length"] == str(source.size)
    assert sent.headers["accept-encoding"] == "identity"
    assert not {"transfer-encoding", "expect", "if-none-match", "x-amz-checksum-sha256", "cookie"} & set(
        sent.headers
    )
    assert [asked.method for asked in strict_s3.seen] == ["PUT"], "its ETag tells that it arrived"


def test_a_key_that_may_be_in_use_is_asked_for_first(
    make_storage: Callable[..., Storage], strict_s3: StrictS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was not made just now, or the marker; used by another process.

    The marker is put on a condition first, which this server does not know.
    """
    one, other = make_storage(), make_storage()
    key = put(one, DATA)
    one.put(MARKER, source_of(b"mine"))
    monkeypatch.setattr(taken, "MOMENT", 0)
    for used in (key, MARKER):
        with pytest.raises(StorageRefused, match="the key is in use"):
            other.put(used, source_of(b"new"))
    other.put(new_key(source_of(b"new").sha256), source_of(b"new"))
    assert [asked.method for asked in strict_s3.seen] == [
        "PUT",
        *["HEAD", "PUT", "HEAD", "PUT", "GET"],
        "HEAD",
        "HEAD",
        "HEAD",
        "PUT",
    ]
    assert read_whole(one.open(key)) == DATA


@pytest.mark.parametrize("data", [DATA, LARGE], ids=["whole", "parts"])
def test_an_object_is_kept_as_configured(
    make_storage: Callable[..., Storage], strict_s3: StrictS3, data: bytes
) -> None:
    storage = make_storage(
        storage_class="STANDARD_IA", server_side_encryption="aws:kms", kms_key_id="key/1", **IN_PARTS
    )
    key = put(storage, data)
    assert read_whole(storage.open(key)) == data
    assert strict_s3.objects[key].headers == {
        "x-amz-storage-class": "STANDARD_IA",
        "x-amz-server-side-encryption": "aws:kms",
        "x-amz-server-side-encryption-aws-kms-key-id": "key/1",
    }
    others = [asked for asked in strict_s3.seen if asked.method != "PUT" and "uploads" not in asked.query]
    assert others
    assert not any("x-amz-storage-class" in asked.headers for asked in others)


def test_a_session_token_goes_with_every_request() -> None:
    account = Account("strictaccess", "strict-secret-key", "eu-test-1", token="session/token+1==")
    with StrictS3(account=account) as server:
        storage = build("far", server.config(**IN_PARTS))
        storage.probe()
        assert read_whole(storage.open(put(storage, LARGE))) == LARGE
        storage.close()
        storage = build("far", server.config(session_token="expired"))
        with pytest.raises(StorageRefused, match="correct session_token or leave it out") as caught:
            storage.size(MARKER)
        assert "expired" not in str(caught.value)
        storage.close()


def test_objects_lie_below_the_prefix(make_storage: Callable[..., Storage], strict_s3: StrictS3) -> None:
    whole, below = make_storage(), make_storage(prefix="team/drive/")
    key, other = put(below, b"below"), put(whole, b"whole")
    assert set(strict_s3.objects) == {f"team/drive/{key}", other}
    assert list(below.keys()) == [key]
    assert list(whole.keys()) == [other]
    assert not is_there(whole, key)


@pytest.mark.parametrize("key", ["", "../x", "a" * 64, f"{'a' * 64}.{'b' * 32}/", "x.y"])
def test_only_keys_of_ours_are_sent(storage: Storage, strict_s3: StrictS3, key: str) -> None:
    for call in (storage.open, storage.size, storage.delete, lambda key: storage.put(key, source_of(b""))):
        with pytest.raises(StorageRefused, match="not a storage key"):
            call(key)
    assert strict_s3.seen == []


def test_a_bucket_may_be_part_of_the_host_name(monkeypatch: pytest.MonkeyPatch) -> None:
    found = socket.getaddrinfo

    def everything_is_here(host: str, *args: object, **kwargs: object) -> object:
        return found("127.0.0.1" if host.endswith(".localhost") else host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", everything_is_here)
    with StrictS3(virtual=True) as server:
        storage = build("far", server.config(addressing="virtual", prefix="a", **IN_PARTS))
        storage.probe()
        key = put(storage, LARGE)
        assert read_whole(storage.open(key, 5, 500)) == LARGE[5:500]
        assert list(storage.keys()) == [key]
        assert server.seen[-1].path == "/"
        assert server.seen[-1].headers["host"] == f"drive.localhost:{server.port}"
        storage.close()


def test_a_service_may_be_mounted_below_a_path() -> None:
    with StrictS3(below="/storage/v1/(s3)") as server:
        storage = build("far", server.config(prefix="a", **IN_PARTS))
        storage.probe()
        key = put(storage, LARGE)
        assert read_whole(storage.open(key, 5, 500)) == LARGE[5:500]
        assert list(storage.keys()) == [key]
        assert storage.clean(tomorrow()) == 0
        assert storage.where == f"{server.url}/drive/a/"
        assert {asked.path.partition("/drive")[0] for asked in server.seen} == {"/storage/v1/%28s3%29"}
        storage.close()


def test_https_trusts_its_own_authority_and_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, bundle = trustme.CA(), tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(bundle)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(tls)
    with StrictS3(tls=tls) as server:
        storage = build("far", server.config(ca_bundle=str(bundle), **IN_PARTS))
        storage.probe()
        assert read_whole(storage.open(put(storage, LARGE))) == LARGE
        storage.close()
        # The environment has no say in it.
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
        stranger = build("far", server.config())
        with pytest.raises(StorageRefused, match=r"certificate is not trusted \(.*\): see ca_bundle"):
            stranger.probe()
        stranger.close()


def test_the_environment_has_no_say(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strict_s3: StrictS3
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password mine\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    storage.probe()
    assert all(asked.headers["authorization"].startswith("AWS4-HMAC") for asked in strict_s3.seen)


def test_a_presigned_url_is_good_for_a_while(storage: Storage, strict_s3: StrictS3) -> None:
    key, account = put(storage, b"abc"), strict_s3.account
    credentials = sigv4.Credentials(account.access_key, account.secret_key)
    host, path = f"127.0.0.1:{strict_s3.port}", sigv4.encode_path(f"/drive/{key}")

    def status(now: datetime, query: str = "") -> int:
        signed = sigv4.presign("GET", host, path, [], 60, credentials, sigv4.Scope(account.region), now)
        answer = requests.get(f"http://{host}{path}?{signed}{query}", timeout=5)
        assert answer.status_code != 200 or answer.content == b"abc"
        return answer.status_code

    assert status(datetime.now(UTC)) == 200
    assert status(datetime.now(UTC) - timedelta(seconds=90)) == 403
    assert status(datetime.now(UTC), "&versionId=1") == 403


# what servers refuse


def raised(storage: Storage) -> dict[str, StorageError]:
    """What each call raises. All agree about the cause, those that have no body in their answer too."""
    key = new_key("ab" * 32)
    calls: dict[str, Callable[[], object]] = {
        "put": lambda: storage.put(key, source_of(DATA)),
        "open": lambda: storage.open(key),
        "size": lambda: storage.size(key),
        "delete": lambda: storage.delete(key),
        "keys": lambda: list(storage.keys()),
        "clean": lambda: storage.clean(tomorrow()),
    }
    errors = {}
    for operation, call in calls.items():
        with pytest.raises(StorageError) as caught:
            call()
        errors[operation] = caught.value
        assert caught.value.operation == operation
        assert "request STRICT1" in str(caught.value)
        assert storage._options.secret_access_key.get_secret_value() not in str(caught.value)  # type: ignore[attr-defined]
    return errors


@pytest.mark.parametrize(
    ("minutes", "says"), [(25, "25 minutes behind the server's"), (-40, "40 minutes ahead of the server's")]
)
def test_a_skewed_clock_is_told(storage: Storage, strict_s3: StrictS3, minutes: int, says: str) -> None:
    strict_s3.clock = timedelta(minutes=minutes)
    for error in raised(storage).values():
        assert isinstance(error, StorageRefused)
        assert f"the clock of this machine is {says}: set both by NTP" in str(error)
        assert "403 RequestTimeTooSkewed" in str(error)


def test_a_wrong_region_is_told_with_the_right_one(make_storage: Callable[..., Storage]) -> None:
    for error in raised(make_storage(region="us-east-1")).values():
        assert isinstance(error, StorageRefused)
        assert "the bucket is in the region 'eu-test-1', not 'us-east-1': correct region" in str(error)


def test_a_missing_bucket_is_told(make_storage: Callable[..., Storage]) -> None:
    for operation, error in raised(make_storage(bucket_name="nowhere")).items():
        assert isinstance(error, StorageRefused), operation
        assert "there is no bucket 'nowhere': make it, or correct bucket_name" in str(error)


def test_an_unknown_access_key_is_told(make_storage: Callable[..., Storage]) -> None:
    for error in raised(make_storage(access_key_id="stranger")).values():
        assert isinstance(error, StorageRefused)
        assert "the server does not know the access key: correct access_key_id" in str(error)


def test_a_wrong_secret_is_told_and_no_signature(make_storage: Callable[..., Storage]) -> None:
    for error in raised(make_storage(secret_access_key="not-this-one")).values():
        assert isinstance(error, StorageRefused)
        assert "does not belong to the access key: correct secret_access_key" in str(error)
        assert "The signature we calculated, ***, does not match ***." in str(error)


@pytest.mark.parametrize(
    ("status", "code", "kind", "says"),
    [
        (403, "AccessDenied", StorageRefused, "they need s3:GetObject, s3:PutObject"),
        (403, "QuotaExceeded", StorageFull, "there is no room"),
        (507, "XMinioStorageFull", StorageFull, "there is no room"),
        (507, "", StorageFull, "there is no room"),
        (301, "PermanentRedirect", StorageRefused, "correct region, now 'eu-test-1', or endpoint_url"),
        (400, "ExpiredToken", StorageRefused, "configure new temporary credentials"),
        (400, "InvalidStorageClass", StorageRefused, "correct storage_class"),
        (403, "InvalidObjectState", StorageRefused, "has to be restored there"),
        (501, "NotImplemented", StorageRefused, "501 NotImplemented"),
        (418, "Teapot", StorageRefused, "418 Teapot, request "),
        (500, "InternalError", StorageUnavailable, "500 InternalError"),
        (503, "ServiceUnavailable", StorageUnavailable, "503 ServiceUnavailable"),
        (429, "", StorageUnavailable, "429"),
        (403, "RequestTimeTooSkewed", StorageRefused, "minutes"),
    ],
)
def test_what_a_server_says_is_in_the_error(
    storage: Storage, strict_s3: StrictS3, status: int, code: str, kind: type[StorageError], says: str
) -> None:
    for _ in range(ATTEMPTS):
        strict_s3.next.append(lambda asked: Refused(status, code, "short and stout"))
    with pytest.raises(kind) as caught:
        put(storage, DATA)
    assert type(caught.value).__bases__[0] in (StorageError, StorageUnavailable)
    assert says in str(caught.value)
    assert "short and stout" in str(caught.value)
    assert strict_s3.objects == {}


def test_what_a_server_says_is_in_the_log_when_it_is_asked_again(
    storage: Storage, strict_s3: StrictS3, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    strict_s3.next.append(lambda asked: Refused(503, "SlowDown", "Reduce your request rate."))
    key = put(storage, DATA)
    strict_s3.next.append(lambda asked: Refused(503, "SlowDown"))
    storage.size(key)
    assert [record.getMessage() for record in caplog.records] == [
        "attempt 1 of 5: far: put: the server said 503 SlowDown, request STRICT1: Reduce your request rate.",
        "attempt 1 of 5: far: size: the server said 503, request STRICT1",
    ]


def test_a_server_that_quotes_the_request_makes_no_secret_known(
    make_storage: Callable[..., Storage], strict_s3: StrictS3, caplog: pytest.LogCaptureFixture
) -> None:
    storage = make_storage(secret_access_key="s3cr3t-key", session_token="t0ken-of-mine")

    def quote(asked: Asked) -> Refused:
        said = f"I know s3cr3t-key\r\n and {asked.headers}\x00{'x' * 5000}"
        return Refused(503, "SlowDown", said.replace("\x00", "\u0085"))

    strict_s3.next.extend([quote] * 2 * ATTEMPTS)
    with pytest.raises(StorageUnavailable) as caught:
        storage.delete(new_key("ab" * 32))
    sent = strict_s3.seen[-1].headers["authorization"].rpartition("Signature=")[2]
    for text in (str(caught.value), caplog.text):
        assert "I know ***" in text
        assert "s3cr3t" not in text
        assert "t0ken" not in text
        assert sent not in text
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("region", "says"),
    [
        ("s3cr3t-key", "the bucket is in the region '***', not 'eu-test-1'"),
        ("ab" * 32, "the bucket is in the region '***', not 'eu-test-1'"),
        ("eu\nERROR forged", "the bucket is elsewhere"),
        ("x" * 65, "the bucket is elsewhere"),
    ],
)
def test_a_region_that_the_server_names_is_no_way_around_that(
    make_storage: Callable[..., Storage], strict_s3: StrictS3, region: str, says: str
) -> None:
    strict_s3.next.append(lambda asked: Refused(400, "AuthorizationHeaderMalformed", "no", Region=region))
    with pytest.raises(StorageRefused) as caught:
        make_storage(secret_access_key="s3cr3t-key").delete(new_key("ab" * 32))
    assert says in str(caught.value)
    assert region not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "date", ["Mon, 20 Nov 99999999999999999999 18:38:11 GMT", "Mon, 20 Nov 0 +9999", "x"]
)
def test_a_clock_that_shows_no_time_is_no_time(storage: Storage, strict_s3: StrictS3, date: str) -> None:
    said = b"<Error><Code>RequestTimeTooSkewed</Code></Error>"
    strict_s3.next.append(lambda asked: Canned(403, said, {"Date": date}))
    with pytest.raises(StorageRefused, match="differ too much: set them by NTP"):
        storage.delete(new_key("ab" * 32))


def test_the_request_id_is_told_however_long_the_message(storage: Storage, strict_s3: StrictS3) -> None:
    strict_s3.next.append(lambda asked: Refused(403, "AccessDenied", "User: arn:aws:sts::1 " * 100))
    with pytest.raises(StorageRefused, match="request STRICT1"):
        storage.delete(new_key("ab" * 32))


@pytest.mark.parametrize(
    "body",
    [
        b"<html>It works!</html>",
        b"",
        b"\xff\xfe\x00",
        b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b 'bbbb'>]><Error><Code>&b;</Code></Error>",
        b"<?xml version='1.0' encoding='nonsense'?><Error/>",
        b"<Error><Code>" + b"x" * 100_000,
    ],
)
def test_an_answer_that_is_not_s3s_is_told(storage: Storage, strict_s3: StrictS3, body: bytes) -> None:
    strict_s3.next.append(lambda asked: Canned(404, body))
    with pytest.raises(StorageRefused) as caught:
        storage.open(new_key("ab" * 32))
    assert "is endpoint_url right?" in str(caught.value) or "longer than" in str(caught.value)


# what servers answer


def test_a_range_may_be_answered_by_200(storage: Storage, strict_s3: StrictS3) -> None:
    key, said = put(storage, DATA), {"Content-Range": f"bytes 10-19/{len(DATA)}"}
    strict_s3.next.append(lambda asked: Canned(200, DATA[10:20], said))
    assert read_whole(storage.open(key, 10, 20)) == DATA[10:20]


def test_a_server_that_does_not_know_ranges_is_read_from_the_beginning(
    storage: Storage, strict_s3: StrictS3
) -> None:
    key = put(storage, DATA)
    strict_s3.next.append(lambda asked: Canned(200, DATA))
    assert read_whole(storage.open(key, BLOCK + 10, BLOCK + 20)) == DATA[BLOCK + 10 : BLOCK + 20]


def test_a_server_may_send_less_than_the_range(storage: Storage, strict_s3: StrictS3) -> None:
    key, said = put(storage, DATA), {"Content-Range": f"bytes 10-14/{len(DATA)}"}
    strict_s3.next.append(lambda asked: Canned(206, DATA[10:15], said))
    assert read_whole(storage.open(key, 10, 20)) == DATA[10:20]


@pytest.mark.parametrize(
    "said",
    [
        "bytes 11-19/{size}",
        "bytes */{size}",
        "bytes 10-19/*",
        "nonsense",
        "bytes -10-19/5",
        "bytes 10-19/" + "9" * 5000,
    ],
)
def test_a_range_that_was_not_asked_for_is_an_error(storage: Storage, strict_s3: StrictS3, said: str) -> None:
    key, headers = put(storage, DATA), {"Content-Range": said.format(size=len(DATA))}
    strict_s3.next.extend([lambda asked: Canned(206, DATA[10:20], headers)] * ATTEMPTS)
    with pytest.raises(StorageUnavailable, match=r"range than it was asked for|which bytes it sends"):
        storage.open(key, 10, 20)


def test_an_object_of_another_size_than_at_first_is_not_gone_on_with(
    storage: Storage, strict_s3: StrictS3
) -> None:
    key = put(storage, DATA)
    reader = storage.open(key, 0, 20)
    strict_s3.next.append(lambda asked: Canned(206, DATA[:10], {"Content-Range": "bytes 0-9/100"}))
    strict_s3.next.append(lambda asked: Canned(206, DATA[10:20], {"Content-Range": "bytes 10-19/99"}))
    assert read_whole(reader) == DATA[:20]
    with pytest.raises(StorageUnavailable, match="another size than before"):
        read_whole(storage.open(key, 0, 20))


def test_a_long_object_is_read_in_segments_and_a_short_look_is_one_request(
    storage: Storage, strict_s3: StrictS3
) -> None:
    data = content(3 * ahead.SEGMENT + 5)
    key = put(storage, data)
    for start, stop in ((0, None), (5, len(data) - 5), (1, 1 + ahead.LONG), (ahead.SEGMENT, len(data) + 99)):
        for portion in (BLOCK + 1, 100_000):
            assert read_whole(storage.open(key, start, stop), portion) == data[start:stop]
    strict_s3.seen.clear()
    reader = storage.open(key)
    assert reader.read(1000) == data[:1000]
    reader.close()
    assert len(strict_s3.seen) == 1


def test_a_server_that_does_not_know_ranges_is_read_by_one_request(
    storage: Storage, strict_s3: StrictS3
) -> None:
    data = content(3 * ahead.SEGMENT)
    key = put(storage, data)
    strict_s3.next.extend([lambda asked: Canned(200, data)] * 2)
    strict_s3.seen.clear()
    assert read_whole(storage.open(key)) == data
    assert len(strict_s3.seen) == 2


def test_only_some_readers_read_ahead_and_those_that_are_closed_make_room(
    storage: Storage, strict_s3: StrictS3
) -> None:
    data = content(3 * ahead.SEGMENT)
    key = put(storage, data)
    for _ in range(2):
        strict_s3.seen.clear()
        readers = [storage.open(key) for _ in range(ahead.READERS_AHEAD + 2)]
        first = f"bytes=0-{ahead.SEGMENT - 1}"
        assert sum(asked.headers.get("range") == first for asked in strict_s3.seen) == ahead.READERS_AHEAD
        for reader in readers:
            reader.read(2 * ahead.CASUAL)
            reader.close()
            reader.close()


def test_a_segment_that_fails_fails_again_and_is_never_left_out(
    storage: Storage, strict_s3: StrictS3
) -> None:
    data = content(4 * ahead.SEGMENT)
    key = put(storage, data)
    reader = storage.open(key)
    got = reader.read(BLOCK)
    for _ in range(2):
        strict_s3.next.append(lambda asked: Refused(403, "AccessDenied"))
    while len(got) < ahead.SEGMENT:
        got += reader.read(BLOCK)
    for _ in range(4):
        with pytest.raises(StorageRefused, match="far: read: "):
            reader.read(BLOCK)
    assert got == data[: ahead.SEGMENT]
    reader.close()


def test_a_completion_that_says_200_and_means_an_error_is_repeated(
    make_storage: Callable[..., Storage], strict_s3: StrictS3
) -> None:
    def late(asked: Asked) -> Refused | None:
        if asked.query.startswith("uploadId") and asked.method == "POST":
            return Refused(200, "InternalError", "We encountered an internal error.")
        strict_s3.next.append(late)
        return None

    strict_s3.next.append(late)
    storage = make_storage(**IN_PARTS)
    assert read_whole(storage.open(put(storage, LARGE))) == LARGE


def test_keys_come_in_pages(storage: Storage, strict_s3: StrictS3) -> None:
    keys = sorted(put(storage, bytes([number])) for number in range(7))
    strict_s3.page = 2
    assert list(storage.keys()) == keys
    assert list(storage.keys(keys[2])) == keys[3:]
    assert sum("list-type=2" in asked.query for asked in strict_s3.seen) == 4 + 2


def test_what_others_put_there_is_not_listed(storage: Storage, strict_s3: StrictS3) -> None:
    key = put(storage, b"mine")
    storage.put(MARKER, source_of(b"whose"))
    for name in (f"{key}/", f"{key}x", f"a/{key}", key.upper(), "a b+c", "z\u0301&<>", "~"):
        strict_s3.objects[name] = strict_s3.objects[key]
    assert list(storage.keys()) == [key]


def listing(*keys: str, token: str | None = None) -> Canned:
    items = "".join(f"<Contents><Key>{key}</Key></Contents>" for key in keys)
    more = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>"
    return Canned(200, f"<ListBucketResult>{items}{more if token else ''}</ListBucketResult>".encode())


def test_a_server_that_lists_in_no_order_is_refused(storage: Storage, strict_s3: StrictS3) -> None:
    one, two = sorted(new_key(digit * 64) for digit in "ab")
    strict_s3.next.append(lambda asked: listing(two, one))
    with pytest.raises(StorageRefused, match="in order of names"):
        list(storage.keys())


def test_a_server_that_lists_the_same_page_for_ever_is_refused(storage: Storage, strict_s3: StrictS3) -> None:
    strict_s3.next.extend([lambda asked: listing("other", token="t")] * 9)
    with pytest.raises(StorageRefused, match="again and again"):
        list(storage.keys())


def test_a_server_that_does_not_know_start_after_lists_right(storage: Storage, strict_s3: StrictS3) -> None:
    one, two = sorted(new_key(digit * 64) for digit in "ab")
    strict_s3.next.append(lambda asked: listing(one, two))
    assert list(storage.keys(one)) == [two]


@pytest.mark.parametrize(
    "body", [b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>", b"<Other/>", b"no XML"]
)
def test_a_list_that_cannot_be_read_is_an_error(storage: Storage, strict_s3: StrictS3, body: bytes) -> None:
    strict_s3.next.extend([lambda asked: Canned(200, body)] * ATTEMPTS)
    with pytest.raises(StorageUnavailable):
        list(storage.keys())


@pytest.mark.parametrize("names", [[], ["other"]])
def test_a_server_that_lists_page_after_page_and_nothing_new_is_refused(
    storage: Storage, strict_s3: StrictS3, monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> None:
    monkeypatch.setattr(storing, "MOST_IDLE_PAGES", 3)

    def page(asked: Asked) -> Canned:
        strict_s3.next.append(page)
        return listing(*names, token=str(number) if (number := len(strict_s3.seen)) < 50 else None)

    strict_s3.next.append(page)
    with pytest.raises(StorageRefused, match="page after page, and for 3 pages nothing new"):
        list(storage.keys())
    assert len(strict_s3.seen) < 7


def test_pages_that_others_fill_are_passed_over(
    storage: Storage, strict_s3: StrictS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storing, "MOST_IDLE_PAGES", 1)
    key = new_key("f" * 64)
    pages = [listing(f"a{number}", token=str(number)) for number in range(9)]
    for page in (*pages, listing(token="an empty one"), listing("b", key)):
        strict_s3.next.append(lambda asked, page=page: page)  # type: ignore[misc]
    assert list(storage.keys()) == [key]


def test_what_a_server_may_say_at_length_is_a_list_and_nothing_else(
    storage: Storage, strict_s3: StrictS3
) -> None:
    long, key = b"<!--" + b"x" * LONGEST_ANSWER + b"-->", new_key("ab" * 32)
    strict_s3.next.append(lambda asked: Canned(200, listing(key).body + long))
    assert list(storage.keys()) == [key]
    strict_s3.next.append(lambda asked: Canned(200, long))
    with pytest.raises(StorageRefused, match=f"longer than {LONGEST_ANSWER} bytes"):
        storage.delete(key)


@pytest.mark.parametrize("element", [b"<a/>", b"<a>", b"<a b=''>"])
def test_a_list_that_would_take_much_to_parse_is_not_parsed_and_asked_for_once_more(
    storage: Storage, strict_s3: StrictS3, monkeypatch: pytest.MonkeyPatch, element: bytes
) -> None:
    body = b"<ListBucketResult>" + element * (
        MOST_MARKS // element.count(b"=") if b"=" in element else MOST_MARKS
    )
    strict_s3.next.extend([lambda asked: Canned(200, body)] * ATTEMPTS)
    with pytest.raises(StorageUnavailable, match="more elements than are read"):
        list(storage.keys())
    assert len(strict_s3.seen) == client.AFTER_GARBLED


def test_a_document_is_utf_8_whatever_it_says_of_itself() -> None:
    """In another encoding, other bytes would be marks than those that are counted."""
    assert answers.read(b"\xef\xbb\xbf \n<A>\xc3\xa9</A>").content == "é"
    with pytest.raises(Unreadable):
        answers.read(b"<?xml version='1.0' encoding='latin-1'?><A>\xe9</A>")
    with pytest.raises(Unreadable):
        answers.read(b"<?xml version='1.0' encoding='cp037'?>" + "<A/>".encode("cp037"))


def test_an_error_behind_white_space_is_one(storage: Storage, strict_s3: StrictS3) -> None:
    """A server that takes its time sends such to keep the connection open."""
    said = b" \n" * 1000 + b"<Error><Code>InternalError</Code></Error>"
    strict_s3.next.append(lambda asked: Canned(200, said))
    storage.delete(new_key("ab" * 32))
    assert [asked.method for asked in strict_s3.seen] == ["DELETE", "DELETE"]


@pytest.mark.parametrize("error", [ValueError, OverflowError])
def test_what_nobody_thought_of_is_a_storage_error(strict_s3: StrictS3, error: type[Exception]) -> None:
    options = {name: value for name, value in strict_s3.config().items() if name != "kind"}
    with (
        pytest.raises(StorageUnavailable, match="far: open: "),
        Client("far", S3Options.model_validate(options)).errors("open"),
    ):
        raise error("not of the HTTP client's own")


def test_only_an_object_that_is_sought_can_be_missing(storage: Storage, strict_s3: StrictS3) -> None:
    key = new_key("ab" * 32)
    for call in (
        lambda: storage.put(key, source_of(DATA)),
        lambda: list(storage.keys()),
        lambda: storage.clean(tomorrow()),
    ):
        strict_s3.next.append(lambda asked: Refused(404, "NoSuchKey"))
        with pytest.raises(StorageRefused, match="404 NoSuchKey"):
            call()


# the marker, which is the one key that two may put


def test_of_two_drives_that_put_their_markers_at_once_one_is_refused(
    make_storage: Callable[..., Storage], strict_s3: StrictS3
) -> None:
    """By a server that knows conditions."""
    strict_s3.conditions = True
    one, other = make_storage(), make_storage()

    def overtaken(asked: Asked) -> Canned:
        other.put(MARKER, source_of(b"other's"))
        return Canned(404)

    strict_s3.next.append(overtaken)
    with pytest.raises(StorageRefused, match="the key is in use"):
        one.put(MARKER, source_of(b"mine"))
    assert read_whole(one.open(MARKER)) == b"other's"


@pytest.mark.parametrize("conditions", [False, None], ids=["refused", "ignored"])
def test_without_conditions_the_later_of_two_markers_counts(
    make_storage: Callable[..., Storage],
    strict_s3: StrictS3,
    monkeypatch: pytest.MonkeyPatch,
    conditions: bool | None,
) -> None:
    """Both have looked, and found none, before one of them is put."""
    strict_s3.conditions = conditions
    looked, stored = threading.Barrier(2), threading.Barrier(2)
    monkeypatch.setattr(storing, "sleep", lambda seconds: stored.wait(PATIENCE))

    def put_marker(data: bytes) -> bytes | None:
        storage = make_storage()
        found = storage._client.holds  # type: ignore[attr-defined]

        def look(operation: str, path: str) -> bool:
            there: bool = found(operation, path)
            looked.wait(PATIENCE)
            return there

        monkeypatch.setattr(storage._client, "holds", look)  # type: ignore[attr-defined]
        try:
            storage.put(MARKER, source_of(data))
        except StorageRefused:
            return None
        return data

    winners = [data for data in in_threads(put_marker, [b"mine", b"other's"]) if data is not None]
    assert winners == [read_whole(make_storage().open(MARKER))]


@pytest.mark.parametrize("status", [400, 412, 501])
def test_a_server_that_refuses_conditions_gets_the_marker_without(
    storage: Storage, strict_s3: StrictS3, status: int
) -> None:
    strict_s3.conditions = True
    strict_s3.next.extend([lambda asked: None, lambda asked: Refused(status, "NoConditions")])
    storage.put(MARKER, source_of(b"mine"))
    assert read_whole(storage.open(MARKER)) == b"mine"
    conditions = [asked.headers.get("if-none-match") for asked in strict_s3.seen if asked.method == "PUT"]
    assert conditions == ["*", None]
    assert strict_s3.seen[-1].method == "GET"


def test_a_marker_of_another_size_than_it_was_put_is_not_removed(
    storage: Storage, strict_s3: StrictS3
) -> None:
    """It may be another drive's by now."""
    strict_s3.loses = 1
    with pytest.raises(StorageUnavailable, match="acknowledged 4 bytes and holds 3"):
        storage.put(MARKER, source_of(b"mine"))
    assert list(strict_s3.objects) == [MARKER]


# large objects


def begin(storage: Storage, path: str) -> str:
    """Begins an upload in parts and leaves it there."""
    request = Request("put", "POST", path, [("uploads", "")])
    return storage._client.ask(request, parts.answers.upload_id)  # type: ignore[attr-defined, no-any-return]


def test_cleaning_aborts_our_old_uploads_and_no_others(
    make_storage: Callable[..., Storage], strict_s3: StrictS3
) -> None:
    storage, key = make_storage(prefix="mine"), new_key("ab" * 32)
    ours = [begin(storage, f"mine/{name}") for name in (key, key, MARKER, new_key("cd" * 32))]
    others = [begin(storage, name) for name in (key, f"mine/sub/{key}", "mine/film.mp4", f"mine2/{key}")]
    strict_s3.page = 2
    assert storage.clean(LONG_AGO) == 0
    assert len(strict_s3.uploads) == 8
    strict_s3.seen.clear()
    assert storage.clean(tomorrow()) == len(ours)
    assert sorted(strict_s3.uploads) == sorted(others)
    asked = [asked.method for asked in strict_s3.seen]
    assert asked.index("DELETE") < max(at for at, method in enumerate(asked) if method == "GET"), "by pages"


def test_uploads_that_are_listed_for_ever_are_not(
    storage: Storage, strict_s3: StrictS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storing, "MOST_IDLE_PAGES", 3)

    def page(asked: Asked) -> Canned:
        strict_s3.next.append(page)
        more = (
            f"<NextKeyMarker>k</NextKeyMarker><NextUploadIdMarker>{len(strict_s3.seen)}</NextUploadIdMarker>"
        )
        root, goes_on = "ListMultipartUploadsResult", str(len(strict_s3.seen) < 50).lower()
        return Canned(200, f"<{root}><IsTruncated>{goes_on}</IsTruncated>{more}</{root}>".encode())

    strict_s3.next.append(page)
    with pytest.raises(StorageRefused, match=r"far: clean: .* for 3 pages nothing new"):
        storage.clean(tomorrow())


def test_parts_of_a_staged_file_are_read_from_it(
    make_storage: Callable[..., Storage],
    strict_s3: StrictS3,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def spooled(*args: object, **kwargs: object) -> None:
        pytest.fail("a second copy was made")

    monkeypatch.setattr(tempfile, "TemporaryFile", spooled)
    storage, staged = make_storage(**IN_PARTS), tmp_path / "staged"
    staged.write_bytes(LARGE)
    source = Source(len(LARGE), hashlib.sha256(LARGE).hexdigest(), lambda: staged.open("rb"), staged)
    key = new_key(source.sha256)
    storage.put(key, source)
    assert read_whole(storage.open(key)) == LARGE
    assert sum("partNumber" in asked.query for asked in strict_s3.seen) == 3


def test_a_staged_file_that_changes_under_way_is_never_stored(
    make_storage: Callable[..., Storage], strict_s3: StrictS3, tmp_path: Path
) -> None:
    storage, staged = make_storage(**IN_PARTS), tmp_path / "staged"
    staged.write_bytes(LARGE[:-100])
    source = replace(source_of(LARGE), path=staged)
    with pytest.raises(StorageUnavailable, match="shorter than it was"):
        storage.put(new_key(source.sha256), source)
    staged.write_bytes(content(len(LARGE), seed=1))
    with pytest.raises(StorageUnavailable, match="XAmzContentSHA256Mismatch"):
        storage.put(new_key(source.sha256), source)
    assert strict_s3.objects == strict_s3.uploads == {}


def test_no_object_has_more_parts_than_s3_allows() -> None:
    options = S3Options.model_validate({name: value for name, value in WORKS.items() if name != "kind"})
    for size, part in ((1 << 30, 16 << 20), (10_000 * (16 << 20), 16 << 20), (1 << 40, 109_951_163)):
        upload = parts.MultipartUpload(
            Client("far", options), "far", options, "k", Source(size, "", io.BytesIO)
        )
        assert upload.part_size == part
        assert -(-size // part) <= 10_000


def test_a_put_that_fails_beside_a_used_key_says_so_first(storage: Storage, strict_s3: StrictS3) -> None:
    key = put(storage, DATA)
    with pytest.raises(StorageRefused, match="the key is in use"):
        storage.put(key, source_of(b"new"))
    assert [asked.method for asked in strict_s3.seen].count("PUT") == 1


def test_a_probe_of_a_bucket_that_may_not_be_written_to_says_so(
    storage: Storage, strict_s3: StrictS3
) -> None:
    def read_only(asked: Asked) -> Refused | None:
        strict_s3.next.append(read_only)
        return Refused(403, "AccessDenied", "Access Denied") if asked.method == "PUT" else None

    strict_s3.next.append(read_only)
    with pytest.raises(StorageRefused, match="far: put: these credentials may not do this"):
        storage.probe()


def test_an_object_that_is_missing_is_missing(storage: Storage) -> None:
    with pytest.raises(ObjectMissing, match="far: size: there is no such object"):
        storage.size(new_key("ab" * 32))
