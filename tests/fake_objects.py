"""An object store as fsspec has them, on a folder: objects appear whole when closed; no folders, no renaming.

It goes wrong where gcsfs and adlfs do: a file that is not closed is published by the garbage collector.
"""

import io
import os
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult

from fsspec.asyn import AsyncFileSystem
from fsspec.spec import AbstractBufferedFile

from simpledrive.storage.fsspec.filesystem import Arguments
from simpledrive.storage.fsspec.implementations import Implementation
from simpledrive.storage.fsspec.objects import ObjectStore

FAKE = Implementation(__name__, "FakeObjects", "none")


class FakeObjects(ObjectStore):
    @classmethod
    def arguments(cls, address: SplitResult, given: Arguments, timeout: float) -> Arguments:
        return {"root": address.path, **given}

    @staticmethod
    def connect(arguments: Arguments) -> Any:
        return _FakeFileSystem(**arguments, skip_instance_cache=True)

    @staticmethod
    def base(address: SplitResult) -> str:
        return address.netloc


class _FakeFileSystem(AsyncFileSystem):
    """Objects are the files of the folder, their names with % for the slash."""

    def __init__(self, root: str, short: bool = False, **more: Any) -> None:
        super().__init__(**more)
        self.root, self.short = Path(root), short

    def at(self, path: str) -> Path:
        self.root.mkdir(parents=True, exist_ok=True)
        return self.root / path.replace("/", "%")

    async def _info(self, path: str, **_: Any) -> dict[str, Any]:
        return {"name": path, "type": "file", "size": self.at(path).stat().st_size}

    async def _ls(self, path: str, detail: bool = True, **_: Any) -> list[str]:
        begin = self.at(path).name + "%"
        found = {
            name[len(begin) :].partition("%")[0] for name in os.listdir(self.root) if name.startswith(begin)
        }
        if not found:
            raise FileNotFoundError(path)
        return [f"{path}/{name}" for name in found]

    async def _rm_file(self, path: str, **_: Any) -> None:
        self.at(path).unlink()

    async def _cat_file(self, path: str, start: int = 0, end: int | None = None, **_: Any) -> bytes:
        with self.at(path).open("rb") as file:
            file.seek(start)
            return file.read(-1 if end is None else end - start)

    def _open(self, path: str, mode: str = "rb", block_size: int | None = None, **more: Any) -> "_FakeFile":
        return _FakeFile(self, path, mode, block_size, **more)


class _FakeFile(AbstractBufferedFile):
    """Uploads in parts to a file that nobody lists; the last part publishes it, if the name is free."""

    def _initiate_upload(self) -> None:
        self.upload = self.fs.root / f".{uuid.uuid4().hex}"
        self.upload.touch()

    def _upload_chunk(self, final: bool = False) -> bool:
        with self.upload.open("ab") as file:
            file.write(self.buffer.getvalue())
        if final:
            if self.fs.short:
                os.truncate(self.upload, self.upload.stat().st_size - 1)
            os.link(self.upload, self.fs.at(self.path))
            self.upload.unlink()
        return True

    def discard(self) -> None:
        if self.offset is not None:
            self.upload.unlink()
        self.buffer = io.BytesIO()
