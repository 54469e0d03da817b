"""What the controller does from time to time: it forgets what is old, and brings back runs that wait for nothing."""

from __future__ import annotations

import logging
import time
from datetime import datetime

from service.store.run_store import RunStore

logger = logging.getLogger(__name__)

ASTRAY_SECONDS, ASTRAY_AT_ONCE = 10.0, 100
EXPIRY_SECONDS, EXPIRED_AT_ONCE = 60.0, 500


class Upkeep:
    """A little at a time, so that a pass of the controller stays short; `days` 0 keeps every run."""

    def __init__(self, store: RunStore, days: float) -> None:
        self._store, self._days = store, days
        self._next_expiry = self._next_look = 0.0
        self._after: datetime | None = None

    def step(self) -> None:
        """Whatever it is time for."""
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + ASTRAY_SECONDS
            if self._store.astray(ASTRAY_AT_ONCE):
                logger.warning("Runs were attached to one that had ended; they go on without it")
            self._store.forget_numbers()
        if self._days and now >= self._next_expiry:
            self._expire(now)

    def _expire(self, now: float) -> None:
        """One batch; the next pass goes on while there is more."""
        gone, self._after = self._store.expire(self._days, EXPIRED_AT_ONCE, self._after)
        if gone:
            logger.info("Deleted %d runs that ended more than %g days ago", gone, self._days)
        if self._after is None:
            self._next_expiry = now + EXPIRY_SECONDS
