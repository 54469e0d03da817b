"""Rows and jobs at one moment, for tests of what is decided about them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from service.contract.status import Status
from service.launchers.launcher import (
    JobState,
)
from service.store.rows import Run

NOW = datetime(2026, 1, 1, 12, 0, 0)

TIMEOUT = timedelta(minutes=15)

ALIVE = JobState(alive=True)

ROW = Run(
    id=1,
    run_id="r",
    request="",
    ticker="GOOG",
    rule_id="RSI_14_30_70",
    prices_fingerprint="",
    rules_digest="",
    status=Status.RUNNING,
    reason=None,
    message=None,
    attempt=1,
    launches=1,
    claimed_by="w",
    lease_until=NOW + timedelta(seconds=40),
    created_at=NOW,
    launched_at=NOW - timedelta(seconds=20),
    started_at=NOW,
    finished_at=None,
    total_return_pct=None,
    sharpe_ratio=None,
    max_drawdown_pct=None,
    num_trades=None,
)

PENDING = replace(ROW, status=Status.PENDING, lease_until=None, claimed_by=None, attempt=0)

SILENT = replace(ROW, lease_until=NOW - timedelta(seconds=1))

OLD = {"launched_at": NOW - timedelta(minutes=16)}


def ended(code: int) -> JobState:
    return JobState(alive=False, exit_code=code)
