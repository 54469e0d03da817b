"""Golden numbers: the modelling choices of the published comparison, and eight runs pinned to 1e-9.

They were taken from this engine after it agreed with the naive one, and may only change with
ENGINE_VERSION.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from backtest.engine import ENGINE_VERSION, BacktestEngine
from rules.registry import rule_from_id
from tests.support.naive_engine import naive_run
from tests.support.prices import prices, random_walk

WALK = random_walk(2520, 42, 0.012)
RULE = rule_from_id("MA_CROSS_10_30")


@pytest.mark.parametrize(
    ("terms", "total"),
    [
        ({}, -0.492250342),
        ({"commission_rate": 0.0}, -0.440531033),
        ({"initial_capital": 10_000.0, "lot_size": 1.0}, -0.490187495),
    ],
)
def test_published_values_of_the_random_walk(terms: dict[str, float], total: float) -> None:
    result = BacktestEngine(**terms).run(WALK, RULE.generate_signals)  # type: ignore[arg-type]
    assert result["total_return_pct"] / 100 == pytest.approx(total, abs=5e-10)
    assert result["num_trades"] == 49


def test_published_crossings_of_the_random_walk() -> None:
    """Entering on crossings only, not on the state at the start."""
    up = (RULE.generate_signals(WALK) == 1).to_numpy().copy()
    first_exit = np.flatnonzero(up[:-1] & ~up[1:])[0]
    signals = np.where(up, 1, -1)
    signals[: first_exit + 1] = 0
    result = BacktestEngine().run(WALK, lambda _: signals)
    assert (result["total_return_pct"] / 100, result["num_trades"]) == (
        pytest.approx(-0.503670837, abs=5e-10),
        48,
    )


GOLDEN = [
    # ticker, rule_id, first day, last day, engine terms
    ("GOOG", "MA_CROSS_10_30", "2013-01-02", "2020-02-07", {}),
    ("SPY", "RSI_14_30_70", "2000-05-01", "2020-05-01", {}),
    ("AAPL", "MACD_12_26_9", "2015-01-02", "2023-09-21", {"slippage_rate": 0.0005}),
    ("NVDA", "BREAKOUT_55_20", "2013-01-02", "2023-09-21", {"lot_size": 1.0}),
    ("MSFT", "MOMENTUM_126", "1990-01-02", "2017-11-10", {"commission_rate": 0.0}),
    ("AMD", "BB_20_2", "2009-02-09", "2020-02-07", {"allow_short": True}),
    (
        "TSLA",
        "MEAN_REVERSION_20_2",
        "2010-06-29",
        "2020-02-07",
        {"lot_size": 10.0, "allow_short": True},
    ),
    ("BA", "MAJORITY(MA_CROSS_10_30,MACD_12_26_9,TREND_14_25)", "2009-02-09", "2020-02-07", {}),
]
EXPECTED = [
    # total return in percent, Sharpe ratio, maximum drawdown in percent, trades
    (162.94554248685, 0.8712733684017372, 20.010261241940075, 34),
    (26.313564046679172, 0.1544477231834362, 60.19491633056193, 16),
    (326.10473423073216, 1.0109450041239934, 27.77765994323399, 73),
    (1152.1789582812676, 0.9074241802029744, 46.86842752211299, 25),
    (1352.6088059681558, 0.5136736068935681, 80.72364903632985, 148),
    (-100.0, -0.030742883870460664, 100.0, 45),
    (-100.0, -0.23553266129408917, 100.0, 23),
    (131.81436770771347, 0.5301567601749863, 40.93858236828303, 86),
]


@pytest.mark.parametrize(
    ("run", "expected"),
    list(zip(GOLDEN, EXPECTED, strict=True)),
    ids=[f"{r[0]} {r[1]}" for r in GOLDEN],
)
def test_golden(run: tuple, expected: tuple[float, float, float, int]) -> None:
    ticker, rule_id, first, last, terms = run
    data = prices(ticker).loc[first:last]
    result = BacktestEngine(**terms).run(data, rule_from_id(rule_id).generate_signals)
    names = ("total_return_pct", "sharpe_ratio", "max_drawdown_pct")
    assert tuple(result[name] for name in names) == pytest.approx(expected[:3], rel=1e-9)
    assert result["num_trades"] == expected[3]
    assert ENGINE_VERSION == "1.0.0"


@pytest.mark.parametrize("run", GOLDEN, ids=[f"{r[0]} {r[1]}" for r in GOLDEN])
def test_golden_runs_agree_with_the_naive_engine(run: tuple) -> None:
    ticker, rule_id, first, last, terms = run
    data = prices(ticker).loc[first:last]
    defaults = {
        "initial_capital": 1e5,
        "commission_rate": 0.001,
        "slippage_rate": 0.0,
        "lot_size": 0.0,
        "allow_short": False,
    }
    signals = rule_from_id(rule_id).generate_signals(data)
    naive = naive_run(data, signals.tolist(), {**defaults, **terms})
    result = BacktestEngine(**terms).run(data, lambda _: signals)
    np.testing.assert_allclose(result.equity, naive.equity, rtol=1e-9)


@pytest.mark.bench
@pytest.mark.filterwarnings("ignore")  # the peer's own
@pytest.mark.parametrize("run", GOLDEN, ids=[f"{r[0]} {r[1]}" for r in GOLDEN])
def test_golden_runs_agree_with_backtesting_py(run: tuple) -> None:
    """Long only, at the next open, commission 0.1 %, whole shares, no signal on its first bar."""
    backtesting = pytest.importorskip("backtesting")
    ticker, rule_id, first, last, _ = run
    data = prices(ticker).loc[first:last]
    signals = rule_from_id(rule_id).generate_signals(data).to_numpy().copy()
    signals[0] = 0

    class Follow(backtesting.Strategy):
        def init(self) -> None:
            self.given = self.I(lambda: signals.astype(float), plot=False)

        def next(self) -> None:
            if self.given[-1] > 0 and not self.position:
                self.buy()
            elif self.given[-1] < 0:
                self.position.close()

    cash = 1e10  # whole shares do not matter then
    theirs = backtesting.Backtest(data, Follow, cash=cash, commission=0.001).run()
    ours = BacktestEngine(cash, 0.001).run(data, lambda _: signals)
    assert theirs["Equity Final [$]"] == pytest.approx(ours.equity.iloc[-1], rel=1e-6)
    still_open = int(ours.trades["exit_date"].isna().sum())
    assert theirs["# Trades"] == ours["num_trades"] - still_open  # it leaves the open one out


@pytest.mark.bench
@pytest.mark.filterwarnings("ignore")  # the peer's own
def test_published_values_of_goog() -> None:
    """backtesting.py's own GOOG, read from where it is installed."""
    test_data = pytest.importorskip("backtesting.test")
    data = test_data.GOOG.astype(float)
    result = BacktestEngine().run(data, RULE.generate_signals)
    metrics = result["metrics"]
    assert result["total_return_pct"] / 100 == pytest.approx(6.515292840, abs=5e-10)
    assert result["sharpe_ratio"] == pytest.approx(1.096045605878, abs=5e-13)
    assert metrics["sortino_ratio"] == pytest.approx(1.791791653231, abs=5e-13)
    assert result["max_drawdown_pct"] / 100 == pytest.approx(0.305543969219, abs=5e-13)
    assert metrics["cagr_pct"] / 100 == pytest.approx(0.266964959415, abs=5e-13)
    assert result["num_trades"] == 34
    free = BacktestEngine(commission_rate=0).run(data, RULE.generate_signals)
    assert free["total_return_pct"] / 100 == pytest.approx(7.036064812, abs=5e-10)
    whole = BacktestEngine(10_000, lot_size=1).run(data, RULE.generate_signals)
    assert whole["total_return_pct"] / 100 == pytest.approx(6.451202333, abs=5e-10)
    hold = BacktestEngine().run(data.iloc[29:], lambda d: pd.Series(1, index=d.index))
    assert hold["total_return_pct"] / 100 == pytest.approx(5.157374735, abs=5e-10)
