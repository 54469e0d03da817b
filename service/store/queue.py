"""What the controller asks of the database: what waits, what is at work, what has ended."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Double,
    Integer,
    String,
    and_,
    cast,
    or_,
    select,
    update,
)

from service.contract.status import Reason, Status
from service.store.database import utc_in
from service.store.identical import end_run
from service.store.rows import (
    CANCELLED_VALUES,
    FINAL,
    IS_LAUNCHED,
    IS_QUEUED,
    IS_UNFINISHED,
    UNREADABLE_CHARACTER,
    ActiveRun,
    Run,
    RunStore,
    active_run_from,
    bad_row_message,
    columns_of,
    failure_values,
    fitting_message,
    marked_text,
    update_run,
)
from service.store.shards import (
    count_shards,
    give_back_shards,
)
from service.store.tables import Moment, runs

MAX_EVIDENCE = 200  # characters of each column


@dataclass(frozen=True)
class EndedRun:
    """How a run ended, and how long it took.

    `waited` are the seconds until its first worker, `seconds` those from then on; both are None
    without a worker. `explained`: its row has the evidence of its job.
    """

    run_id: str
    status: str
    reason: str | None
    explained: bool
    waited: float | None
    seconds: float | None

    @property
    def lacks_evidence(self) -> bool:
        """Whether its worker ended it as failed, and nobody has stored what its job showed."""
        return self.status == Status.FAILED and self.seconds is not None and not self.explained


class QueueStore(RunStore):
    """The runs of one database, as the controller sees them."""

    def active(self) -> list[ActiveRun]:
        """Every run that was launched and has not ended, oldest first."""
        query = select(*columns_of(ActiveRun)).where(IS_LAUNCHED).order_by(runs.c.id)
        rows = self._read(lambda connection: connection.execute(query).all())
        return [active_run_from(row) for row in rows]

    def active_clients(self) -> dict[str, str]:
        """The clients of those runs, by run_id."""
        query = select(runs.c.run_id, runs.c.client).where(IS_LAUNCHED)
        rows = self._read(lambda connection: connection.execute(query).all())
        return {row.run_id: row.client for row in rows}

    def queued(self, limit: int) -> list[Run]:
        """Pending runs that were not launched yet, oldest first."""
        return self._select(IS_QUEUED, limit)

    def waiting_clients(self, after: str | None, limit: int) -> tuple[list[str], list[int]]:
        """The clients with queued runs whose names come after `after`, by name.

        One step of the index for each, however many runs they have. With them the ids of queued
        rows whose clients have no readable names: they cannot be asked for by name.
        """

        def list_clients(connection: Connection) -> tuple[list[str], list[int]]:
            clients: list[str] = []
            nameless: list[int] = []
            last = after
            while len(clients) + len(nameless) < limit:
                query = first.where(runs.c.id.not_in(nameless))
                if last is not None:
                    query = query.where(runs.c.client > last)
                row = connection.execute(query).one_or_none()
                if row is None:
                    break
                if isinstance(row.client, str) and UNREADABLE_CHARACTER not in row.client:
                    last = row.client
                    clients.append(last)
                else:
                    nameless.append(row.id)
            return clients, nameless

        columns = (runs.c.client, runs.c.id)
        first = select(*columns).where(IS_QUEUED).order_by(runs.c.client).limit(1)
        return self._read(list_clients)

    def queued_rows(self, ids: Collection[int]) -> list[Run]:
        """Queued runs by the ids of their rows."""
        return self._select(and_(IS_QUEUED, runs.c.id.in_(ids))) if ids else []

    def queued_of(self, client: str, limit: int) -> list[Run]:
        """As `queued`, of one client."""
        return self._select(and_(IS_QUEUED, runs.c.client == client), limit)

    def number_of_shards(self, run_id: str) -> int:
        """Into how many shards a sweep is cut."""
        _, total = self._read(lambda connection: count_shards(connection, run_id))
        return total

    def mark_launched(self, run_id: str) -> bool:
        """Takes a queued run for launching; False when another process did."""
        return self._update(
            run_id,
            IS_QUEUED,
            launched_at=utc_in(),
            launches=runs.c.launches + 1,
            claimed_by=None,
            reason=None,
            message=None,
        )

    def requeue(
        self,
        run: ActiveRun,
        counted_launches: int = 1,
        reason: str | None = None,
        message: str | None = None,
    ) -> bool:
        """Back to the queue, unless it ended or was launched anew since it was read.

        `counted_launches`: 0 where the run is not to blame, and its last launch does not count.
        """
        values = {
            "status": Status.PENDING,
            "launched_at": None,
            "claimed_by": None,
            "lease_until": None,
            "launches": run.launches - 1 + counted_launches,
            "reason": reason,
            "message": fitting_message(message),
        }
        is_blameless = counted_launches == 0
        gives_back = run.is_sweep and is_blameless and run.status == Status.RUNNING

        def write(connection: Connection) -> bool:
            changed = update_run(connection, run.run_id, _is_same_launch(run), values)
            if changed and gives_back:
                give_back_shards(connection, run.run_id)
            return changed

        return self._write(write)

    def note(self, run: ActiveRun, reason: str | None, message: str | None) -> bool:
        """Stores what the run waits for, for its user to see; nothing else about it changes."""
        is_same_wait = and_(
            runs.c.status == Status.PENDING,
            runs.c.launches == run.launches,
            runs.c.attempt == run.attempt,
        )
        return self._update(
            run.run_id, is_same_wait, reason=reason, message=fitting_message(message)
        )

    def has_cancelling(self) -> bool:
        """Whether a run is to be cancelled."""
        query = select(runs.c.id).where(runs.c.status == Status.CANCELLING).limit(1)
        return self._read(lambda connection: connection.scalar(query)) is not None

    def explain(self, run_id: str, evidence: str | None) -> bool:
        """Stores what was seen of the job of a run that its worker ended as failed."""
        is_unexplained = and_(runs.c.status == Status.FAILED, runs.c.evidence.is_(None))
        return self._update(run_id, is_unexplained, evidence=evidence)

    def finish_cancelling(self, run_id: str) -> bool:
        """Ends a run that was to be cancelled, once its job is gone."""
        return self._update(run_id, runs.c.status == Status.CANCELLING, **CANCELLED_VALUES)

    def fail(self, run: ActiveRun, reason: str, message: str, evidence: str | None = None) -> bool:
        """Ends the run, unless it ended or was launched anew since it was read."""
        values = failure_values(reason, message, evidence)
        condition = _is_same_launch(run)
        return self._write(lambda connection: end_run(connection, run.run_id, condition, values))

    def set_aside(self, run: ActiveRun) -> bool:
        """Ends an unfinished run whose row cannot be read; what stood there is its evidence.

        A moment or a number that is none is replaced, so that the row can be read from then on.
        """
        is_it = and_(runs.c.id == run.id, or_(IS_UNFINISHED, runs.c.status == Status.CANCELLING))
        columns = [runs.c[name] for name in run.bad_columns]
        stood = [cast(column, String).label(column.name) for column in columns]

        def write(connection: Connection) -> bool:
            row = connection.execute(select(*stood).where(is_it)).one_or_none()
            if row is None:
                return False
            there = {name: marked_text(each)[:MAX_EVIDENCE] for name, each in row._mapping.items()}
            evidence = json.dumps({"row": there}, ensure_ascii=False)
            failure = failure_values(Reason.BAD_ROW, bad_row_message(run.bad_columns), evidence)
            values = {**failure, **_replacements(columns)}
            if "run_id" not in run.bad_columns:
                return end_run(connection, run.run_id, is_it, values)
            # No other run can be attached to one that has no name.
            changed = connection.execute(
                update(runs).where(is_it).values({**values, "leads": None})
            )
            return changed.rowcount == 1

        return self._write(write)

    def ended(self, run_ids: Collection[str]) -> list[EndedRun]:
        """How those of the runs ended that have."""
        if not run_ids:
            return []
        names = ("run_id", "status", "reason", "created_at", "started_at", "finished_at")
        explained = runs.c.evidence.is_not(None).label("explained")
        query = select(*(runs.c[name] for name in names), explained)
        query = query.where(runs.c.run_id.in_(run_ids), runs.c.status.in_(FINAL))
        rows = self._read(lambda connection: connection.execute(query).all())
        return [
            EndedRun(
                run_id=row.run_id,
                status=row.status,
                reason=row.reason,
                explained=row.explained,
                waited=_seconds_between(row.created_at, row.started_at),
                seconds=_seconds_between(row.started_at, row.finished_at),
            )
            for row in rows
        ]


def _replacements(columns: Collection[Column[Any]]) -> dict[str, Any]:
    """Values for the columns that have something else than a moment or a number.

    A text stays as it is: nothing would be right in its place.
    """
    values: dict[str, Any] = {}
    for column in columns:
        if isinstance(column.type, Moment):
            values[column.name] = None if column.nullable else utc_in()
        elif isinstance(column.type, Integer | Double):
            values[column.name] = None if column.nullable else 0
    return values


def _is_same_launch(run: ActiveRun) -> ColumnElement[bool]:
    """Pending or running, for a worker that is told to end releases its run on the way.

    The moment of the launch counts too: a number comes again where a launch did not count.
    """
    condition = and_(IS_UNFINISHED, runs.c.launches == run.launches)
    if run.launched_at is None:
        return condition
    return and_(condition, runs.c.launched_at == run.launched_at)


def _seconds_between(start: object, end: object) -> float | None:
    """None where one of them is not there, or is no moment; the clock may have been set back."""
    if not isinstance(start, datetime) or not isinstance(end, datetime):
        return None
    return max(0.0, (end - start).total_seconds())
