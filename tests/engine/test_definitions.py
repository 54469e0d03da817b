"""What version 1.1.0 defines beside the frozen engine; results of 1.0.0 keep their own numbers."""

from __future__ import annotations

import math

import empyrical
import numpy as np
import pandas as pd
import pytest

from backtest.engine import BacktestEngine
from backtest.metrics import bar_returns
from rules.registry import rule_from_id
from service.contract.errors import NoData
from service.contract.request import parse_request
from service.engine.adapter import Performed, run_backtest
from service.engine.metrics import ANNUAL_METRICS, LEAST_BARS, metrics_of
from service.prices.series import PriceSeries
from tests.support.prices import prices, series
from tests.support.requests import REQUEST

YEAR = 252


def perform(
    other_prices: PriceSeries | None = None, version: str = "1.1.0", **changes: object
) -> Performed:
    run_id = "7ec8e7de-0c65-4b8c-9d4c-7b6a1f0d6a11"
    request = parse_request({"run_id": run_id, **REQUEST, **changes})
    rule = rule_from_id(request.rule_id)
    return run_backtest(request, series("GOOG"), rule, "digest", other_prices, version)


def numbers(done: Performed) -> dict[str, float | int | None]:
    return {**done.result.metrics, **done.result.headline()}


def codes(done: Performed) -> list[str]:
    return [warning["code"] for warning in done.result.provenance["warnings"]]


@pytest.mark.parametrize(("last_day", "bars"), [("2013-01-30", 20), ("2013-01-29", 19)])
def test_a_short_window_has_no_numbers_per_year(last_day: str, bars: int) -> None:
    done = perform(end_date=last_day, rule_id="MOMENTUM_2")
    assert len(done.bars) == bars
    found = numbers(done)
    undefined = {name for name in ANNUAL_METRICS if found[name] is None}
    if bars < LEAST_BARS:
        assert undefined == ANNUAL_METRICS
        (warning,) = done.result.provenance["warnings"]
        assert warning["code"] == "ShortWindow"
        assert "19 bars are too few for numbers per year: those need 20" in warning["message"]
    else:
        assert "ShortWindow" not in codes(done)
        assert found["volatility_pct"] is not None
    assert found["total_return_pct"] is not None
    assert found["max_drawdown_pct"] is not None


def test_who_never_trades_has_no_information_ratio() -> None:
    silent = BacktestEngine().run(prices(), lambda data: np.zeros(len(data), np.int8))
    assert silent["metrics"]["information_ratio"] is not None, "the frozen engine gives one"
    assert metrics_of(silent)["information_ratio"] is None
    traded = BacktestEngine().run(prices(), rule_from_id("MA_CROSS").generate_signals)
    assert metrics_of(traded)["information_ratio"] == traded["metrics"]["information_ratio"]


def test_a_risk_free_rate() -> None:
    """Against empyrical: the rate of a bar compounds to that of the year."""
    done = perform(risk_free_rate=0.04)
    returns = bar_returns(done.bars["equity"].to_numpy())
    held = bar_returns(done.bars["buy_and_hold"].to_numpy())
    rate = 1.04 ** (1 / YEAR) - 1
    found = numbers(done)
    assert found["sharpe_ratio"] == pytest.approx(empyrical.sharpe_ratio(returns, rate), rel=1e-10)
    assert found["sortino_ratio"] == pytest.approx(
        empyrical.sortino_ratio(returns, rate), rel=1e-10
    )
    assert found["alpha"] == pytest.approx(empyrical.alpha(returns, held, rate), rel=1e-8)
    plain = numbers(perform())
    changed = {name for name, value in plain.items() if found[name] != value}
    assert changed == {"sharpe_ratio", "sortino_ratio", "alpha"}
    assert done.result.provenance["risk_free_rate"] == 0.04


