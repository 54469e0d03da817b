"""Every metric against empyrical-reloaded, pandas or its definition, on many kinds of series."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest import metrics
from backtest.engine import BacktestEngine, BacktestResult
from rules.registry import rule_from_id
from tests.support.prices import TICKERS, prices, random_walk

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import empyrical

P = 252


def equity_of(returns: np.ndarray) -> np.ndarray:
    return 1000.0 * np.cumprod(1 + np.concatenate([[0.0], returns]))


def series() -> dict[str, np.ndarray]:
    """Name to returns; real, random and degenerate ones."""
    random = np.random.default_rng(11)
    drawn = {
        f"random {i}": random.normal(0.0005, 0.01 * (1 + i % 4), 60 + 40 * i) for i in range(20)
    }
    real = {ticker: prices(ticker)["Close"].pct_change().to_numpy()[1:] for ticker in TICKERS}
    one_gain = np.zeros(50)
    one_gain[7] = 0.03
    degenerate = {
        "flat": np.zeros(50),
        "one": one_gain,
        "losses": np.full(50, -0.01),
        "gains": np.full(50, 0.01),
        "two bars": np.array([0.02]),
    }
    return {**drawn, **real, **degenerate}


SERIES = series()


def theirs(name: str, r: pd.Series, b: pd.Series) -> float:
    """empyrical's number for ours; its drawdown is negative, its excess Sharpe not annualised."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return {
            "total_return": lambda: empyrical.cum_returns_final(r),
            "cagr_pct": lambda: 100 * empyrical.annual_return(r),
            "volatility_pct": lambda: 100 * empyrical.annual_volatility(r),
            "sharpe": lambda: empyrical.sharpe_ratio(r),
            "sortino_ratio": lambda: empyrical.sortino_ratio(r),
            "max_drawdown": lambda: -empyrical.max_drawdown(r),
            "calmar_ratio": lambda: empyrical.calmar_ratio(r),
            "omega_ratio": lambda: empyrical.omega_ratio(r),
            "value_at_risk_pct": lambda: 100 * empyrical.value_at_risk(r),
            "expected_shortfall_pct": lambda: 100 * empyrical.conditional_value_at_risk(r),
            "beta": lambda: empyrical.beta(r, b),
            "alpha": lambda: empyrical.alpha(r, b),
            "information_ratio": lambda: empyrical.excess_sharpe(r, b) * math.sqrt(P),
        }[name]()


def ours(equity: np.ndarray, benchmark: np.ndarray) -> dict[str, float | None]:
    index = pd.bdate_range("2010-01-01", periods=len(equity))
    trades = pd.DataFrame({"exit_date": pd.Series([], dtype="datetime64[ns]")})
    table = metrics.PerformanceMetrics(
        equity, np.ones(len(equity)), benchmark, index, trades, 0.0, 0.0
    )
    r = metrics.bar_returns(equity)
    sharpe = float(metrics.sharpe_ratio(r, P))
    return {
        **table.as_dict(),
        "total_return": float(metrics.total_return(equity)),
        "sharpe": sharpe if math.isfinite(sharpe) else None,
        "max_drawdown": float(metrics.drawdowns(equity).max()),
    }


NAMES = [
    "total_return",
    "cagr_pct",
    "volatility_pct",
    "sharpe",
    "sortino_ratio",
    "max_drawdown",
    "calmar_ratio",
    "omega_ratio",
    "value_at_risk_pct",
    "expected_shortfall_pct",
    "beta",
    "alpha",
    "information_ratio",
]


@pytest.mark.parametrize("which", SERIES)
def test_equal_to_empyrical(which: str) -> None:
    """To 1e-12, None where theirs is NaN or infinite (or a variance of rounding errors)."""
    equity = equity_of(SERIES[which])
    benchmark = equity_of(np.random.default_rng(2).normal(0.0003, 0.012, len(equity) - 1))
    own = ours(equity, benchmark)
    r, b = (pd.Series(metrics.bar_returns(values)) for values in (equity, benchmark))
    for name in NAMES:
        expected = theirs(name, r, b)
        if own[name] is None:
            still = r.max() - r.min() < 1e-15
            assert not math.isfinite(expected) or still or name == "calmar_ratio", name
        else:
            assert own[name] == pytest.approx(expected, rel=1e-12, abs=1e-12), name


