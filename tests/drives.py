"""Shorthands for tests of the heart: storing and reading through a Drive, and looking behind it."""

import hashlib
import io
from collections import Counter
from datetime import timedelta
from pathlib import Path

from sqlalchemy import func, select, update

from simpledrive.drive import NewBlob
from simpledrive.models import ApiKey, BackendUsage, Blob, BlobHistory, Condition, Replica, WantedCopy, now
from simpledrive.parts import Parts
from simpledrive.rights import SERVER, Caller
from simpledrive.storage.base import new_key
from simpledrive.storage.chunks import blob_data
from simpledrive.streams.staging import Incoming
from simpledrive.upkeep import Upkeep
from tests.sources import content, source_of

PIECE = 256 << 10


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def keep(
    parts: Parts,
    id: str,
    data: bytes,
    backend: str | None = None,
    replaces: Condition | None = None,
    caller: Caller = SERVER,
) -> Blob:
    """Stores a blob, as both faces do."""
    new = NewBlob(id=id, storage_backend=backend)
    return parts.drive.store(caller, Incoming(io.BytesIO(data), len(data)), new, replaces)[0]


def replace(parts: Parts, id: str, data: bytes, backend: str | None = None) -> Blob:
    return keep(parts, id, data, backend, lambda current: current is not None)


def fetch(parts: Parts, id: str, start: int = 0, stop: int | None = None) -> bytes:
    """All bytes of a blob, or a range of them."""
    blob = parts.drive.describe(SERVER, id)
    return b"".join(parts.drive.read(SERVER, blob, start, stop))


def replicas(parts: Parts, data: bytes | None = None) -> list[Replica]:
    """The replicas of these bytes, or of all, by backend."""
    query = select(Replica).order_by(Replica.sha256, Replica.storage_backend)
    if data is not None:
        query = query.where(Replica.sha256 == digest_of(data))
    return list(parts.database.read(lambda session: session.scalars(query).all()))


def versions(parts: Parts, id: str) -> list[BlobHistory]:
    query = select(BlobHistory).where(BlobHistory.id == id).order_by(BlobHistory.version)
    return list(parts.database.read(lambda session: session.scalars(query).all()))


def objects(parts: Parts, backend: str) -> set[str]:
    """Keys of all objects that lie at a backend."""
    return set(parts.backends.use(backend).keys())


def assert_nothing_stored(parts: Parts) -> None:
    """Neither a record nor bytes, and none left behind in staging."""
    assert replicas(parts) == []
    assert objects(parts, "local") == set()
    folder = parts.settings.staging_path
    assert not folder.exists() or list(folder.iterdir()) == []


def put_orphan(parts: Parts, backend: str, seed: int = 0, age: timedelta = timedelta(0)) -> str:
    """Puts an object that no record names, and that looks that old; its key."""
    source = source_of(content(10, seed))
    moment = int((now() - age).timestamp() * 1000)
    key = f"{source.sha256}.{moment:012x}{new_key(source.sha256)[-20:]}"
    parts.backends.use(backend).put(key, source)
    return key


def impatient(parts: Parts) -> Upkeep:
    """Sweeping that waits for nothing: no grace, no history, and an orphan of a moment ago is old."""
    none = timedelta(0)
    return Upkeep(
        parts.database,
        parts.backends,
        parts.mirrors,
        parts.staging,
        grace=none,
        orphan_age=none,
        history=none,
    )


