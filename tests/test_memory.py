"""Memory stays flat, whatever the size: peak of the whole process tree while large blobs come and go."""

import hashlib
import re
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.apps import BEARER, TOKEN
from tests.needs import need
from tests.servers import Server
from tests.sources import Endless, endless_source

MIB = 1 << 20
MOST = 64 * MIB
SIZES = [pytest.param(192 * MIB, id="192 MiB"), pytest.param(1024 * MIB, id="1 GiB", marks=pytest.mark.soak)]


class Body:
    """What http.client sends with a Content-Length and without holding it: head, endless bytes, tail."""

    def __init__(self, size: int, head: bytes = b"", tail: bytes = b"") -> None:
        self._parts: list[bytes | Endless] = [head, Endless(size), tail]
        self._length = len(head) + size + len(tail)

    def __len__(self) -> int:
        return self._length

    def read(self, _size: int = -1) -> bytes:
        while self._parts:
            part = self._parts[0]
            data = part if isinstance(part, bytes) else part.read(MIB)
            if isinstance(part, bytes) or not data:
                self._parts.pop(0)
            if data:
                return data
        return b""


class Peak:
    """The most memory that all processes of a server took, beyond what they took when this was made."""

    def __init__(self, server: Server) -> None:
        self._pids = server.pids()
        for pid in self._pids:
            Path(f"/proc/{pid}/clear_refs").write_text("5")  # sets VmHWM back to what is in use now
        self._idle = self._highest()

    def _highest(self) -> int:
        found = [
            re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text()) for pid in self._pids
        ]
        return sum(int(match[1]) * 1024 for match in found if match)

    def rise(self) -> int:
        return self._highest() - self._idle


@pytest.fixture
def idle(make_server: Callable[..., Server]) -> Server:
    """A server that has answered something and done nothing large yet."""
    need("procfs")
    return make_server()


def digest_of(portions: Iterator[bytes]) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    for portion in portions:
        digest.update(portion)
        size += len(portion)
    return size, digest.hexdigest()


def decoded(portions: Iterator[bytes]) -> Iterator[bytes]:
    """The bytes in `"data": "..."`, the last member of a document."""
    rest = b""
    for portion in portions:
        rest += portion
        if b'"data": "' in rest:
            rest = rest.partition(b'"data": "')[2]
            break
    for portion in portions:
        rest += portion
        whole = max(0, (len(rest) - 8) // 4 * 4)  # the tail is no base64
        yield b64decode(rest[:whole], validate=True)
        rest = rest[whole:]
    yield b64decode(rest.rpartition(b'"')[0], validate=True)


def put(server: Server, backend: str, size: int) -> None:
    url = f"{server.url}/v1/content/large?storage_backend={backend}"
    answer = requests.put(url, Body(size), headers=BEARER, timeout=600)
    assert answer.status_code == 201, answer.text


def upload(server: Server, backend: str, size: int) -> None:
    """As the browser does: signs in, and sends the form."""
    with requests.Session() as session:
        page = session.get(f"{server.url}/drive/sign-in", timeout=30)
        form = {"csrf_token": csrf_token(page), "key": TOKEN}
        page = session.post(f"{server.url}/drive/sign-in", form, timeout=30)
        assert page.ok
        fields = {"csrf_token": csrf_token(page), "folder": "", "storage_backend": backend}
        head = "".join(
            f'--edge\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in fields.items()
        )
        head += '--edge\r\nContent-Disposition: form-data; name="file"; filename="large"\r\n'
        head += "Content-Type: application/octet-stream\r\n\r\n"
        answer = session.post(
            f"{server.url}/drive/upload",
            Body(size, head.encode(), b"\r\n--edge--\r\n"),
            headers={"Content-Type": "multipart/form-data; boundary=edge"},
            timeout=600,
        )
        assert answer.ok, answer.text


def csrf_token(page: requests.Response) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', page.text)
    assert found is not None, page.text
    return found[1]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("backend", ["local", "database"])
@pytest.mark.parametrize("way", [put, upload])
def test_storing_and_fetching_take_little_memory(
    idle: Server,
    way: Callable[..., None],
    backend: str,
    size: int,
    record_property: Callable[[str, object], None],
) -> None:
    expected = size, endless_source(size).sha256
    peak = Peak(idle)
    way(idle, backend, size)
    record_property("MiB more while storing", stored := peak.rise() // MIB)
    assert stored < MOST // MIB

    with requests.get(f"{idle.url}/v1/content/large", headers=BEARER, stream=True, timeout=600) as answer:
        assert digest_of(answer.iter_content(MIB)) == expected
    with requests.get(f"{idle.url}/v1/blobs/large", headers=BEARER, stream=True, timeout=600) as answer:
        assert digest_of(decoded(answer.iter_content(MIB))) == expected
    record_property("MiB more at most", fetched := peak.rise() // MIB)
    print(f"{way.__name__} {backend} {size // MIB} MiB: +{stored} MiB stored, +{fetched} MiB fetched")
    assert fetched < MOST // MIB
