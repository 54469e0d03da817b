"""Enters what runs of releases without a ledger had tried into the ledger, a little at a time."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from service.contract.errors import BadRow
from service.store.rows import Run
from service.store.upkeep import UpkeepStore
from service.trials.earlier import tried_by_earlier_run, tried_by_earlier_sweep
from service.trials.records import RECORD, tried_on
from service.trials.skill import entry_of

logger = logging.getLogger(__name__)

RUNS_AT_ONCE = 200
# A worker of the release before may end a run after it was looked at.
SECONDS_BETWEEN_ROUNDS = 3600.0


class EarlierTrials:
    """Goes through the completed runs in the order of their arrival, again and again."""

    def __init__(self, store: UpkeepStore) -> None:
        self._store = store
        self._after = 0
        self._next_round = 0.0

    def step(self) -> None:
        """Looks at some runs, unless the last round is not long ago."""
        now = time.monotonic()
        if now < self._next_round:
            return
        runs, last = self._store.without_trials(self._after, RUNS_AT_ONCE)
        sweeps = [place for place, run in enumerate(runs) if run.is_sweep]
        if sweeps:
            # The table of a search takes up to a second: a pass of the controller stays short.
            runs = runs[: sweeps[0] + 1]
            last = runs[-1].id
        entered = {run.run_id: self._entries(run) for run in runs}
        if entered:
            self._store.enter_trials(entered)
            message = "Entered what %d earlier runs had tried into the ledger"
            logger.info(message, len(entered))
        self._after = last
        if not last:
            self._next_round = now + SECONDS_BETWEEN_ROUNDS

    def _entries(self, run: Run) -> Sequence[Mapping[str, Any]]:
        """An empty one of a run that cannot be read: it stops no other."""
        try:
            request = json.loads(run.request)
            if run.is_sweep:
                table = self._store.sweep_table(run.run_id)
                tried = tried_by_earlier_sweep(request, run.rule_id, run.rules_digest, table)
            else:
                digest, sharpe = run.rules_digest, run.sharpe_ratio
                tried = {run.ticker: tried_by_earlier_run(request, run.rule_id, digest, sharpe)}
        except (BadRow, ValueError, KeyError, TypeError) as error:
            logger.warning("What run %s tried is not in the ledger: %r", run.run_id, error)
            return [_nothing(run)]
        entries = [entry_of(ticker, each, None) for ticker, each in tried.items()]
        return entries or [_nothing(run)]


def _nothing(run: Run) -> dict[str, Any]:
    """So that the run is not looked at in the next round."""
    tried = tried_on((run.start_date or "", run.end_date or ""), np.empty(0, RECORD), 0)
    return entry_of(run.ticker, tried, None)
