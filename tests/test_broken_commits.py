"""The connection to PostgreSQL breaks around COMMIT, and nobody has told us whether it counted."""

from collections.abc import Callable, Iterator
from uuid import UUID

import pytest
from flask import Flask
from sqlalchemy.orm import Session

from simpledrive.errors import BlobNotFound
from simpledrive.models import Blob
from simpledrive.parts import Parts
from simpledrive.records import rows
from simpledrive.rights import SERVER
from tests.cutting import CUTS, CuttingProxy, cutting_proxy
from tests.drives import check, fetch, keep, objects, replace, replicas, versions
from tests.moves import move


@pytest.fixture
def proxy(postgres_database: str) -> Iterator[CuttingProxy]:
    with cutting_proxy(postgres_database) as proxy:
        yield proxy


@pytest.fixture
def parts(proxy: CuttingProxy, make_app: Callable[..., Flask]) -> Parts:
    url = proxy.url.render_as_string(hide_password=False)
    parts: Parts = make_app(database_url=url).extensions["simpledrive"]
    keep(parts, "warm", b"up")
    return parts


@pytest.mark.parametrize("cut", CUTS)
def test_every_change_happens_exactly_once_and_is_answered(
    parts: Parts, proxy: CuttingProxy, cut: str
) -> None:
    def cutting(change: Callable[[], object]) -> object:
        proxy.arm(cut)
        answer = change()
        assert proxy.has_cut, "no COMMIT was cut: this proves nothing"
        return answer

    blob = cutting(lambda: keep(parts, "a", b"first"))
    assert blob.version == parts.drive.describe(SERVER, "a").version == 1
    assert fetch(parts, "a") == b"first"
    assert len(objects(parts, "local")) == 2

    blob = cutting(lambda: keep(parts, "b", b"first"))
    assert blob.version == 1
    assert len(objects(parts, "local")) == 2

    blob = cutting(lambda: replace(parts, "a", b"second"))
    assert blob.version == parts.drive.describe(SERVER, "a").version == 2
    assert [aside.version for aside in versions(parts, "a")] == [1]
    assert fetch(parts, "a") == b"second"

    cutting(lambda: parts.drive.delete(SERVER, "a"))
    with pytest.raises(BlobNotFound):
        fetch(parts, "a")
    assert [aside.version for aside in versions(parts, "a")] == [1, 2]

    cutting(lambda: parts.drive.restore(SERVER, "a"))
    assert fetch(parts, "a") == b"second"
    assert [aside.version for aside in versions(parts, "a")] == [1]
    check(parts)


@pytest.mark.parametrize("cut", CUTS)
def test_a_move_is_made_once(parts: Parts, proxy: CuttingProxy, cut: str, tmp_path) -> None:
    data = b"to be moved"
    keep(parts, "a", data)
    proxy.arm(cut)
    states = [told.state for told in move(parts).values()]
    assert proxy.has_cut
    assert states == ["moved", "moved"]
    assert {row.storage_backend for row in replicas(parts, data)} == {"local", "database"}
    assert parts.drive.describe(SERVER, "a").storage_backend == "database"
    assert len(objects(parts, "database")) == 2
    check(parts)


def test_what_was_deleted_before_we_could_look_does_not_come_back(
    parts: Parts, proxy: CuttingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stored, the answer lost, deleted by somebody else; then we look whether it was stored."""
    look, looks = rows.version_of, []

    def late(session: Session, mark: UUID) -> Blob | None:
        looks.append(mark)
        if len(looks) == 1:
            parts.drive.delete(SERVER, "a")
        return look(session, mark)

    monkeypatch.setattr(rows, "version_of", late)
    proxy.arm("after")
    assert keep(parts, "a", b"bytes").version == 1
    assert proxy.has_cut
    assert len(looks) == 1
    with pytest.raises(BlobNotFound):
        fetch(parts, "a")
    assert [aside.deleted for aside in versions(parts, "a")] == [True]
    check(parts)
