"""How the database would go about what is asked of it: whether an index is used, or everything looked at."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine, event


def plans_of(engine: Engine, work: Callable[[], object], *tables: str) -> list[str]:
    """The plan of every query on these tables, and of every UPDATE, that is made meanwhile."""
    asked: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if any(f"{verb} {table}" in statement for verb in ("FROM", "UPDATE") for table in tables):
            asked.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", note)
    try:
        work()
    finally:
        event.remove(engine, "before_cursor_execute", note)
    explain = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
    with engine.connect() as connection:
        return [
            str(connection.exec_driver_sql(f"{explain} {statement}", parameters).all())
            for statement, parameters in asked
        ]
