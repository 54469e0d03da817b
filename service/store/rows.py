"""Rows of the table of runs: what is read of them, and the one way in which they change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Column, ColumnElement, Connection, Engine, Row, and_, select, update
from sqlalchemy.exc import OperationalError

from service.contract.status import BACKTEST, Reason, Status
from service.store.database import utc_in
from service.store.tables import runs

T = TypeVar("T")
MOST_CHARACTERS = 4000
DEADLOCK, TRIES = 1213, 5  # MySQL ends one of two transactions that wait for each other


@dataclass(frozen=True, kw_only=True)
class ActiveRun:
    """What the controller looks at in every pass, and no more: there may be thousands. Times are UTC."""

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
    started_at: datetime | None
    finished_at: datetime | None
    total_return_pct: float | None
    sharpe_ratio: float | None
    max_drawdown_pct: float | None
    num_trades: int | None

    @property
    def attached(self) -> bool:
        """Whether it waits for the end of an identical run instead of a job of its own."""
        return self.status == Status.PENDING and self.reused_from is not None


# Pending, no job yet and none wanted but its own: the order of the columns is that of the index of the queue.
QUEUED = and_(
    runs.c.status == Status.PENDING, runs.c.launched_at.is_(None), runs.c.reused_from.is_(None)
)
FINAL = tuple(status for status in Status if status.final)
UNFINISHED = runs.c.status.in_((Status.PENDING, Status.RUNNING))
CANCELLED: Mapping[str, Any] = {
    "status": Status.CANCELLED,
    "reason": Reason.CANCELLED_BY_USER,
    "message": "Cancelled.",
    "finished_at": utc_in(),
    "lease_until": None,
}


def held(attempt: int) -> ColumnElement[bool]:
    """Whether this attempt still has the run."""
    return and_(runs.c.status == Status.RUNNING, runs.c.attempt == attempt)


def failed(reason: str, message: str | None, evidence: str | None = None) -> dict[str, Any]:
    """What a run becomes that ends without a result."""
    values = {
        "status": Status.FAILED,
        "reason": reason,
        "message": cut(message),
        "evidence": evidence,
    }
    return {**values, "finished_at": utc_in(), "lease_until": None}


def cut(message: str | None) -> str | None:
    """A cluster's messages can be longer than a column."""
    return (
        message
        if message is None or len(message) <= MOST_CHARACTERS
        else message[: MOST_CHARACTERS - 3] + "..."
    )


def columns(kind: type[ActiveRun]) -> list[Column[Any]]:
    """The columns of a Run, or of an ActiveRun."""
    return [runs.c[field.name] for field in fields(kind)]


def run_of(row: Row[Any]) -> Run:
    """A row of `columns(Run)`."""
    return Run(**{**row._mapping, "status": Status(row.status)})


class RunRows:
    """The table of runs. Every change of status is compare-and-set: the losing side sees 0 rows and leaves quietly."""

    def __init__(self, engine: Engine, lease_seconds: int = 60) -> None:
        self._engine, self.lease_seconds = engine, lease_seconds

    def get(self, run_id: str) -> Run | None:
        """One row, by its unique index."""
        with self._engine.connect() as connection:
            row = connection.execute(
                select(*columns(Run)).where(runs.c.run_id == run_id)
            ).one_or_none()
        return None if row is None else run_of(row)

    def _write(self, action: Callable[[Connection], T]) -> T:
        """One transaction, tried again where MySQL ended it for the sake of another one.

        It may read before it writes: in SQLite one that did not say so could not wait for another writer.
        """
        for more in reversed(range(TRIES)):
            try:
                with self._engine.connect() as given:
                    connection = given.execution_options(begin="BEGIN IMMEDIATE")
                    with connection.begin():
                        return action(connection)
            except OperationalError as error:
                if not more or error.orig is None or error.orig.args[0] != DEADLOCK:
                    raise
        raise AssertionError("the last try returns or raises")

    def _change(self, run_id: str, condition: ColumnElement[bool], **values: Any) -> bool:
        return self._write(lambda connection: self._changed(connection, run_id, condition, values))

    def _end(self, run_id: str, condition: ColumnElement[bool], values: Mapping[str, Any]) -> bool:
        return self._write(lambda connection: self._ended(connection, run_id, condition, values))

    def _ended(
        self,
        connection: Connection,
        run_id: str,
        condition: ColumnElement[bool],
        values: Mapping[str, Any],
    ) -> bool:
        """Ends the run and the identical ones attached to it; only one that completed is answered from later on."""
        leads = {} if values["status"] == Status.COMPLETED else {"leads": None}
        if not self._changed(connection, run_id, condition, {**values, **leads}):
            return False
        attached = and_(runs.c.reused_from == run_id, runs.c.status == Status.PENDING)
        connection.execute(update(runs).where(attached).values({**values, "evidence": None}))
        return True

    def _changed(
        self,
        connection: Connection,
        run_id: str,
        condition: ColumnElement[bool],
        values: Mapping[str, Any],
    ) -> bool:
        statement = update(runs).where(runs.c.run_id == run_id, condition).values(values)
        return connection.execute(statement).rowcount == 1

    def _select(self, condition: ColumnElement[bool], limit: int | None = None) -> list[Run]:
        query = select(*columns(Run)).where(condition).order_by(runs.c.id).limit(limit)
        with self._engine.connect() as connection:
            return [run_of(row) for row in connection.execute(query)]
