"""A database that is away: errors as its drivers raise them, in the middle of a store's method."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, InterfaceError, InternalError, OperationalError

from service.store.database import Store

T = TypeVar("T")

GONE = OperationalError("select", {}, Exception("gone away"))
# PyMySQL makes this of a full disk.
FULL = InternalError("insert", {}, Exception(28, "No space left on device"))
CLOSED = InterfaceError("select", {}, Exception(0, ""))
ERRORS = {"gone": GONE, "full": FULL, "closed": CLOSED}


class FlakyEngine:
    """An engine that refuses its next connections."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.refusals: list[DBAPIError] = []

    def connect(self) -> Connection:
        if self.refusals:
            raise self.refusals.pop()
        return self._engine.connect()


@contextmanager
def away_in(store: Store, method: str, times: int, error: DBAPIError = GONE) -> Iterator[None]:
    """While the body runs, the first call of the method meets so many refused connections."""
    flaky = FlakyEngine(store._engine)
    real = getattr(store, method)
    is_first = True

    def call(*words: Any, **named: Any) -> Any:
        nonlocal is_first
        if is_first:
            flaky.refusals = [error] * times
        is_first = False
        return real(*words, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "_engine", flaky)
        patch.setattr(store, method, call)
        yield


@contextmanager
def lost_answer(store: Store) -> Iterator[None]:
    """While the body runs, the first change is committed, and then the connection breaks."""
    real = store._write_now
    answers = iter([GONE])

    def write(change: Callable[[Connection], T]) -> T:
        outcome = real(change)
        error = next(answers, None)
        if error:
            raise error
        return outcome

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "_write_now", write)
        yield
