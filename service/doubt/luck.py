"""How much of a search's best result is luck.

A Sharpe ratio here is that of one bar, mean(r) / std(r), never annualised; r are returns per bar, n
of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from backtest.metrics import Floats, deviation, mean
from service.engine.exact import normal_probability, normal_quantile
from service.engine.metrics import excess_kurtosis, skewness

Ints = NDArray[np.int64]

USUAL_CONFIDENCE = 0.95
LONGEST_RECORD = 1e9  # bars: a ratio that small is none
# Rounding leaves a smaller variance than this, the square of any price move a larger one.
LEAST_VARIANCE = 1e-18


def probabilistic_sharpe_ratio(
    sharpe: float, hurdle: float, bars: int, skew: float, kurtosis: float
) -> float:
    """Probability that the true Sharpe ratio is above `hurdle`, given that of `bars` returns.

    `skew` and `kurtosis` are those of the returns; `kurtosis` is 3 for the normal distribution. NaN
    where the moments contradict each other. Source: Bailey and Lopez de Prado (2012), The Sharpe
    Ratio Efficient Frontier.
    """
    spread = _variance_of_sharpe(sharpe, skew, kurtosis)
    if not spread > 0:
        return math.nan
    return normal_probability((sharpe - hurdle) * math.sqrt(bars - 1) / math.sqrt(spread))


def _variance_of_sharpe(sharpe: float, skew: float, kurtosis: float) -> float:
    """That of a Sharpe ratio of many bars, times their number; `kurtosis` is 3 for the normal."""
    return 1 - skew * sharpe + (kurtosis - 1) / 4 * sharpe * sharpe


def expected_maximum_sharpe(trials: float, spread: float) -> float:
    """The best Sharpe ratio that `trials` strategies without skill are expected to show by luck.

    `spread` is the standard deviation of their Sharpe ratios. Source: Bailey and Lopez de Prado
    (2014), The Deflated Sharpe Ratio, appendix 1.
    """
    if trials <= 1 or not spread > 0:
        return 0.0
    euler = float(np.euler_gamma)
    lower = normal_quantile(1 - 1 / trials)
    upper = normal_quantile(1 - 1 / (trials * math.e))
    # Between one and two trials, where no whole number is, the approximation falls below 0.
    return max(0.0, spread * ((1 - euler) * lower + euler * upper))


@dataclass(frozen=True)
class Moments:
    """What a probabilistic Sharpe ratio is made of: of `bars` returns, their ratio and shape.

    `kurtosis` is 3 for the normal distribution.
    """

    bars: int
    sharpe: float
    skew: float
    kurtosis: float

    def probability(self, hurdle: float = 0.0) -> float:
        """The probabilistic Sharpe ratio: that the true one is above `hurdle`."""
        return probabilistic_sharpe_ratio(self.sharpe, hurdle, self.bars, self.skew, self.kurtosis)

    @property
    def variance(self) -> float:
        """That of the Sharpe ratio, times the number of returns."""
        return _variance_of_sharpe(self.sharpe, self.skew, self.kurtosis)


def moments_of(returns: Floats) -> Moments | None:
    """Those of returns (n,); None where they are too few, or all the same."""
    spread = float(deviation(returns))
    if len(returns) < 4 or spread == 0:
        return None
    sharpe = float(mean(returns)) / spread
    return Moments(len(returns), sharpe, skewness(returns), excess_kurtosis(returns) + 3)


def skill_probability(returns: Floats, hurdle: float = 0.0) -> float:
    """The probabilistic Sharpe ratio of returns (n,).

    With a hurdle of 0 it is the probability of skill where nothing else was tried.
    """
    moments = moments_of(returns)
    return math.nan if moments is None else moments.probability(hurdle)


def minimum_track_record(returns: Floats, confidence: float = USUAL_CONFIDENCE) -> int | None:
    """Of how many bars returns (n,) must be for a Sharpe ratio above 0 to be as certain as that.

    The longer record is taken to be like the one that is there. None where its ratio is not above
    0, or undefined. Source: Bailey and Lopez de Prado (2012), The Sharpe Ratio Efficient Frontier.
    """
    moments = moments_of(returns)
    if moments is None or not (moments.sharpe > 0 and moments.variance > 0):
        return None
    bars = 1 + moments.variance * (normal_quantile(confidence) / moments.sharpe) ** 2
    return math.ceil(bars) if bars < LONGEST_RECORD else None


def minimum_backtest_years(trials: float, target: float = 1.0) -> float:
    """How many years a backtest must have for the best of `trials` without skill to show less.

    Less than a Sharpe ratio of `target`, that of a year, is what luck is then expected to show.
    Source: Bailey, Borwein, Lopez de Prado and Zhu (2014), Pseudo-Mathematics and Financial
    Charlatanism, theorem 1.
    """
    return (expected_maximum_sharpe(trials, 1.0) / target) ** 2


def deflated_sharpe_ratio(returns: Floats, sharpe_ratios: Floats) -> float:
    """Probability that the true Sharpe ratio of a search's winner is above what luck would show.

    `returns` (n,) are those of the winner, `sharpe_ratios` (m,) those of all that was tried and
    traded; undefined ones do not count. Neighbours in a grid are alike, so that there were fewer
    independent trials than rows, and the answer is too low rather than too high. Source: Bailey and
    Lopez de Prado (2014), The Deflated Sharpe Ratio.
    """
    known = sharpe_ratios[~np.isnan(sharpe_ratios)]
    spread = float(deviation(known)) if len(known) > 1 else 0.0
    return skill_probability(returns, expected_maximum_sharpe(len(known), spread))


def timing_returns(returns: Floats, held: Floats) -> Floats:
    """What was earned by being in and out at the right time, (n,), or of k runs (k, n).

    `returns` are those of a run, or of k; `held` (n,) are those of holding the ticker. What is left
    are the returns less those of holding a constant share: as much as was held on average, by
    regression. A rule without skill has nothing left on average, whether the price rises or falls.
    Source: Jensen (1968), The Performance of Mutual Funds.
    """
    return returns - held_shares(returns, held) * held


def held_shares(returns: Floats, held: Floats) -> Floats:
    """What share of the ticker was held on average, by regression, (k, 1) of returns (k, n)."""
    apart = held - mean(held)
    variance = float(np.add.reduce(apart * apart))
    shared = np.add.reduce(returns * apart, axis=-1, keepdims=True)
    return shared / variance if variance > 0 else np.zeros_like(shared)


def timing_ratios(returns: Floats, held: Floats) -> Floats:
    """The Sharpe ratios of `timing_returns` of k runs, (k,); NaN where nothing is left of them.

    `returns` are (k, n), `held` (n,).
    """
    bars = returns.shape[-1]
    apart = held - mean(held)
    variance = float(np.add.reduce(apart * apart))
    average = mean(returns)
    shared = np.add.reduce(returns * apart, axis=-1)
    shares = shared / variance if variance > 0 else np.zeros_like(shared)
    squares = np.add.reduce(returns * returns, axis=-1) - bars * average * average
    left = (squares - shares * shared) / max(bars - 1, 1)
    is_left = left > LEAST_VARIANCE
    ratios = (average - shares * mean(held)) / np.sqrt(np.where(is_left, left, 1.0))
    return np.where(is_left, ratios, np.nan)


def overfitting_probability(sums: Floats, squares: Floats, length: int) -> float:
    """Probability that the best in one half of the time is at most the median in the other half.

    `sums` and `squares` (m, s) are the sums of the returns, and of their squares, of m trials in s
    blocks of `length` bars, s even. Every choice of half the blocks is a past, the rest its future.
    A trial that never moves in a half has a Sharpe ratio of 0 there. NaN for fewer than 2 trials or
    2 blocks. Combinatorially symmetric cross-validation; source: Bailey, Borwein, Lopez de Prado
    and Zhu (2017), The Probability of Backtest Overfitting.
    """
    trials, blocks = sums.shape
    if trials < 2 or blocks < 2 or length < 2:
        return math.nan
    bars_of_half = length * blocks // 2
    all_sums = sums.sum(axis=1)
    all_squares = squares.sum(axis=1)
    overfitted = 0
    for chosen in combinations(range(blocks), blocks // 2):
        past_sums = sums[:, chosen].sum(axis=1)
        past_squares = squares[:, chosen].sum(axis=1)
        past = sharpe_of_sums(past_sums, past_squares, bars_of_half)
        future = sharpe_of_sums(all_sums - past_sums, all_squares - past_squares, bars_of_half)
        best = int(past.argmax())
        overfitted += _rank(future, best) <= (trials + 1) / 2
    return overfitted / math.comb(blocks, blocks // 2)


def sharpe_of_sums(sums: Floats, squares: Floats, count: int) -> Floats:
    """Sharpe ratios from sums of `count` returns and of their squares; 0 where nothing moved.

    The standard deviation has n - 1 in its denominator.
    """
    variance = (squares - sums * sums / count) / (count - 1)
    moved = variance > LEAST_VARIANCE
    return np.where(moved, sums / count / np.sqrt(np.where(moved, variance, 1.0)), 0.0)


def _rank(values: Floats, row: int) -> float:
    """1 for the smallest value; equal values have the mean of their ranks."""
    below = np.count_nonzero(values < values[row])
    equal = np.count_nonzero(values == values[row])
    return below + (equal + 1) / 2
