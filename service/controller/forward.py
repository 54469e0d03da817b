"""Has starred runs extended by newer prices, by a job for each ticker."""

from __future__ import annotations

import logging
import time

from service.store.upkeep import UpkeepStore

logger = logging.getLogger(__name__)

LOOK_SECONDS = 10.0
TICKERS_AT_ONCE = 20
KEPT_SECONDS = 600  # of a run that has extended records, for who looks at its log


class ForwardRecords:
    """Looks from time to time for starred runs that newer prices of their ticker could extend."""

    def __init__(self, store: UpkeepStore) -> None:
        self._store = store
        self._next_look = 0.0

    def step(self) -> None:
        """Records the runs whose jobs extend them, and deletes those that have done it."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + LOOK_SECONDS
        for ticker in self._store.record_forward_runs(TICKERS_AT_ONCE):
            logger.info("Starred runs of %s will be extended by its newer prices", ticker)
        self._store.drop_forward_runs(KEPT_SECONDS)
