"""Which ids are accepted, where they lie, and the ids that we make."""

import time

import pytest

from simpledrive.ids import MAX_ID, after_prefix, flaw, folder_of, name_of, unprintable, uuid7


def test_uuid7_is_a_version_7_uuid_of_the_present() -> None:
    before = time.time_ns() // 1_000_000
    made = uuid7()
    after = time.time_ns() // 1_000_000
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert before <= made.int >> 80 <= after


def test_uuid7_sorts_by_time_and_never_repeats() -> None:
    earlier = later = uuid7()
    while later.int >> 80 == earlier.int >> 80:  # within a millisecond the order is chance
        later = uuid7()
    assert earlier.hex < later.hex
    assert len({uuid7() for _ in range(10_000)}) == 10_000


@pytest.mark.parametrize(
    "id",
    [
        "a",
        "a/b//c.txt",
        "/lead",
        "trail/",
        "//",
        "...",
        ".hidden",
        "a/..b",
        " ",
        "ü",
        "😀",
        "%2F",
        "x" * MAX_ID,
        "a\u2028b",
    ],
)
def test_accepted(id: str) -> None:
    assert flaw(id) is None


@pytest.mark.parametrize(
    ("id", "says"),
    [
        ("", "at least one"),
        ("x" * (MAX_ID + 1), "this one has 1025"),
        (".", "segment"),
        ("..", "segment"),
        ("a/../b", "segment"),
        ("a/.", "segment"),
        ("a\0b", "U+0000"),
        ("a\nb", "U+000A"),
        ("\x7f", "U+007F"),
        ("\x85", "U+0085"),
        ("\ud800", "surrogate"),
        ("a\udfff", "surrogate"),
    ],
)
def test_refused_with_a_reason(id: str, says: str) -> None:
    why = flaw(id)
    assert why is not None
    assert says in why


def test_unprintable_takes_all_other_text() -> None:
    assert unprintable("") is None
    assert unprintable("Grüße, 世界 \u200d\ufeff") is None


@pytest.mark.parametrize(
    ("id", "folder", "name"),
    [
        ("b.txt", "", "b.txt"),
        ("a/b.txt", "a/", "b.txt"),
        ("/b", "/", "b"),
        ("a//b", "a//", "b"),
        ("a/", "a/", ""),
    ],
)
def test_folder_and_name(id: str, folder: str, name: str) -> None:
    assert (folder_of(id), name_of(id)) == (folder, name)
    assert folder_of(id) + name_of(id) == id


@pytest.mark.parametrize("prefix", ["a", "a/", "a~", "\ud7ff", "a\U0010ffff", "é"])
def test_after_prefix_is_the_first_that_does_not_begin_with_it(prefix: str) -> None:
    bound = after_prefix(prefix)
    assert bound is not None
    for inside in (prefix, prefix + "\0", prefix + "\U0010ffff" * 9):
        assert inside.encode() < bound.encode()
    assert not bound.startswith(prefix)
    assert prefix.encode() < bound.encode()


def test_after_prefix_knows_when_there_is_none() -> None:
    assert after_prefix("") is None
    assert after_prefix("\U0010ffff") is None
    assert after_prefix("\ud7ff") == "\ue000"