@pytest.mark.parametrize("rate", [0.0, 0.03])
def test_risk_free_rate(rate: float) -> None:
    equity = equity_of(SERIES["GOOG"])
    benchmark = equity_of(SERIES["AAPL"])
    index = pd.bdate_range("2010-01-01", periods=len(equity))
    trades = pd.DataFrame({"exit_date": pd.Series([], dtype="datetime64[ns]")})
    own = metrics.PerformanceMetrics(
        equity, equity, benchmark, index, trades, 0.0, 0.0, rate
    ).as_dict()
    per_bar = (1 + rate) ** (1 / P) - 1
    r, b = (pd.Series(metrics.bar_returns(values)) for values in (equity, benchmark))
    sharpe = float(metrics.sharpe_ratio(r.to_numpy(), P, per_bar))
    assert sharpe == pytest.approx(empyrical.sharpe_ratio(r, per_bar), rel=1e-12)
    assert own["sortino_ratio"] == pytest.approx(empyrical.sortino_ratio(r, per_bar), rel=1e-12)
    assert own["alpha"] == pytest.approx(empyrical.alpha(r, b, per_bar), rel=1e-12)


@settings(max_examples=60)
@given(st.lists(st.floats(-0.5, 0.5), min_size=4, max_size=80))
def test_skew_and_kurtosis_equal_pandas(values: list[float]) -> None:
    r = np.array(values)
    pairs = (
        (metrics.skewness(r), pd.Series(r).skew()),
        (metrics.excess_kurtosis(r), pd.Series(r).kurt()),
    )
    if np.ptp(r) > 1e-3:
        for actual, expected in pairs:
            assert actual == pytest.approx(expected, rel=1e-9, abs=1e-9)
    elif np.ptp(r) == 0:
        assert all(math.isnan(actual) for actual, _ in pairs)


@pytest.mark.parametrize(
    ("function", "least"), [(metrics.skewness, 3), (metrics.excess_kurtosis, 4)]
)
def test_moments_need_enough_values(function: object, least: int) -> None:
    values = np.array([0.01, -0.02, 0.03, 0.01])
    assert math.isnan(function(values[: least - 1]))  # type: ignore[operator]
    assert math.isfinite(function(values[:least]))  # type: ignore[operator]


def result(rule_id: str = "MA_CROSS_10_30", ticker: str = "GOOG") -> BacktestResult:
    return BacktestEngine().run(prices(ticker), rule_from_id(rule_id).generate_signals)


def test_trade_metrics_by_definition() -> None:
    done = result()
    closed = done.trades[done.trades["exit_date"].notna()]
    pnl = closed["pnl"]
    expected = {
        "win_rate_pct": 100 * (pnl > 0).mean(),
        "profit_factor": pnl[pnl > 0].sum() / -pnl[pnl < 0].sum(),
        "avg_trade_pct": closed["return_pct"].mean(),
        "best_trade_pct": closed["return_pct"].max(),
        "worst_trade_pct": closed["return_pct"].min(),
        "avg_holding_days": closed["holding_days"].mean(),
        "expectancy": pnl.mean(),
        "exposure_pct": 100 * (done.positions > 0).mean(),
    }
    for name, value in expected.items():
        assert done["metrics"][name] == pytest.approx(value, rel=1e-12), name


def test_without_losers_there_is_no_profit_factor() -> None:
    trades = pd.DataFrame({"pnl": [1.0, 2.0], "return_pct": [1.0, 2.0], "holding_days": [1, 2]})
    assert math.isnan(metrics.trade_metrics(trades)["profit_factor"])
    assert metrics.trade_metrics(trades)["win_rate_pct"] == 100
    assert metrics.trade_metrics(trades.assign(pnl=[0.5, -0.25]))["profit_factor"] == 2
    assert metrics.trade_metrics(trades.assign(pnl=[0.0, -1.0])) == {
        "win_rate_pct": 0,
        "profit_factor": 0,
        "avg_trade_pct": 1.5,
        "best_trade_pct": 2,
        "worst_trade_pct": 1,
        "avg_holding_days": 1.5,
        "expectancy": -0.5,
    }


@pytest.mark.parametrize(
    ("equity", "days"),
    [
        ([10, 11, 12], 0),
        ([10, 10, 10], 0),
        ([10, 9, 10], 2),  # recovered on the third day
        ([10, 9, 9.5], 2),  # not recovered
        ([10, 9, 11, 10, 10, 12], 5),  # Thursday to Tuesday over the weekend
        ([12, 10, 11, 11, 11, 11], 7),
        ([10, 11, 11, 9, 11], 2),  # counted from the last bar at the peak
    ],
)
def test_longest_drawdown_in_calendar_days(equity: list[float], days: int) -> None:
    index = pd.DatetimeIndex(pd.bdate_range("2024-01-01", periods=len(equity)))  # a Monday
    assert metrics.max_drawdown_days(np.array(equity, dtype=float), index) == days


