"""Faults at the places of a conversation with the database: each statement, each commit.

Every one has two places: before the database has got it, and after it has done it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import OperationalError


def lose_connection() -> None:
    """The driver's error where the connection broke; whether it was done, nobody knows."""
    raise OperationalError("statement", {}, ConnectionError("the connection was lost"))


def die() -> None:
    """The process is gone, without a word."""
    os.kill(os.getpid(), signal.SIGKILL)


class Points:
    """Counts the places that an engine passes; at the place `at` there is a `fault`."""

    def __init__(
        self, engine: Engine, at: int | None = None, fault: Callable[[], None] = lose_connection
    ) -> None:
        self.passed: list[str] = []
        self._engine = engine
        self._at = at
        self._fault = fault

    @contextmanager
    def watched(self) -> Iterator[None]:
        """While it lasts."""
        dialect = self._engine.dialect
        do_commit = dialect.do_commit

        def commit(connection: Any) -> None:
            self._pass("before COMMIT")
            do_commit(connection)
            self._pass("after COMMIT")

        event.listen(self._engine, "before_cursor_execute", self._before)
        event.listen(self._engine, "after_cursor_execute", self._after)
        dialect.do_commit = commit  # type: ignore[method-assign]
        try:
            yield
        finally:
            dialect.do_commit = do_commit  # type: ignore[method-assign]
            event.remove(self._engine, "before_cursor_execute", self._before)
            event.remove(self._engine, "after_cursor_execute", self._after)

    def _before(self, _: Connection, cursor: Any, statement: str, *rest: Any) -> None:
        self._pass(f"before {statement}")

    def _after(self, _: Connection, cursor: Any, statement: str, *rest: Any) -> None:
        self._pass(f"after {statement}")

    def _pass(self, place: str) -> None:
        self.passed.append(place)
        if len(self.passed) - 1 == self._at:
            self._fault()