def test_a_benchmark() -> None:
    done = perform(series("SPY"), benchmark="SPY")
    returns = pd.Series(bar_returns(done.bars["equity"].to_numpy()), index=done.bars.index)
    spy = prices("SPY").loc[done.bars.index[0] : done.bars.index[-1]]
    held = BacktestEngine().run(spy, lambda data: np.zeros(len(data), np.int8)).benchmark
    benchmark = pd.Series(bar_returns(held.to_numpy()), index=held.index)
    found = numbers(done)
    assert found["beta"] == pytest.approx(empyrical.beta(returns, benchmark), rel=1e-10)
    assert found["alpha"] == pytest.approx(empyrical.alpha(returns, benchmark), rel=1e-8)
    assert found["information_ratio"] == pytest.approx(
        empyrical.excess_sharpe(returns, benchmark) * math.sqrt(YEAR), rel=1e-10
    )
    assert found["benchmark_return_pct"] == pytest.approx(
        100 * (held.iloc[-1] / held.iloc[0] - 1), rel=1e-12
    )
    plain = numbers(perform())
    changed = {name for name in plain if found[name] != plain[name]}
    assert changed == {"alpha", "beta", "information_ratio"}
    assert done.result.provenance["benchmark"] == "SPY"
    assert done.result.provenance["benchmark_fingerprint"] == series("SPY").fingerprint


def test_a_benchmark_without_a_bar_is_worth_what_it_was() -> None:
    """Every second bar of the ticker itself: on the days between it keeps its worth."""
    gaps = PriceSeries("GAPS", "gaps", prices()[::2])
    found = numbers(perform(gaps, benchmark="GAPS", end_date="2019-12-31"))
    assert found["benchmark_return_pct"] == pytest.approx(
        numbers(perform(end_date="2019-12-31"))["buy_and_hold_return_pct"], rel=0.05
    )
    assert found["beta"] is not None


def test_a_benchmark_whose_prices_do_not_reach() -> None:
    short = PriceSeries("SHORT", "short", prices().iloc[500:])
    with pytest.raises(NoData, match="The benchmark SHORT has prices from 2014-12-26 to"):
        perform(short, benchmark="SHORT")


def test_a_result_of_the_first_version_is_performed_by_its_own_definitions() -> None:
    """The window is short, and the numbers are those of the frozen engine all the same."""
    done = perform(version="1.0.0", end_date="2013-01-29", rule_id="MOMENTUM_2")
    data = prices().loc["2013-01-02":"2013-01-29"]  # type: ignore[misc]
    alone = BacktestEngine().run(data, rule_from_id("MOMENTUM_2").generate_signals)
    assert done.result.metrics == alone["metrics"]
    assert done.result.sharpe_ratio == alone["sharpe_ratio"]
    assert codes(done) == []
    provenance = done.result.provenance
    assert provenance["engine_version"] == "1.0.0"
    assert "risk_free_rate" not in provenance
    assert "benchmark" not in provenance


@pytest.mark.parametrize(
    ("version", "bars", "message"),
    [
        ("1.1.0", 252.0, "the bars are not daily; they are annualised as 252 a year"),
        ("1.2.0", 365.25 / 7, "the bars are not daily; 52.18 of them count as a year"),
    ],
)
def test_weekly_bars_count_as_many_as_there_are(version: str, bars: float, message: str) -> None:
    weekly = (
        prices("GOOG")
        .resample("W-FRI")
        .agg({"Open": "first", "High": "max", "Low": "min", "Close": "last", "Volume": "sum"})
    )
    request = parse_request({"run_id": "7ec8e7de-0c65-4b8c-9d4c-7b6a1f0d6a11", **REQUEST})
    rule = rule_from_id(request.rule_id)
    weekly_series = PriceSeries("GOOG", "weekly", weekly)
    done = run_backtest(request, weekly_series, rule, "digest", None, version)
    result = done.result
    years = len(done.bars) / bars
    growth = 100 * ((1 + result.total_return_pct / 100) ** (1 / years) - 1)
    assert result.metrics["cagr_pct"] == pytest.approx(growth, rel=1e-3)
    assert message in [warning["message"] for warning in result.provenance["warnings"]]
