"""Does any of many trials beat a benchmark by more than luck, and which of them do?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backtest.metrics import Floats, deviation
from service.doubt.bootstrap import Ints, stationary_bootstrap

RESAMPLES = 500
SEED = 20001126
CONTENDERS = 32  # trials that are kept of each part of a search

# Of a trial: its number, its statistic, then the statistic of each resample less its own.
Contenders = NDArray[np.float32]


class RealityCheck:
    """White's reality check: how often luck alone beats a benchmark by as much as the best trial.

    It takes the excess returns of all trials, as many at once as there are, and keeps only
    `largest` (resamples + 1,): the largest sum of any trial, then, of each resample, the most by
    which any trial's sum is above the trial's own. Two parts of a search are joined by
    `np.maximum`. `bars` is the length of a trial, `mean_block` that of the bootstrap's blocks in
    bars, the square root of `bars` by default. Source: White (2000), A Reality Check for Data
    Snooping.

    `contenders` (k + 1, resamples + 2) are what `superior_trials` needs: the k best trials, then
    the largest of all others. Their statistic is the sum over the standard deviation, so that a
    trial that is seldom invested counts as much as one that always is.
    """

    def __init__(
        self,
        bars: int,
        resamples: int = RESAMPLES,
        mean_block: float | None = None,
        seed: int = SEED,
    ) -> None:
        block_length = mean_block or math.sqrt(bars)
        starts, lengths, first_blocks = stationary_bootstrap(bars, resamples, block_length, seed)
        self._starts = starts
        self._ends = starts + lengths
        self._first_blocks = first_blocks
        self.largest = np.full(resamples + 1, -np.inf)
        self._rows = [_nobody(resamples)]

    def add(self, excess: Floats, numbers: Ints | None = None) -> None:
        """Takes the returns of k trials less those of the benchmark, (k, n).

        `numbers` (k,) are those by which `superior_trials` names them.
        """
        for place, trial in enumerate(excess):
            total = float(trial.sum())
            twice = np.concatenate([trial, trial])
            running = np.concatenate([[0.0], np.cumsum(twice)])
            of_blocks = running[self._ends] - running[self._starts]
            resampled = np.add.reduceat(of_blocks, self._first_blocks)
            self.largest[0] = max(self.largest[0], total)
            np.maximum(self.largest[1:], resampled - total, out=self.largest[1:])
            spread = float(deviation(trial))
            if spread > 0:
                number = place if numbers is None else numbers[place]
                by_luck = (resampled - total) / spread
                row = np.concatenate([[number, total / spread], by_luck])
                self._rows.append(row.astype(np.float32))
        self._rows = list(best_contenders(np.array(self._rows)))

    @property
    def contenders(self) -> Contenders:
        return np.array(self._rows)


def _nobody(resamples: int) -> Contenders:
    """The row of all others, where there are none."""
    return np.full(resamples + 2, -np.inf, np.float32)


def best_contenders(rows: Contenders, kept: int = CONTENDERS) -> Contenders:
    """The rows of the `kept` best trials, the best first, and one for all others."""
    is_trial = np.isfinite(rows[:, 0])
    trials = rows[is_trial]
    order = np.argsort(-trials[:, 1], kind="stable")
    others = [*rows[~is_trial], *trials[order[kept:]]]
    rest = np.maximum.reduce(others) if others else _nobody(rows.shape[1] - 2)
    rest = np.concatenate([np.full(1, -np.inf, np.float32), rest[1:]])
    return np.concatenate([trials[order[:kept]], rest[np.newaxis]])


@dataclass(frozen=True)
class Superior:
    """The numbers of the trials that beat the benchmark; `is_all`: there are no more of them."""

    numbers: Sequence[int]
    is_all: bool


def superior_trials(rows: Contenders, level: float = 0.05) -> Superior:
    """Which trials beat the benchmark, with a chance of at most `level` to name a wrong one.

    Each step compares the trials that are left with what luck makes of the best of them, and names
    those that are above; then it compares the rest with the rest. `rows` are the contenders of one
    or more parts of a search. Source: Romano and Wolf (2005), Stepwise Multiple Testing as
    Formalized Data Snooping.
    """
    is_named = np.zeros(len(rows), np.bool_)
    is_trial = np.isfinite(rows[:, 0])
    while True:
        by_luck = rows[~is_named, 2:].max(axis=0)
        exceeded = np.count_nonzero(by_luck >= rows[:, 1:2], axis=1) + 1
        is_better = exceeded / (len(by_luck) + 1) <= level
        if not (is_better & is_trial & ~is_named).any():
            break
        is_named |= is_better & is_trial
    numbers = sorted(int(number) for number in rows[is_named, 0])
    return Superior(numbers, is_all=not (is_better & ~is_trial).any())


def p_value(largest: Floats) -> float:
    """The p-value of `RealityCheck.largest`.

    It is the share of the resamples, the real returns among them, in which the best by luck is at
    least as good.
    """
    at_least_as_good = np.count_nonzero(largest[1:] >= largest[0]) + 1
    return float(at_least_as_good / len(largest))
