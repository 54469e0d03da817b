"""What is expected of the next bars of a run, and the Sharpe ratio of them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from service.doubt import forward
from service.doubt.forward import LEAST_ASKED, expected_growth, sharpe_since


def random(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def equity(bars: int, seed: int = 1, drift: float = 0.0005) -> np.ndarray:
    return np.asarray(100_000 * np.cumprod(1 + random(seed).normal(drift, 0.01, bars)))


def width(curve: np.ndarray, bars: int) -> float:
    expected = expected_growth(curve, bars, 7)
    assert expected is not None
    low, high = expected
    return math.log(high / low)


def test_a_bar_and_many_bars() -> None:
    """Independent bars: the band grows with the root of their number, and with the drift."""
    curve = equity(2520)
    assert width(curve, 1) == pytest.approx(2 * 1.96 * 0.01, rel=0.1)
    for bars in (25, 250):
        expected = 2 * 1.96 * 0.01 * math.sqrt(bars * (1 + bars / 2520))
        assert width(curve, bars) == pytest.approx(expected, rel=0.15)


def test_nobody_knows_the_true_drift() -> None:
    """Of as many bars as are known, its error counts as much as their own."""
    short = equity(252)
    assert width(short, 252) == pytest.approx(2 * 1.96 * 0.01 * math.sqrt(2 * 252), rel=0.2)


def test_bars_that_follow_each_other_make_it_wider() -> None:
    drawn = random(3).normal(0.0, 0.01, 2520)
    returns = drawn.copy()
    for bar in range(1, 2520):
        returns[bar] += 0.4 * returns[bar - 1]
    shuffled = random(4).permutation(returns)
    follows, mixed = (100 * np.cumprod(1 + each) for each in (returns, shuffled))
    assert width(follows, 20) > 1.25 * width(mixed, 20)


def test_parts_of_the_resamples_are_as_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    curve = equity(500)
    whole = width(curve, 30)
    monkeypatch.setattr(forward, "CELLS_AT_ONCE", 300)
    assert width(curve, 30) == pytest.approx(whole, rel=0.1)


@pytest.mark.parametrize(
    "curve",
    [
        equity(LEAST_ASKED - 1),
        np.full(500, 100.0),
        np.append(equity(500), 0.0),
    ],
)
def test_too_short_never_moved_or_ruined(curve: np.ndarray) -> None:
    assert expected_growth(curve, 5, 1) is None


def test_the_sharpe_ratio_of_new_returns() -> None:
    returns = random(5).normal(0.001, 0.01, 60)
    by_hand = (returns.mean() - 0.0002) / returns.std(ddof=1) * math.sqrt(252)
    assert sharpe_since(returns, 252, 0.0002) == pytest.approx(by_hand, rel=1e-12)
    assert math.isnan(sharpe_since(returns[:19], 252, 0.0))
    assert math.isnan(sharpe_since(np.zeros(60), 252, 0.0))
