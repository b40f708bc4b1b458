"""A thread beside the requests: there is one, however many requests ask for it."""

import threading
from concurrent.futures import ThreadPoolExecutor

from simpledrive.background import Background


def test_many_who_ask_at_once_start_one_thread() -> None:
    asked, release = threading.Barrier(8), threading.Event()
    started: list[threading.Thread] = []

    def work() -> None:
        started.append(threading.current_thread())
        release.wait()

    background = Background("the work", work)

    def ask(_: int) -> None:
        asked.wait()
        background.ensure_started()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(8)))
    release.set()
    # One that has only just been started may not have said so yet.
    [thread] = {*started, *(each for each in threading.enumerate() if each.name == "the work")}
    thread.join()
    assert (thread.name, thread.daemon, started) == ("the work", True, [thread])
