"""What the controller does from time to time: it deletes what is old and no longer needed."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from datetime import datetime

from service.store.upkeep import UpkeepStore

logger = logging.getLogger(__name__)

NUMBERS_SECONDS = 10.0  # between two looks for numbers of sweeps that have ended
EXPIRY_SECONDS = 60.0
SERIES_SECONDS = 3600.0
RUNS_PER_BATCH = 500
MAX_JUMP_SECONDS = 600.0
HOLD_SECONDS = 86_400.0
GIB = 2**30


@dataclass(frozen=True)
class Retention:
    """For how many days ended runs are kept, and how much all of them may take; 0: no limit."""

    days: float = 0.0
    gib: float = 0.0


class Upkeep:
    """A little at a time, so that a pass of the controller stays short."""

    def __init__(self, store: UpkeepStore, retention: Retention | None = None) -> None:
        self._store = store
        self._retention = retention or Retention()
        self._next_numbers = 0.0
        self._next_expiry = 0.0
        self._next_size = 0.0
        self._next_series = 0.0
        self._expired_until: datetime | None = None
        self._dropped_until: datetime | None = None
        self._looked: tuple[datetime, float] | None = None
        self._unreferenced: set[str] = set()

    def step(self) -> None:
        """Whatever it is time for."""
        now = time.monotonic()
        if now >= self._next_numbers:
            self._next_numbers = now + NUMBERS_SECONDS
            self._store.forget_numbers()
            self._store.measure(RUNS_PER_BATCH)
        if self._retention.days and now >= self._next_expiry:
            self._expire(now)
        if self._retention.gib and now >= self._next_size:
            self._make_room(now)
        if now >= self._next_series:
            self._next_series = now + SERIES_SECONDS
            self._drop_series()

    def _expire(self, now: float) -> None:
        """One batch; the next pass goes on while there is more."""
        if self._clock_jumped():
            self._next_expiry = now + HOLD_SECONDS
            logger.warning("The database's clock has jumped: nothing is deleted by age for a day")
            return
        deleted, self._expired_until = self._store.expire(
            self._retention.days, RUNS_PER_BATCH, self._expired_until
        )
        if deleted:
            message = "Deleted %d runs that ended more than %g days ago"
            logger.info(message, deleted, self._retention.days)
        if self._expired_until is None:
            self._next_expiry = now + EXPIRY_SECONDS

    def _make_room(self, now: float) -> None:
        """As `_expire`, by size."""
        excess_bytes = self._store.stored_bytes() - int(self._retention.gib * GIB)
        if excess_bytes <= 0:
            self._dropped_until = None
            self._next_size = now + EXPIRY_SECONDS
            return
        deleted, self._dropped_until = self._store.drop_oldest(
            excess_bytes, RUNS_PER_BATCH, self._dropped_until
        )
        if deleted:
            message = "Deleted the %d oldest runs: results take more than %g GiB"
            logger.info(message, deleted, self._retention.gib)
        if self._dropped_until is None:
            self._next_size = now + EXPIRY_SECONDS

    def _drop_series(self) -> None:
        """Price series that nothing referred to at this look and at the one before.

        A request that was planned with a series a moment ago refers to it long before the second.
        """
        unreferenced = self._store.unreferenced_series()
        dropped = self._store.drop_series(unreferenced & self._unreferenced)
        self._unreferenced = unreferenced
        if dropped:
            logger.info("Deleted %d price series that nothing refers to", dropped)

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
