"""A database whose clock jumps, and a monotonic clock that goes as the test says."""

from __future__ import annotations

from collections import Counter
from typing import Any

from sqlalchemy import Engine, event

# How far the clock of each engine's database has been set forward, in seconds.
_offsets: Counter[int] = Counter()


def set_forward(engine: Engine, seconds: float) -> None:
    """Sets the database's clock forward by so many seconds, or back, for this engine's statements.

    What is stored stays as it is.
    """
    if not event.contains(engine, "before_cursor_execute", _with_offset):
        event.listen(engine, "before_cursor_execute", _with_offset, retval=True)
        _offsets[id(engine)] = 0
    _offsets[id(engine)] += int(seconds)


def _with_offset(
    connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool
) -> tuple[str, Any]:
    seconds = _offsets[id(connection.engine)]
    on_mysql = f"(UTC_TIMESTAMP(6) + INTERVAL {seconds} SECOND)"
    on_sqlite = f"'now', '{seconds} seconds',"
    changed = statement.replace("UTC_TIMESTAMP(6)", on_mysql).replace("'now',", on_sqlite)
    return changed, parameters


class SteadyClock:
    """In place of the module `time`: its monotonic clock goes where the test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now
