"""A writer that cannot have its turn is told so: it holds a thread while it waits."""

import threading
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.orm import Session

from simpledrive import sql
from simpledrive.errors import Busy


def test_who_waits_too_long_for_the_writer_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql, "PATIENCE", 0.05)
    engine = sql.connect(f"sqlite:///{tmp_path / 'drive.db'}")
    database = sql.Database(engine)
    begun, go_on = threading.Event(), threading.Event()

    def hold(_: Session) -> bool:
        begun.set()
        return go_on.wait(30)

    holder = threading.Thread(target=lambda: database.write(hold))
    holder.start()
    try:
        assert begun.wait(30)
        with pytest.raises(Busy):
            database.write(lambda _: True)
    finally:
        go_on.set()
        holder.join(30)
    assert database.write(lambda _: True)
    engine.dispose()


def test_all_who_write_to_one_file_queue_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The records and the backend `database` share a file: who comes by the other engine must not spin."""
    monkeypatch.setattr(sql, "PATIENCE", 0.05)
    engines = [sql.connect(f"sqlite:///{tmp_path / 'drive.db'}") for _ in range(2)]
    first, second = map(sql.Database, engines)
    statements: list[str] = []
    event.listen(engines[1], "before_cursor_execute", lambda *told: statements.append(told[2]))

    def refused(_: Session) -> bool:
        with pytest.raises(Busy):
            second.write(lambda _: True)
        return True

    assert first.write(refused)
    assert statements == [], "it did not even ask SQLite"
    assert second.write(lambda _: True)
    for engine in engines:
        engine.dispose()
