"""Records and replicas under one caller at a time, on both databases."""

import io
import random
from collections.abc import Callable

import pytest
from sqlalchemy import event

from simpledrive.drive import NewBlob
from simpledrive.errors import (
    BlobExists,
    BlobNotFound,
    Forbidden,
    Invalid,
    PreconditionFailed,
    StorageRefused,
    TruncatedBody,
)
from simpledrive.models import now
from simpledrive.parts import Parts
from simpledrive.rights import SERVER, Caller
from simpledrive.streams.staging import Incoming
from simpledrive.usage import Counts
from tests.drives import (
    check,
    cut,
    digest_of,
    fetch,
    keep,
    lose,
    objects,
    replace,
    replicas,
    trust_no_more,
    versions,
)
from tests.moves import begin, move, run
from tests.sources import content


def test_what_is_stored_is_what_is_read(any_parts: Parts) -> None:
    for size in (0, 1, 300_000, 3 << 20):
        data = content(size)
        blob = keep(any_parts, f"of {size}", data)
        assert (blob.size, blob.sha256, blob.version) == (size, digest_of(data), 1)
        assert fetch(any_parts, f"of {size}") == data
    check(any_parts)


def test_empty_bytes_are_right_without_any_replica(any_parts: Parts) -> None:
    keep(any_parts, "a", b"")
    keep(any_parts, "b", b"bytes")
    for data in (b"", b"bytes"):
        lose(any_parts, data, "local")
    assert fetch(any_parts, "a") == fetch(any_parts, "b", 3, 3) == b""


def test_every_range_is_what_it_says(any_parts: Parts) -> None:
    data = content(700_000)
    keep(any_parts, "a", data)
    for start, stop in (
        (0, 1),
        (262_143, 262_145),
        (262_144, 524_288),
        (699_999, 700_000),
        (5, 5),
        (1, None),
    ):
        assert fetch(any_parts, "a", start, stop) == data[start:stop]


def test_a_taken_id_is_refused_and_nothing_changes(any_parts: Parts) -> None:
    keep(any_parts, "a", b"first")
    with pytest.raises(BlobExists):
        keep(any_parts, "a", b"second")
    assert fetch(any_parts, "a") == b"first"
    assert replicas(any_parts, b"second") == []
    assert len(objects(any_parts, "local")) == 1
    check(any_parts)


def test_a_replacement_puts_the_old_version_aside(any_parts: Parts) -> None:
    first = keep(any_parts, "a", b"first")
    second = replace(any_parts, "a", b"second")
    assert (first.version, second.version) == (1, 2)
    assert fetch(any_parts, "a") == b"second"
    (aside,) = versions(any_parts, "a")
    assert (aside.version, aside.sha256, aside.deleted) == (1, digest_of(b"first"), False)
    check(any_parts)


def test_a_replacement_keeps_when_the_blob_was_created(any_parts: Parts) -> None:
    first = keep(any_parts, "a", b"first")
    second = replace(any_parts, "a", b"second")
    assert second.created_at == first.created_at
    assert second.updated_at > first.updated_at
    assert any_parts.drive.describe(SERVER, "a").created_at == first.created_at
    any_parts.drive.delete(SERVER, "a")
    assert keep(any_parts, "a", b"third").created_at > second.updated_at, "another blob of that name"


def test_a_replacement_of_another_version_changes_nothing(any_parts: Parts) -> None:
    keep(any_parts, "a", b"first")
    for refuses in (lambda _: False, lambda current: current.version == 7):
        with pytest.raises(PreconditionFailed):
            keep(any_parts, "a", b"second", replaces=refuses)
    with pytest.raises(PreconditionFailed):
        keep(any_parts, "b", b"second", replaces=lambda current: current is not None)
    assert fetch(any_parts, "a") == b"first"
    assert versions(any_parts, "a") == []
    assert len(objects(any_parts, "local")) == 1
    check(any_parts)


