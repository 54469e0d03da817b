"""Runs in the database."""

from __future__ import annotations

from service.store.asked_runs import AskedRuns, More, StoredResult
from service.store.claimed_runs import ClaimedRuns
from service.store.dispatched_runs import DispatchedRuns, EndedRun
from service.store.run_rows import ActiveRun, Run
from service.store.swept_runs import SweptRuns

__all__ = ["ActiveRun", "EndedRun", "More", "Run", "RunStore", "StoredResult"]


class RunStore(AskedRuns, ClaimedRuns, DispatchedRuns, SweptRuns):
    """The runs of one database, as web, worker and controller see them."""
