"""How much of a search's best result is luck.

A Sharpe ratio here is that of one bar, mean(r) / std(r), never annualised; r are returns per bar, n of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from backtest.metrics import deviation, excess_kurtosis, mean, skewness

Floats = NDArray[np.float64]

NORMAL = NormalDist()


def probabilistic_sharpe_ratio(
    sharpe: float, hurdle: float, bars: int, skew: float, kurtosis: float
) -> float:
    """Probability that the true Sharpe ratio is above `hurdle`, given that of `bars` returns with these moments.

    `kurtosis` is 3 for the normal distribution. NaN where the moments contradict each other. Source: Bailey and
    Lopez de Prado (2012), The Sharpe Ratio Efficient Frontier.
    """
    spread = 1 - skew * sharpe + (kurtosis - 1) / 4 * sharpe**2
    if not spread > 0:
        return math.nan
    return NORMAL.cdf((sharpe - hurdle) * math.sqrt(bars - 1) / math.sqrt(spread))


def expected_maximum_sharpe(trials: int, spread: float) -> float:
    """The best Sharpe ratio that `trials` strategies without skill are expected to show by luck alone.

    `spread` is the standard deviation of their Sharpe ratios. Source: Bailey and Lopez de Prado (2014), The Deflated
    Sharpe Ratio, appendix 1.
    """
    if trials < 2 or not spread > 0:
        return 0.0
    euler = float(np.euler_gamma)
    return spread * (
        (1 - euler) * NORMAL.inv_cdf(1 - 1 / trials)
        + euler * NORMAL.inv_cdf(1 - 1 / (trials * math.e))
    )


def skill_probability(returns: Floats, hurdle: float = 0.0) -> float:
    """The probabilistic Sharpe ratio of returns (n,): with a hurdle of 0, as if nothing else had been tried."""
    spread = float(deviation(returns))
    if len(returns) < 4 or spread == 0:
        return math.nan
    moments = skewness(returns), excess_kurtosis(returns) + 3
    return probabilistic_sharpe_ratio(float(mean(returns)) / spread, hurdle, len(returns), *moments)


def deflated_sharpe_ratio(returns: Floats, sharpe_ratios: Floats) -> float:
    """Probability that the winner of a search has any skill: its true Sharpe ratio is above what luck would show.

    `returns` (n,) are those of the winner, `sharpe_ratios` (m,) those of all that was tried; undefined ones never
    traded and count as 0. Neighbours in a grid are alike, so that there were fewer independent trials and the answer is
    on the careful side. Source: Bailey and Lopez de Prado (2014), The Deflated Sharpe Ratio.
    """
    every = np.nan_to_num(sharpe_ratios, nan=0.0)
    spread = float(deviation(every)) if len(every) > 1 else 0.0
    return skill_probability(returns, expected_maximum_sharpe(len(every), spread))


def blocks_of(bars: int, count: int) -> Sequence[slice]:
    """`count` blocks of equal length, one after the other; what is left over at the end belongs to none."""
    length = bars // count
    return [slice(i * length, (i + 1) * length) for i in range(count)]


def overfitting_probability(sums: Floats, squares: Floats, length: int) -> float:
    """Probability that the best in one half of the time is no better than the median in the other half.

    `sums` and `squares` (m, s) are those of the returns of m trials in s blocks of `length` bars, s even. Every choice
    of half the blocks is a past, the rest its future. A trial that never moves in a half has a Sharpe ratio of 0 there.
    NaN for fewer than 2 trials or 2 blocks. Combinatorially symmetric cross-validation; source: Bailey, Borwein, Lopez
    de Prado and Zhu (2017), The Probability of Backtest Overfitting.
    """
    m, s = sums.shape
    if m < 2 or s < 2 or length < 2:
        return math.nan
    all_sums, all_squares = sums.sum(axis=1), squares.sum(axis=1)
    overfitted = 0
    for chosen in combinations(range(s), s // 2):
        half = sums[:, chosen].sum(axis=1), squares[:, chosen].sum(axis=1)
        past = sharpe_of_sums(*half, length * s // 2)
        future = sharpe_of_sums(all_sums - half[0], all_squares - half[1], length * s // 2)
        overfitted += _rank(future, int(past.argmax())) <= (m + 1) / 2
    return overfitted / math.comb(s, s // 2)


def sharpe_of_sums(sums: Floats, squares: Floats, count: int) -> Floats:
    """mean / std (n - 1 in the denominator) from sums of `count` returns and of their squares; 0 where none moved."""
    variance = (squares - sums * sums / count) / (count - 1)
    moved = variance > 1e-18  # rounding leaves less than that of the square of any price move
    return np.where(moved, sums / count / np.sqrt(np.where(moved, variance, 1.0)), 0.0)


def _rank(values: Floats, row: int) -> float:
    """1 for the smallest, the mean of their ranks for equal ones."""
    below, equal = np.count_nonzero(values < values[row]), np.count_nonzero(values == values[row])
    return below + (equal + 1) / 2


BEATS = "With {probability} probability the best combination beats what luck alone would show in such a search"
SILENT = "Too little happened to say how much of the best result is luck."
SKILL = f"{BEATS}: it is more than luck, by the usual 95 %."
UNSTEADY = f"{BEATS}, but the best of one half of the time is usually below average in the other: choose with care."
LUCK = f"{BEATS}: less than the usual 95 %, so treat it as luck until new data say otherwise."


def verdict(deflated: float, overfitting: float) -> str:
    """What the two say, for a reader who knows neither; `{probability}` is the first of them."""
    if math.isnan(deflated):
        return SILENT
    if deflated < 0.95:
        return LUCK
    return UNSTEADY if overfitting > 0.5 else SKILL


def sentence(deflated: float, overfitting: float) -> str:
    """The same with its number."""
    return verdict(deflated, overfitting).format(probability=percent(deflated))


def percent(probability: float) -> str:
    """In whole percent, never more than it is: what is not certain is not shown as certain, nor 94.9 as 95."""
    if math.isnan(probability):
        return "–"
    if 0.99 < probability < 1:
        return "> 99 %"
    return "< 1 %" if 0 < probability < 0.01 else f"{math.floor(100 * probability + 1e-9)} %"
