"""White's reality check: how often luck alone beats a benchmark by as much as the best of a search did.

Sources: White (2000), A Reality Check for Data Snooping; Politis and Romano (1994), The Stationary Bootstrap.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

RESAMPLES, SEED = 500, 20001126


def stationary_bootstrap(
    bars: int, resamples: int, mean_block: float, seed: int
) -> tuple[Ints, Ints, Ints]:
    """Resamples of `bars` bars, each of blocks of geometric length that begin anywhere and wrap around at the end.

    The start and the length of each block, and at which block each resample begins.
    """
    random = np.random.Generator(np.random.PCG64(seed))
    starts: list[Ints] = []
    lengths: list[Ints] = []
    for _ in range(resamples):
        drawn = np.minimum(random.geometric(1 / mean_block, bars), bars)
        count = int(np.searchsorted(np.cumsum(drawn), bars)) + 1
        drawn[count - 1] -= int(drawn[:count].sum()) - bars
        lengths.append(drawn[:count])
        starts.append(random.integers(0, bars, count))
    counts = [len(each) for each in lengths]
    return np.concatenate(starts), np.concatenate(lengths), np.cumsum([0, *counts[:-1]])


class RealityCheck:
    """Takes the excess returns of all trials, as many at once as there are, and keeps nothing but the largest sums.

    `largest` (resamples + 1,): the best trial's own sum, then, of each resample, the largest by which any trial's sum
    is above its own. Those of two parts of a search are joined by `np.maximum`.

    `bars` is the length of a trial, `mean_block` that of the bootstrap's blocks in bars, by default the
    square root of `bars`.
    """

    def __init__(
        self,
        bars: int,
        resamples: int = RESAMPLES,
        mean_block: float | None = None,
        seed: int = SEED,
    ) -> None:
        self._bars = bars
        starts, lengths, self._firsts = stationary_bootstrap(
            bars, resamples, mean_block or math.sqrt(bars), seed
        )
        self._starts, self._ends = starts, starts + lengths
        self.largest = np.full(resamples + 1, -np.inf)

    def add(self, excess: Floats) -> None:
        """Returns of k trials less those of the benchmark, (k, n)."""
        for trial in excess:
            total = float(trial.sum())
            running = np.concatenate([[0.0], np.cumsum(np.concatenate([trial, trial]))])
            resampled = np.add.reduceat(running[self._ends] - running[self._starts], self._firsts)
            self.largest[0] = max(self.largest[0], total)
            np.maximum(self.largest[1:], resampled - total, out=self.largest[1:])


def p_value(largest: Floats) -> float:
    """Share of the resamples, the real one among them, in which the best by luck is at least as good."""
    return float((np.count_nonzero(largest[1:] >= largest[0]) + 1) / len(largest))
