"""All that was tried on some prices, from single runs, sweeps and programs alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from backtest.metrics import Floats
from service.trials.luck import NO_LUCK, Groups, Luck, labels_of, luck_of
from service.trials.records import LARGEST_KEY, RECORD, Ints, Records, Tried

SAMPLED = 1024  # trials at most by which all are judged


@dataclass(frozen=True)
class Entry:
    """What one run tried; a higher `number` was recorded later."""

    number: int
    tried: Tried


@dataclass(frozen=True)
class Ledger:
    """The distinct trials on one price series.

    `records` has each of them whose key is at most `complete_to`, in the order of the keys, and
    `numbers` the entry that was the first with it. Keys are as good as drawn by lot, so that those
    records are a fair sample. `least` trials are known to be there.
    """

    records: Records
    numbers: Ints
    complete_to: int
    least: int

    @property
    def is_complete(self) -> bool:
        """Whether every trial has its record here."""
        return self.complete_to == LARGEST_KEY

    @property
    def weight(self) -> float:
        """How many trials a record stands for."""
        if self.is_complete or not len(self.records):
            return 1.0
        by_share = (LARGEST_KEY + 1) / (self.complete_to + 1)
        return max(by_share, self.least / len(self.records))

    @property
    def count(self) -> int:
        """How many trials there are; about so many where the ledger is not complete."""
        return round(len(self.records) * self.weight)

    def number_of(self, entry: int) -> int:
        """How many had been tried once that entry was recorded."""
        return max(1, round(np.count_nonzero(self.numbers <= entry) * self.weight))


def ledger_of(entries: Sequence[Entry], first_day: str, last_day: str, cut: int) -> Ledger:
    """The trials of some entries; of one that is in several, from that with most days in common.

    The days are those from `first_day` to `last_day`. `cut` is a key up to which every entry is
    there; LARGEST_KEY where all of them are.
    """
    complete_to = min([cut, *(entry.tried.complete_to for entry in entries)])
    ordered = sorted(
        entries, key=lambda entry: (-_common_days(entry.tried, first_day, last_day), entry.number)
    )
    records = np.concatenate([np.empty(0, RECORD), *(entry.tried.records for entry in ordered)])
    sizes = [len(entry.tried.records) for entry in ordered]
    numbers = np.repeat([entry.number for entry in ordered], sizes).astype(np.int64)
    keys, firsts, places = np.unique(records["key"], return_index=True, return_inverse=True)
    first_numbers = np.full(len(keys), np.iinfo(np.int64).max)
    np.minimum.at(first_numbers, places, numbers)
    if np.count_nonzero(keys <= complete_to) > SAMPLED:
        complete_to = int(keys[SAMPLED - 1])
    is_sampled = keys <= complete_to
    least = max((entry.tried.count for entry in entries), default=0)
    return Ledger(records[firsts[is_sampled]], first_numbers[is_sampled], complete_to, least)


@dataclass(frozen=True)
class Tries:
    """All trials among which a best one is chosen, by a sample of m of them.

    `keys` (m,) are those of `records.keys_of`. `sharpe` and `timing` (m,) are ratios of a year, NaN
    where unknown. `count` is the number of all trials, about so many where not `is_exact`.
    """

    keys: Ints
    sharpe: Floats
    timing: Floats
    groups: Groups
    count: int
    is_exact: bool

    def luck(self, ratios: Floats, spread_of_one: float) -> Luck:
        """`luck_of` of `sharpe` or `timing`."""
        return luck_of(ratios, self.groups, spread_of_one) if self.count > 1 else NO_LUCK


def tries_of(ledgers: Sequence[Ledger]) -> Tries:
    """Those on one price series, or on several: the same rule on two of them was tried twice."""
    labels: list[Ints] = []
    known = 0
    for ledger in ledgers:
        labels.append(labels_of(ledger.records["sketch"]) + known)
        known = int(labels[-1].max(initial=known - 1)) + 1
    records = np.concatenate([ledger.records for ledger in ledgers])
    weights = np.repeat(
        [ledger.weight for ledger in ledgers], [len(ledger.records) for ledger in ledgers]
    )
    return Tries(
        keys=records["key"],
        sharpe=records["sharpe"].astype(np.float64),
        timing=records["timing"].astype(np.float64),
        groups=Groups(np.concatenate(labels), weights),
        count=sum(ledger.count for ledger in ledgers),
        is_exact=all(ledger.is_complete for ledger in ledgers),
    )


def _common_days(tried: Tried, first_day: str, last_day: str) -> int:
    start = max(tried.first_day, first_day)
    end = min(tried.last_day, last_day)
    return (date.fromisoformat(end) - date.fromisoformat(start)).days
