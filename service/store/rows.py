"""Rows of the table of runs: what is read of them, and how a row changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Row, Select, and_, func, select, update

from service.contract.result import HEADLINE
from service.contract.status import BACKTEST, SWEEP, Reason, Status
from service.store.database import Store, utc_in
from service.store.tables import runs

MAX_MESSAGE_CHARACTERS = 4000
# The metrics of a result that are columns of its run, too.
LISTED_METRICS = (*HEADLINE, "buy_and_hold_return_pct")


@dataclass(frozen=True, kw_only=True)
class ActiveRun:
    """What the controller looks at in every pass, and no more: there may be thousands.

    Times are UTC by the database's clock.
    """

    id: int
    run_id: str
    client: str = ""
    status: Status
    reason: str | None
    attempt: int
    launches: int
    claimed_by: str | None
    lease_until: datetime | None
    created_at: datetime
    launched_at: datetime | None
    kind: str = BACKTEST

    @property
    def is_sweep(self) -> bool:
        return self.kind == SWEEP


@dataclass(frozen=True, kw_only=True)
class Run(ActiveRun):
    """One row: what was asked, where it stands, its headline numbers."""

    request: str
    ticker: str
    rule_id: str
    prices_fingerprint: str
    rules_digest: str
    message: str | None
    reused_from: str | None = None
    evidence: str | None = None
    benchmark_fingerprint: str | None = None
    started_at: datetime | None
    finished_at: datetime | None
    total_return_pct: float | None
    sharpe_ratio: float | None
    max_drawdown_pct: float | None
    num_trades: int | None
    buy_and_hold_return_pct: float | None = None
    batch_id: str | None = None
    start_date: str | None = None
    end_date: str | None = None
    costs_pct: float | None = None

    @property
    def excess_pct(self) -> float | None:
        """Percentage points of return beyond holding the ticker."""
        if self.total_return_pct is None or self.buy_and_hold_return_pct is None:
            return None
        return self.total_return_pct - self.buy_and_hold_return_pct

    @property
    def attached(self) -> bool:
        """Whether it waits for the end of an identical run instead of a job of its own."""
        return self.status == Status.PENDING and self.reused_from is not None


@dataclass(frozen=True)
class StoredResult:
    """What a completed run left behind.

    `result` is the canonical JSON without the figure, `table_csv` the equity curve of a backtest
    or the combinations of a sweep, `chart_base64` the figure as a data URL. `overview` is the JSON
    of what the page of a long run shows first.
    """

    result: str
    table_csv: str
    chart_base64: str | None
    overview: str | None = None


FINAL = tuple(status for status in Status if status.final)
IS_UNFINISHED = runs.c.status.in_((Status.PENDING, Status.RUNNING))

# Pending, without a job, and waiting for a job of its own. The order of the columns is that of
# the index ix_runs_queue.
IS_QUEUED = and_(
    runs.c.status == Status.PENDING,
    runs.c.launched_at.is_(None),
    runs.c.reused_from.is_(None),
)

CANCELLED_VALUES: Mapping[str, Any] = {
    "status": Status.CANCELLED,
    "reason": Reason.CANCELLED_BY_USER,
    "message": "Cancelled.",
    "finished_at": utc_in(),
    "lease_until": None,
}


def is_held_by(attempt: int) -> ColumnElement[bool]:
    """Whether this attempt still has the run."""
    return and_(runs.c.status == Status.RUNNING, runs.c.attempt == attempt)


def failure_values(reason: str, message: str | None, evidence: str | None = None) -> dict[str, Any]:
    """The columns of a run that ends without a result."""
    return {
        "status": Status.FAILED,
        "reason": reason,
        "message": fitting_message(message),
        "evidence": evidence,
        "finished_at": utc_in(),
        "lease_until": None,
    }


def fitting_message(message: str | None) -> str | None:
    """The message, cut to what its column holds: those of a cluster can be longer."""
    if message is None or len(message) <= MAX_MESSAGE_CHARACTERS:
        return message
    return message[: MAX_MESSAGE_CHARACTERS - 3] + "..."


def columns_of(row_type: type[ActiveRun]) -> list[Column[Any]]:
    """The columns of a Run, or of an ActiveRun."""
    return [runs.c[field.name] for field in fields(row_type)]


def run_from(row: Row[Any]) -> Run:
    """A row of `columns_of(Run)`."""
    return Run(**{**row._mapping, "status": Status(row.status)})


def update_run(
    connection: Connection,
    run_id: str,
    condition: ColumnElement[bool],
    values: Mapping[str, Any],
) -> bool:
    """Compare and set: changes the row where the condition holds, and says whether it did."""
    statement = update(runs).where(runs.c.run_id == run_id, condition).values(values)
    return connection.execute(statement).rowcount == 1


class RunStore(Store):
    """What every process asks of the table of runs.

    Every change of status is a compare-and-set: whoever comes second changes no row.
    """

    def get(self, run_id: str) -> Run | None:
        """One row, by its unique index."""
        query = select(*columns_of(Run)).where(runs.c.run_id == run_id)
        row = self._read(lambda connection: connection.execute(query).one_or_none())
        return None if row is None else run_from(row)

    def _update(self, run_id: str, condition: ColumnElement[bool], **values: Any) -> bool:
        return self._write(lambda connection: update_run(connection, run_id, condition, values))

    def _count(self, query: Select[Any], limit: int | None) -> int:
        """How many rows the query has, counted to `limit`, or to the end where it is None."""
        total = select(func.count()).select_from(query.limit(limit).subquery())
        return self._read(lambda connection: connection.scalar(total)) or 0

    def _select(self, condition: ColumnElement[bool], limit: int | None = None) -> list[Run]:
        query = select(*columns_of(Run)).where(condition).order_by(runs.c.id).limit(limit)
        rows = self._read(lambda connection: connection.execute(query).all())
        return [run_from(row) for row in rows]
