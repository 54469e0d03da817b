"""What a worker asks of the database for a run: claim it, keep it, finish it or give it back."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    Row,
    String,
    and_,
    cast,
    func,
    insert,
    or_,
    select,
)

from service.contract.status import Status
from service.store.database import utc_in
from service.store.identical import end_run
from service.store.packing import pack
from service.store.prices import PackedSeries, store_series
from service.store.rows import (
    CLAIM_SECONDS,
    RunStore,
    StoredResult,
    failure_values,
    is_held_by,
    update_run,
)
from service.store.tables import figures, results, runs
from service.store.trials import insert_trials
from service.store.watching import Watched

RENEWALS_PER_LEASE = 3
COMPLETED_VALUES: Mapping[str, Any] = {
    "status": Status.COMPLETED,
    "reason": None,
    "message": None,
    "lease_until": None,
}


class ClaimStore(RunStore):
    """The runs of one database, as a worker sees them."""

    def __init__(
        self,
        engine: Engine,
        lease_seconds: int = CLAIM_SECONDS,
        patience_seconds: float = 0.0,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(engine, patience_seconds, pause)
        self._watched = Watched()
        self.lease_seconds = lease_seconds

    def claim(self, run_id: str, worker: str) -> int | None:
        """Takes a pending run, or a running one whose lease ran out; the attempt, or None.

        The worker may have it although its claim was not answered: the connection broke.
        """
        abandoned = self._abandoned_attempt(run_id)
        is_abandoned = and_(runs.c.status == Status.RUNNING, runs.c.attempt == abandoned)
        self._update(
            run_id,
            or_(runs.c.status == Status.PENDING, is_abandoned),
            status=Status.RUNNING,
            attempt=runs.c.attempt + 1,
            claimed_by=worker,
            lease_until=utc_in(self.lease_seconds),
            started_at=func.coalesce(runs.c.started_at, utc_in()),
            reason=None,
            message=None,
        )
        run = self.get(run_id)
        is_ours = run is not None and run.status == Status.RUNNING and run.claimed_by == worker
        return run.attempt if run is not None and is_ours else None

    def _abandoned_attempt(self, run_id: str) -> int | None:
        """The attempt that has the run and has let its lease run out; None where none has."""
        columns = (runs.c.attempt, cast(runs.c.lease_until, String).label("until"))
        ran_out = ran_out_by_clock(runs.c.lease_until)
        is_at_work = and_(runs.c.run_id == run_id, runs.c.status == Status.RUNNING)
        query = select(*columns, ran_out).where(is_at_work)
        row = self._read(lambda connection: connection.execute(query).one_or_none())
        return None if row is None else self.abandoned(run_id, row)

    def abandoned(self, key: Hashable, row: Row[Any]) -> int | None:
        """The attempt of a row of `attempt`, `until` and `ran_out`, where its lease has run out.

        That is once it was watched for its length. Where the clock says so as well, two renewals
        that did not come are enough.
        """
        watched_seconds = self._watched.seconds(key, (row.attempt, row.until))
        missed_seconds = 2 * self.lease_seconds / RENEWALS_PER_LEASE
        enough_seconds = missed_seconds if row.ran_out else self.lease_seconds
        is_abandoned = row.until is not None and watched_seconds >= enough_seconds
        return int(row.attempt) if is_abandoned else None

    def renew(self, run_id: str, attempt: int) -> bool:
        """Keeps the lease, at once or not at all; False when the run was taken away."""
        values = {"lease_until": utc_in(self.lease_seconds)}
        is_held = is_held_by(attempt)
        return self._write_now(lambda connection: update_run(connection, run_id, is_held, values))

    def release(self, run_id: str, attempt: int) -> bool:
        """Gives a claimed run back, at once or not at all; its job or the controller goes on."""
        values = {"status": Status.PENDING, "lease_until": None}
        is_held = is_held_by(attempt)
        return self._write_now(lambda connection: update_run(connection, run_id, is_held, values))

    def finish(
        self, run_id: str, attempt: int, stored: StoredResult, columns: Mapping[str, Any]
    ) -> bool:
        """Stores the result of a backtest and ends the run, in one transaction.

        `columns` of the row change with it. False, and nothing stored, when the run was taken away.
        """
        tables = {
            "equity_csv": _heading_of(stored.table_csv),
            "table_csv": pack(stored.table_csv),
        }
        if stored.overview is not None:
            tables["overview"] = _compressed(stored.overview)
        return self._finish(run_id, attempt, stored, columns, tables)

    def finish_sweep(
        self, run_id: str, attempt: int, stored: StoredResult, columns: Mapping[str, Any]
    ) -> bool:
        """As `finish`, for a sweep and its table of combinations."""
        tables = {
            "equity_csv": _heading_of(stored.table_csv),
            "table_csv": _compressed(stored.table_csv),
        }
        return self._finish(run_id, attempt, stored, columns, tables)

    def finish_fetch(
        self,
        run_id: str,
        attempt: int,
        series: PackedSeries,
        client: str,
        result_of: Callable[[bool], str],
    ) -> bool:
        """Stores the prices and the result of a fetch and ends it, in one transaction.

        `result_of` makes the result, as JSON, of whether the prices are new. False, and nothing
        stored, when the fetch was taken away or cancelled.
        """

        def write(connection: Connection) -> bool:
            values = {**COMPLETED_VALUES, "finished_at": utc_in()}
            if not end_run(connection, run_id, is_held_by(attempt), values):
                return False
            is_new = store_series(connection, series, client)
            row = {
                "run_id": run_id,
                "result": result_of(is_new),
                "equity_csv": _compressed(""),
                "table_csv": _compressed(""),
            }
            connection.execute(insert(results).values(row))
            return True

        return self._write(write)

    def _finish_plainly(self, run_id: str, attempt: int, result: str) -> bool:
        """Ends a run that has a result, as JSON, and neither a table nor a figure."""
        stored = StoredResult(result, "", None)
        tables = {"equity_csv": _compressed(""), "table_csv": _compressed("")}
        return self._finish(run_id, attempt, stored, {}, tables)

    def _finish(
        self,
        run_id: str,
        attempt: int,
        stored: StoredResult,
        columns: Mapping[str, Any],
        tables: Mapping[str, bytes],
    ) -> bool:
        values = {**COMPLETED_VALUES, "finished_at": utc_in(), **columns}
        result_row = {"run_id": run_id, "result": stored.result, **tables}
        figure_row = {"run_id": run_id, "chart_base64": stored.chart_base64}

        def write(connection: Connection) -> bool:
            if not end_run(connection, run_id, is_held_by(attempt), values):
                return False
            connection.execute(insert(results).values(result_row))
            if stored.chart_base64 is not None:
                connection.execute(insert(figures).values(figure_row))
            insert_trials(connection, run_id, stored.trials)
            return True

        return self._write(write)

    def fail_attempt(self, run_id: str, attempt: int, reason: str, message: str) -> bool:
        """Ends a run that this attempt holds."""
        values = failure_values(reason, message)
        is_held = is_held_by(attempt)
        return self._write(lambda connection: end_run(connection, run_id, is_held, values))


def ran_out_by_clock(lease_until: Column[Any]) -> ColumnElement[bool]:
    """Whether the database's clock says that a lease has ended."""
    return (lease_until < utc_in()).label("ran_out")


def _heading_of(table_csv: str) -> bytes:
    """For release 0.2.0, to which one may roll back: there it looks for the table.

    The heading alone lets it show the page of the run, with an empty table.
    """
    heading, _, _ = table_csv.partition("\n")
    return _compressed(f"{heading}\n")


def _compressed(text: str) -> bytes:
    return zlib.compress(text.encode(), 6)
