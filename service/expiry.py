"""Forgets runs that ended long ago (RESULT_RETENTION_DAYS); unfinished ones stay, however old."""

from __future__ import annotations

import logging
import time

from service.store.run_store import RunStore

logger = logging.getLogger(__name__)

PAUSE_SECONDS, AT_ONCE = 60.0, 500


class Expiry:
    """Deletes a few at a time, so that a pass of the controller stays short; `days` 0 keeps everything."""

    def __init__(self, store: RunStore, days: float) -> None:
        self._store, self._days, self._next = store, days, 0.0

    def step(self) -> None:
        """Deletes one batch, when it is time; the next pass goes on while there is more."""
        if not self._days or time.monotonic() < self._next:
            return
        gone = self._store.expire(self._days, AT_ONCE)
        if gone:
            logger.info("Deleted %d runs that ended more than %g days ago", gone, self._days)
        if gone < AT_ONCE:
            self._next = time.monotonic() + PAUSE_SECONDS
