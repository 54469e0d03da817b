"""Rows that fit the Jobs of a fake cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Engine, insert, select

from service.contract.status import Reason, Status
from service.store.database import utc_in
from service.store.tables import runs

ENDED = {"started_at": utc_in(-60), "finished_at": utc_in()}
ROWS: Mapping[str, Mapping[str, Any]] = {
    "completed": {"status": Status.COMPLETED, **ENDED},
    "failed": {"status": Status.FAILED, "reason": Reason.OUT_OF_MEMORY, **ENDED},
    "pending": {"status": Status.PENDING, "attempt": 0},
    "running": {
        "status": Status.RUNNING,
        "started_at": utc_in(),
        "lease_until": utc_in(3600),
        "claimed_by": "w",
    },
}


def fill(engine: Engine, states: Mapping[str, str]) -> None:
    """The row of each run, launched once."""
    common = {
        "request": "{}",
        "ticker": "GOOG",
        "rule_id": "MA_CROSS_10_30",
        "prices_fingerprint": "f" * 64,
        "rules_digest": "d" * 64,
        "attempt": 1,
        "launches": 1,
        "created_at": utc_in(-120),
        "launched_at": utc_in(-60),
    }
    with engine.begin() as connection:
        for state, row in ROWS.items():
            rows = [{"run_id": run_id} for run_id, its in states.items() if its == state]
            for start in range(0, len(rows), 5000):
                connection.execute(
                    insert(runs).values({**common, **row}), rows[start : start + 5000]
                )


def rows(engine: Engine) -> Mapping[str, Mapping[str, Any]]:
    """All rows by run_id, without the reason why a run waits."""
    wanted = [column for column in runs.c if column.name not in ("reason", "message")]
    with engine.connect() as connection:
        return {row.run_id: dict(row._mapping) for row in connection.execute(select(*wanted))}
