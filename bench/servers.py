"""What is measured over HTTP: the drive with one of its homes, and two file servers to compare it with."""

import hashlib
import json
import os
import shutil
import sys
from base64 import b64decode
from pathlib import Path

import client
from figures import Figures, Verb, percentile
from load import load
from payloads import BigFile, Payload
from processes import Child, Meter, free_port

ROOT = Path(__file__).parent.parent
WORKERS, THREADS = 2, 64  # the drive's own defaults


class FileServer:
    """A server that stores by PUT and fetches by GET; and how every server here is measured."""

    name: str

    def command(self, folder: Path, port: int) -> tuple[list[str], dict[str, str]]:
        """What to start, and its environment."""
        raise NotImplementedError

    # --- What it is asked

    def store(self, id: str, payload: Payload, tag: str) -> bytes:
        """The request that stores a payload."""
        return client.request("PUT", f"/files/{id}", {}, payload.raw(tag))

    def fetch(self, id: str) -> bytes:
        """The request that fetches it again."""
        return client.request("GET", f"/files/{id}", {})

    def content(self, answer: bytes) -> bytes:
        """The stored bytes, from the body of the answer to `fetch`."""
        return answer

    def raw(self, method: str, id: str, headers: dict[str, str]) -> bytes:
        """The head of a request for raw bytes."""
        return client.request(method, f"/files/{id}", headers)

    def probe(self) -> bytes:
        """A request that is answered as soon as it serves."""
        return client.request("PUT", "/files/probe", {}, b"probe")

    # --- How it is measured

    def start(self, folder: Path) -> None:
        """Starts it in this empty folder, and notes what it holds before anybody asks for anything."""
        port = free_port()
        self.address = ("127.0.0.1", port)
        self.child = Child(*self.command(folder, port), folder)
        self.child.wait_until(lambda: client.exchange(self.address, self.probe()))
        self.idle = self.child.idle_bytes()

    def stop(self) -> None:
        self.child.stop()

    def said(self) -> str:
        """The end of its log, for when something went wrong."""
        return f"{self.name}:\n{self.child.said()}"

    def check(self, payload: Payload) -> None:
        """Stores and fetches, not timed. Raises RuntimeError if other bytes come back."""
        client.exchange(self.address, self.store("checked", payload, "checked"))
        answer = client.exchange(self.address, self.fetch("checked"))
        if self.content(answer) != payload.raw("checked"):
            raise RuntimeError(f"{self.name} answers with other bytes than it was given")

    def keep(self, payload: Payload, count: int) -> None:
        """Stores what `rate` will fetch, not timed."""
        for number in range(count):
            client.exchange(self.address, self.store(f"kept{number}", payload, f"kept{number}"))

    def rate(
        self,
        verb: Verb,
        payload: Payload,
        tag: str,
        kept: int,
        concurrency: int,
        seconds: float,
        patience: float = client.PATIENCE,
    ) -> Figures:
        """Requests a second, with so many under way at any time."""

        def make(number: int) -> bytes:
            if verb == "fetch":
                return self.fetch(f"kept{number % kept}")
            return self.store(f"{tag}-{number}", payload, f"{tag}-{number}")

        with Meter(self.child) as meter:
            outcome = load(self.address, make, concurrency, seconds, patience)
        if not outcome.latencies:
            raise RuntimeError(f"{self.name}: all of {outcome.failed} requests failed")
        figures = self._figures(len(outcome.latencies), len(outcome.latencies), outcome, meter)
        figures.p50_ms = percentile(outcome.latencies, 0.50) * 1e3
        figures.p99_ms = percentile(outcome.latencies, 0.99) * 1e3
        return figures

    def check_big(self, big: BigFile) -> None:
        """As `check`, with the large file as raw bytes."""
        self.transfer("store", big, "checked")
        digest = hashlib.sha256()
        client.exchange_into(self.address, self.raw("GET", "checked", {}), digest.update)
        if digest.hexdigest() != big.sha256("checked"):
            raise RuntimeError(f"{self.name} answers with other bytes than it was given")

    def transfer(self, verb: Verb, big: BigFile, tag: str) -> Figures:
        """Megabytes a second of one large body, in or out. What is fetched was stored under the same tag."""
        with Meter(self.child) as meter:
            if verb == "store":
                head = self.raw("PUT", tag, {"Content-Length": str(big.size)}) + big.mark(tag)
                with big.path.open("rb") as file:
                    outcome, _ = client.transfer(self.address, head, file, big.offset)
            else:
                outcome, length = client.transfer(self.address, self.raw("GET", tag, {}))
                if length != big.size:
                    raise RuntimeError(f"{self.name} answers with {length} of {big.size} bytes")
        return self._figures(big.size / 1e6, 1, outcome, meter)

    def _figures(self, work: float, requests: int, outcome: client.Outcome, meter: Meter) -> Figures:
        return Figures(
            rate=work / outcome.seconds,
            seconds=outcome.seconds,
            cpu_seconds=meter.cpu_seconds,
            requests=requests,
            failed=outcome.failed,
            idle_bytes=self.idle,
            peak_bytes=meter.peak,
            client_share=outcome.client_share,
        )


