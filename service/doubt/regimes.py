"""In which kinds of market a run earned: rising, flat and falling ones, calm and wild ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from backtest.metrics import Floats, bar_returns, deviation, sharpe_ratio
from service.doubt.digits import six_digits
from service.engine.metrics import LEAST_BARS, annual_growth

STRETCHES_A_YEAR = 4
LEAST_STRETCHES = 4  # whole ones
FLAT = 0.5  # of the usual move in a stretch of its length


def regimes_of(
    close: Floats, equity: Floats, periods: float, risk_free: float
) -> list[dict[str, Any]]:
    """For each regime its share of the bars and what the run and the ticker grew in it, a year.

    `close` and `equity` are (n,). The bars are cut into quarters of a year. In a rising or falling
    quarter the price moved by more than half of what is usual in such a time; a calm quarter is
    one whose bars moved at most as much as in the middle one. Empty for less than a year.
    """
    bars_in_stretch = max(2, round(periods / STRETCHES_A_YEAR))
    count = len(close) // bars_in_stretch
    if count < LEAST_STRETCHES:
        return []
    # The bars after the last whole stretch belong to it.
    stretch = np.minimum(np.arange(len(close)) // bars_in_stretch, count - 1)
    held = bar_returns(close)
    moves = np.multiply.reduceat(1 + held, bars_in_stretch * np.arange(count)) - 1
    usual = float(deviation(held)) * np.sqrt(np.bincount(stretch))
    unrest = np.array([float(deviation(held[stretch == number])) for number in range(count)])
    middle = float(np.sort(unrest)[(count - 1) // 2])
    regimes = {
        "rising": moves > FLAT * usual,
        "flat": np.abs(moves) <= FLAT * usual,
        "falling": moves < -FLAT * usual,
        "calm": unrest <= middle,
        "wild": unrest > middle,
    }
    returns = bar_returns(equity)
    return [
        {"regime": name, **_numbers(stretches[stretch], returns, held, periods, risk_free)}
        for name, stretches in regimes.items()
        if np.count_nonzero(stretches[stretch]) >= LEAST_BARS
    ]


def _numbers(
    chosen: NDArray[np.bool_], returns: Floats, held: Floats, periods: float, risk_free: float
) -> dict[str, float | None]:
    bars = int(np.count_nonzero(chosen))
    growth = np.array([np.multiply.reduce(1 + each[chosen]) for each in (returns, held)])
    own, holding = annual_growth(growth, bars, periods).tolist()
    sharpe = float(sharpe_ratio(returns[chosen], periods, risk_free))
    numbers = {
        "share_pct": 100 * bars / len(chosen),
        "cagr_pct": 100 * own,
        "holding_cagr_pct": 100 * holding,
        "sharpe_ratio": sharpe,
    }
    return {name: six_digits(number) for name, number in numbers.items()}
