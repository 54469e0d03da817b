"""What the controller does from time to time: it deletes what is old and no longer needed."""

from __future__ import annotations

import logging
import time
from datetime import datetime

from service.store.queue import QueueStore

logger = logging.getLogger(__name__)

NUMBERS_SECONDS = 10.0  # between two looks for numbers of sweeps that have ended
EXPIRY_SECONDS = 60.0
RUNS_PER_BATCH = 500
MAX_JUMP_SECONDS = 600.0
HOLD_SECONDS = 86_400.0


class Upkeep:
    """A little at a time, so that a pass of the controller stays short.

    `retention_days` is how long an ended run is kept; 0 keeps every run.
    """

    def __init__(self, store: QueueStore, retention_days: float) -> None:
        self._store = store
        self._retention_days = retention_days
        self._next_numbers = 0.0
        self._next_expiry = 0.0
        self._expired_until: datetime | None = None
        self._looked: tuple[datetime, float] | None = None

    def step(self) -> None:
        """Whatever it is time for."""
        now = time.monotonic()
        if now >= self._next_numbers:
            self._next_numbers = now + NUMBERS_SECONDS
            self._store.forget_numbers()
        if self._retention_days and now >= self._next_expiry:
            self._expire(now)

    def _expire(self, now: float) -> None:
        """One batch; the next pass goes on while there is more."""
        if self._clock_jumped():
            self._next_expiry = now + HOLD_SECONDS
            logger.warning("The database's clock has jumped: nothing is deleted by age for a day")
            return
        deleted, self._expired_until = self._store.expire(
            self._retention_days, RUNS_PER_BATCH, self._expired_until
        )
        if deleted:
            message = "Deleted %d runs that ended more than %g days ago"
            logger.info(message, deleted, self._retention_days)
        if self._expired_until is None:
            self._next_expiry = now + EXPIRY_SECONDS

    def _clock_jumped(self) -> bool:
        """Whether the database's clock went other than time since the last look.

        By it runs would be old that have just ended.
        """
        clock, passed = self._store.now(), _time_passed()
        before = self._looked
        self._looked = (clock, passed)
        if before is None:
            return False
        by_clock = (clock - before[0]).total_seconds()
        return abs(by_clock - (passed - before[1])) > MAX_JUMP_SECONDS


def _time_passed() -> float:
    """Seconds from some moment on, those of a sleeping machine included where it counts them."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
