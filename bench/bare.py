"""A bare file server: PUT writes a file, GET sends it with sendfile.

No records, no checks, no sync, no sign-in. Served by the same gunicorn with the same workers
and threads as the drive, it says what that part costs.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

FOLDER = Path(os.environ["BARE_FOLDER"])
BLOCK = 1 << 20


def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    path = FOLDER / environ["PATH_INFO"].rpartition("/")[2]
    if environ["REQUEST_METHOD"] == "PUT":
        with path.open("wb", buffering=0) as file:
            while data := environ["wsgi.input"].read(BLOCK):
                file.write(data)
        start_response("201 Created", [("Content-Length", "0")])
        return [b""]
    if not path.is_file():
        start_response("404 Not Found", [("Content-Length", "0")])
        return [b""]
    file = path.open("rb")
    start_response("200 OK", [("Content-Length", str(path.stat().st_size))])
    return environ["wsgi.file_wrapper"](file, BLOCK)
