"""Runs as the controller sees them: queued, launched, brought back, ended, expired."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, and_, delete, or_, select, update

from service.contract.result import HEADLINE
from service.contract.status import SWEEP, Status
from service.store.database import utc_in
from service.store.requests import LEADING, answered, bequeath
from service.store.rows import (
    CANCELLED,
    FINAL,
    QUEUED,
    UNFINISHED,
    ActiveRun,
    Run,
    RunRows,
    columns,
    cut,
    failed,
)
from service.store.shards import give_back
from service.store.tables import runs

LAUNCHED = or_(
    runs.c.status.in_((Status.RUNNING, Status.CANCELLING)),
    and_(runs.c.status == Status.PENDING, runs.c.launched_at.is_not(None)),
)


@dataclass(frozen=True)
class EndedRun:
    """How a run ended and how long it took: `waited` until its first worker, then `seconds`, or None without one.

    `explained`: what was seen of its job stands at it.
    """

    run_id: str
    status: str
    reason: str | None
    explained: bool
    waited: float | None
    seconds: float | None

    @property
    def failed_by_worker(self) -> bool:
        """It had one, and nobody has said yet what was seen of it."""
        return self.status == Status.FAILED and self.seconds is not None and not self.explained


class DispatchedRuns(RunRows):
    """What the controller does with runs."""

    def active(self) -> list[ActiveRun]:
        """Every run that was launched and has not ended, oldest first."""
        query = select(*columns(ActiveRun)).where(LAUNCHED).order_by(runs.c.id)
        with self._engine.connect() as connection:
            rows = connection.execute(query)
            return [ActiveRun(**{**row._mapping, "status": Status(row.status)}) for row in rows]

    def active_clients(self) -> dict[str, str]:
        """The clients of those runs, by run_id."""
        with self._engine.connect() as connection:
            return {
                row.run_id: row.client
                for row in connection.execute(select(runs.c.run_id, runs.c.client).where(LAUNCHED))
            }

    def queued(self, limit: int) -> list[Run]:
        """Pending runs not launched yet, oldest first."""
        return self._select(QUEUED, limit)

    def waiting_clients(self, after: str | None, limit: int) -> list[str]:
        """The clients with queued runs, by name; a step of the index for each, however many runs they have."""
        found: list[str] = []
        query = select(runs.c.client).where(QUEUED).order_by(runs.c.client).limit(1)
        with self._engine.connect() as connection:
            while len(found) < limit:
                following = query if after is None else query.where(runs.c.client > after)
                after = connection.scalar(following)
                if after is None:
                    break
                found.append(after)
        return found

    def queued_of(self, client: str, limit: int) -> list[Run]:
        """As `queued`, of one client."""
        return self._select(and_(QUEUED, runs.c.client == client), limit)

    def mark_launched(self, run_id: str) -> bool:
        """Takes a queued run for launching; False when somebody else did."""
        values = {"launched_at": utc_in(), "launches": runs.c.launches + 1, "claimed_by": None}
        return self._change(run_id, QUEUED, **values, reason=None, message=None)

    def requeue(
        self, run: ActiveRun, spent: int = 1, reason: str | None = None, message: str | None = None
    ) -> bool:
        """Back to the queue, unless it ended or was launched anew since it was seen; `spent` of its launches count."""
        free = {
            "status": Status.PENDING,
            "launched_at": None,
            "claimed_by": None,
            "lease_until": None,
        }
        values = {
            **free,
            "launches": run.launches - 1 + spent,
            "reason": reason,
            "message": cut(message),
        }

        def write(connection: Connection) -> bool:
            changed = self._changed(connection, run.run_id, _same_launch(run), values)
            if changed and run.kind == SWEEP and not spent and run.status == Status.RUNNING:
                give_back(connection, run.run_id)
            return changed

        return self._write(write)

    def note(self, run: ActiveRun, reason: str | None, message: str | None) -> bool:
        """What the run waits for, for its user to see; nothing else about it changes."""
        waits = and_(
            runs.c.status == Status.PENDING,
            runs.c.launches == run.launches,
            runs.c.attempt == run.attempt,
        )
        return self._change(run.run_id, waits, reason=reason, message=cut(message))

    def cancelling(self) -> bool:
        """Whether somebody waits for a run to be cancelled."""
        query = select(runs.c.id).where(runs.c.status == Status.CANCELLING).limit(1)
        with self._engine.connect() as connection:
            return connection.scalar(query) is not None

    def explain(self, run_id: str, evidence: str | None) -> bool:
        """What was seen of the job of a run that its worker has ended."""
        unexplained = and_(runs.c.status == Status.FAILED, runs.c.evidence.is_(None))
        return self._change(run_id, unexplained, evidence=evidence)

    def cancelled(self, run_id: str) -> bool:
        """Ends a run that was to be cancelled, once its job is gone."""
        return self._change(run_id, runs.c.status == Status.CANCELLING, **CANCELLED)

    def fail(self, run: ActiveRun, reason: str, message: str, evidence: str | None = None) -> bool:
        """Ends the run, unless it ended or was launched anew since it was seen."""
        return self._end(run.run_id, _same_launch(run), failed(reason, message, evidence))

    def ended(self, run_ids: Collection[str]) -> list[EndedRun]:
        """How those of the runs ended that have."""
        names = ("run_id", "status", "reason", "created_at", "started_at", "finished_at")
        wanted = [
            *(runs.c[name] for name in names),
            runs.c.evidence.is_not(None).label("explained"),
        ]
        query = select(*wanted).where(runs.c.run_id.in_(run_ids), runs.c.status.in_(FINAL))
        with self._engine.connect() as connection:
            rows = connection.execute(query).all() if run_ids else []
        return [
            EndedRun(
                run_id,
                status,
                reason,
                explained,
                _seconds(created, started),
                _seconds(started, finished),
            )
            for run_id, status, reason, created, started, finished, explained in rows
        ]

    def expire(
        self, days: float, limit: int, after: datetime | None
    ) -> tuple[int, datetime | None]:
        """Deletes runs that ended so long ago, results and all; how many, and where to go on, None at the end.

        Looks at `limit` of them, from `after` on. One that others were answered from stays as long as those do.
        """
        old = runs.c.finished_at < utc_in(-int(days * 86_400))
        old = old if after is None else and_(old, runs.c.finished_at >= after)
        query = (
            select(runs.c.run_id, runs.c.finished_at)
            .where(old)
            .order_by(runs.c.finished_at)
            .limit(limit)
        )
        with self._engine.connect() as connection:
            rows = connection.execute(query).all()
        gone = self._write(lambda connection: _delete(connection, {row.run_id for row in rows}))
        return gone, rows[-1].finished_at if len(rows) == limit else None

    def astray(self, limit: int) -> int:
        """Brings runs back that wait for one that has ended; how many.

        A release that knows nothing of attached runs (0.1.0, while an upgrade is under way) ends their leader alone.
        """
        leader = runs.alias()
        attached = and_(
            runs.c.status == Status.PENDING,
            runs.c.launched_at.is_(None),
            runs.c.reused_from.is_not(None),
        )
        ended = leader.c.status.not_in((Status.PENDING, Status.RUNNING))
        query = (
            select(runs.c.reused_from)
            .join(leader, leader.c.run_id == runs.c.reused_from, isouter=True)
            .where(attached, or_(leader.c.run_id.is_(None), ended))
            .limit(limit)
        )
        with self._engine.connect() as connection:
            leaders = set(connection.scalars(query))
        for run_id in leaders:
            self._write(lambda connection, run_id=run_id: _settle(connection, run_id))  # type: ignore[misc]
        return len(leaders)

    def now(self) -> datetime:
        """The database's clock, UTC."""
        with self._engine.connect() as connection:
            moment = connection.scalar(select(utc_in()))
        assert isinstance(moment, datetime)
        return moment


