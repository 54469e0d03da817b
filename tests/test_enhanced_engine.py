"""The wrapper: the engine's own result below the limit, out of the market for good above it."""

from __future__ import annotations

import numpy as np
import pytest

from backtest.engine import BacktestEngine
from backtest.metrics import drawdowns
from rules.registry import rule_from_id
from service.enhanced_engine import EnhancedEngine
from tests.conftest import prices

STRATEGY = rule_from_id("MA_CROSS_10_30").generate_signals


def test_without_a_limit_it_is_the_engine() -> None:
    plain = BacktestEngine(50_000, 0.002, 0.001, 1).run(prices(), STRATEGY, "GOOG")
    wrapped = EnhancedEngine(50_000, 0.002, 0.001, 1)
    assert dict(wrapped.run(prices(), STRATEGY, "GOOG")) == dict(plain)
    assert dict(wrapped.run_with_risk_limit(prices(), STRATEGY, "GOOG", max_drawdown_pct=100)) == dict(plain)


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
