"""Runs as the web sees them: recorded, listed, counted, cancelled, answered from an identical one."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Insert,
    Row,
    and_,
    func,
    insert,
    literal,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from service.contract.result import HEADLINE
from service.contract.status import Status
from service.store.database import utc_in
from service.store.rows import CANCELLED, QUEUED, UNFINISHED, Run, RunRows, columns, run_of
from service.store.tables import figures, results, runs

LEADING = (Status.PENDING, Status.RUNNING, Status.COMPLETED)
More = Iterable[Insert]  # what is recorded with a run
MOST_COUNTED = 1000  # a longer queue is not counted to its end at every look


@dataclass(frozen=True)
class StoredResult:
    """What a completed run left: canonical JSON without the figure, the equity table, the figure as a data URL."""

    result: str
    equity_csv: str
    chart_base64: str | None


class AskedRuns(RunRows):
    """What the web does with runs."""

    def add(self, values: Mapping[str, Any], work: str | None = None, more: More = ()) -> bool:
        """Records a run, and `more` that belongs to it, and commits; False when its run_id is taken.

        `work` is the fingerprint of all that decides its result. When another run leads that work (waits, computes or
        has completed), this one is attached to it or completed at once; without `work` it is computed anew.
        """
        row = {
            "status": Status.PENDING,
            "attempt": 0,
            "launches": 0,
            "created_at": utc_in(),
            **values,
        }
        while True:
            try:
                self._write(
                    lambda connection: _add(connection, {**row, **_twin(connection, work)}, more)
                )
                return True
            except IntegrityError:
                if self.get(values["run_id"]) is not None:
                    return False
                if work is None or not self.leads(work):
                    raise
                # Another run began to lead the same work a moment ago: attach to that one.

    def leads(self, work: str) -> bool:
        """Whether a run leads this work, so that another one like it costs nothing."""
        with self._engine.connect() as connection:
            return connection.scalar(select(runs.c.id).where(runs.c.leads == work)) is not None

    def latest(self, limit: int, before: int | None = None, **equal: str | None) -> list[Run]:
        """The newest first, `before` an id for the next page, filtered by the columns named in `equal`."""
        query = select(*columns(Run)).order_by(runs.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(runs.c.id < before)
        for name, value in equal.items():
            if value:
                query = query.where(runs.c[name] == value)
        with self._engine.connect() as connection:
            return [run_of(row) for row in connection.execute(query)]

    def cancel(self, run_id: str) -> bool:
        """A waiting run ends here; one that was launched is left to the controller. False when it had ended.

        An identical run attached to it takes its place: its user did not cancel.
        """
        return self._write(lambda connection: self._cancel(connection, run_id))

    def _cancel(self, connection: Connection, run_id: str) -> bool:
        waiting = and_(runs.c.status == Status.PENDING, runs.c.launched_at.is_(None))
        cancelling = {"status": Status.CANCELLING, "leads": None}
        led = connection.scalar(
            select(runs.c.leads).where(runs.c.run_id == run_id).with_for_update()
        )
        changed = self._changed(
            connection, run_id, waiting, {**CANCELLED, "leads": None}
        ) or self._changed(connection, run_id, UNFINISHED, cancelling)
        if changed and led is not None:
            bequeath(connection, run_id, led)
        return changed

    def counts(self) -> dict[str, int]:
        """How many runs are in each state."""
        with self._engine.connect() as connection:
            rows = connection.execute(
                select(runs.c.status, func.count().label("total")).group_by(runs.c.status)
            )
            return {row.status: row.total for row in rows}

    def failures(self) -> dict[str, int]:
        """How many runs failed, by reason."""
        failed = runs.c.status == Status.FAILED
        query = (
            select(runs.c.reason, func.count().label("total")).where(failed).group_by(runs.c.reason)
        )
        with self._engine.connect() as connection:
            return {str(row.reason): row.total for row in connection.execute(query)}

    def queue_position(self, run: Run) -> int:
        """How many queued runs came before this one, counted to 1,000 at most."""
        return self._count(and_(QUEUED, runs.c.id < run.id), MOST_COUNTED)

    def queued_count(self, most: int | None = MOST_COUNTED) -> int:
        """How many runs wait for a job, counted to `most` or to the end."""
        return self._count(QUEUED, most)

    def queue(self) -> tuple[int, float | None]:
        """How many runs wait for a job, and for how many seconds the first of them has."""
        head = (
            select(runs.c.created_at, utc_in().label("now"))
            .where(QUEUED)
            .order_by(runs.c.id)
            .limit(1)
        )
        with self._engine.connect() as connection:
            row = connection.execute(head).one_or_none()
        if row is None:
            return 0, None
        return self.queued_count(most=None), (row.now - row.created_at).total_seconds()

    def recent_count(self, client: str, seconds: int, most: int) -> int:
        """How many runs a client recorded in the last seconds, counted to `most`."""
        return self._count(
            and_(runs.c.client == client, runs.c.created_at > utc_in(-seconds)), most
        )

    def _count(self, condition: ColumnElement[bool], most: int | None) -> int:
        some = select(literal(1)).select_from(runs).where(condition).limit(most).subquery()
        with self._engine.connect() as connection:
            return connection.scalar(select(func.count()).select_from(some)) or 0

    def result_of(self, run: Run) -> StoredResult | None:
        """Its own result, or else that of the run it was answered from.

        Release 0.1.0, which knows nothing of attached runs, performs them as any other.
        """
        own = self.result(run.run_id)
        return own if own is not None or run.reused_from is None else self.result(run.reused_from)

    def result(self, run_id: str) -> StoredResult | None:
        """What this run left itself, figure and all."""
        query = (
            select(results.c.result, results.c.equity_csv, figures.c.chart_base64)
            .join(figures, figures.c.run_id == results.c.run_id, isouter=True)
            .where(results.c.run_id == run_id)
        )
        with self._engine.connect() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        return StoredResult(row.result, zlib.decompress(row.equity_csv).decode(), row.chart_base64)


def _add(connection: Connection, row: Mapping[str, Any], more: More) -> None:
    for statement in (insert(runs).values(row), *more):
        connection.execute(statement)


def _twin(connection: Connection, work: str | None) -> dict[str, Any]:
    """The columns that tie a new run to the one that leads its work, or make it the leader.

    The lock keeps the leader from ending until the new row is there to be ended with it.
    """
    if work is None:
        return {}
    wanted = [runs.c[name] for name in ("run_id", "status", *HEADLINE)]
    leader = connection.execute(
        select(*wanted).where(runs.c.leads == work).with_for_update()
    ).one_or_none()
    if leader is None:
        return {"leads": work}
    if leader.status not in LEADING:  # release 0.1.0, which knows nothing of all this, ended it
        connection.execute(update(runs).where(runs.c.run_id == leader.run_id).values(leads=None))
        return {"leads": work}
    twin = {"reused_from": leader.run_id}
    if leader.status != Status.COMPLETED:
        return twin
    return {**twin, **answered(leader), "started_at": utc_in(), "finished_at": utc_in()}


def answered(leader: Row[Any]) -> dict[str, Any]:
    """What a run becomes whose leader has completed."""
    return {"status": Status.COMPLETED, **{name: getattr(leader, name) for name in HEADLINE}}


def bequeath(connection: Connection, run_id: str, work: str | None) -> None:
    """The oldest run attached to one that left leads the work from now on, with its own place in the queue.

    Each change looks again: an attached run may be cancelled at the same moment.
    """
    attached = and_(runs.c.reused_from == run_id, runs.c.status == Status.PENDING)
    heir = None
    for candidate in connection.scalars(
        select(runs.c.run_id).where(attached).order_by(runs.c.id)
    ).all():
        values = {"reused_from": heir} if heir else {"reused_from": None, "leads": work}
        if connection.execute(
            update(runs).where(runs.c.run_id == candidate, attached).values(values)
        ).rowcount:
            heir = heir or candidate
