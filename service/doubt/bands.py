"""Bands of a run's headline numbers: between what they lie in 95 of 100 cases.

A run is one sample of what its rule does. Its bars, and its closed trades, are drawn again in
blocks, a thousand times; the numbers of those resamples say how far chance alone moves them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from backtest.metrics import Floats, bar_returns, deviation, mean, ratio
from service.doubt.bootstrap import block_length, resampled
from service.doubt.digits import six_digits
from service.engine.exact import normal_probability, normal_quantile, powers
from service.engine.metrics import LEAST_BARS

TAIL = 0.025  # on each side of a band
RESAMPLES = 1000
LEAST_RESAMPLES = 200
MOST_CELLS = 10_000_000  # resamples times bars: a longer run has fewer resamples
LEAST_TRADES = 20
QUARTERS = 4  # of a year: a shorter run says nothing of the growth in one

Band = tuple[float | None, float | None]


@dataclass(frozen=True)
class Sample:
    """What is known of a run: equity (n,), gains of its closed trades in money (m,).

    `periods` is the number of bars in a year, `risk_free` the rate of one bar.
    """

    equity: Floats
    gains: Floats
    periods: float
    risk_free: float

    @property
    def returns(self) -> Floats:
        """Returns per bar, (n,)."""
        return bar_returns(self.equity)


def bands_of(sample: Sample, seed: int) -> dict[str, Band]:
    """The bands by the names of metrics; one that a few bars or trades do not bear is missing.

    Sharpe, CAGR and maximum drawdown come from resampled bars, win rate, profit factor and
    expectancy from resampled trades. That of the drawdown is where the maximum drawdown of another
    time as long lies. A bound is None where there is none: a sample without a loss.
    """
    return {**_bands_of_bars(sample, seed), **_bands_of_trades(sample.gains, seed)}


def _bands_of_bars(sample: Sample, seed: int) -> dict[str, Band]:
    returns = sample.returns
    count = len(returns)
    if count < LEAST_BARS or returns.max() == returns.min():
        return {}

    def sharpe_and_growth(drawn: Floats) -> Floats:
        sharpe = ratio(mean(drawn) - sample.risk_free, deviation(drawn))
        return np.stack([sharpe, np.multiply.reduce(1.0 + drawn, axis=1)])

    sharpe, growth = _widest(returns, sharpe_and_growth, seed)
    yearly = powers(np.array(growth), sample.periods / count) - 1
    bands = {
        "sharpe_ratio": _band(sharpe, math.sqrt(sample.periods)),
        "cagr_pct": _band(yearly.tolist(), 100),
        "max_drawdown_pct": _band(bounds_of(_falls(returns, seed), count), 100),
    }
    if count < sample.periods / QUARTERS:
        del bands["cagr_pct"]
    return bands


def _falls(returns: Floats, seed: int) -> Floats:
    """Maximum drawdowns of other times as long, fractions, (k,).

    Another time has another path and, as nobody knows the true drift, another drift too. Calm and
    wild days come together: blocks are as long as what the sizes of returns owe to those before.
    """
    count = len(returns)
    block = max(block_length(returns), block_length(returns * returns))
    average = mean(returns)
    mean_before = average
    falls = []
    for drawn in resampled(returns, _resamples(count), block, seed):
        means = np.append(mean_before, mean(drawn))
        drifts = means[:-1] - average
        mean_before = means[-1]
        growth = np.maximum(1.0 + drawn + drifts[:, np.newaxis], 0.0)
        equity = np.multiply.accumulate(growth, axis=1, out=growth)
        peaks = np.maximum(np.maximum.accumulate(equity, axis=1), 1.0)
        falls.append(1 - (equity / peaks).min(axis=1))
    return np.concatenate(falls)


def _bands_of_trades(gains: Floats, seed: int) -> dict[str, Band]:
    count = len(gains)
    if count < LEAST_TRADES:
        return {}

    def numbers(drawn: Floats) -> Floats:
        won = np.add.reduce(np.maximum(drawn, 0.0), axis=1)
        lost = -np.add.reduce(np.minimum(drawn, 0.0), axis=1)
        # Without a loss there is no factor: it is above all others.
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            factor = np.where(lost > 0, won / lost, np.inf)
        return np.stack([np.count_nonzero(drawn > 0, axis=1) / count, factor, mean(drawn)])

    share, factor, average = _widest(gains, numbers, seed)
    wins = _wilson(int(np.count_nonzero(gains > 0)) / count, count)
    return {
        "win_rate_pct": _band([min(share[0], wins[0]), max(share[1], wins[1])], 100),
        "profit_factor": _band(factor),
        "expectancy": _band(average),
    }


def _widest(
    values: Floats, numbers_of: Callable[[Floats], Floats], seed: int
) -> list[tuple[float, float]]:
    """Of each of the c numbers the bounds of its band, from resamples in blocks and without.

    `numbers_of` makes (c, k) of k resamples (k, n). Where blocks make a band narrower than values
    that do not depend on each other would, that is as likely chance: the wider bound counts.
    """
    count = len(values)
    lows, highs = [], []
    for block in (block_length(values), 1.0):
        drawn = resampled(values, _resamples(count), block, seed)
        numbers = np.concatenate([numbers_of(part) for part in drawn], axis=1)
        low, high = np.transpose([bounds_of(each, count) for each in numbers])
        lows.append(low)
        highs.append(high)
    bounds = np.fmin(*lows).tolist(), np.fmax(*highs).tolist()
    return list(zip(*bounds, strict=True))


def _resamples(count: int) -> int:
    return max(LEAST_RESAMPLES, min(RESAMPLES, MOST_CELLS // count))


def bounds_of(values: Floats, count: int) -> list[float]:
    """The two quantiles that enclose 95 % of `values` (k,), each made of `count` drawn ones.

    Resamples of a few values spread too little. Their tails are cut where Student's t has 2.5 %.
    Source: Hesterberg (2015), What Teachers Should Know About the Bootstrap, expanded percentiles.
    """
    values = np.sort(values[~np.isnan(values)])
    if len(values) == 0:
        return [math.nan, math.nan]
    reach = math.sqrt(count / (count - 1)) * student_quantile(count - 1)
    cut = int(normal_probability(-reach) * len(values))
    return [float(values[cut]), float(values[-1 - cut])]


def student_quantile(freedom: int) -> float:
    """The 97.5 % quantile of Student's t, to 0.001 from 9 degrees of freedom on.

    Source: Abramowitz and Stegun (1964), Handbook of Mathematical Functions, 26.7.5.
    """
    z = normal_quantile(1 - TAIL)
    # Multiplications alone: the same bits on every processor.
    square = z * z
    first = z * (square + 1) / 4
    second = z * ((5 * square + 16) * square + 3) / 96
    third = z * (((3 * square + 19) * square + 17) * square - 15) / 384
    return z + (first + (second + third / freedom) / freedom) / freedom


def _wilson(share: float, count: int) -> list[float]:
    """Between what the true share lies where the trades do not depend on each other.

    It is not a point where all trades won, as the resamples are. Source: Wilson (1927), Probable
    Inference, the Law of Succession, and Statistical Inference.
    """
    z = normal_quantile(1 - TAIL)
    centre = share + z * z / (2 * count)
    reach = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return [(centre + sign * reach) / (1 + z * z / count) for sign in (-1, 1)]


def _band(bounds: Sequence[float], factor: float = 1.0) -> Band:
    """The bounds in their unit."""
    low, high = (six_digits(factor * bound) for bound in bounds)
    return low, high