def _same_launch(run: ActiveRun) -> ColumnElement[bool]:
    """Pending or running: a worker that is told to end releases its run on the way."""
    seen = and_(
        UNFINISHED, runs.c.launches == run.launches
    )  # a number that comes again where a launch did not count
    return seen if run.launched_at is None else and_(seen, runs.c.launched_at == run.launched_at)


def _seconds(start: datetime | None, end: datetime | None) -> float | None:
    return None if start is None or end is None else (end - start).total_seconds()


def _delete(connection: Connection, run_ids: Collection[str]) -> int:
    """Locks before it looks: from then on nobody is answered from them."""
    if not run_ids:
        return 0
    ours = connection.scalars(
        select(runs.c.run_id).where(runs.c.run_id.in_(run_ids)).with_for_update()
    ).all()
    needed = connection.scalars(
        select(runs.c.reused_from).where(runs.c.reused_from.in_(ours))
    ).all()
    gone = and_(runs.c.run_id.in_(set(ours) - set(needed)), runs.c.status.in_(FINAL))
    return connection.execute(delete(runs).where(gone)).rowcount


def _settle(connection: Connection, leader_id: str) -> None:
    """Those attached are answered, or one of them leads."""
    wanted = [runs.c[name] for name in ("status", "leads", *HEADLINE)]
    leader = connection.execute(
        select(*wanted).where(runs.c.run_id == leader_id).with_for_update()
    ).one_or_none()
    attached = and_(runs.c.reused_from == leader_id, runs.c.status == Status.PENDING)
    if leader is not None and leader.status == Status.COMPLETED:
        connection.execute(
            update(runs).where(attached).values(**answered(leader), finished_at=utc_in())
        )
    elif leader is None or leader.status not in LEADING:
        connection.execute(update(runs).where(runs.c.run_id == leader_id).values(leads=None))
        bequeath(connection, leader_id, None if leader is None else leader.leads)
