"""The ledger of trials: what was tried on the prices of each ticker, run by run.

Its rows stay when runs are deleted: what was tried was tried.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, and_, func, insert, or_, select

from service.store.database import Store
from service.store.tables import trials

HEADS_AT_ONCE = 4096
MAX_HEADS = 10 * HEADS_AT_ONCE
MAX_SETS = 2048  # different sets of trials that are read of a ticker
IDS_AT_ONCE = 500
LARGEST_KEY = 2**63 - 1
RECORD_BYTES = 48
# Records of a set that are read beyond those that a fair sample needs.
SPARE_RECORDS = 32
SPARE_FACTOR = 1.5
LONGEST_SET = 4096  # records


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
    first_id: int = 0


@dataclass(frozen=True)
class StoredTrials:
    """An entry of the ledger, with its records or the first of them."""

    head: Head
    records: bytes


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
    """The entries of a ticker with every trial whose key is at most `cut`."""

    entries: Sequence[StoredTrials]
    cut: int


HEAD_COLUMNS = [
    trials.c[name]
    for name in (
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
        self, ticker: str, first_day: str, last_day: str, wanted: int, most_sets: int = MAX_SETS
    ) -> TrialsOnTicker:
        """What was tried on a ticker in dates that overlap with those, both included.

        Each set of trials is there once, as it was tried on just these days, else on the latest.
        Sets come in the order of their lowest keys: those that are left out have no key up to
        `cut`. Of long ones only the records are read that a fair sample of `wanted` needs.
        """
        heads, cut = self._heads(ticker, (first_day, last_day), most_sets)
        count = sum(head.trials for head in heads)
        share = min(1.0, SPARE_FACTOR * wanted / max(count, 1))
        length = SPARE_RECORDS + round(share * LONGEST_SET)
        records = self._records([head.id for head in heads], length)
        # An entry that went a moment ago is left out.
        found = [StoredTrials(head, records[head.id]) for head in heads if head.id in records]
        return TrialsOnTicker(found, cut)

    def _heads(self, ticker: str, days: tuple[str, str], most_sets: int) -> tuple[list[Head], int]:
        """The best entry of each set of trials, and the key up to which none is left out."""
        sets: dict[int, Head] = {}
        after = (-1, 0)
        for _ in range(MAX_HEADS // HEADS_AT_ONCE):
            heads = self._next_heads(ticker, days, after)
            for head in heads:
                if head.set_key not in sets and len(sets) == most_sets:
                    return list(sets.values()), head.lowest_key - 1
                sets[head.set_key] = _better(sets.get(head.set_key), head, days)
            if len(heads) < HEADS_AT_ONCE:
                return list(sets.values()), LARGEST_KEY
            after = (heads[-1].lowest_key, heads[-1].id)
        return list(sets.values()), after[0] - 1

    def _next_heads(
        self, ticker: str, days: tuple[str, str], after: tuple[int, int]
    ) -> Sequence[Head]:
        first_day, last_day = days
        key, number = after
        is_next = or_(
            trials.c.lowest_key > key, and_(trials.c.lowest_key == key, trials.c.id > number)
        )
        wanted = and_(
            trials.c.ticker == ticker,
            trials.c.first_day <= last_day,
            trials.c.last_day >= first_day,
            trials.c.trials > 0,
            trials.c.lowest_key >= max(key, 0),
            is_next,
        )
        query = select(*HEAD_COLUMNS).where(wanted).order_by(trials.c.lowest_key, trials.c.id)
        rows = self._read(lambda connection: connection.execute(query.limit(HEADS_AT_ONCE)).all())
        return [_head_from(row) for row in rows]

    def _records(self, ids: Sequence[int], length: int) -> dict[int, bytes]:
        """At most so many records of each entry."""
        some = func.substr(trials.c.records, 1, length * RECORD_BYTES)

        def read(connection: Connection) -> dict[int, bytes]:
            found: dict[int, bytes] = {}
            for start in range(0, len(ids), IDS_AT_ONCE):
                is_one = trials.c.id.in_(ids[start : start + IDS_AT_ONCE])
                rows = connection.execute(select(trials.c.id, some).where(is_one))
                # SQLite has no text of no bytes.
                found |= {number: bytes(content or b"") for number, content in rows}
            return found

        return self._read(read)


def _head_from(row: Row[Any]) -> Head:
    return Head(**row._mapping, first_id=row.id)


def _better(known: Head | None, head: Head, days: tuple[str, str]) -> Head:
    """Of two entries with the same trials that on just these days, else that on the latest."""
    if known is None:
        return head
    first_id = min(known.first_id, head.id)
    ordered = sorted((known, head), key=lambda each: each.id)
    latest_first = sorted(ordered, key=lambda each: each.last_day, reverse=True)
    best = min(latest_first, key=lambda each: (each.first_day, each.last_day) != days)
    return Head(**{**vars(best), "first_id": first_id})