class Drive(FileServer):
    """Simple Drive as its users run it: its own gunicorn.conf.py, its default settings, a fresh instance."""

    TOKEN = "token-for-bench"
    AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}  # noqa: RUF012 (not changed)

    def __init__(self, home: str) -> None:
        self.name = self.home = home

    def command(self, folder: Path, port: int) -> tuple[list[str], dict[str, str]]:
        environ = {
            "HOST": "127.0.0.1",
            "PORT": str(port),
            "API_TOKEN": self.TOKEN,
            "INSTANCE_PATH": str(folder / "instance"),
            "STORAGE_BACKEND": self.home,
            "PYTHONPATH": str(ROOT),
        }
        return [sys.executable, "-m", "gunicorn", "-c", str(ROOT / "gunicorn.conf.py"), "wsgi:app"], environ

    def store(self, id: str, payload: Payload, tag: str) -> bytes:
        headers = self.AUTHORIZED | {"Content-Type": "application/json"}
        return client.request("POST", "/v1/blobs", headers, payload.document(id, tag))

    def fetch(self, id: str) -> bytes:
        return client.request("GET", f"/v1/blobs/{id}", self.AUTHORIZED)

    def content(self, answer: bytes) -> bytes:
        return b64decode(json.loads(answer)["data"], validate=True)

    def raw(self, method: str, id: str, headers: dict[str, str]) -> bytes:
        return client.request(method, f"/v1/content/{id}", self.AUTHORIZED | headers)

    def probe(self) -> bytes:
        return client.request("GET", "/v1/blobs?limit=1", self.AUTHORIZED)


class Bare(FileServer):
    """bare.py under the drive's gunicorn, with as many workers and threads."""

    name = "bare"

    def command(self, folder: Path, port: int) -> tuple[list[str], dict[str, str]]:
        files = folder / "files"
        files.mkdir()
        options = f"--worker-class gthread --workers {WORKERS} --threads {THREADS} --keep-alive 75"
        bound = ["--bind", f"127.0.0.1:{port}", "--no-control-socket"]
        environ = {"BARE_FOLDER": str(files), "PYTHONPATH": str(Path(__file__).parent)}
        return [sys.executable, "-m", "gunicorn", *options.split(), *bound, "bare:app"], environ


NGINX = """
daemon off; {user} worker_processes {workers}; pid nginx.pid; error_log stderr;
events {{ worker_connections 512; }}
http {{
    access_log off; sendfile on; tcp_nopush on; client_max_body_size 0; client_body_buffer_size 2m;
    keepalive_requests 1000000000; keepalive_timeout 75;
    client_body_temp_path body; proxy_temp_path unused; fastcgi_temp_path unused;
    uwsgi_temp_path unused; scgi_temp_path unused;
    server {{ listen 127.0.0.1:{port}; root .; location /files/ {{ dav_methods PUT; }} }}
}}
"""


class Nginx(FileServer):
    """nginx with its WebDAV module: what a file server in C reaches."""

    name = "nginx"

    def command(self, folder: Path, port: int) -> tuple[list[str], dict[str, str]]:
        (folder / "files").mkdir()
        # As root its workers would become another user, who may not write here.
        user = "user root;" if os.geteuid() == 0 else ""
        (folder / "nginx.conf").write_text(NGINX.format(user=user, workers=WORKERS, port=port))
        return [self.program() or "nginx", "-e", "stderr", "-p", str(folder), "-c", "nginx.conf"], {}

    @staticmethod
    def program() -> str | None:
        """Where nginx is, if it is installed."""
        return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
