"""The forward record: what starred runs made of prices that came after they were asked for."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
)
from sqlalchemy.exc import IntegrityError

from service.contract.documents import canonical_json
from service.contract.errors import BadRow
from service.contract.status import BACKTEST, FORWARD, Status
from service.store.claims import ClaimStore
from service.store.database import Store, utc_in
from service.store.deletion import delete_runs
from service.store.rows import (
    ASKED_NUMBERS,
    FINAL,
    NEW_VALUES,
    Run,
    columns_of,
    is_held_by,
    reading,
    run_from,
)
from service.store.tables import forward_records, run_stars, runs, tickers

logger = logging.getLogger(__name__)

# A run that failed would fail again; the cause may be gone later.
SECONDS_AFTER_A_FAILURE = 3600
SECONDS_OF_OTHERS = 86_400  # for which runs are kept that failed or were cancelled
MAX_LISTED = 1000
STARRED = (
    run_stars.join(runs, runs.c.id == run_stars.c.runs_id)
    .join(tickers, tickers.c.ticker == runs.c.ticker)
    .outerjoin(forward_records, forward_records.c.runs_id == runs.c.id)
)
# Of a starred backtest: the current prices of its ticker are others than it was asked for on, or
# than those that its record is of.
IS_BEHIND: ColumnElement[bool] = and_(
    runs.c.status == Status.COMPLETED,
    runs.c.kind == BACKTEST,
    func.coalesce(forward_records.c.prices_fingerprint, runs.c.prices_fingerprint)
    != tickers.c.fingerprint,
)
NUMBER_OR_NONE = (int, float, type(None))
# What a record has of new bars, and of which types.
FIELDS: Mapping[str, tuple[type, ...]] = {
    "asked_until": (str,),
    "first_bar": (str,),
    "last_bar": (str,),
    "equity_before": (int, float),
    "equity_now": (int, float),
    "return_pct": NUMBER_OR_NONE,
    "holding_pct": NUMBER_OR_NONE,
    "sharpe_ratio": NUMBER_OR_NONE,
    "low_pct": NUMBER_OR_NONE,
    "high_pct": NUMBER_OR_NONE,
    "is_inside": (bool, type(None)),
    "is_same_past": (bool,),
    "is_same_rule": (bool,),
}


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

    def starred_behind(self, ticker: str, after: int, limit: int) -> Sequence[Run]:
        """Starred runs of a ticker, with an id above `after`, that its prices could extend."""
        is_wanted = and_(runs.c.ticker == ticker, runs.c.id > after, IS_BEHIND)
        query = select(*columns_of(Run)).select_from(STARRED).where(is_wanted)
        ordered = query.order_by(runs.c.id).limit(limit)
        rows = self._read(lambda connection: connection.execute(ordered).all())
        return [run_from(row) for row in rows]

    def save_forward(
        self, run: Run, attempt: int, fingerprint: str, records: Mapping[int, Mapping[str, Any]]
    ) -> bool:
        """Stores the records of runs, by their id, in the place of those before.

        False, and nothing stored, where the run that extends them was taken away or cancelled.
        """
        ids = list(records)

        def write(connection: Connection) -> bool:
            is_held = and_(runs.c.run_id == run.run_id, is_held_by(attempt))
            if connection.scalar(select(runs.c.id).where(is_held)) is None:
                return False
            is_old = forward_records.c.runs_id.in_(ids)
            connection.execute(delete(forward_records).where(is_old))
            rows = [
                {
                    "runs_id": each,
                    "prices_fingerprint": fingerprint,
                    "record": canonical_json(records[each]),
                }
                for each in connection.scalars(select(runs.c.id).where(runs.c.id.in_(ids)))
            ]
            if rows:
                connection.execute(insert(forward_records), rows)
            return True

        try:
            return self._write(write)
        except IntegrityError:
            # One of the runs was deleted a moment ago.
            return self._write(write)

    def has_failed_before(self, ticker: str) -> bool:
        """Whether a run that extended the runs of a ticker has failed not long ago."""
        is_such = and_(
            runs.c.kind == FORWARD, runs.c.ticker == ticker, runs.c.status == Status.FAILED
        )
        query = select(runs.c.id).where(is_such).limit(1)
        return self._read(lambda connection: connection.scalar(query)) is not None

    def finish_forward(self, run_id: str, attempt: int, result: str) -> bool:
        """Ends the run that extended the records; False when it was taken away."""
        return self._finish_plainly(run_id, attempt, result)


class ForwardKeepingStore(Store):
    """The forward record, as the controller sees it."""

    def record_forward_runs(self, limit: int) -> Sequence[str]:
        """Records a run for each ticker with starred runs that its prices could extend.

        Not where one is recorded already, or where one failed or was cancelled not long ago with
        the same prices. Answers the tickers.
        """
        columns = [tickers.c[name] for name in ("ticker", "fingerprint", "first_day", "last_day")]
        query = select(*columns).select_from(STARRED).where(IS_BEHIND, ~_is_tried())
        ordered = query.distinct().order_by(tickers.c.ticker).limit(limit)
        found = self._read(lambda connection: connection.execute(ordered).all())
        rows = [_new_run(row) for row in found]

        def write(connection: Connection) -> None:
            for row in rows:
                connection.execute(insert(runs).values(row))

        if rows:
            self._write(write)
        return [row.ticker for row in found]

    def drop_forward_runs(self, older_than_seconds: int) -> None:
        """Deletes runs that have extended records, and a day later those that have not."""
        has_extended = and_(
            runs.c.status == Status.COMPLETED, runs.c.finished_at < utc_in(-older_than_seconds)
        )
        is_long_over = runs.c.finished_at < utc_in(-SECONDS_OF_OTHERS)
        is_old = and_(runs.c.kind == FORWARD, or_(has_extended, is_long_over))
        query = select(runs.c.run_id).where(is_old)
        run_ids: Collection[str] = self._read(lambda connection: connection.scalars(query).all())
        if run_ids:
            self._write(lambda connection: delete_runs(connection, run_ids))


def _is_tried() -> ColumnElement[bool]:
    """Whether a run of a ticker's starred runs is there, or has just failed or been cancelled."""
    other = runs.alias()
    is_unfinished = other.c.status.not_in(FINAL)
    was_in_vain = and_(
        other.c.status.in_((Status.FAILED, Status.CANCELLED)),
        other.c.finished_at > utc_in(-SECONDS_AFTER_A_FAILURE),
        other.c.prices_fingerprint == tickers.c.fingerprint,
    )
    is_of_ticker = and_(other.c.kind == FORWARD, other.c.ticker == tickers.c.ticker)
    return exists().where(is_of_ticker, or_(is_unfinished, was_in_vain))


