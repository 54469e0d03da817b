"""Requests that wait for a run to change: one look at the database serves all of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from threading import Event, Lock, Thread

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 0.05
# More are answered at once, and their pages ask again after a second.
MAX_WAITING = 500

Marks = Callable[[Collection[str]], Mapping[str, object]]


@dataclass(eq=False)
class _Waiting:
    run_id: str
    mark: object
    is_over: Event = field(default_factory=Event)
    is_sent_away: bool = False


class Watch:
    """`marks` answers, for run_ids, something that differs once their state differs.

    A thread looks while somebody waits; under gevent it is as light as a request.
    """

    def __init__(self, marks: Marks) -> None:
        self._marks = marks
        self._waiting: set[_Waiting] = set()
        self._lock = Lock()
        self._is_looking = False
        self._is_stopping: Callable[[], bool] = lambda: False

    def stop_when(self, is_stopping: Callable[[], bool]) -> None:
        """Keeps nobody waiting once this holds: a process that stops would wait for them."""
        self._is_stopping = is_stopping

    def wait(self, run_id: str, mark: object, seconds: float) -> bool:
        """Returns once the run's mark is another, or after so many seconds.

        False where it did not wait: too many do, or the process stops, or the database is away.
        """
        waiting = _Waiting(run_id, mark)
        with self._lock:
            if len(self._waiting) >= MAX_WAITING or self._is_stopping():
                return False
            if not self._is_looking:
                Thread(target=self._look, daemon=True).start()
                self._is_looking = True
            self._waiting.add(waiting)
        try:
            waiting.is_over.wait(seconds)
        finally:
            with self._lock:
                self._waiting.discard(waiting)
        return not waiting.is_sent_away

    def _look(self) -> None:
        while True:
            with self._lock:
                waiting = list(self._waiting)
                if not waiting:
                    self._is_looking = False
                    return
            self._wake(waiting)
            time.sleep(PAUSE_SECONDS)

    def _wake(self, waiting: Collection[_Waiting]) -> None:
        """Those whose run has changed; all of them where waiting has no sense any more."""
        marks: Mapping[str, object] | None = None
        if not self._is_stopping():
            try:
                marks = self._marks({each.run_id for each in waiting})
            except Exception as error:  # noqa: BLE001  their own look at the database says what
                logger.warning("Waiting requests are answered early: %s", error)
        for each in waiting:
            if marks is None or marks.get(each.run_id) != each.mark:
                each.is_sent_away = marks is None
                each.is_over.set()
