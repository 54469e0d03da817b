"""What is kept of each rule that was tried on some prices: 48 bytes, enough to count luck by."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from backtest.kernel import Terms
from backtest.metrics import Floats
from rules.base_rule import BaseRule, CompositeRule
from rules.registry import BUILT_IN
from service.contract.documents import canonical_json
from service.doubt.luck import held_shares

Ints = NDArray[np.int64]
Records = NDArray[np.void]

LARGEST_KEY = 2**63 - 1
MOST_RECORDS = 1280  # of one search, on average
SKETCH_NUMBERS = 32
LARGEST_SKETCH_NUMBER = 127
# `key` names rule, parameters and terms. `sharpe` and `timing` are ratios of a year, NaN where
# they are not known. `sketch` is one of `Sketching`, all zeros where there is none.
RECORD = np.dtype(
    [("key", "<i8"), ("sharpe", "<f4"), ("timing", "<f4"), ("sketch", "i1", (SKETCH_NUMBERS,))]
)
# The constants of SplitMix64; source: Steele, Lea and Flood (2014), Fast Splittable Generators.
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
FIRST_FACTOR = np.uint64(0xBF58476D1CE4E5B9)
SECOND_FACTOR = np.uint64(0x94D049BB133111EB)


@dataclass(frozen=True)
class Tried:
    """Rules that were tried on the bars from `first_day` to `last_day`, ISO dates.

    There are `count` of them, and `kept` of those, whose keys are at most `complete_to`, have a
    record. `records` are these in the order of their keys, or the first of them: up to `read_to`.
    """

    first_day: str
    last_day: str
    records: Records
    count: int
    kept: int
    complete_to: int = LARGEST_KEY
    read_to: int = LARGEST_KEY

    @property
    def weight(self) -> float:
        """For how many trials a kept one stands."""
        return self.count / self.kept if self.kept else 1.0

    def columns(self) -> dict[str, Any]:
        """As the database keeps it; two with the same `set_key` are the same trials."""
        digest = hashlib.sha256(self.records["key"].tobytes())
        # Trials without sketches stand for no others, nor do those without records.
        digest.update(b"sketches" if self.records["sketch"].any() else b"")
        if not self.kept:
            digest.update(f"{self.first_day} {self.last_day} {self.count}".encode())
        return {
            "first_day": self.first_day,
            "last_day": self.last_day,
            "set_key": _number_of(digest.digest()),
            "lowest_key": int(self.records["key"].min(initial=LARGEST_KEY)),
            "complete_to": self.complete_to,
            "trials": self.count,
            "kept": self.kept,
            "records": self.records.tobytes(),
        }


def tried_on(
    days: tuple[str, str], records: Records, count: int, complete_to: int = LARGEST_KEY
) -> Tried:
    """All records that are kept of `count` trials on these days, the first and the last."""
    return Tried(*days, np.sort(records, order="key"), count, len(records), complete_to)


def _number_of(digest: bytes) -> int:
    """A number from 0 to LARGEST_KEY."""
    return int.from_bytes(digest[:8], "big") >> 1


def keys_of(rule_ids: Sequence[str], terms: Terms, plugin_digest: str = "") -> Ints:
    """A number from 0 to LARGEST_KEY for each rule with its parameters, on these terms, (k,).

    `plugin_digest` is that of the sources of rules that are not ours: with other ones they are
    other rules.
    """
    numbers = [float(value) for value in astuple(terms)]
    common = hashlib.sha256(canonical_json([*numbers, plugin_digest]).encode())
    keys = np.empty(len(rule_ids), np.int64)
    for place, rule_id in enumerate(rule_ids):
        named = common.copy()
        named.update(rule_id.encode())
        keys[place] = _number_of(named.digest())
    return keys


def digest_of_plugins(rule: BaseRule, rules_digest: str) -> str:
    """`rules_digest` where the rule, or one of its members, is not ours."""
    members = rule.members if isinstance(rule, CompositeRule) else (rule,)
    are_ours = all(type(member) in BUILT_IN.values() for member in members)
    return "" if are_ours else rules_digest


def share_of_keys(count: int) -> int:
    """The key up to which a fair sample of that many trials is kept, all of a few."""
    if count <= MOST_RECORDS:
        return LARGEST_KEY
    return LARGEST_KEY * MOST_RECORDS // count


def records_of(keys: Ints, sharpe: Floats, timing: Floats, sketches: NDArray[np.int8]) -> Records:
    """A record for each of k trials, (k,); `sketches` are (k, SKETCH_NUMBERS)."""
    records = np.zeros(len(keys), RECORD)
    records["key"] = keys
    records["sharpe"] = sharpe
    records["timing"] = timing
    records["sketch"] = sketches
    return records


def records_from(content: bytes) -> Records:
    """Those that `Records.tobytes` gave; raises ValueError where they are cut off."""
    return np.frombuffer(content, RECORD)


def days_of(index: pd.Index) -> Ints:
    """The number of the day of each bar, (n,)."""
    return np.asarray(index.to_numpy().astype("datetime64[D]").astype(np.int64))


class Sketching:
    """A few numbers for the timing of trials, by which alike ones are known.

    `held` (n,) are the returns of holding the ticker, `days` (n,) the numbers of the bars' days.
    """

    def __init__(self, held: Floats, days: Ints) -> None:
        self._held = held
        places = (_mixed(days) % np.uint64(2 * SKETCH_NUMBERS)).astype(np.int64)
        self._order = np.argsort(places, kind="stable")
        self._present, self._starts = np.unique(places[self._order], return_index=True)
        self._held_sums = self._sums(held[np.newaxis])

    def sketches(self, returns: Floats) -> NDArray[np.int8]:
        """Those of k trials with these returns (k, n), (k, 32); the largest is 127 or -127.

        They are sums of `luck.timing_returns`, which is what may be alike: a rising price alone
        makes all returns alike.
        """
        # Sums of differences are differences of sums.
        sums = self._sums(returns) - held_shares(returns, self._held) * self._held_sums
        # A growth that no market has may be infinite.
        finite = np.nan_to_num(sums)
        largest = np.abs(finite).max(axis=1, keepdims=True)
        scale = LARGEST_SKETCH_NUMBER / np.where(largest > 0, largest, 1.0)
        return np.rint(finite * scale).astype(np.int8)

    def _sums(self, values: Floats) -> Floats:
        """Deals the days to 32 sums, each with a sign, by their numbers alone, (k, 32).

        Values (k, n) of other dates meet in the days that both have. The products of two such rows
        are on average those of the values. Source: Charikar, Chen and Farach-Colton (2002), Finding
        Frequent Items in Data Streams.
        """
        sums = np.zeros((len(values), 2 * SKETCH_NUMBERS))
        dealt = np.take(values, self._order, axis=1)
        sums[:, self._present] = np.add.reduceat(dealt, self._starts, axis=1)
        return np.asarray(sums[:, :SKETCH_NUMBERS] - sums[:, SKETCH_NUMBERS:])


def _mixed(numbers: Ints) -> NDArray[np.uint64]:
    """Each number as 64 bits that look drawn by lot."""
    mixed: NDArray[np.uint64] = numbers.astype(np.uint64) * GOLDEN
    mixed = (mixed ^ (mixed >> np.uint64(30))) * FIRST_FACTOR
    mixed = (mixed ^ (mixed >> np.uint64(27))) * SECOND_FACTOR
    mixed ^= mixed >> np.uint64(31)
    return mixed
