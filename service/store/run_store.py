"""Runs in the database."""

from __future__ import annotations

from service.store.asked_runs import AskedRuns, StoredResult
from service.store.claimed_runs import ClaimedRuns
from service.store.dispatched_runs import DispatchedRuns, EndedRun
from service.store.run_rows import ActiveRun, Run

__all__ = ["ActiveRun", "EndedRun", "Run", "RunStore", "StoredResult"]


class RunStore(AskedRuns, ClaimedRuns, DispatchedRuns):
    """The runs of one database, as web, worker and controller see them."""