def test_buy_and_hold_is_a_run_of_the_same_engine() -> None:
    always = BacktestEngine().run(prices(), lambda data: np.ones(len(data)))
    assert result()["metrics"]["buy_and_hold_return_pct"] == always["total_return_pct"]
    assert always["metrics"]["beta"] == pytest.approx(1, abs=1e-12)
    assert always["metrics"]["alpha"] == pytest.approx(0, abs=1e-12)
    assert always["metrics"]["information_ratio"] is None
    closes = prices()
    filled = closes["Close"].iloc[-1] / (closes["Open"].iloc[1] * 1.001) - 1
    assert always["total_return_pct"] == pytest.approx(100 * filled, rel=1e-12)


def test_everything_is_a_plain_number_or_none() -> None:
    for ticker in TICKERS:
        for value in result("RSI_14_30_70", ticker)["metrics"].values():
            assert value is None or type(value) in (int, float)


def test_bars_per_year() -> None:
    daily = pd.bdate_range("2024-01-01", periods=500)
    quarters = pd.DatetimeIndex(
        [day + pd.Timedelta(minutes=570 + 15 * i) for day in daily[:20] for i in range(26)]
    )
    assert metrics.bars_per_year(daily) == 252
    assert metrics.bars_per_year(daily[::5]) == 252
    assert metrics.bars_per_year(quarters) == 252 * 26
    assert metrics.bars_per_year(quarters[:30]) == 252 * 15  # 26 bars in one session, 4 in the next


def test_one_bar_on_the_first_day_and_many_on_the_next() -> None:
    next_day = pd.date_range("2024-01-03 09:30", periods=9, freq="15min")
    index = pd.DatetimeIndex([pd.Timestamp("2024-01-02 09:30"), *next_day])
    assert metrics.bars_per_year(index) == 252 * 5


def test_equal_values_have_exactly_no_deviation() -> None:
    rows = np.array([[0.1] * 7, [0.1, 0.2, 0.3, 0.1, 0.2, 0.3, 0.1], [0.7] * 7])
    assert (metrics.deviation(rows) == 0).tolist() == [True, False, True]
    assert metrics.deviation(rows)[1] == pytest.approx(rows[1].std(ddof=1))
    assert math.isnan(metrics.skewness(rows[0]))
    assert math.isnan(metrics.excess_kurtosis(rows[2]))
    assert np.isnan(metrics.sharpe_ratio(rows, P)).tolist() == [True, False, True]


def test_the_risk_free_rate_is_0_unless_set() -> None:
    r, b = (metrics.bar_returns(equity_of(SERIES[name])) for name in ("GOOG", "AAPL"))
    assert metrics.sortino_ratio(r, P) == metrics.sortino_ratio(r, P, 0.0)
    assert metrics.alpha(r, b, P) == metrics.alpha(r, b, P, 0.0)


def test_a_benchmark_that_does_not_move_has_no_beta() -> None:
    assert math.isnan(metrics.beta(np.array([0.1, 0.2, 0.1, 0.3, 0.1, 0.2, 0.1]), np.full(7, 0.1)))
    still = prices(bars=50)
    still[["Open", "High", "Low", "Close"]] = 10.0
    done = BacktestEngine(commission_rate=0).run(still, lambda d: np.ones(len(d)))
    assert done["metrics"]["beta"] is None
    assert done["metrics"]["alpha"] is None


def test_every_run_has_the_same_metrics() -> None:
    from service.contract.result import HEADLINE
    from service.web.presentation import METRICS

    optional = {"bankruptcy_shortfall", "benchmark_return_pct"}
    promised = {metric.name for metric in METRICS} - set(HEADLINE) - optional
    never = BacktestEngine().run(prices(bars=50), lambda d: np.zeros(len(d)))
    assert set(never["metrics"]) == set(result()["metrics"]) == promised
    assert never["metrics"]["profit_factor"] is None


def test_returns_of_a_small_account() -> None:
    assert metrics.bar_returns(np.array([0.5, 0.25, 0.5])).tolist() == [0, -0.5, 1]


def test_returns_after_ruin_are_zero() -> None:
    assert metrics.bar_returns(np.array([100.0, 50.0, 0.0, 0.0])).tolist() == [0, -0.5, -1, 0]


def test_a_ruined_run_has_defined_metrics() -> None:
    data = random_walk(30, 3, 0.01) * np.linspace(1, 5, 30)[:, None]
    ruined = BacktestEngine(allow_short=True).run(data, lambda d: np.full(len(d), -1))
    assert ruined["total_return_pct"] == -100
    assert ruined["metrics"]["cagr_pct"] == -100
    assert ruined["max_drawdown_pct"] == 100
