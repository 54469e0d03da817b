"""The wrapper: the engine's own result below the limit, out of the market for good above it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backtest import metrics
from backtest.engine import BacktestEngine, BacktestResult
from backtest.metrics import drawdowns
from rules.registry import rule_from_id
from service.engine.enhanced_engine import EnhancedEngine, frozen_metrics_of
from tests.support.prices import prices, random_walk

STRATEGY = rule_from_id("MA_CROSS_10_30").generate_signals


def test_without_a_limit_it_is_the_engine() -> None:
    plain = BacktestEngine(50_000, 0.002, 0.001, 1).run(prices(), STRATEGY, "GOOG")
    wrapped = EnhancedEngine(50_000, 0.002, 0.001, 1)
    assert dict(wrapped.run(prices(), STRATEGY, "GOOG")) == dict(plain)
    assert dict(
        wrapped.run_with_risk_limit(prices(), STRATEGY, "GOOG", max_drawdown_pct=100)
    ) == dict(plain)


@pytest.mark.parametrize("limit", [0, 5, 10, 20, 40])
def test_it_leaves_at_the_next_open_and_stays_out(limit: float) -> None:
    data = prices()
    plain = EnhancedEngine().run(data, STRATEGY)
    limited = EnhancedEngine().run_with_risk_limit(data, STRATEGY, max_drawdown_pct=limit)
    passed = int((100 * drawdowns(plain.equity.to_numpy()) > limit).argmax())
    assert (limited.equity.iloc[: passed + 1] == plain.equity.iloc[: passed + 1]).all()
    assert (limited.positions.iloc[passed + 1 :] == 0).all()
    last = limited.trades.iloc[-1]
    assert last["exit_date"] == data.index[passed + 1]
    assert last["exit_price"] == data["Open"].iloc[passed + 1]
    assert limited.equity.iloc[passed + 1 :].nunique() == 1


def test_a_limit_that_is_never_passed_changes_nothing() -> None:
    plain = EnhancedEngine().run(prices(), STRATEGY)
    worst = plain["max_drawdown_pct"]
    same = EnhancedEngine().run_with_risk_limit(prices(), STRATEGY, max_drawdown_pct=worst)
    assert dict(same) == dict(plain)


def test_passing_it_on_the_last_bar() -> None:
    data = prices(bars=60)
    data.iloc[-1, :4] *= 0.5
    always = lambda d: np.ones(len(d))  # noqa: E731
    result = EnhancedEngine().run_with_risk_limit(data, always, max_drawdown_pct=30)
    assert result.positions.iloc[-1] > 0, "no open is left to sell at"


@pytest.mark.parametrize("limit", [-1, 101, float("nan")])
def test_limits_outside_0_to_100_are_refused(limit: float) -> None:
    with pytest.raises(ValueError, match="max_drawdown_pct must be between 0 and 100"):
        EnhancedEngine().run_with_risk_limit(prices(), STRATEGY, max_drawdown_pct=limit)


def sold_short(factors: list[float]) -> BacktestResult:
    """A short position held from the first open on, over closes that move by `factors`."""
    data = random_walk(len(factors) + 2, 1, 0.0)
    closes = 10.0 * np.cumprod([1.0, 1.0, *factors])
    for column in ("Open", "High", "Low", "Close"):
        data[column] = closes
    return BacktestEngine(allow_short=True).run(data, lambda bars: np.full(len(bars), -1))


OVERFLOWING = np.array([0.0, -0.99, 99.0]), np.array([0.0, 0.99, -0.49748744])


def test_the_engine_itself_warns_of_an_alpha_that_overflows() -> None:
    """The frozen file does; when it no longer did, `frozen_metrics_of` could go."""
    with pytest.warns(RuntimeWarning, match="overflow"):
        assert metrics.alpha(*OVERFLOWING, 252) == np.inf


@given(st.lists(st.floats(0.01, 100.0), min_size=1, max_size=8))
@example([0.01, 100.0])
@example([1.99, 0.01, 3.0])
@example([0.5, 0.01, 0.01, 0.01, 0.01, 100.0])
def test_metrics_are_finite_or_undefined_without_a_warning(factors: list[float]) -> None:
    """Whatever the market does; a warning would fail the test."""
    numbers = frozen_metrics_of(sold_short(factors))
    assert all(value is None or np.isfinite(value) for value in numbers.values())


def test_metrics_are_those_of_the_engine() -> None:
    result = EnhancedEngine().run(prices(), STRATEGY)
    assert frozen_metrics_of(result) == BacktestEngine().run(prices(), STRATEGY)["metrics"]