def _new_run(prices: Row[Any]) -> dict[str, Any]:
    """The run that extends by these prices: an entry of the catalogue."""
    run_id = str(uuid.uuid4())
    days = {"start_date": prices.first_day, "end_date": prices.last_day}
    # Every run has these numbers, by which also the release before knows that it can be read.
    terms = dict.fromkeys(ASKED_NUMBERS, 0.0)
    request = {"run_id": run_id, "ticker": prices.ticker, **terms}
    return {
        "run_id": run_id,
        "request": canonical_json({**request, **days}),
        **days,
        "ticker": prices.ticker,
        "rule_id": FORWARD,
        "prices_fingerprint": prices.fingerprint,
        "rules_digest": "",
        "kind": FORWARD,
        **NEW_VALUES,
    }


def _forward_from(row: Row[Any]) -> Forward | None:
    """None where the row cannot be read: the other ones can be used all the same."""
    try:
        with reading(f"The forward record of run {row.runs_id}"):
            record = json.loads(row.record)
            _check(record)
            return Forward(row.prices_fingerprint, record)
    except BadRow as error:
        logger.error("%s: %s", error, error.__cause__)
        return None


def _check(record: Mapping[str, Any]) -> None:
    """Raises KeyError or TypeError where it is no record."""
    wanted: dict[str, tuple[type, ...]] = {"bars": (int,)}
    if "problem" in record:
        wanted |= {"problem": (str,), "template": (str,), "values": (dict,)}
    elif record["bars"]:
        wanted |= FIELDS
    for name, types in wanted.items():
        value = record[name]
        is_truth = isinstance(value, bool)
        if not isinstance(value, types) or (is_truth and bool not in types):
            raise TypeError(f"{name} is {value!r}")
