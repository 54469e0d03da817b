"""What is expected of the next bars of a run, and the Sharpe ratio of them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from rules.registry import rule_from_id
from service.contract.request import parse_request
from service.doubt import forward
from service.doubt.forward import LEAST_ASKED, expected_growth, forward_of, sharpe_since
from service.engine.adapter import engine_of
from tests.support.prices import series
from tests.support.requests import RUN_ID


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


def extended(**changes: object) -> tuple[dict[str, object], pd.Series]:
    """The record of a run that was asked for on 1,500 bars and has 40 more, and its equity."""
    whole = series("GOOG")
    known, newer = (replace(whole, data=whole.data.iloc[:bars]) for bars in (1500, 1540))
    days = {"start_date": "2013-01-02", "end_date": "2030-12-31"}
    asked = {"run_id": RUN_ID, "ticker": "GOOG", "rule_id": "MA_CROSS_10_30", **days, **changes}
    request = parse_request(asked)
    rule = rule_from_id("MA_CROSS_10_30")
    engine = engine_of(request)
    curve = engine.run(newer.data, rule.generate_signals).equity
    return forward_of(request, rule, known, newer), curve


def test_the_sharpe_ratio_is_above_the_rate_that_was_asked_for() -> None:
    plain, curve = extended()
    above, _ = extended(risk_free_rate=0.05)
    returns = curve.pct_change().to_numpy()[-40:]
    daily = 1.05 ** (1 / 252) - 1
    by_hand = (returns.mean() - daily) / returns.std(ddof=1) * math.sqrt(252)
    assert above["sharpe_ratio"] == pytest.approx(by_hand, rel=1e-4)
    assert above["sharpe_ratio"] != plain["sharpe_ratio"]
    assert above["return_pct"] == plain["return_pct"]


def test_what_is_expected_follows_from_the_dates_that_were_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Bars between the end of the run and the last known one are neither."""
    lengths = []

    def seen(equity: np.ndarray, bars: int, seed: int) -> None:
        lengths.append((len(equity), bars))

    monkeypatch.setattr(forward, "expected_growth", seen)
    extended()
    extended(end_date="2016-12-30")
    until = series("GOOG").data.loc[:"2016-12-30"]
    assert lengths == [(1500, 40), (len(until), 40)]
