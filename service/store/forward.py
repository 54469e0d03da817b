"""The forward record: what starred runs made of prices that came after they were asked for."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, insert, or_, select
from sqlalchemy.exc import IntegrityError

from service.contract.documents import canonical_json
from service.contract.errors import BadRow
from service.contract.status import BACKTEST, FORWARD, Status
from service.store.claims import ClaimStore
from service.store.database import Store, utc_in
from service.store.deletion import delete_runs
from service.store.rows import IS_UNFINISHED, Run, columns_of, reading, run_from
from service.store.tables import forward_records, run_stars, runs, tickers

logger = logging.getLogger(__name__)

# A run that failed would fail again; the cause may be gone later.
SECONDS_AFTER_A_FAILURE = 3600
MAX_LISTED = 1000
# Those of a starred backtest that newer prices of its ticker could extend.
IS_BEHIND: ColumnElement[bool] = and_(
    runs.c.status == Status.COMPLETED,
    runs.c.kind == BACKTEST,
    runs.c.prices_fingerprint != tickers.c.fingerprint,
    or_(
        forward_records.c.prices_fingerprint.is_(None),
        forward_records.c.prices_fingerprint != tickers.c.fingerprint,
    ),
)
STARRED = (
    run_stars.join(runs, runs.c.id == run_stars.c.runs_id)
    .join(tickers, tickers.c.ticker == runs.c.ticker)
    .outerjoin(forward_records, forward_records.c.runs_id == runs.c.id)
)


@dataclass(frozen=True)
class Forward:
    """What a run made of the prices `prices_fingerprint`, as `service.doubt.forward` says it."""

    prices_fingerprint: str
    record: Mapping[str, Any]


class ForwardReadStore(Store):
    """The forward record, as the web reads it."""

    def forward_of(self, run: int) -> Forward | None:
        """That of one run, None where there is none."""
        query = select(forward_records).where(forward_records.c.runs_id == run)
        row = self._read(lambda connection: connection.execute(query).one_or_none())
        return None if row is None else _forward_from(row)

    def starred_forward(self) -> list[tuple[Run, Forward | None]]:
        """The newest starred backtests that completed, each with its record."""
        is_wanted = and_(runs.c.status == Status.COMPLETED, runs.c.kind == BACKTEST)
        starred = select(*columns_of(Run)).select_from(
            run_stars.join(runs, runs.c.id == run_stars.c.runs_id)
        )
        query = starred.where(is_wanted).order_by(runs.c.id.desc()).limit(MAX_LISTED)

        def read(connection: Connection) -> list[tuple[Run, Forward | None]]:
            found = [run_from(row) for row in connection.execute(query)]
            is_theirs = forward_records.c.runs_id.in_([run.id for run in found])
            records = connection.execute(select(forward_records).where(is_theirs))
            by_run = {row.runs_id: _forward_from(row) for row in records}
            return [(run, by_run.get(run.id)) for run in found]

        return self._read(read)


class ForwardStore(ClaimStore):
    """The forward record, as the worker that extends it sees it."""

    def starred_behind(
        self, ticker: str, fingerprint: str, after: int, limit: int
    ) -> Sequence[Run]:
        """Starred runs of a ticker that those prices have not extended; ids above `after`."""
        is_new = or_(
            forward_records.c.prices_fingerprint.is_(None),
            forward_records.c.prices_fingerprint != fingerprint,
        )
        is_wanted = and_(
            runs.c.ticker == ticker,
            runs.c.status == Status.COMPLETED,
            runs.c.kind == BACKTEST,
            runs.c.prices_fingerprint != fingerprint,
            runs.c.id > after,
        )
        query = select(*columns_of(Run)).select_from(
            run_stars.join(runs, runs.c.id == run_stars.c.runs_id).outerjoin(
                forward_records, forward_records.c.runs_id == runs.c.id
            )
        )
        query = query.where(is_wanted, is_new).order_by(runs.c.id).limit(limit)
        rows = self._read(lambda connection: connection.execute(query).all())
        return [run_from(row) for row in rows]

    def save_forward(self, fingerprint: str, records: Mapping[int, Mapping[str, Any]]) -> None:
        """Stores the records of runs, by their id, in the place of those before."""

        def write(connection: Connection) -> None:
            connection.execute(
                delete(forward_records).where(forward_records.c.runs_id.in_(list(records)))
            )
            present = select(runs.c.id).where(runs.c.id.in_(list(records)))
            rows = [
                {
                    "runs_id": each,
                    "prices_fingerprint": fingerprint,
                    "record": canonical_json(records[each]),
                }
                for each in connection.scalars(present)
            ]
            if rows:
                connection.execute(insert(forward_records), rows)

        try:
            self._write(write)
        except IntegrityError:
            # One of the runs was deleted a moment ago.
            self._write(write)

    def finish_forward(self, run_id: str, attempt: int, result: str) -> bool:
        """Ends the run that extended the records; False when it was taken away."""
        return self._finish_plainly(run_id, attempt, result)


class ForwardKeepingStore(Store):
    """The forward record, as the controller sees it."""

    def record_forward_runs(self, limit: int) -> Sequence[str]:
        """Records a run for each ticker with starred runs that its prices could extend.

        One that is recorded already, or failed not long ago, is not recorded again. Answers the
        tickers.
        """
        columns = [tickers.c[name] for name in ("ticker", "fingerprint", "first_day", "last_day")]
        behind = select(*columns).select_from(STARRED)
        query = behind.where(IS_BEHIND).distinct().limit(limit)
        found = self._read(lambda connection: connection.execute(query).all())
        if not found:
            return []
        recent = and_(
            runs.c.status == Status.FAILED,
            runs.c.finished_at > utc_in(-SECONDS_AFTER_A_FAILURE),
        )
        is_forward = and_(runs.c.kind == FORWARD, or_(IS_UNFINISHED, recent))
        busy_query = select(runs.c.ticker, runs.c.prices_fingerprint).where(is_forward)
        busy = {
            tuple(row)
            for row in self._read(lambda connection: connection.execute(busy_query).all())
        }
        wanted = [row for row in found if (row.ticker, row.fingerprint) not in busy]
        rows = [_new_run(row) for row in wanted]

        def write(connection: Connection) -> None:
            for row in rows:
                connection.execute(insert(runs).values(row))

        if rows:
            self._write(write)
        return [row.ticker for row in wanted]

    def drop_forward_runs(self, older_than_seconds: int) -> None:
        """Deletes runs that have extended records: what they made is in the records."""
        is_old = and_(
            runs.c.kind == FORWARD,
            runs.c.status == Status.COMPLETED,
            runs.c.finished_at < utc_in(-older_than_seconds),
        )
        query = select(runs.c.run_id).where(is_old)
        run_ids: Collection[str] = self._read(lambda connection: connection.scalars(query).all())
        if run_ids:
            self._write(lambda connection: delete_runs(connection, run_ids))


def _new_run(prices: Row[Any]) -> dict[str, Any]:
    """The run that extends by these prices: an entry of the catalogue."""
    run_id = str(uuid.uuid4())
    days = {"start_date": prices.first_day, "end_date": prices.last_day}
    request = {"run_id": run_id, "ticker": prices.ticker, "prices_fingerprint": prices.fingerprint}
    return {
        "run_id": run_id,
        "request": canonical_json({**request, **days}),
        **days,
        "ticker": prices.ticker,
        "rule_id": FORWARD,
        "prices_fingerprint": prices.fingerprint,
        "rules_digest": "",
        "kind": FORWARD,
        "status": Status.PENDING,
        "attempt": 0,
        "launches": 0,
        "created_at": utc_in(),
    }


def _forward_from(row: Row[Any]) -> Forward | None:
    """None where the row cannot be read: the other ones can be used all the same."""
    try:
        with reading(f"The forward record of run {row.runs_id}"):
            record = json.loads(row.record)
            return Forward(row.prices_fingerprint, {"bars": 0, **record})
    except BadRow as error:
        logger.error("%s: %s", error, error.__cause__)
        return None