def check(parts: Parts) -> None:
    """What must hold of every drive at rest: no record without its bytes, and counters that are right."""
    sums = select(Replica.storage_backend, func.count(), func.sum(Replica.size))
    counted = select(
        BackendUsage.storage_backend, func.sum(BackendUsage.replicas), func.sum(BackendUsage.bytes)
    )
    homes = select(Blob.storage_backend, func.count())
    blobs = select(BackendUsage.storage_backend, func.sum(BackendUsage.blobs))
    real, known, living, living_known = parts.database.read(
        lambda session: (
            session.execute(sums.group_by(Replica.storage_backend)).all(),
            session.execute(counted.group_by(BackendUsage.storage_backend)).all(),
            session.execute(homes.group_by(Blob.storage_backend)).all(),
            session.execute(blobs.group_by(BackendUsage.storage_backend)).all(),
        )
    )
    assert {name: int(n) for name, n in living_known if n} == dict(living), "the blobs are not counted right"
    assert {name: (int(n), int(size)) for name, n, size in known if n or size} == {
        name: (int(n), int(size)) for name, n, size in real
    }, "the counters are not the sums"
    rows = {(row.sha256, row.storage_backend): row for row in replicas(parts)}
    needed: set[tuple[str, str]] = set()
    mirrored: set[tuple[str, str]] = set()
    owned: Counter[str] = Counter()
    for table in (Blob, BlobHistory):
        for blob in parts.database.read(lambda session, table=table: session.scalars(select(table)).all()):
            assert (blob.sha256, blob.storage_backend) in rows, f"{blob.id} has no replica"
            needed.add((blob.sha256, blob.storage_backend))
            mirrored |= {(blob.sha256, place) for place in parts.mirrors.of(blob.storage_backend)}
            owned[blob.owner] += blob.size
    wanted = {
        (row.sha256, row.storage_backend)
        for row in parts.database.read(lambda session: session.scalars(select(WantedCopy)).all())
    }
    kept = {place for place, row in rows.items() if row.bad_at is None}
    assert mirrored <= kept | wanted, "a mirror lacks a copy, and nobody will make it"
    lags = parts.lags.by_mirror(SERVER).values()
    assert sum(lag.waiting for lag in lags) == len(wanted), "what mirrors lack is not counted right"
    for place, row in rows.items():
        assert place in needed | mirrored or row.retired_at is not None, (
            f"nothing needs {place}, and nobody will look"
        )
    for key in parts.database.read(lambda session: session.scalars(select(ApiKey)).all()):
        if key.quota_bytes is not None:
            assert key.used_bytes == owned[key.id], f"{key.name} is charged for other bytes than it has"
    for row in rows.values():
        storage = parts.backends.use(row.storage_backend)
        reader = storage.open(row.storage_key)
        digest = hashlib.sha256()
        while data := reader.read(1 << 20):
            digest.update(data)
        reader.close()
        assert digest.hexdigest() == row.sha256, f"{row.storage_key} holds other bytes"


def file_of(parts: Parts, data: bytes, backend: str = "local") -> Path:
    """The file in which a local backend keeps these bytes."""
    (row,) = [row for row in replicas(parts, data) if row.storage_backend == backend]
    base = Path(str(parts.settings.backends[backend]["path"]))
    return base / "objects" / row.storage_key[:2] / row.storage_key[2:4] / row.storage_key


def flip(parts: Parts, data: bytes, backend: str, at: int) -> None:
    """Turns one bit of the stored bytes around, behind the drive's back."""
    _alter(parts, data, backend, lambda old: old[:at] + bytes([old[at] ^ 1]) + old[at + 1 :])


def cut(parts: Parts, data: bytes, backend: str, length: int) -> None:
    """Cuts the stored bytes short, behind the drive's back."""
    _alter(parts, data, backend, lambda old: old[:length])


def lose(parts: Parts, data: bytes, backend: str) -> None:
    """Removes the stored bytes, behind the drive's back."""
    (row,) = [row for row in replicas(parts, data) if row.storage_backend == backend]
    parts.backends.use(backend).delete(row.storage_key)


def _alter(parts: Parts, data: bytes, backend: str, change) -> None:
    (row,) = [row for row in replicas(parts, data) if row.storage_backend == backend]
    if parts.backends.kind(backend) == "local":
        path = file_of(parts, data, backend)
        content = change(path.read_bytes())
        path.write_bytes(content)
        return
    # The database storage keeps 1 MiB in each row.
    changed = change(data)

    def work(session) -> None:
        for part in range(-(-len(data) // (1 << 20))):
            there = (blob_data.c.storage_key == row.storage_key) & (blob_data.c.part == part)
            piece = changed[part << 20 : (part + 1) << 20]
            if piece:
                session.execute(update(blob_data).where(there).values(data=piece))
            else:
                session.execute(blob_data.delete().where(there))

    parts.database.write(work)


def trust_no_more(parts: Parts, data: bytes, backend: str) -> None:
    """Marks a replica bad, as a reader does that was handed wrong bytes."""
    there = (Replica.sha256 == digest_of(data), Replica.storage_backend == backend)
    parts.database.write(
        lambda session: session.execute(update(Replica).where(*there).values(bad_at=func.now()))
    )