def test_a_condition_may_allow_that_there_is_none_yet(any_parts: Parts) -> None:
    for data in (b"first", b"second"):
        keep(any_parts, "a", data, replaces=lambda _: True)
    assert fetch(any_parts, "a") == b"second"


def test_a_deleted_blob_is_gone_and_comes_back(any_parts: Parts) -> None:
    keep(any_parts, "a", b"bytes")
    any_parts.drive.delete(SERVER, "a")
    for call in (any_parts.drive.describe, any_parts.drive.delete):
        with pytest.raises(BlobNotFound):
            call(SERVER, "a")
    restored = any_parts.drive.restore(SERVER, "a")
    assert restored.version == 2
    assert fetch(any_parts, "a") == b"bytes"
    assert versions(any_parts, "a") == []
    check(any_parts)


def test_restoring_takes_the_last_deletion_and_no_id_that_is_in_use(any_parts: Parts) -> None:
    with pytest.raises(BlobNotFound):
        any_parts.drive.restore(SERVER, "a")
    for data in (b"first", b"second"):
        keep(any_parts, "a", data)
        any_parts.drive.delete(SERVER, "a")
    keep(any_parts, "a", b"third")
    with pytest.raises(BlobExists):
        any_parts.drive.restore(SERVER, "a")
    any_parts.drive.delete(SERVER, "a")
    any_parts.drive.restore(SERVER, "a")
    assert fetch(any_parts, "a") == b"third"
    check(any_parts)


def test_a_version_number_means_one_thing_for_ever(any_parts: Parts) -> None:
    seen = [keep(any_parts, "a", b"1").version, replace(any_parts, "a", b"2").version]
    any_parts.drive.delete(SERVER, "a")
    seen.append(keep(any_parts, "a", b"3").version)
    any_parts.drive.delete(SERVER, "a")
    seen.append(any_parts.drive.restore(SERVER, "a").version)
    seen.append(replace(any_parts, "a", b"4").version)
    assert seen == sorted(set(seen))
    assert [aside.version for aside in versions(any_parts, "a")] == sorted(
        {aside.version for aside in versions(any_parts, "a")}
    )


def test_deleting_only_what_was_named(any_parts: Parts) -> None:
    keep(any_parts, "a", b"first")
    with pytest.raises(PreconditionFailed):
        any_parts.drive.delete(SERVER, "a", lambda blob: blob is not None and blob.version == 2)
    assert fetch(any_parts, "a") == b"first"
    any_parts.drive.delete(SERVER, "a", lambda blob: blob is not None and blob.version == 1)


def test_the_same_bytes_are_kept_once_a_backend(any_parts: Parts) -> None:
    for id in "abc":
        keep(any_parts, id, b"the same")
    keep(any_parts, "d", b"the same", "database")
    assert [row.storage_backend for row in replicas(any_parts)] == ["database", "local"]
    assert len(objects(any_parts, "local")) == len(objects(any_parts, "database")) == 1
    check(any_parts)


def marked_bad(parts: Parts, backend: str) -> None:
    trust_no_more(parts, b"the same", backend)


def of_the_wrong_size(parts: Parts, backend: str) -> None:
    cut(parts, b"the same", backend, 3)


def not_there(parts: Parts, backend: str) -> None:
    lose(parts, b"the same", backend)


@pytest.mark.parametrize("backend", ["local", "database"])
@pytest.mark.parametrize("harm", [marked_bad, of_the_wrong_size, not_there])
def test_bytes_are_put_anew_where_the_replica_is_not_sound(any_parts: Parts, backend: str, harm) -> None:
    keep(any_parts, "a", b"the same", backend)
    (before,) = replicas(any_parts)
    harm(any_parts, backend)
    keep(any_parts, "b", b"the same", backend)
    (after,) = replicas(any_parts)
    assert after.storage_key != before.storage_key
    assert objects(any_parts, backend) == {after.storage_key}, "nobody would ever look at the other one"
    assert after.bad_at is None
    assert fetch(any_parts, "a") == fetch(any_parts, "b") == b"the same"
    check(any_parts)


