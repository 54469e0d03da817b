"""What the web asks of the database: record, list, count and cancel runs, read results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    func,
    insert,
    literal,
    or_,
    select,
)
from sqlalchemy.exc import IntegrityError

from service.contract.status import FORWARD, PRICES, SWEEP, Reason, Status
from service.store.database import utc_in
from service.store.deletion import delete_runs
from service.store.finding import FindingStore
from service.store.forward import ForwardReadStore
from service.store.identical import leader_columns, pass_work_on
from service.store.marks import MarkStore
from service.store.packing import unpack
from service.store.rows import (
    CANCELLED_VALUES,
    IS_LAUNCHED,
    IS_QUEUED,
    IS_UNFINISHED,
    NEW_VALUES,
    Run,
    StoredResult,
    columns_of,
    reading,
    run_from,
    unzipped,
    update_run,
)
from service.store.shards import ENDED_STATUSES, NewSweep, count_shards, insert_sweep
from service.store.tables import figures, results, runs, sweep_shards
from service.store.trials import TrialStore

UNREADABLE = "unreadable"
MAX_COUNTED = 1000  # a longer queue is not counted to its end at every look
MAX_LATEST_FAILURES = 200


@dataclass(frozen=True)
class NewRun:
    """A run to be recorded, which may be a sweep.

    `work` is the fingerprint of all that decides its result. When another run leads that work
    (waits, computes or has completed), this one is attached to it or completed at once; without
    `work` it is computed anew.
    """

    values: Mapping[str, Any]
    work: str | None = None
    sweep: NewSweep | None = None


class RequestStore(FindingStore, MarkStore, TrialStore, ForwardReadStore):
    """The runs of one database, as the web sees them."""

    def add(
        self,
        values: Mapping[str, Any],
        work: str | None = None,
        sweep: NewSweep | None = None,
    ) -> bool:
        """Records a run, which may be a sweep; False when its run_id is taken."""
        return self.add_all([NewRun(values, work, sweep)])

    def add_all(self, new_runs: Sequence[NewRun]) -> bool:
        """Records all of these runs, or none: False when one of their run_ids is taken."""

        def write(connection: Connection) -> None:
            for new_run in new_runs:
                _insert_run(connection, new_run)

        while True:
            try:
                self._write(write)
                return True
            except IntegrityError:
                if self.by_ids([new_run.values["run_id"] for new_run in new_runs]):
                    return False
                if not any(new_run.work and self.has_leader(new_run.work) for new_run in new_runs):
                    raise
                # Another run began to lead the same work a moment ago: attach to that one.

    def has_leader(self, work: str) -> bool:
        """Whether a run leads this work, so that another one like it costs nothing."""
        query = select(runs.c.id).where(runs.c.leads == work)
        return self._read(lambda connection: connection.scalar(query)) is not None

    def latest(self, limit: int, kind: str | None = None) -> list[Run]:
        """The newest first, of one kind, or all that somebody asked for."""
        is_wanted = runs.c.kind != FORWARD if kind is None else runs.c.kind == kind
        query = select(*columns_of(Run)).where(is_wanted).order_by(runs.c.id.desc()).limit(limit)
        rows = self._read(lambda connection: connection.execute(query).all())
        return [run_from(row) for row in rows]

    def cancel(self, run_id: str) -> bool:
        """Ends a waiting run here; leaves one that was launched to the controller.

        False when it had ended. An identical run attached to it takes its place, for its own user
        did not cancel.
        """
        return self._write(lambda connection: _cancel(connection, run_id))

    def of_batch(self, batch_id: str) -> list[Run]:
        """The runs of a batch, in the order in which they were asked for."""
        return self._select(runs.c.batch_id == batch_id)

    def latest_of(self, client: str) -> Run | None:
        """The last backtest or search that a client asked for."""
        is_asked_for = runs.c.kind.not_in((PRICES, FORWARD))
        query = select(*columns_of(Run)).where(runs.c.client == client, is_asked_for)
        query = query.order_by(runs.c.created_at.desc(), runs.c.id.desc()).limit(1)
        row = self._read(lambda connection: connection.execute(query).one_or_none())
        return None if row is None else run_from(row)

    def delete(self, run_ids: Collection[str]) -> int:
        """Deletes those of the runs that have ended; answers how many."""
        return self._write(lambda connection: delete_runs(connection, run_ids))

    def by_ids(self, run_ids: Collection[str]) -> dict[str, Run]:
        """The rows of those runs that are there, by their run_id."""
        query = select(*columns_of(Run)).where(runs.c.run_id.in_(run_ids))
        rows = self._read(lambda connection: connection.execute(query).all())
        return {row.run_id: run_from(row) for row in rows}

    def counts(self) -> dict[str, int]:
        """How many runs are in each state; those of an unknown one are UNREADABLE."""
        query = select(runs.c.status, func.count().label("total")).group_by(runs.c.status)
        rows = self._read(lambda connection: connection.execute(query).all())
        counts = Counter[str]()
        for row in rows:
            counts[row.status if row.status in list(Status) else UNREADABLE] += row.total
        return counts

    def failures(self) -> dict[str, int]:
        """How many runs failed, by reason."""
        total = func.count().label("total")
        has_failed = runs.c.status == Status.FAILED
        query = select(runs.c.reason, total).where(has_failed).group_by(runs.c.reason)
        rows = self._read(lambda connection: connection.execute(query).all())
        return {str(row.reason): row.total for row in rows}

    def queue_position(self, run: Run) -> int:
        """How many queued runs came before this one, counted to MAX_COUNTED."""
        return self._count_runs(and_(IS_QUEUED, runs.c.id < run.id), MAX_COUNTED)

    def queued_count(self, limit: int | None = MAX_COUNTED) -> int:
        """How many runs wait for a job, counted to `limit`, or to the end where it is None."""
        return self._count_runs(IS_QUEUED, limit)

    def queued_by_client(self) -> dict[str, int]:
        """How many runs of each client wait for a job."""
        total = func.count().label("total")
        query = select(runs.c.client, total).where(IS_QUEUED).group_by(runs.c.client)
        rows = self._read(lambda connection: connection.execute(query).all())
        return {row.client: row.total for row in rows}

    def rows_by_client(self) -> dict[str, int]:
        """How many rows the unfinished sweeps of each client have."""
        length = func.sum(sweep_shards.c.end_row - sweep_shards.c.first_row).label("total")
        query = select(runs.c.client, length).join_from(runs, sweep_shards)
        is_its_own = runs.c.reused_from.is_(None)
        query = query.where(IS_UNFINISHED, runs.c.kind == SWEEP, is_its_own)
        query = query.group_by(runs.c.client)
        rows = self._read(lambda connection: connection.execute(query).all())
        return {row.client: int(row.total) for row in rows}

    def queue(self) -> tuple[int, float | None]:
        """How many runs wait for a job, and for how many seconds the first of them has."""
        age = self.queue_age()
        return (0, None) if age is None else (self.queued_count(limit=None), age)

    def queue_age(self) -> float | None:
        """For how many seconds the first run that waits for a job has; None where none waits."""
        columns = (runs.c.created_at, utc_in().label("now"))
        query = select(*columns).where(IS_QUEUED).order_by(runs.c.id).limit(1)
        first = self._read(lambda connection: connection.execute(query).one_or_none())
        if first is None:
            return None
        is_moment = isinstance(first.created_at, datetime)
        waited = (first.now - first.created_at).total_seconds() if is_moment else 0.0
        return max(0.0, waited)

    def is_any_at_work(self) -> bool:
        """Whether a run was launched and has not ended."""
        query = select(literal(1)).select_from(runs).where(IS_LAUNCHED).limit(1)
        return self._read(lambda connection: connection.scalar(query)) is not None

    def bad_rows(self) -> tuple[int, int]:
        """How many runs have no known state, and how many of the last were set aside in a day."""
        with_bad_state = self._count_runs(
            or_(*_between(runs.c.status, sorted(Status))), MAX_COUNTED
        )
        columns = (runs.c.reason, runs.c.finished_at)
        reasons = select(*columns).where(runs.c.status == Status.FAILED)
        latest = reasons.order_by(runs.c.id.desc()).limit(MAX_LATEST_FAILURES).subquery()
        is_of_today = latest.c.finished_at > utc_in(-86_400)
        set_aside = select(latest.c.reason).where(latest.c.reason == Reason.BAD_ROW, is_of_today)
        return with_bad_state, self._count(set_aside, MAX_COUNTED)

    def recent_count(self, client: str, seconds: int, limit: int) -> int:
        """How many runs a client recorded in the last seconds, counted to `limit`."""
        # What lies in the future was asked for before the clock was set back.
        is_recent = and_(
            runs.c.client == client, runs.c.created_at.between(utc_in(-seconds), utc_in(1))
        )
        return self._count_runs(is_recent, limit)

    def _count_runs(self, condition: ColumnElement[bool], limit: int | None) -> int:
        return self._count(select(literal(1)).select_from(runs).where(condition), limit)

    def marks(self, run_ids: Collection[str]) -> dict[str, object]:
        """For each of these runs something that differs once its state or its progress does."""
        ended = (
            select(func.count())
            .where(sweep_shards.c.run_id == runs.c.run_id)
            .where(sweep_shards.c.status.in_(ENDED_STATUSES))
            .scalar_subquery()
        )
        columns = (runs.c.status, runs.c.reason, runs.c.launched_at, runs.c.reused_from, ended)
        query = select(runs.c.run_id, *columns).where(runs.c.run_id.in_(run_ids))
        rows = self._read(lambda connection: connection.execute(query).all())
        return {row.run_id: tuple(row) for row in rows}

    def shard_counts(self, run_id: str) -> tuple[int, int]:
        """How many shards of a sweep have ended, and how many there are."""
        return self._read(lambda connection: count_shards(connection, run_id))

    def result_of(self, run: Run) -> StoredResult | None:
        """Its own result, or that of the run it was answered from; None where there is none."""
        return self.result(run.reused_from or run.run_id)

    def document_of(self, run: Run) -> str | None:
        """The result alone, without the figure and the table; None where there is none."""
        return self._of_results(run, results.c.result)  # type: ignore[no-any-return]

    def overview_of(self, run: Run) -> str | None:
        """What the page of a long run shows first; None where that is made of its table."""
        overview = self._of_results(run, results.c.overview)
        return (
            None if overview is None else unzipped(overview, f"What is shown of run {run.run_id}")
        )

    def table_of(self, run: Run) -> str | None:
        """The equity curve of a backtest; None where there is no result."""
        # Results of earlier releases have it in the column of equity curves.
        table = self._of_results(run, func.coalesce(results.c.table_csv, results.c.equity_csv))
        return None if table is None else _unpacked(table, run.run_id)

    def _of_results(self, run: Run, column: ColumnElement[Any]) -> Any:
        query = select(column).where(results.c.run_id == (run.reused_from or run.run_id))
        return self._read(lambda connection: connection.scalar(query))

    def result(self, run_id: str) -> StoredResult | None:
        """What this run left behind itself, figure and all."""
        columns = (results.c.result, results.c.equity_csv, results.c.table_csv)
        query = (
            select(*columns, figures.c.chart_base64)
            .join(figures, figures.c.run_id == results.c.run_id, isouter=True)
            .where(results.c.run_id == run_id)
        )
        row = self._read(lambda connection: connection.execute(query).one_or_none())
        if row is None:
            return None
        # Results of earlier releases have it in the column of equity curves.
        table = row.equity_csv if row.table_csv is None else row.table_csv
        return StoredResult(row.result, _unpacked(table, run_id), row.chart_base64)


def _between(column: ColumnElement[str], known: Sequence[str]) -> Iterator[ColumnElement[bool]]:
    """What is none of the known values, as ranges between them: an index answers those."""
    yield column < known[0]
    for low, high in pairwise(known):
        yield and_(column > low, column < high)
    yield column > known[-1]


def _unpacked(table: bytes, run_id: str) -> str:
    with reading(f"The table of run {run_id}"):
        return unpack(table)


def _insert_run(connection: Connection, new_run: NewRun) -> None:
    row = {
        **NEW_VALUES,
        **new_run.values,
        **leader_columns(connection, new_run.work),
    }
    connection.execute(insert(runs).values(row))
    if new_run.sweep is not None:
        insert_sweep(connection, new_run.values["run_id"], new_run.sweep)


def _cancel(connection: Connection, run_id: str) -> bool:
    query = select(runs.c.leads).where(runs.c.run_id == run_id).with_for_update()
    led_work = connection.scalar(query)
    is_waiting = and_(runs.c.status == Status.PENDING, runs.c.launched_at.is_(None))
    cancelled = {**CANCELLED_VALUES, "leads": None}
    cancelling = {"status": Status.CANCELLING, "leads": None}
    changed = update_run(connection, run_id, is_waiting, cancelled)
    if not changed:
        changed = update_run(connection, run_id, IS_UNFINISHED, cancelling)
    if changed and led_work is not None:
        pass_work_on(connection, run_id, led_work)
    return changed
