"""Runs in the database. Every change of status is compare-and-set: the losing side sees 0 rows and leaves quietly."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Engine, Row, and_, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from service.contract.status import Reason, Status
from service.store.database import utc_in
from service.store.tables import figures, results, runs

MOST_CHARACTERS = 4000


@dataclass(frozen=True)
class Run:
    """One row: what was asked, where it stands, its headline numbers. Times are UTC."""

    id: int
    run_id: str
    request: str
    ticker: str
    rule_id: str
    prices_fingerprint: str
    rules_digest: str
    status: Status
    reason: str | None
    message: str | None
    attempt: int
    launches: int
    claimed_by: str | None
    lease_until: datetime | None
    created_at: datetime
    launched_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    total_return_pct: float | None
    sharpe_ratio: float | None
    max_drawdown_pct: float | None
    num_trades: int | None


@dataclass(frozen=True)
class StoredResult:
    """What a completed run left: canonical JSON without the figure, the equity table, the figure as a data URL."""

    result: str
    equity_csv: str
    chart_base64: str | None


class RunStore:
    """The runs of one database."""

    def __init__(self, engine: Engine, lease_seconds: int = 60) -> None:
        self._engine, self.lease_seconds = engine, lease_seconds

    # what the web asks

    def add(self, values: Mapping[str, Any]) -> bool:
        """Records a pending run and commits; False when its run_id is taken."""
        row = {"status": Status.PENDING, "attempt": 0, "launches": 0, "created_at": utc_in(), **values}
        try:
            with self._engine.begin() as connection:
                connection.execute(insert(runs).values(row))
        except IntegrityError:
            return False
        return True

    def get(self, run_id: str) -> Run | None:
        """One row, by its unique index."""
        with self._engine.connect() as connection:
            row = connection.execute(select(runs).where(runs.c.run_id == run_id)).one_or_none()
        return None if row is None else _run(row)

    def latest(self, limit: int, before: int | None = None, **equal: str | None) -> list[Run]:
        """The newest first, `before` an id for the next page, filtered by the columns named in `equal`."""
        query = select(runs).order_by(runs.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(runs.c.id < before)
        for name, value in equal.items():
            if value:
                query = query.where(runs.c[name] == value)
        with self._engine.connect() as connection:
            return [_run(row) for row in connection.execute(query)]

    def cancel(self, run_id: str) -> bool:
        """A waiting run ends here; one that was launched is left to the controller. False when it had ended."""
        queued = and_(runs.c.status == Status.PENDING, runs.c.launched_at.is_(None))
        live = runs.c.status.in_((Status.PENDING, Status.RUNNING))
        return self._change(run_id, queued, **_CANCELLED) or self._change(run_id, live, status=Status.CANCELLING)

    def counts(self) -> dict[str, int]:
        """How many runs are in each state."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(runs.c.status, func.count().label("total")).group_by(runs.c.status))
            return {row.status: row.total for row in rows}

    def queue_position(self, run: Run) -> int:
        """How many pending runs came before this one."""
        earlier = and_(runs.c.status == Status.PENDING, runs.c.id < run.id)
        with self._engine.connect() as connection:
            return connection.scalar(select(func.count()).select_from(runs).where(earlier)) or 0

    def pending_count(self) -> int:
        """How many runs wait for a worker."""
        with self._engine.connect() as connection:
            return connection.scalar(select(func.count()).select_from(runs).where(runs.c.status == Status.PENDING)) or 0

    def result(self, run_id: str) -> StoredResult | None:
        """What the completed run left, figure and all."""
        query = (
            select(results.c.result, results.c.equity_csv, figures.c.chart_base64)
            .join(figures, figures.c.run_id == results.c.run_id, isouter=True)
            .where(results.c.run_id == run_id)
        )
        with self._engine.connect() as connection:
            row = connection.execute(query).one_or_none()
        return (
            None
            if row is None
            else StoredResult(row.result, zlib.decompress(row.equity_csv).decode(), row.chart_base64)
        )

    # what a worker does

    def claim(self, run_id: str, worker: str) -> int | None:
        """Takes a pending run, or a running one whose worker is silent; the new attempt, or None."""
        free = or_(
            runs.c.status == Status.PENDING,
            and_(runs.c.status == Status.RUNNING, runs.c.lease_until < utc_in()),
        )
        values = {
            "status": Status.RUNNING,
            "attempt": runs.c.attempt + 1,
            "claimed_by": worker,
            "lease_until": utc_in(self.lease_seconds),
            "started_at": func.coalesce(runs.c.started_at, utc_in()),
            "reason": None,
            "message": None,
        }
        if not self._change(run_id, free, **values):
            return None
        run = self.get(run_id)
        return run.attempt if run and run.claimed_by == worker else None

    def renew(self, run_id: str, attempt: int) -> bool:
        """Keeps the lease; False when the run was taken away."""
        return self._change(run_id, _held(attempt), lease_until=utc_in(self.lease_seconds))

    def release(self, run_id: str, attempt: int) -> bool:
        """Gives a claimed run back; its job, or else the controller, tries it again."""
        return self._change(run_id, _held(attempt), status=Status.PENDING, lease_until=None)

    def finish(self, run_id: str, attempt: int, stored: StoredResult, headline: Mapping[str, Any]) -> bool:
        """Result and status in one transaction; False, and nothing stored, when the run was taken away."""
        table = {"run_id": run_id, "result": stored.result, "equity_csv": zlib.compress(stored.equity_csv.encode(), 6)}
        done = {"status": Status.COMPLETED, "finished_at": utc_in(), "reason": None, "message": None}
        values = {**done, "lease_until": None, **headline}
        with self._engine.begin() as connection:
            held = and_(runs.c.run_id == run_id, _held(attempt))
            if not connection.execute(update(runs).where(held).values(values)).rowcount:
                return False
            connection.execute(insert(results).values(table))
            if stored.chart_base64 is not None:
                connection.execute(insert(figures).values(run_id=run_id, chart_base64=stored.chart_base64))
        return True

    def fail_attempt(self, run_id: str, attempt: int, reason: str, message: str) -> bool:
        """Ends a run that this attempt holds."""
        return self._end(run_id, _held(attempt), reason, message)

    # what the controller does

    def active(self) -> list[Run]:
        """Every run that was launched and has not ended, oldest first."""
        launched = and_(runs.c.status == Status.PENDING, runs.c.launched_at.is_not(None))
        return self._select(or_(runs.c.status.in_((Status.RUNNING, Status.CANCELLING)), launched))

    def queued(self, limit: int) -> list[Run]:
        """Pending runs not launched yet, oldest first."""
        return self._select(and_(runs.c.status == Status.PENDING, runs.c.launched_at.is_(None)), limit)

    def mark_launched(self, run_id: str) -> bool:
        """Takes a queued run for launching; False when somebody else did."""
        queued = and_(runs.c.status == Status.PENDING, runs.c.launched_at.is_(None))
        values = {"launched_at": utc_in(), "launches": runs.c.launches + 1, "claimed_by": None}
        values |= {"reason": None, "message": None}
        return self._change(run_id, queued, **values)

    def requeue(self, run: Run, spent: int = 1, reason: str | None = None, message: str | None = None) -> bool:
        """Back to the queue, unless it ended or was launched anew since it was seen; `spent` of its launches count."""
        free = {"status": Status.PENDING, "launched_at": None, "claimed_by": None, "lease_until": None}
        why = {"reason": reason, "message": _cut(message)}
        return self._change(run.run_id, _same_launch(run), launches=run.launches - 1 + spent, **free, **why)

    def note(self, run: Run, reason: str | None, message: str | None) -> bool:
        """What the run waits for, for its user to see; nothing else about it changes."""
        waits = and_(runs.c.status == Status.PENDING, runs.c.launches == run.launches, runs.c.attempt == run.attempt)
        return self._change(run.run_id, waits, reason=reason, message=_cut(message))

    def cancelled(self, run_id: str) -> bool:
        """Ends a run that was to be cancelled, once its job is gone."""
        return self._change(run_id, runs.c.status == Status.CANCELLING, **_CANCELLED)

    def fail(self, run: Run, reason: str, message: str) -> bool:
        """Ends the run, unless it ended or was launched anew since it was seen."""
        return self._end(run.run_id, _same_launch(run), reason, message)

    def now(self) -> datetime:
        """The database's clock, UTC."""
        with self._engine.connect() as connection:
            moment = connection.scalar(select(utc_in()))
        assert isinstance(moment, datetime)
        return moment

    def _end(self, run_id: str, condition: ColumnElement[bool], reason: str, message: str) -> bool:
        ended = {
            "status": Status.FAILED,
            "reason": reason,
            "message": _cut(message),
            "finished_at": utc_in(),
            "lease_until": None,
        }
        return self._change(run_id, condition, **ended)

    def _change(self, run_id: str, condition: ColumnElement[bool], **values: Any) -> bool:
        with self._engine.begin() as connection:
            statement = update(runs).where(runs.c.run_id == run_id, condition).values(values)
            return connection.execute(statement).rowcount == 1

    def _select(self, condition: ColumnElement[bool], limit: int | None = None) -> list[Run]:
        with self._engine.connect() as connection:
            return [
                _run(row) for row in connection.execute(select(runs).where(condition).order_by(runs.c.id).limit(limit))
            ]


def _cut(message: str | None) -> str | None:
    """A cluster's messages can be longer than a column."""
    return message if message is None or len(message) <= MOST_CHARACTERS else message[: MOST_CHARACTERS - 3] + "..."


def _held(attempt: int) -> ColumnElement[bool]:
    return and_(runs.c.status == Status.RUNNING, runs.c.attempt == attempt)


def _same_launch(run: Run) -> ColumnElement[bool]:
    """Pending or running: a worker that is told to end releases its run on the way."""
    return and_(runs.c.status.in_((Status.PENDING, Status.RUNNING)), runs.c.launches == run.launches)


_CANCELLED = {
    "status": Status.CANCELLED,
    "reason": Reason.CANCELLED_BY_USER,
    "message": "Cancelled.",
    "finished_at": utc_in(),
    "lease_until": None,
}
_NAMES: Sequence[str] = [field.name for field in fields(Run)]


def _run(row: Row[Any]) -> Run:
    values = {name: getattr(row, name) for name in _NAMES}
    return Run(**{**values, "status": Status(values["status"])})
