"""Resamples of returns that keep what follows what: the stationary bootstrap and its blocks."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from backtest.metrics import Floats, mean
from service.engine.exact import power

Ints = NDArray[np.int64]

LAGS_IN_A_ROW = 5  # without a correlation of note: what comes after them is noise
CELLS_AT_ONCE = 1 << 17  # of a part of the resamples: a megabyte of floats


def block_length(values: Floats) -> float:
    """The mean length of blocks that suits the stationary bootstrap of `values` (n,), at least 1.

    It follows from how far back the values depend on those before. Source: Politis and White
    (2004), Automatic Block-Length Selection for the Dependent Bootstrap, with the correction of
    Patton, Politis and White (2009).
    """
    count = len(values)
    if count < 4 or values.max() == values.min():
        return 1.0
    most_lags = min(math.ceil(math.sqrt(count)) + LAGS_IN_A_ROW, count - 1)
    covariances = _autocovariances(values, most_lags)
    bandwidth = min(2 * _first_without_note(covariances, count), most_lags)
    lags = np.arange(1, bandwidth + 1)
    # Flat up to half of the bandwidth, then falling to 0.
    weights = np.minimum(1.0, 2 * (1 - lags / bandwidth))
    weighted = weights * covariances[1 : bandwidth + 1]
    spread = float(2 * np.add.reduce(weighted * lags))
    variance = float(covariances[0] + 2 * np.add.reduce(weighted))
    if variance <= 0:
        return 1.0
    quotient = spread / variance
    length = power(quotient * quotient * count, 1 / 3)
    longest = math.ceil(min(3 * math.sqrt(count), count / 3))
    return min(max(length, 1.0), float(longest))


def _autocovariances(values: Floats, most_lags: int) -> Floats:
    """Those of lag 0 to `most_lags`, (most_lags + 1,)."""
    apart = values - mean(values)
    count = len(apart)
    sums = [np.add.reduce(apart[: count - lag] * apart[lag:]) for lag in range(most_lags + 1)]
    return np.array(sums) / count


def _first_without_note(covariances: Floats, count: int) -> int:
    """The first of a row of lags whose correlations are no more than noise; else the last lag."""
    noise = 2 * math.sqrt(math.log10(count) / count)
    is_noise = np.abs(covariances[1:]) < noise * covariances[0]
    if len(is_noise) < LAGS_IN_A_ROW:
        return len(is_noise)
    rows = np.lib.stride_tricks.sliding_window_view(is_noise, LAGS_IN_A_ROW).all(axis=1)
    return int(rows.argmax()) + 1 if rows.any() else len(is_noise)


def resampled(values: Floats, resamples: int, mean_block: float, seed: int) -> Iterator[Floats]:
    """Resamples of `values` (n,), some at a time, (k, n); how many at a time decides nothing."""
    count = len(values)
    random = np.random.Generator(np.random.PCG64(seed))
    at_once = max(1, CELLS_AT_ONCE // count)
    for first in range(0, resamples, at_once):
        rows = min(at_once, resamples - first)
        if mean_block == 1:
            places = random.integers(0, count, (rows, count))
        else:
            starts, lengths, _ = drawn_blocks(random, count, rows, mean_block)
            places = _places(starts, lengths, count).reshape(rows, count)
        yield values[places]


def _places(starts: Ints, lengths: Ints, count: int) -> Ints:
    """Which value stands where, one block after the other; blocks wrap around at the end."""
    ends = np.cumsum(lengths)
    offsets = np.arange(ends[-1]) - np.repeat(ends - lengths, lengths)
    return np.asarray((np.repeat(starts, lengths) + offsets) % count)


def stationary_bootstrap(
    bars: int, resamples: int, mean_block: float, seed: int
) -> tuple[Ints, Ints, Ints]:
    """Resamples of `bars` bars, made of blocks that begin anywhere and wrap around at the end.

    The lengths of blocks have a geometric distribution with the mean `mean_block`. Returns the
    start and the length of each block, and the number of the block that each resample begins with.
    Source: Politis and Romano (1994), The Stationary Bootstrap.
    """
    return drawn_blocks(np.random.Generator(np.random.PCG64(seed)), bars, resamples, mean_block)


def drawn_blocks(
    random: np.random.Generator, bars: int, resamples: int, mean_block: float
) -> tuple[Ints, Ints, Ints]:
    """As `stationary_bootstrap`, the next ones of `random`."""
    starts: list[Ints] = []
    lengths: list[Ints] = []
    for _ in range(resamples):
        drawn = np.minimum(random.geometric(1 / mean_block, bars), bars)
        count = int(np.searchsorted(np.cumsum(drawn), bars)) + 1
        surplus = int(drawn[:count].sum()) - bars
        drawn[count - 1] -= surplus
        lengths.append(drawn[:count])
        starts.append(random.integers(0, bars, count))
    counts = [len(blocks) for blocks in lengths]
    first_blocks = np.cumsum([0, *counts[:-1]])
    return np.concatenate(starts), np.concatenate(lengths), first_blocks
