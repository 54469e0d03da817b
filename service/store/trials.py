"""The ledger of trials: what was tried on the prices of each ticker, run by run.

Its rows stay when runs are deleted: what was tried was tried.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, and_, insert, select

from service.store.database import Store
from service.store.tables import trials

MAX_ENTRIES = 2048  # of a ticker that are read at once
LARGEST_KEY = 2**63 - 1


@dataclass(frozen=True)
class StoredTrials:
    """What one run tried on one ticker, in the columns of the table.

    `judged` is read of a run's own entries only.
    """

    id: int
    run_id: str
    ticker: str
    first_day: str
    last_day: str
    lowest_key: int
    complete_to: int
    trials: int
    records: bytes
    judged: str | None = None


@dataclass(frozen=True)
class TrialsOnTicker:
    """The entries of a ticker with every trial whose key is at most `cut`."""

    entries: Sequence[StoredTrials]
    cut: int


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

    def trials_of(self, run_id: str) -> dict[str, StoredTrials]:
        """What a run tried, by ticker."""
        query = select(trials).where(trials.c.run_id == run_id)
        rows = self._read(lambda connection: connection.execute(query).all())
        return {row.ticker: _stored_from(row) for row in rows}

    def trials_on(
        self, ticker: str, first_day: str, last_day: str, limit: int = MAX_ENTRIES
    ) -> TrialsOnTicker:
        """What was tried on a ticker in dates that overlap with those, both included.

        Entries come in the order of their lowest keys: those that are left out have no key below
        that of the last one, and the sample that is read is as fair as a whole one.
        """
        overlaps = and_(
            trials.c.ticker == ticker,
            trials.c.first_day <= last_day,
            trials.c.last_day >= first_day,
        )
        columns = [column for column in trials.c if column.name != "judged"]
        query = select(*columns).where(overlaps).order_by(trials.c.lowest_key).limit(limit + 1)
        rows = self._read(lambda connection: connection.execute(query).all())
        if len(rows) <= limit:
            return TrialsOnTicker([_stored_from(row) for row in rows], LARGEST_KEY)
        cut = rows[limit].lowest_key - 1
        return TrialsOnTicker([_stored_from(row) for row in rows[:limit]], cut)


def _stored_from(row: Row[Any]) -> StoredTrials:
    return StoredTrials(**row._mapping)
