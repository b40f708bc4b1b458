"""What pages say of sizes, moments, names and kinds, and the marks that say where bytes are."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from simpledrive.storage import registry
from simpledrive.ui import amounts, kinds, marks, moments, names
from simpledrive.ui.marks import Rep

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("amount", "words"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (6349, "6.2 KiB"),
        (482 << 10, "482 KiB"),
        ((1 << 20) - 1, "1.0 MiB"),
        (48 << 20, "48.0 MiB"),
        (int(2.31 * 2**30), "2.31 GiB"),
        (int(41.2 * 2**30), "41.2 GiB"),
        (318 << 30, "318 GiB"),
        (int(1.83 * 2**40), "1.83 TiB"),
        (1 << 60, "1.00 EiB"),
    ],
)
def test_sizes_have_binary_units_and_about_three_digits(amount: int, words: str) -> None:
    assert amounts.size(amount) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.00004, "0.0 ms"),
        (0.0002, "0.2 ms"),
        (0.00996, "10 ms"),
        (0.041, "41 ms"),
        (0.9996, "1.0 s"),
        (2.34, "2.3 s"),
    ],
)
def test_durations_have_about_two_digits(seconds: float, words: str) -> None:
    assert amounts.duration(seconds) == words


def test_counts_agree_with_their_noun() -> None:
    assert amounts.count(1, "file") == "1 file"
    assert amounts.count(2316, "file") == "2,316 files"
    assert amounts.count(2, "copy", "copies") == "2 copies"


@pytest.mark.parametrize(
    ("moment", "words"),
    [
        (datetime(2026, 11, 20, 9, 12, tzinfo=UTC), "Today, 09:12"),
        (datetime(2026, 11, 18, 16, 20, tzinfo=UTC), "18 Nov, 16:20"),
        (datetime(2026, 10, 2, 1, 0, tzinfo=UTC), "2 Oct"),
        (datetime(2019, 3, 4, 1, 0, tzinfo=UTC), "4 Mar 2019"),
        (datetime(2026, 12, 24, 1, 0, tzinfo=UTC), "24 Dec"),
    ],
)
def test_moments_are_as_short_as_they_can_be_understood(moment: datetime, words: str) -> None:
    assert moments.when(moment, NOW) == words


def test_a_stamp_has_the_minute_and_another_year() -> None:
    assert moments.stamp(NOW, NOW) == "20 Nov, 12:00"
    assert moments.stamp(datetime(2019, 3, 4, 1, 5, tzinfo=UTC), NOW) == "4 Mar 2019, 01:05"


@pytest.mark.parametrize(
    ("ago", "words"),
    [
        (timedelta(seconds=59), "now"),
        (timedelta(minutes=4), "4 min"),
        (timedelta(hours=1), "1 h"),
        (timedelta(days=19, hours=3), "19 d"),
        (timedelta(seconds=-5), "now"),
    ],
)
def test_ages_have_one_unit(ago: timedelta, words: str) -> None:
    assert moments.age(NOW - ago, NOW) == words


@pytest.mark.parametrize(
    ("content_type", "name", "word"),
    [
        ("image/png", "x", "Image"),
        ("Text/Plain; charset=utf-8", "x", "Text"),
        ("text/csv", "x", "Data"),
        ("application/pdf", "x", "PDF"),
        ("application/octet-stream", "scan.LAZ", "Points"),
        ("application/octet-stream", "x", "File"),
        ("nonsense", "", "File"),
    ],
)
def test_kind_is_told_by_type_and_then_by_name(content_type: str, name: str, word: str) -> None:
    assert kinds.kind(content_type, name).word == word


@pytest.mark.parametrize(
    ("content_type", "readable"),
    [
        ("text/html", True),
        ("application/json", True),
        ("image/svg+xml", True),
        ("application/pdf", False),
        ("application/zip", False),
    ],
)
def test_readable_types_are_those_whose_bytes_are_text(content_type: str, readable: bool) -> None:
    assert kinds.readable(content_type) is readable


def test_short_names_are_not_split() -> None:
    assert names.split("short.txt") == ("short.txt", "")


def test_long_names_are_split_before_their_last_characters() -> None:
    head, tail = names.split("timelapse-week-46-full resolution.mp4")
    assert head + tail == "timelapse-week-46-full resolution.mp4"
    assert tail == "resolution.mp4"


def test_names_are_never_split_inside_what_is_seen_as_one_character() -> None:
    name = "x" * 20 + "e\u0301" + "y" * 13
    head, tail = names.split(name)
    assert head + tail == name
    assert tail.startswith("e\u0301")
    family = "\U0001f468\u200d\U0001f469"
    assert names.split("x" * 20 + family + "y" * 13)[1].startswith(family)


def test_names_that_read_from_right_to_left_are_not_split() -> None:
    assert names.split("تقرير فحص الجسر - نوفمبر 2026 كامل.pdf")[1] == ""


def test_crumbs_lead_to_each_folder_on_the_way() -> None:
    assert [(crumb.name, crumb.path) for crumb in names.crumbs("a/b//")] == [
        ("a", "a/"),
        ("b", "a/b/"),
        ("/", "a/b//"),
    ]
    assert names.crumbs("") == []
    assert [crumb.path for crumb in names.way_to("/lead/x")] == ["/", "/lead/"]


@pytest.mark.parametrize(
    ("filename", "id"),
    [
        ("x.txt", "f/x.txt"),
        ("tree/sub/x.txt", "f/tree/sub/x.txt"),
        ("/etc/passwd", "f/etc/passwd"),
        ("../../up", "f/up"),
        ("a/./b/../c", "f/a/b/c"),
        ("C:\\fakepath\\x.txt", "f/C:/fakepath/x.txt"),
        ("..", "f/"),
        ("..hidden", "f/..hidden"),
    ],
)
def test_arriving_files_keep_their_tree_and_never_leave_the_folder(filename: str, id: str) -> None:
    assert names.arriving("f/", filename) == id


@dataclass
class Kept:
    """A replica, as far as marks ask."""

    storage_backend: str
    verified_at: datetime | None = None
    retired_at: datetime | None = None
    bad_at: datetime | None = None


KINDS = {"local": "local", "bucket": "s3", "nas": "ftp", "records": "database", "tape": "tape"}


def kind_of(name: str) -> str:
    return KINDS.get(name, "gone")


def test_the_mark_shows_home_first_and_the_age_of_the_oldest_read_back() -> None:
    copies = [Kept("bucket", NOW - timedelta(days=1)), Kept("local", NOW - timedelta(days=9))]
    mark = marks.mark("local", copies, kind_of, NOW)
    assert mark.reps == [Rep("local", "home", "half"), Rep("s3", "copy", "full")]
    assert (mark.name, mark.age, mark.tone) == ("local +1", "9 d", "")
    assert mark.words == "Home local, copy on bucket, read back 9 d ago"


def test_the_mark_says_when_a_copy_was_never_read_back() -> None:
    copies = [Kept("local", NOW), Kept("bucket")]
    mark = marks.mark("local", copies, kind_of, NOW)
    assert (mark.age, mark.words) == ("", "Home local, copy on bucket, not read back yet")


def test_the_line_is_full_for_a_week_half_for_a_month_and_then_gone() -> None:
    def line(days: float) -> str:
        return marks.rep(Kept("local", NOW - timedelta(days=days)), "local", "local", NOW).line

    assert [line(days) for days in (0, 6.9, 7, 29.9, 30)] == ["full", "full", "half", "half", ""]


def test_a_copy_left_behind_is_no_copy() -> None:
    copies = [Kept("local", NOW), Kept("nas", NOW, retired_at=NOW)]
    assert marks.mark("local", copies, kind_of, NOW).words == "Home local, no copy, read back just now"
    assert marks.rep(copies[1], "local", "ftp", NOW) == Rep("ftp", "gone")


def test_a_home_that_something_else_let_go_is_still_home() -> None:
    mark = marks.mark("local", [Kept("local", NOW, retired_at=NOW)], kind_of, NOW)
    assert mark.reps == [Rep("local", "home", "full")]


def test_bad_bytes_are_told_and_slashed() -> None:
    copies = [Kept("local", NOW), Kept("bucket", NOW, bad_at=NOW)]
    mark = marks.mark("local", copies, kind_of, NOW)
    assert mark.reps[1] == Rep("s3", "bad")
    assert (mark.name, mark.tone) == ("local, 1 of 2 bad", "is-bad")
    assert mark.words == "Home local is sound; the copy on bucket is bad"
    alone = marks.mark("local", [Kept("local", bad_at=NOW)], kind_of, NOW)
    assert (alone.name, alone.words) == ("local, bad", "Home local is bad; there is no copy")


def test_each_kind_of_ours_has_a_shape_of_its_own() -> None:
    assert {*registry.KINDS, *registry.OPTIONAL.names} == marks.SHAPES


def test_kinds_without_a_shape_have_the_one_for_others() -> None:
    assert marks.rep(Kept("tape"), "tape", "tape", NOW).shape == "other"
    assert marks.rep(Kept("lost"), "lost", kind_of("lost"), NOW).shape == "other"


def test_the_mark_of_a_folder_shows_the_kinds_below_it() -> None:
    mark = marks.folder_mark(["local", "bucket"], kind_of)
    assert mark.reps == [Rep("local", "home"), Rep("s3", "home")]
    assert (mark.name, mark.words) == ("2 backends", "Files in it live on local, bucket")
    assert marks.folder_mark(["nas"], kind_of).name == "nas"