def test_a_retired_replica_that_is_used_again_is_retired_no_more(any_parts: Parts) -> None:
    keep(any_parts, "a", b"the same")
    assert [told.state for told in move(any_parts).values()] == ["moved"]
    local = next(row for row in replicas(any_parts) if row.storage_backend == "local")
    assert local.retired_at is not None
    keep(any_parts, "b", b"the same", "local")
    again = next(row for row in replicas(any_parts) if row.storage_backend == "local")
    assert again.retired_at is None
    assert again.storage_key == local.storage_key
    check(any_parts)


def test_counters_are_the_sums_after_all_that_can_happen(any_parts: Parts) -> None:
    for number in range(20):
        keep(any_parts, f"{number}", content(1000, number // 2), "local" if number % 3 else "database")
    replace(any_parts, "1", b"other", "database")
    any_parts.drive.delete(SERVER, "2")
    move(any_parts, "database", "local")
    usage = {row.backend: row for row in any_parts.counters.usage(SERVER)}
    assert usage["local"].counts.replicas == len(
        [r for r in replicas(any_parts) if r.storage_backend == "local"]
    )
    assert next(iter(usage)) == "local", "the default comes first"
    check(any_parts)


def test_counters_are_written_last(any_parts: Parts) -> None:
    """Everybody writes these few rows: who waited for something else while holding one made deadlocks."""
    statements: list[str] = []

    def note(_connection, _cursor, statement, *_) -> None:
        if statement.split()[0] in {"INSERT", "UPDATE", "DELETE"}:
            statements.append(statement)

    def last_of(change: Callable[[], object], backends: int = 1) -> bool:
        statements.clear()
        change()
        assert sum("backend_usage" in statement for statement in statements) == backends
        behind = [statement for statement in statements if "UPDATE migrations" not in statement]
        return all("backend_usage" in statement for statement in behind[-backends:])

    event.listen(any_parts.database.engine, "before_cursor_execute", note)
    assert last_of(lambda: keep(any_parts, "a", b"bytes"))
    assert last_of(lambda: replace(any_parts, "a", b"other"))
    moving = run(any_parts, begin(any_parts))
    assert last_of(lambda: next(moving), backends=2)


def test_copies_are_told_home_first(any_parts: Parts) -> None:
    for id, backend in (("a", "local"), ("b", "database")):
        keep(any_parts, id, b"the same", backend)
    for id, home in (("a", "local"), ("b", "database")):
        blob = any_parts.drive.describe(SERVER, id)
        rows = any_parts.drive.copies_of(SERVER, [blob])[id]
        assert [row.storage_backend for row in rows] == sorted(
            ("local", "database"), key=lambda name: name != home
        )


def test_a_caller_may_do_what_his_scopes_and_prefix_say(any_parts: Parts) -> None:
    keep(any_parts, "mine/a", b"a")
    keep(any_parts, "theirs/a", b"a")
    drive = any_parts.drive
    reader = Caller("reader", "1", frozenset({"read"}), "mine/")
    writer = Caller("writer", "2", frozenset({"write", "delete"}), "mine/")
    blob = drive.describe(reader, "mine/a")
    assert b"".join(drive.read(reader, blob)) == b"a"
    theirs = drive.describe(SERVER, "theirs/a")
    for refused in (
        lambda: drive.describe(reader, "theirs/a"),
        lambda: drive.describe(reader, "theirs/nothing"),
        lambda: drive.read(reader, theirs),
        lambda: drive.copies_of(reader, [theirs]),
        lambda: drive.delete(reader, "mine/a"),
        lambda: drive.restore(reader, "mine/a"),
        lambda: keep(any_parts, "mine/b", b"b", caller=reader),
        lambda: keep(any_parts, "theirs/b", b"b", caller=writer),
        lambda: drive.delete(writer, "theirs/a"),
        lambda: drive.restore(writer, "theirs/a"),
        lambda: drive.describe(writer, "mine/a"),
        lambda: drive.read(writer, blob),
        lambda: any_parts.counters.usage(writer),
    ):
        with pytest.raises(Forbidden):
            refused()
    keep(any_parts, "mine/b", b"b", caller=writer)
    drive.delete(writer, "mine/b")
    with pytest.raises(Forbidden):
        drive.restore(writer, "mine/b")
    assert drive.restore(SERVER, "mine/b").owner == "2"


@pytest.mark.parametrize(
    ("field", "new"),
    [
        ("id", NewBlob(id="")),
        ("id", NewBlob(id="a" * 1025)),
        ("id", NewBlob(id="a/../b")),
        ("id", NewBlob(id="a\x00b")),
        ("id", NewBlob(id="\ud800")),
        ("storage_backend", NewBlob(id="a", storage_backend="nowhere")),
        ("filename", NewBlob(id="a", filename="a\nb")),
        ("content_type", NewBlob(id="a", content_type="nonsense")),
        ("metadata", NewBlob(id="a", metadata={"k": "v" * 2048})),
    ],
)
def test_unacceptable_fields_are_named_and_nothing_is_read(parts: Parts, field: str, new: NewBlob) -> None:
    body = io.BytesIO(b"bytes")
    with pytest.raises(Invalid) as caught:
        parts.drive.store(SERVER, Incoming(body), new)
    assert [name for name, _ in caught.value.problems] == [field]
    assert body.tell() == 0


def test_a_short_body_stores_nothing(any_parts: Parts) -> None:
    with pytest.raises(TruncatedBody):
        any_parts.drive.store(SERVER, Incoming(io.BytesIO(b"abc"), 4), NewBlob(id="a"))
    assert replicas(any_parts) == []
    assert objects(any_parts, "local") == set()


def test_a_backend_that_is_configured_no_more_refuses_and_loses_nothing(make_app, tmp_path) -> None:
    archive = {"archive": {"kind": "local", "path": str(tmp_path / "archive")}}
    keep(make_app(backends=archive).extensions["simpledrive"], "a", b"bytes", "archive")
    without: Parts = make_app().extensions["simpledrive"]
    with pytest.raises(StorageRefused, match="archive"):
        fetch(without, "a")
    (usage,) = [row for row in without.counters.usage(SERVER) if row.backend == "archive"]
    assert (usage.kind, usage.counts) == ("gone", Counts(1, 5, 1))
    assert replicas(without)[0].bad_at is None
    assert fetch(make_app(backends=archive).extensions["simpledrive"], "a") == b"bytes"


def test_times_are_utc_and_of_this_moment(any_parts: Parts) -> None:
    before = now()
    blob = keep(any_parts, "a", b"bytes")
    found = any_parts.drive.describe(SERVER, "a")
    assert before <= found.created_at == found.updated_at <= now()
    assert found.created_at == blob.created_at
    assert found.created_at.utcoffset() is not None


@pytest.mark.parametrize("length", [400, 640])
def test_long_ids_of_any_letters_are_in_order(any_parts: Parts, length: int) -> None:
    id = ideographs(length)
    keep(any_parts, id, b"x")
    assert fetch(any_parts, id) == b"x"
    assert any_parts.listing.folder(SERVER, "", []).blobs[-1].id == id
    any_parts.drive.delete(SERVER, id)
    any_parts.drive.restore(SERVER, id)


def test_an_id_that_postgresql_cannot_index_is_refused_with_a_sentence(any_parts: Parts) -> None:
    id = ideographs(1024)
    if any_parts.database.engine.dialect.name == "sqlite":
        keep(any_parts, id, b"x")
        assert fetch(any_parts, id) == b"x"
        return
    with pytest.raises(Invalid) as refused:
        keep(any_parts, id, b"x")
    assert [field for field, _ in refused.value.problems] == ["id"]
    assert objects(any_parts, "local") == set()


def ideographs(length: int) -> str:
    """A text of four bytes a character that nothing makes shorter."""
    dice = random.Random(7)
    return "".join(chr(dice.randrange(0x20000, 0x2A000)) for _ in range(length))
