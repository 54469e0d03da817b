"""What is deleted from time to time: old runs, runs beyond a size, prices nobody refers to."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from functools import reduce
from operator import add
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
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

from service.store.database import utc_in
from service.store.rows import FINAL, RunStore
from service.store.shards import drop_numbers, ended_sweeps_with_numbers
from service.store.tables import figures, price_series, results, runs, sweeps, tickers

STORED_COLUMNS = (
    results.c.result,
    results.c.equity_csv,
    results.c.table_csv,
    results.c.overview,
    figures.c.chart_base64,
)
IS_UNMEASURED = and_(runs.c.stored_bytes.is_(None), runs.c.finished_at.is_not(None))
IS_REFERRED_TO = or_(
    price_series.c.fingerprint.in_(select(tickers.c.fingerprint)),
    exists().where(runs.c.prices_fingerprint == price_series.c.fingerprint),
    exists().where(runs.c.benchmark_fingerprint == price_series.c.fingerprint),
    exists().where(sweeps.c.prices.contains(price_series.c.fingerprint)),
)


class UpkeepStore(RunStore):
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
        return deleted, _next_moment(rows, limit)

    def drop_oldest(
        self, excess_bytes: int, limit: int, after: datetime | None
    ) -> tuple[int, datetime | None]:
        """As `expire`, of the runs that ended first, until so many bytes are free."""
        rows = self._oldest(limit, after)
        run_ids = [row.run_id for row in rows]
        needed = self._read(lambda connection: _needed(connection, run_ids))
        chosen: list[Row[Any]] = []
        freed_bytes = 0
        for row in rows:
            if freed_bytes >= excess_bytes:
                break
            if row.run_id not in needed:
                chosen.append(row)
                freed_bytes += row.stored_bytes or 0
        deleted = self._delete_unneeded(chosen)
        return deleted, _next_moment(rows, limit)

    def _oldest(
        self, limit: int, after: datetime | None, *conditions: ColumnElement[bool]
    ) -> list[Row[Any]]:
        """Runs by the moment at which they ended, from the moment `after` on."""
        columns = (runs.c.run_id, runs.c.finished_at, runs.c.stored_bytes)
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
            statement = update(runs).where(is_it, IS_UNMEASURED).values(stored_bytes=_STORED_BYTES)
            self._write(lambda connection: connection.execute(statement))
        return len(run_ids)

    def stored_bytes(self) -> int:
        """What the results, tables and figures of all ended runs take, as far as measured."""
        query = select(func.sum(runs.c.stored_bytes)).where(runs.c.stored_bytes > 0)
        return int(self._read(lambda connection: connection.scalar(query)) or 0)

    def unreferenced_series(self, limit: int) -> set[str]:
        """Fingerprints of price series that no ticker, run or search refers to."""
        query = select(price_series.c.fingerprint).where(~IS_REFERRED_TO).limit(limit)
        return set(self._read(lambda connection: connection.scalars(query).all()))

    def drop_series(self, fingerprints: Collection[str]) -> int:
        """Deletes those of the series that nothing refers to; answers how many."""
        is_one = price_series.c.fingerprint.in_(fingerprints)
        statement = delete(price_series).where(is_one, ~IS_REFERRED_TO)
        return self._write(lambda connection: connection.execute(statement).rowcount)


LENGTHS = [func.coalesce(func.length(cast(each, LargeBinary)), 0) for each in STORED_COLUMNS]
_STORED_BYTES = func.coalesce(
    select(reduce(add, LENGTHS))
    .select_from(results.outerjoin(figures, figures.c.run_id == results.c.run_id))
    .where(results.c.run_id == runs.c.run_id)
    .scalar_subquery(),
    0,
)


def _next_moment(rows: Collection[Row[Any]], limit: int) -> datetime | None:
    """Where to go on; None after the last batch."""
    if len(rows) < limit:
        return None
    *_, last = rows
    # What is no moment comes before or after all that are.
    return last.finished_at if isinstance(last.finished_at, datetime) else None


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
