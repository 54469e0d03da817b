"""All that was tried on some prices, from single runs, sweeps and programs alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backtest.metrics import Floats
from service.trials.luck import NO_LUCK, Groups, Luck, labels_of, luck_of
from service.trials.records import LARGEST_KEY, RECORD, Ints, Records, Tried

SAMPLED = 1024  # trials at most by which all are judged
NO_KEY = -1


@dataclass(frozen=True)
class Entry:
    """What one run tried; a higher `number` was recorded later."""

    number: int
    tried: Tried


@dataclass(frozen=True)
class Ledger:
    """The distinct trials on one price series, or a fair sample of them, in the order of the keys.

    `records` (m,) are those of RECORD, `weights` (m,) say for how many trials each stands, and
    `numbers` (m,) which entry was the first with it. `is_cut`: there are entries of which nothing
    is here.
    """

    records: Records
    weights: Floats
    numbers: Ints
    is_cut: bool

    @property
    def is_complete(self) -> bool:
        """Whether every trial has its record here."""
        return not self.is_cut and bool((self.weights == 1).all())

    @property
    def count(self) -> int:
        """How many trials there are; about so many where the ledger is not complete."""
        return round(float(np.add.reduce(self.weights)))

    def number_of(self, entry: int) -> int:
        """How many had been tried once that entry was recorded."""
        return max(1, round(float(np.add.reduce(self.weights[self.numbers <= entry]))))


def ledger_of(
    entries: Sequence[Entry],
    first_day: str,
    last_day: str,
    cut: int = LARGEST_KEY,
    most: int = SAMPLED,
) -> Ledger:
    """The trials of some entries, by a sample of `most`.

    Of one that is in several entries that counts which is known best: with a sketch, on just the
    days from `first_day` to `last_day`, else on the latest, recorded first. `cut` is a key up to
    which every entry is there; LARGEST_KEY where all of them are. Keys are as good as drawn by lot,
    so that those up to any one of them are a fair sample.
    """
    records, weights, numbers, reaches = _put_together(entries, first_day, last_day)
    unseen = [entry for entry in entries if entry.tried.count and not len(entry.tried.records)]
    last_key = min([cut, *(entry.tried.read_to for entry in entries)])
    if np.count_nonzero(records["key"] <= last_key) > most:
        # Up to just below the next one: to that one itself there would be one too many.
        last_key = int(records["key"][most]) - 1
    is_kept = records["key"] <= last_key
    if not is_kept.any():
        # Many entries begin with the same key: what is known of them counts as it is.
        is_kept, last_key = np.ones(len(records), np.bool_), LARGEST_KEY
    # Of each entry all records up to its own reach are there, of which those up to the last key
    # are kept.
    share = np.minimum(1.0, (last_key + 1.0) / (reaches[is_kept] + 1.0))
    counts = [float(entry.tried.count) for entry in unseen]
    numbers_of_unseen = np.array([entry.number for entry in unseen], np.int64)
    return Ledger(
        records=np.concatenate([_unknown(len(unseen)), records[is_kept]]),
        weights=np.concatenate([counts, weights[is_kept] / share]),
        numbers=np.concatenate([numbers_of_unseen, numbers[is_kept]]),
        is_cut=cut < LARGEST_KEY,
    )


def _unknown(count: int) -> Records:
    """Records of trials of which nothing is known but that they were made."""
    records = np.zeros(count, RECORD)
    records["key"] = NO_KEY
    records["sharpe"] = np.nan
    records["timing"] = np.nan
    return records


def _put_together(
    entries: Sequence[Entry], first_day: str, last_day: str
) -> tuple[Records, Floats, Ints, Floats]:
    """Distinct records, their weights, the first entry and the farthest reach of each, (m,) each.

    A weight is that of the entry which has most of its own trials on record.
    """
    by_number = sorted(entries, key=lambda entry: entry.number)
    latest_first = sorted(by_number, key=lambda entry: entry.tried.last_day, reverse=True)
    days = (first_day, last_day)
    ordered = sorted(
        latest_first, key=lambda entry: (entry.tried.first_day, entry.tried.last_day) != days
    )
    records = np.concatenate([np.empty(0, RECORD), *(entry.tried.records for entry in ordered)])
    sizes = [len(entry.tried.records) for entry in ordered]
    numbers = np.repeat([entry.number for entry in ordered], sizes).astype(np.int64)
    weights = np.repeat([entry.tried.weight for entry in ordered], sizes)
    reaches = np.repeat([float(entry.tried.complete_to) for entry in ordered], sizes)
    lacks_sketch = ~records["sketch"].any(axis=1)
    best_first = np.lexsort((np.arange(len(records)), lacks_sketch))
    keys, firsts, places = np.unique(
        records["key"][best_first], return_index=True, return_inverse=True
    )
    first_numbers = np.full(len(keys), np.iinfo(np.int64).max)
    least_weights = np.full(len(keys), np.inf)
    farthest = np.zeros(len(keys))
    np.minimum.at(first_numbers, places, numbers[best_first])
    np.minimum.at(least_weights, places, weights[best_first])
    np.maximum.at(farthest, places, reaches[best_first])
    return records[best_first][firsts], least_weights, first_numbers, farthest


@dataclass(frozen=True)
class Tries:
    """All trials among which a best one is chosen, by a sample of m of them.

    `keys` (m,) are those of `records.keys_of`, `places` (m,) the numbers of the price series that
    they are of. `sharpe` and `timing` (m,) are ratios of a year, NaN where unknown. `count` is the
    number of all trials, about so many where not `is_exact`.
    """

    keys: Ints
    places: Ints
    sharpe: Floats
    timing: Floats
    groups: Groups
    count: int
    is_exact: bool

    def luck(self, ratios: Floats, spread_of_one: float) -> Luck:
        """`luck_of` of `sharpe` or `timing`."""
        return luck_of(ratios, self.groups, spread_of_one) if self.count > 1 else NO_LUCK

    def are_others(self, key: int, place: int) -> NDArray[np.bool_]:
        """Which trials are not that one, (m,)."""
        return np.asarray((self.keys != key) | (self.places != place))


def tries_of(ledgers: Sequence[Ledger]) -> Tries:
    """Those on one price series, or on several: the same rule on two of them was tried twice."""
    labels: list[Ints] = []
    known = 0
    for ledger in ledgers:
        labels.append(labels_of(ledger.records["sketch"]) + known)
        known = int(labels[-1].max(initial=known - 1)) + 1
    records = np.concatenate([ledger.records for ledger in ledgers])
    sizes = [len(ledger.records) for ledger in ledgers]
    return Tries(
        keys=records["key"],
        places=np.repeat(np.arange(len(ledgers)), sizes),
        sharpe=records["sharpe"].astype(np.float64),
        timing=records["timing"].astype(np.float64),
        groups=Groups(
            np.concatenate(labels), np.concatenate([ledger.weights for ledger in ledgers])
        ),
        count=sum(ledger.count for ledger in ledgers),
        is_exact=all(ledger.is_complete for ledger in ledgers),
    )
