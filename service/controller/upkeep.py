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
        deleted, self._expired_until = self._store.expire(
            self._retention_days, RUNS_PER_BATCH, self._expired_until
        )
        if deleted:
            message = "Deleted %d runs that ended more than %g days ago"
            logger.info(message, deleted, self._retention_days)
        if self._expired_until is None:
            self._next_expiry = now + EXPIRY_SECONDS
