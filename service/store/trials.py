"""The ledger of trials: what was tried on the prices of each ticker, run by run.

Its rows stay when runs are deleted: what was tried was tried.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, case, func, insert, select

from service.store.database import Store
from service.store.tables import trials

logger = logging.getLogger(__name__)

MAX_SETS = 2048  # different sets of trials that are read of a ticker
IDS_AT_ONCE = 500
LARGEST_KEY = 2**63 - 1
RECORD_BYTES = 48


@dataclass(frozen=True)
class Head:
    """What one run tried on one ticker, without the records.

    `first_id` is the entry that was the first with these trials.
    """

    id: int
    run_id: str
    first_day: str
    last_day: str
    set_key: int
    lowest_key: int
    complete_to: int
    trials: int
    kept: int
    size: int
    first_id: int = 0

    @property
    def is_sound(self) -> bool:
        """Whether its numbers and its records can be those of trials."""
        has_records = self.size == self.kept * RECORD_BYTES
        return has_records and 0 <= self.kept <= self.trials and self.complete_to >= 0


@dataclass(frozen=True)
class _Set:
    """The entries with the same trials: the first, the last, and one on just the days asked for."""

    first_id: int
    last_id: int
    same_id: int | None

    @property
    def ids(self) -> list[int]:
        """The best first."""
        same = [] if self.same_id is None else [self.same_id]
        return list(dict.fromkeys([*same, self.last_id, self.first_id]))


@dataclass(frozen=True)
class OwnTrials:
    """What a run tried on a ticker, and the trial that its result shows, as JSON."""

    id: int
    ticker: str
    first_day: str
    last_day: str
    judged: str | None


@dataclass(frozen=True)
class TrialsOnTicker:
    """The sets of trials on a ticker, with every trial whose key is at most `cut`."""

    heads: Sequence[Head]
    cut: int


HEAD_NAMES = (
    "id",
    "run_id",
    "first_day",
    "last_day",
    "set_key",
    "lowest_key",
    "complete_to",
    "trials",
    "kept",
)
HEAD_COLUMNS: Sequence[ColumnElement[Any]] = [
    *(trials.c[name] for name in HEAD_NAMES),
    func.length(trials.c.records).label("size"),
]
OWN_COLUMNS = [trials.c[name] for name in ("id", "ticker", "first_day", "last_day", "judged")]


def insert_trials(
    connection: Connection, run_id: str, entries: Sequence[Mapping[str, Any]]
) -> None:
    """Records what a run tried, a mapping of columns for each ticker, unless it is there."""
    is_its = trials.c.run_id == run_id
    known = set(connection.scalars(select(trials.c.ticker).where(is_its)))
    rows = [{"run_id": run_id, **entry} for entry in entries if entry["ticker"] not in known]
    if rows:
        connection.execute(insert(trials), rows)


class TrialStore(Store):
    """The ledger of one database, as the web reads it."""

    def trials_of(self, run_id: str) -> dict[str, OwnTrials]:
        """What a run tried, by ticker; nothing where it never traded."""
        query = select(*OWN_COLUMNS).where(trials.c.run_id == run_id, trials.c.trials > 0)
        rows = self._read(lambda connection: connection.execute(query.order_by(trials.c.id)).all())
        return {row.ticker: OwnTrials(**row._mapping) for row in rows}

    def trials_on(
        self, ticker: str, first_day: str, last_day: str, most_sets: int = MAX_SETS
    ) -> TrialsOnTicker:
        """What was tried on a ticker in dates that overlap with those, both included.

        Each set of trials is there once, as it was tried on just these days, else as it was tried
        last; one that cannot be sound gives its place to another one. Sets come in the order of
        their lowest keys: those that are left out have no key up to `cut`.
        """
        is_same = and_(trials.c.first_day == first_day, trials.c.last_day == last_day)
        query = (
            select(
                trials.c.lowest_key,
                func.min(trials.c.id),
                func.max(trials.c.id),
                func.min(case((is_same, trials.c.id))),
            )
            .where(
                trials.c.ticker == ticker,
                trials.c.first_day <= last_day,
                trials.c.last_day >= first_day,
            )
            .group_by(trials.c.lowest_key, trials.c.set_key)
            .order_by(trials.c.lowest_key, trials.c.set_key)
            .limit(most_sets + 1)
        )
        rows = self._read(lambda connection: connection.execute(query).all())
        is_whole = len(rows) <= most_sets
        cut = LARGEST_KEY if is_whole else rows[most_sets][0] - 1
        sets = [_Set(*row[1:]) for row in rows[:most_sets]]
        known = self._heads([each for one in sets for each in one.ids])
        return TrialsOnTicker([head for one in sets if (head := _best(one, known))], cut)

    def _heads(self, ids: Sequence[int]) -> dict[int, Head]:
        rows = self._in_parts(select(*HEAD_COLUMNS), ids)
        return {row.id: Head(**row._mapping) for row in rows}

    def trial_records(self, ids: Sequence[int], length: int) -> dict[int, bytes]:
        """The first records of each entry, at most so many."""
        some = func.substr(trials.c.records, 1, length * RECORD_BYTES)
        # SQLite has no text of no bytes.
        rows = self._in_parts(select(trials.c.id, some.label("some")), ids)
        return {row.id: bytes(row.some or b"") for row in rows}

    def _in_parts(self, query: Select[Any], ids: Sequence[int]) -> list[Row[Any]]:
        """The rows with these ids, asked for some at a time."""
        parts = [ids[start : start + IDS_AT_ONCE] for start in range(0, len(ids), IDS_AT_ONCE)]

        def read(connection: Connection) -> list[Row[Any]]:
            found: list[Row[Any]] = []
            for part in parts:
                found += connection.execute(query.where(trials.c.id.in_(part)))
            return found

        return self._read(read)


def _best(one: _Set, known: Mapping[int, Head]) -> Head | None:
    """The entry that stands for a set; None where none is sound, or tried anything."""
    heads = [known[number] for number in one.ids if number in known]
    sound = [head for head in heads if head.is_sound]
    if not sound:
        logger.error("What run %s tried cannot be read", heads[0].run_id if heads else "?")
        return None
    return replace(sound[0], first_id=one.first_id) if sound[0].trials else None
