"""A real Redis for tests: in memory alone, on a socket of its own."""

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.needs import need
from tests.servers import PATIENCE, wait_for


class Redis:
    """One redis-server that can be stopped and started again, empty. `url` is where it answers."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "redis.sock"
        self.url = f"redis+unix://{self.socket}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it and waits until it answers."""
        command = ["redis-server", "--port", "0", "--unixsocket", str(self.socket), "--save", ""]
        self.process = subprocess.Popen(command, cwd=self.socket.parent, stdout=subprocess.DEVNULL)
        wait_for(self._answers, "Redis")

    def stop(self) -> None:
        """Ends it; what it knew is gone."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(PATIENCE)
            self.process = None

    def keys(self) -> list[str]:
        """All keys that are in it."""
        with redis.Redis(unix_socket_path=str(self.socket), decode_responses=True) as client:
            return sorted(client.keys())

    def _answers(self) -> bool:
        try:
            with redis.Redis(unix_socket_path=str(self.socket)) as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False


@pytest.fixture
def redis_server() -> Iterator[Redis]:
    """A Redis that has just been started."""
    need("redis")
    # Not below the folder of the test: the path of a socket has at most 107 characters.
    with tempfile.TemporaryDirectory(prefix="redis") as folder:
        server = Redis(Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.stop()
