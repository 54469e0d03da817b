"""What is deleted from time to time: old runs, runs beyond a size, prices nobody refers to."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import partial, reduce
from operator import add
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Delete,
    Double,
    LargeBinary,
    Row,
    Select,
    and_,
    cast,
    delete,
    exists,
    func,
    or_,
    select,
    update,
)

from service.contract.status import BACKTEST, SWEEP, Status
from service.store.database import utc_in
from service.store.forward import ForwardKeepingStore
from service.store.rows import FINAL, Run, RunStore, unzipped
from service.store.shards import drop_numbers, ended_sweeps_with_numbers
from service.store.tables import figures, price_series, results, runs, sweeps, tickers, trials
from service.store.trials import insert_trials

FINGERPRINT = re.compile("[0-9a-f]{64}")
STORED_COLUMNS = (
    results.c.result,
    results.c.equity_csv,
    results.c.table_csv,
    results.c.overview,
    figures.c.chart_base64,
)
LENGTHS = [func.coalesce(func.length(cast(each, LargeBinary)), 0) for each in STORED_COLUMNS]
STORED_BYTES = func.coalesce(
    select(reduce(add, LENGTHS))
    .select_from(results.outerjoin(figures, figures.c.run_id == results.c.run_id))
    .where(results.c.run_id == runs.c.run_id)
    .scalar_subquery(),
    0,
)
IS_UNMEASURED = and_(runs.c.stored_bytes.is_(None), runs.c.finished_at.is_not(None))
IS_REFERRED_TO = or_(
    price_series.c.fingerprint.in_(select(tickers.c.fingerprint)),
    exists().where(runs.c.prices_fingerprint == price_series.c.fingerprint),
    exists().where(runs.c.benchmark_fingerprint == price_series.c.fingerprint),
)
SWEEPS_AT_ONCE = 500
SERIES_AT_ONCE = 100
# No request is answered so late; whoever imports prices again begins anew.
SPARED_SECONDS = 3600


class UpkeepStore(RunStore, ForwardKeepingStore):
    """The runs and the prices of one database, as whoever tidies up sees them."""

    def forget_numbers(self) -> None:
        """Drops what the shards of ended sweeps came to."""
        run_ids = self._read(ended_sweeps_with_numbers)
        if run_ids:
            self._write(lambda connection: drop_numbers(connection, run_ids))

    def expire(
        self, days: float, limit: int, after: datetime | None
    ) -> tuple[int, datetime | None]:
        """Deletes runs that ended so many days ago, results and all.

        Looks at `limit` of them, from the moment `after` on. A run that others were answered from
        stays as long as those do. Answers how many are gone and where to go on, None at the end.
        """
        rows = self._oldest(limit, after, runs.c.finished_at < utc_in(-int(days * 86_400)))
        deleted = self._delete_unneeded(rows)
        return deleted, _moment_of_last(rows) if len(rows) == limit else None

    def drop_oldest(
        self, excess_bytes: int, limit: int, after: datetime | None
    ) -> tuple[int, datetime | None]:
        """As `expire`, of the runs that ended first, until so many bytes are free.

        Runs that take nothing stay, and those that nobody has measured yet.
        """
        rows = self._oldest(limit, after, runs.c.stored_bytes > 0)
        run_ids = [row.run_id for row in rows]
        needed = self._read(lambda connection: _needed(connection, run_ids))
        chosen: list[Row[Any]] = []
        looked_at: list[Row[Any]] = []
        freed_bytes = 0
        for row in rows:
            if freed_bytes >= excess_bytes:
                break
            looked_at.append(row)
            if row.run_id not in needed and row.status in FINAL:
                chosen.append(row)
                freed_bytes += row.stored_bytes if isinstance(row.stored_bytes, int) else 0
        deleted = self._delete_unneeded(chosen)
        has_more = len(rows) == limit or len(looked_at) < len(rows)
        return deleted, _moment_of_last(looked_at) if has_more else None

    def _oldest(
        self, limit: int, after: datetime | None, *conditions: ColumnElement[bool]
    ) -> list[Row[Any]]:
        """Runs by the moment at which they ended, from the moment `after` on."""
        columns = (runs.c.run_id, runs.c.status, runs.c.finished_at, runs.c.stored_bytes)
        query = select(*columns).where(runs.c.finished_at.is_not(None), *conditions)
        if after is not None:
            query = query.where(runs.c.finished_at >= after)
        ordered: Select[Any] = query.order_by(runs.c.finished_at).limit(limit)
        return list(self._read(lambda connection: connection.execute(ordered).all()))

    def _delete_unneeded(self, rows: Collection[Row[Any]]) -> int:
        run_ids = [row.run_id for row in rows]
        return self._write(lambda connection: _delete_unneeded(connection, run_ids))

    def measure(self, limit: int) -> int:
        """Records what ended runs take whose rows do not say it; answers how many it were.

        Those are runs that ended without a result, whose result another run had before, or whom an
        earlier release ended.
        """
        query = select(runs.c.run_id).where(IS_UNMEASURED).limit(limit)
        run_ids = self._read(lambda connection: connection.scalars(query).all())
        if run_ids:
            is_it = runs.c.run_id.in_(run_ids)
            statement = update(runs).where(is_it, IS_UNMEASURED).values(stored_bytes=STORED_BYTES)
            self._write(lambda connection: connection.execute(statement))
        return len(run_ids)

    def without_trials(self, after: int, limit: int) -> tuple[list[Run], int]:
        """Completed runs that traded and are not in the ledger of trials.

        Looks at `limit` of the runs whose id is above `after`; answers where to go on, 0 at the
        end.
        """
        is_computed = and_(
            runs.c.status == Status.COMPLETED,
            runs.c.id > after,
            runs.c.reused_from.is_(None),
            runs.c.kind.in_((BACKTEST, SWEEP)),
        )
        found = self._select(is_computed, limit)
        run_ids = [run.run_id for run in found]
        query = select(trials.c.run_id).where(trials.c.run_id.in_(run_ids))
        known = set(self._read(lambda connection: connection.scalars(query).all()))
        # The trades of a sweep's row are those of one combination.
        wanted = [
            run for run in found if run.run_id not in known and (run.is_sweep or run.num_trades)
        ]
        return wanted, found[-1].id if len(found) == limit else 0

    def sweep_table(self, run_id: str) -> str:
        """The table of a sweep as CSV; raises BadRow where there is none."""
        column = func.coalesce(results.c.table_csv, results.c.equity_csv)
        query = select(column).where(results.c.run_id == run_id)
        content = self._read(lambda connection: connection.scalar(query))
        return unzipped(content, f"The table of sweep {run_id}")

    def enter_trials(self, entries: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        """Enters what runs tried into the ledger, by run_id, at once."""

        def write(connection: Connection) -> None:
            for run_id, of_run in entries.items():
                insert_trials(connection, run_id, of_run)

        self._write(write)

    def stored_bytes(self) -> int:
        """What the results, tables and figures of all ended runs take, as far as measured."""
        # As a number with a point: whole ones can be too large for a sum.
        total = func.sum(cast(runs.c.stored_bytes, Double))
        query = select(total).where(runs.c.stored_bytes > 0)
        return int(self._read(lambda connection: connection.scalar(query)) or 0)

    def unreferenced_series(self) -> set[str]:
        """Fingerprints of price series that no ticker, run or search refers to."""
        query = select(price_series.c.fingerprint).where(~IS_REFERRED_TO)
        unreferenced = set(self._read(lambda connection: connection.scalars(query).all()))
        last = ""
        while unreferenced:
            rows = self._sweeps_after(last)
            for row in rows:
                unreferenced -= set(FINGERPRINT.findall(row.prices))
            if len(rows) < SWEEPS_AT_ONCE:
                break
            last = rows[-1].run_id
        return unreferenced

    def _sweeps_after(self, run_id: str) -> list[Row[Any]]:
        query: Select[Any] = select(sweeps.c.run_id, sweeps.c.prices)
        query = query.where(sweeps.c.run_id > run_id).order_by(sweeps.c.run_id)
        query = query.limit(SWEEPS_AT_ONCE)
        return list(self._read(lambda connection: connection.execute(query).all()))

    def drop_series(self, fingerprints: Collection[str]) -> int:
        """Deletes those that no ticker and no run refers to, and that are old; answers how many."""
        is_old = price_series.c.created_at < utc_in(-SPARED_SECONDS)
        ordered = sorted(fingerprints)
        deleted = 0
        for first in range(0, len(ordered), SERIES_AT_ONCE):
            is_one = price_series.c.fingerprint.in_(ordered[first : first + SERIES_AT_ONCE])
            statement = delete(price_series).where(is_one, is_old, ~IS_REFERRED_TO)
            deleted += self._write(partial(_rows_of, statement))
        return deleted


def _rows_of(statement: Delete, connection: Connection) -> int:
    return connection.execute(statement).rowcount


def _moment_of_last(rows: Sequence[Row[Any]]) -> datetime | None:
    """Where to go on."""
    moment = rows[-1].finished_at if rows else None
    # What is no moment comes before or after all that are.
    return moment if isinstance(moment, datetime) else None


def _needed(connection: Connection, run_ids: Collection[str]) -> set[str]:
    """Those of the runs that others were answered from."""
    query = select(runs.c.reused_from).where(runs.c.reused_from.in_(run_ids))
    return set(connection.scalars(query).all())


def _delete_unneeded(connection: Connection, run_ids: Collection[str]) -> int:
    """Locks the rows before it looks: from then on no new run is answered from them."""
    if not run_ids:
        return 0
    locked_query = select(runs.c.run_id).where(runs.c.run_id.in_(run_ids)).with_for_update()
    locked = connection.scalars(locked_query).all()
    unneeded = set(locked) - _needed(connection, locked)
    is_unneeded = and_(runs.c.run_id.in_(unneeded), runs.c.status.in_(FINAL))
    return connection.execute(delete(runs).where(is_unneeded)).rowcount
