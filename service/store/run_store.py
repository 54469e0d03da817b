"""Runs in the database."""

from __future__ import annotations

from service.store.claims import ClaimedRuns
from service.store.queue import DispatchedRuns, EndedRun
from service.store.requests import AskedRuns, More, StoredResult
from service.store.rows import ActiveRun, Run
from service.store.shards import SweptRuns

__all__ = ["ActiveRun", "EndedRun", "More", "Run", "RunStore", "StoredResult"]


class RunStore(AskedRuns, ClaimedRuns, DispatchedRuns, SweptRuns):
    """The runs of one database, as web, worker and controller see them."""
