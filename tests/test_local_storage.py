"""What is particular to `local`: its files and their modes, no hard links, a full disk."""

import errno
import os
import resource
import shutil
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from simpledrive.errors import ObjectMissing, StorageError, StorageFull, StorageRefused, StorageUnavailable
from simpledrive.storage import local
from simpledrive.storage.base import MARKER, new_key
from simpledrive.storage.local import LocalOptions, LocalStorage
from simpledrive.streams.source import BLOCK
from tests.contract import half_put, in_threads, is_there, put, read_whole, tomorrow
from tests.sources import content, source_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "above" / "place"


@pytest.fixture
def storage(folder: Path) -> LocalStorage:
    return LocalStorage("disk", LocalOptions(path=folder))


@pytest.fixture(params=[errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EXDEV], ids=errno.errorcode.get)
def no_links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*paths: Path) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(os, "link", link)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_building_makes_nothing(storage: LocalStorage, tmp_path: Path) -> None:
    assert list(storage.keys()) == []
    assert storage.clean(tomorrow()) == 0
    storage.delete(new_key("ab" * 32))
    assert list(tmp_path.iterdir()) == []


def test_an_object_lies_two_folders_deep_and_is_nobody_elses_to_read(
    storage: LocalStorage, folder: Path
) -> None:
    key = put(storage, b"abc")
    storage.put(MARKER, source_of(b"mine"))
    objects = [f"objects/{key[:2]}/{key[2:4]}/{key}", f"objects/si/mp/{MARKER}"]
    assert files(folder) == sorted(objects)
    for path in [folder, *folder.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_a_staged_file_is_linked_not_copied(storage: LocalStorage, folder: Path, tmp_path: Path) -> None:
    staged = tmp_path / "staged"
    staged.write_bytes(b"abc")
    source = replace(source_of(b"abc"), path=staged)
    key = new_key(source.sha256)
    storage.put(key, source)
    assert (folder / "objects" / key[:2] / key[2:4] / key).samefile(staged)


def test_a_staged_file_of_the_wrong_size_is_not_trusted(storage: LocalStorage, tmp_path: Path) -> None:
    staged = tmp_path / "staged"
    staged.write_bytes(b"ab")
    key = put(storage, b"other")
    storage.delete(key)
    source = replace(source_of(b"abc"), path=staged)
    storage.put(key, source)
    assert read_whole(storage.open(key)) == b"abc"


@pytest.mark.usefixtures("no_links")
def test_without_hard_links_it_is_copied(storage: LocalStorage, folder: Path, tmp_path: Path) -> None:
    staged = tmp_path / "staged"
    staged.write_bytes(b"abc")
    source = replace(source_of(b"abc"), path=staged)
    key = new_key(source.sha256)
    storage.put(key, source)
    assert read_whole(storage.open(key)) == b"abc"
    assert files(folder) == [f"objects/{key[:2]}/{key[2:4]}/{key}"]
    with pytest.raises(StorageRefused):
        storage.put(key, source_of(b"abcd"))
    assert read_whole(storage.open(key)) == b"abc"


@pytest.mark.usefixtures("no_links")
def test_without_hard_links_one_of_many_still_wins(storage: LocalStorage) -> None:
    key = new_key("ab" * 32)
    start = threading.Barrier(8)

    def race(seed: int) -> bool:
        start.wait()
        try:
            storage.put(key, source_of(content(BLOCK, seed)))
        except StorageRefused:
            return False
        return True

    outcomes = in_threads(race, range(8))
    assert outcomes.count(True) == 1
    assert read_whole(storage.open(key)) == content(BLOCK, outcomes.index(True))


def test_cleaning_removes_copies_of_the_dead_only(storage: LocalStorage, folder: Path) -> None:
    put(storage, b"abc")
    (folder / "tmp" / "somebody's").write_bytes(b"")
    with half_put(storage, content(9 * BLOCK), 6 * BLOCK) as (key, finish):
        (copy,) = folder.glob("tmp/*.copy")
        assert stat.S_IMODE(copy.stat().st_mode) == 0o600
        assert storage.clean(tomorrow()) == 1
        assert isinstance(finish(), StorageUnavailable)
    assert not is_there(storage, key)
    assert (folder / "tmp" / "somebody's").exists()


def test_foreign_names_are_not_listed(storage: LocalStorage, folder: Path) -> None:
    key = put(storage, b"abc")
    leaf = folder / "objects" / key[:2] / key[2:4]
    wrong_place = new_key("ff" * 32 if key[:4] != "ffff" else "00" * 32)
    for name in ("README", f".{key}", f"{key}~", key[:-1], key.upper(), wrong_place):
        (leaf / name).write_bytes(b"")
    (folder / "objects" / "file").write_bytes(b"")
    (folder / "objects" / "00").mkdir(exist_ok=True)
    (folder / "objects" / "00" / "lost+found").mkdir()
    (folder / "objects" / "zz").mkdir()
    assert list(storage.keys()) == [key]


@pytest.mark.parametrize(
    "key", ["", "..", "../../above", "/etc/passwd", "a" * 97, f"{'ab' * 32}.{'c' * 31}/", "\0"]
)
def test_no_key_leads_out_of_the_folder(storage: LocalStorage, tmp_path: Path, key: str) -> None:
    put(storage, b"abc")
    before = files(tmp_path)
    for call in (storage.size, storage.open, storage.delete, lambda key: storage.put(key, source_of(b"x"))):
        with pytest.raises(StorageRefused):
            call(key)
    assert files(tmp_path) == before


def test_a_file_cut_short_is_not_the_end(storage: LocalStorage, folder: Path) -> None:
    key = put(storage, content(3 * BLOCK))
    reader = storage.open(key)
    reader.read(BLOCK)
    os.truncate(folder / "objects" / key[:2] / key[2:4] / key, BLOCK + 5)
    with pytest.raises(StorageUnavailable, match="ends"):
        read_whole(reader)


def test_a_folder_that_disappears_is_not_made_anew(storage: LocalStorage, folder: Path) -> None:
    """A disk that was unmounted: what is put must not go to the disk below."""
    put(storage, b"abc")
    shutil.rmtree(folder)
    for number in range(9):
        with pytest.raises(StorageUnavailable):
            put(storage, bytes([number]))
    assert not folder.exists()


@contextmanager
def no_room_for(size: int) -> Iterator[None]:
    """No file of this process grows past `size`: the kernel says so, as it does of a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_no_room_is_storage_full_and_leaves_nothing(storage: LocalStorage, folder: Path) -> None:
    source = source_of(content(9 * BLOCK))
    key = new_key(source.sha256)
    with no_room_for(4 * BLOCK), pytest.raises(StorageFull):
        storage.put(key, source)
    assert files(folder) == []


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, StorageFull),
        (errno.EDQUOT, StorageFull),
        (errno.EACCES, StorageRefused),
        (errno.EROFS, StorageRefused),
        (errno.EIO, StorageUnavailable),
        (errno.ENOENT, StorageUnavailable),
    ],
)
@pytest.mark.parametrize("function", ["write", "fsync", "link", "open"])
def test_each_error_has_its_meaning(
    storage: LocalStorage,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    kind: type[StorageError],
    function: str,
) -> None:
    put(storage, b"abc")  # the folders are there

    def failing(*args: object) -> None:
        raise OSError(number, os.strerror(number), str(folder))

    before = files(folder)
    monkeypatch.setattr(os, function, failing)
    with pytest.raises(kind) as caught:
        put(storage, b"abc")
    monkeypatch.undo()
    assert type(caught.value) is kind
    assert str(folder) not in str(caught.value)
    assert files(folder) == before


def test_reading_translates_too(storage: LocalStorage, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Sick:
        def read(self, size: int) -> bytes:
            raise OSError(errno.EIO, "Input/output error", str(folder))

        def close(self) -> None:
            raise OSError(errno.ESTALE, "Stale file handle")

    reader = storage.open(put(storage, b"abc"))
    reader.close()
    monkeypatch.setattr(reader, "_file", Sick())
    with pytest.raises(StorageUnavailable) as caught:
        reader.read(1)
    assert str(folder) not in str(caught.value)
    with pytest.raises(StorageUnavailable):
        reader.close()


def test_a_folder_that_cannot_be_synced_is_lived_with(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def fsync(file: int) -> None:
        if stat.S_ISDIR(os.fstat(file).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        real(file)

    monkeypatch.setattr(local.os, "fsync", fsync)
    assert read_whole(storage.open(put(storage, b"abc"))) == b"abc"


def test_a_missing_object_says_which_backend(storage: LocalStorage) -> None:
    with pytest.raises(ObjectMissing, match="disk: open: there is no such object"):
        storage.open(new_key("ab" * 32))
