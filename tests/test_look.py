"""One look: each step with its time, why the last one failed, and nobody who waits for what hangs."""

import threading
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from simpledrive import look
from simpledrive.errors import ConfigurationError, StorageFull
from simpledrive.look import Look, ProbeResult
from simpledrive.storage.base import Begin
from tests.servers import wait_for


def looked(work: Callable[[Begin], object]) -> ProbeResult:
    """What a look has found that does this."""
    found = Look("a thing", work).wait(30)
    assert found is not None
    return found


def steps(probe: ProbeResult) -> list[tuple[str, bool]]:
    return [(step.name, step.passed) for step in probe.steps]


def failing(error: Exception) -> Callable[[Begin], None]:
    def work(begin: Begin) -> None:
        begin("one")
        begin("two")
        raise error

    return work


def test_each_step_has_the_time_until_the_next_and_the_last_until_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = SimpleNamespace(now=100.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(look, "time", clock)

    def work(begin: Begin) -> None:
        for name, seconds in (("one", 1.0), ("two", 2.0), ("three", 4.0)):
            begin(name)
            clock.now += seconds

    found = looked(work)
    assert [(step.name, step.seconds) for step in found.steps] == [("one", 1.0), ("two", 2.0), ("three", 4.0)]
    assert (found.reachable, found.why, found.seconds) == (True, "", 7.0)


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (StorageFull("far", "put", "no room"), "put: no room."),
        (ConfigurationError("Run `flask db upgrade`."), "Run `flask db upgrade`."),
        (RuntimeError("secret"), "Looking at it failed by a fault of the drive, which its log tells."),
    ],
)
def test_what_fails_is_the_last_step_and_has_a_sentence(error: Exception, why: str) -> None:
    found = looked(failing(error))
    assert (found.reachable, found.why) == (False, why)
    assert steps(found) == [("one", True), ("two", False)]


def test_what_fails_before_its_first_step_has_none() -> None:
    found = looked(lambda begin: 1 / 0)
    assert (found.reachable, found.steps) == (False, ())


def test_a_look_that_hangs_is_waited_for_no_longer_and_tells_where_it_is() -> None:
    let_go, told = threading.Event(), []

    def work(begin: Begin) -> None:
        begin("one")
        begin("two")
        let_go.wait()

    going = Look("a thing", work, told.append)
    try:
        wait_for(lambda: len(going.unanswered().steps) == 2, "the second step")
        assert going.wait(0.0) is None
        silent = going.unanswered()
        assert (silent.reachable, silent.at) == (False, None)
        assert silent.why.startswith("There was no answer in ")
        assert steps(silent) == [("one", True), ("two", False)]
        assert told == []
    finally:
        let_go.set()
    found = going.wait(30)
    assert told == [found]
    assert found is not None
    assert steps(found) == [("one", True), ("two", True)]
