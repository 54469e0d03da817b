"""What is left of a Sharpe ratio once all tries are counted, by the tests of many hypotheses.

A ratio is turned into the p-value of its t statistic, that is made larger for the number of tries,
and turned back. Source: Harvey and Liu (2015), Backtesting.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from backtest.metrics import Floats

COUNTED_SINGLY = 1000  # terms of a harmonic number; from there on its logarithm is as good
HALVINGS = 50  # of the range in which a t statistic is looked for
LARGEST_T = 100.0
MOST_FREEDOM = 5000  # from there on Student's t is the normal distribution to four digits


@dataclass(frozen=True)
class Haircut:
    """A Sharpe ratio of a year after three adjustments, the strictest first."""

    bonferroni: float
    holm: float
    bhy: float


def haircut(sharpe: float, periods: float, bars: int, others: Floats, weights: Floats) -> Haircut:
    """Of a ratio of a year, of `bars` returns and `periods` of them in a year.

    `others` (m,) are the ratios of the other tries, each standing for `weights` (m,) of them.
    Below 0 there is nothing to cut.
    """
    root = math.sqrt(bars / periods)
    freedom = min(bars - 1, MOST_FREEDOM)
    p_value = float(two_sided_p(np.array([sharpe * root]), freedom)[0])
    others_p = two_sided_p(others * root, freedom)
    adjusted = [
        bonferroni(p_value, weights),
        holm(p_value, others_p, weights),
        benjamini_hochberg_yekutieli(p_value, others_p, weights),
    ]
    left = np.minimum(sharpe, t_of(np.array(adjusted), freedom) / root)
    return Haircut(*left.tolist())


def bonferroni(p_value: float, weights: Floats) -> float:
    """The p-value of one try, adjusted for all others."""
    return min(1.0, (1 + float(np.add.reduce(weights))) * p_value)


def holm(p_value: float, others: Floats, weights: Floats) -> float:
    """The same by Holm (1979): tries that are better leave fewer to count."""
    is_better = others < p_value
    values = np.append(others[is_better], p_value)
    counts = np.append(weights[is_better], 1.0)
    order = np.argsort(values, kind="stable")
    better = np.cumsum(counts[order]) - counts[order]
    total = 1 + float(np.add.reduce(weights))
    return min(1.0, float(((total - better) * values[order]).max()))


def benjamini_hochberg_yekutieli(p_value: float, others: Floats, weights: Floats) -> float:
    """The same by Benjamini and Yekutieli (2001): the share of false finds, under dependence."""
    larger = others >= p_value
    values = np.append(p_value, others[larger])
    order = np.argsort(values, kind="stable")
    better = float(np.add.reduce(weights[~larger]))
    ranks = better + np.cumsum(np.append(1.0, weights[larger])[order])
    total = 1 + float(np.add.reduce(weights))
    adjusted = total * harmonic_number(total) / ranks * values[order]
    return min(1.0, float(adjusted.min()))


def harmonic_number(count: float) -> float:
    """1 + 1/2 + ... + 1/count."""
    singly = min(round(count), COUNTED_SINGLY)
    rest = math.log((count + 0.5) / (singly + 0.5)) if count > COUNTED_SINGLY else 0.0
    return float(np.add.reduce(1 / np.arange(1, singly + 1))) + rest


def two_sided_p(t: Floats, freedom: int) -> Floats:
    """How often Student's t is as far from 0 as each of `t`, (k,), as a finite sum.

    Source: Abramowitz and Stegun (1964), 26.7.3 and 26.7.4.
    """
    angle = np.arctan(np.abs(t) / math.sqrt(freedom))
    is_odd = freedom % 2 == 1
    powers = np.arange(3 if is_odd else 2, freedom - 1, 2)
    factors = ((powers - 1) / powers)[:, np.newaxis] * np.cos(angle) ** 2
    total = 1 + np.add.reduce(np.cumprod(factors, axis=0), axis=0)
    if not is_odd:
        inside = np.sin(angle) * total
    elif freedom == 1:
        inside = 2 / math.pi * angle
    else:
        inside = 2 / math.pi * (angle + np.sin(angle) * np.cos(angle) * total)
    return np.asarray(np.clip(1 - inside, 0.0, 1.0))


def t_of(p_values: Floats, freedom: int) -> Floats:
    """The t, 0 or more, that are so often exceeded on both sides, (k,), up to LARGEST_T."""
    low, high = np.zeros_like(p_values), np.full_like(p_values, LARGEST_T)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        is_below = two_sided_p(middle, freedom) > p_values
        low = np.where(is_below, middle, low)
        high = np.where(is_below, high, middle)
    return low
