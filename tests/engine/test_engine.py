"""The engine against a naive one, its identities, its refusals, and its bits."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from backtest.engine import BacktestEngine, BacktestResult
from backtest.kernel import Terms, simulate
from backtest.prices import InvalidPrices, InvalidSignals
from scripts.config import ROOT
from service.engine.enhanced_engine import frozen_metrics_of
from tests.support.naive_engine import Naive, naive_run
from tests.support.prices import TICKERS, prices, random_walk

TERMS = {
    "initial_capital": st.sampled_from([0.5, 100.0, 10_000.0, 1e9]),
    "commission_rate": st.sampled_from([0.0, 0.001, 0.1]),
    "slippage_rate": st.sampled_from([0.0, 0.0005, 0.1]),
    "lot_size": st.sampled_from([0.0, 1.0, 0.1, 7.0, 100.0]),
    "allow_short": st.booleans(),
}


def compare(data: pd.DataFrame, signals: list[int], terms: dict[str, float]) -> BacktestResult:
    """Equity, positions and trades agree to 1e-9 with the naive engine; the identities hold."""
    result = BacktestEngine(**terms).run(data, lambda _: np.array(signals))
    naive = naive_run(data, signals, terms)
    scale = terms["initial_capital"]
    np.testing.assert_allclose(result.equity, naive.equity, rtol=1e-9, atol=1e-9 * scale)
    np.testing.assert_allclose(result.positions, naive.shares, rtol=1e-9, atol=1e-9)
    check_trades(result, naive, data, scale)
    metrics = frozen_metrics_of(result)
    assert metrics["total_costs"] == pytest.approx(naive.costs, rel=1e-9, abs=1e-9 * scale)
    mean = sum(naive.equity) / len(naive.equity)
    assert metrics["turnover"] == pytest.approx(naive.traded / mean, rel=1e-9, abs=1e-9)
    check_identities(result, data, terms)
    return result


def check_trades(result: BacktestResult, naive: Naive, data: pd.DataFrame, scale: float) -> None:
    trades = result.trades
    assert result["num_trades"] == len(trades) == len(naive.trades)
    assert [data.index.get_loc(day) for day in trades["entry_date"]] == [
        trade["entry"] for trade in naive.trades
    ]
    exits = [None if pd.isna(day) else data.index.get_loc(day) for day in trades["exit_date"]]
    assert exits == [trade["exit"] for trade in naive.trades]
    assert trades["direction"].tolist() == [
        "long" if trade["side"] > 0 else "short" for trade in naive.trades
    ]
    for name, theirs in (("entry_price", "fill"), ("shares", "shares")):
        np.testing.assert_allclose(
            trades[name], [trade[theirs] for trade in naive.trades], rtol=1e-9
        )
    closed = [trade for trade in naive.trades if trade["exit"] is not None]
    ours = trades[trades["exit_date"].notna()]
    np.testing.assert_allclose(
        ours["exit_price"], [trade["exit_fill"] for trade in closed], rtol=1e-9
    )
    np.testing.assert_allclose(
        ours["pnl"], [trade["pnl"] for trade in closed], rtol=1e-9, atol=1e-8 * scale
    )
    assert result.bankruptcy_shortfall == pytest.approx(naive.shortfall, rel=1e-9, abs=1e-8 * scale)


def check_identities(result: BacktestResult, data: pd.DataFrame, terms: dict[str, float]) -> None:
    equity = result.equity
    scale = terms["initial_capital"]
    assert (equity == result.cash + result.positions * data["Close"]).all()
    gained = result.trades["pnl"].sum() + result.bankruptcy_shortfall
    assert equity.iloc[-1] - scale == pytest.approx(
        gained, rel=1e-9, abs=1e-9 * max(scale, equity.max())
    )
    assert equity.iloc[0] == scale
    if not terms["allow_short"]:
        assert (equity > 0).all()
        assert (result.positions >= 0).all()
        assert (result.cash >= 0).all()


@settings(max_examples=120)
@given(
    ticker=st.sampled_from(TICKERS),
    start=st.integers(0, 1500),
    signals=st.lists(st.sampled_from([-1, 0, 0, 1]), min_size=2, max_size=120),
    terms=st.fixed_dictionaries(TERMS),
)
def test_agrees_with_the_naive_engine(
    ticker: str, start: int, signals: list[int], terms: dict[str, float]
) -> None:
    compare(prices(ticker).iloc[start : start + len(signals)], signals, terms)


@pytest.mark.parametrize("ticker", TICKERS)
@pytest.mark.parametrize("lot_size", [0.0, 1.0])
@pytest.mark.parametrize("allow_short", [False, True])
def test_agrees_over_whole_histories(ticker: str, lot_size: float, allow_short: bool) -> None:
    data = prices(ticker)
    random = np.random.default_rng(5)
    signals = random.choice([-1, 0, 1], size=len(data), p=[0.04, 0.92, 0.04]).tolist()
    terms = {
        "initial_capital": 1e5,
        "commission_rate": 0.001,
        "slippage_rate": 0.0005,
        "lot_size": lot_size,
        "allow_short": allow_short,
    }
    compare(data, signals, terms)


def bars(opens: list[float], closes: list[float]) -> pd.DataFrame:
    columns = {
        "Open": opens,
        "High": np.maximum(opens, closes),
        "Low": np.minimum(opens, closes),
        "Close": closes,
    }
    return pd.DataFrame(
        {**columns, "Volume": 1.0},
        index=pd.bdate_range("2020-01-01", periods=len(opens)),
        dtype=float,
    )


SHORT = {
    "initial_capital": 100.0,
    "commission_rate": 0.0,
    "slippage_rate": 0.0,
    "lot_size": 0.0,
    "allow_short": True,
}


@settings(max_examples=150)
@given(
    moves=st.lists(
        st.tuples(st.floats(0.3, 3.0), st.floats(0.3, 3.0), st.sampled_from([-1, 0, 1])),
        min_size=2,
        max_size=12,
    ),
    terms=st.fixed_dictionaries({**TERMS, "allow_short": st.just(True)}),
)
# Equity is exactly 0.
@example(moves=[(1.0, 1.0, -1), (1.0, 1.0, 0), (1.0, 2.0, 0), (1.0, 1.0, 0)], terms=SHORT)
# Alpha overflows.
@example(moves=[(0.3, 3.0, -1), (1.3, 2.0, 0), (0.8, 0.3, 0)], terms=SHORT)
@example(
    moves=[(1.4, 0.3, -1), (0.4, 2.0, 0), (0.3, 1.1, -1)], terms={**SHORT, "commission_rate": 0.1}
)
def test_ruined_shorts_agree(
    moves: list[tuple[float, float, int]], terms: dict[str, float]
) -> None:
    levels = np.cumprod([factor for move in moves for factor in move[:2]]) * 10
    compare(bars(levels[::2].tolist(), levels[1::2].tolist()), [move[2] for move in moves], terms)


def test_short_ruined_at_a_close() -> None:
    result = compare(bars([10, 10, 10, 30, 10], [10, 10, 25, 30, 10]), [-1, 0, 1, 1, 1], SHORT)
    assert result.equity.tolist() == [100, 100, 0, 0, 0]
    assert result.bankruptcy_shortfall == 50
    assert result.trades["exit_price"].tolist() == [25]
    assert result["total_return_pct"] == -100
    assert result.warnings[0]["code"] == "Ruin"
    assert result.warnings[0]["bar"] == "2020-01-03"
    assert "50.00 owed" in result.warnings[0]["message"]


def test_short_ruined_at_an_open() -> None:
    result = compare(bars([10, 10, 30, 10], [10, 10, 30, 10]), [-1, 1, 1, 1], SHORT)
    assert result.equity.tolist() == [100, 100, 0, 0]
    assert result.bankruptcy_shortfall == 100
    assert result["num_trades"] == 1


@pytest.mark.parametrize("lot_size", [0.0, 1.0])
def test_short_ruined_with_exactly_nothing_left(lot_size: float) -> None:
    terms = {**SHORT, "lot_size": lot_size}
    result = compare(bars([10, 10, 20, 20], [10, 15, 20, 20]), [-1, 1, 1, 0], terms)
    assert result.equity.tolist() == [100, 50, 0, 0]
    assert (result["num_trades"], result.bankruptcy_shortfall) == (1, 0)


def test_a_small_account_is_not_ruined() -> None:
    result = compare(
        bars([1, 1, 1, 1], [1, 1, 1.5, 1.2]), [-1, 0, 0, 0], {**SHORT, "initial_capital": 1.0}
    )
    assert result.equity.tolist() == pytest.approx([1, 1, 0.5, 0.8])


def test_lots_of_a_small_account() -> None:
    terms = {**SHORT, "initial_capital": 0.95, "lot_size": 0.1}
    result = compare(bars([1, 1, 1.1, 1, 1], [1, 1, 1, 1, 1]), [1, -1, 1, 0, 0], terms)
    assert result.trades["shares"].tolist() == pytest.approx([0.9, 0.9, 1.1])


def test_rounding_never_buys_more_than_the_cash_pays_for() -> None:
    """Cases where floor(cash / unit / lot) lots cost a last bit more than the cash."""
    random = np.random.default_rng(0)
    price = random.uniform(0.1, 100, 200_000)
    lots = random.integers(1, 500, 200_000)
    cash = lots * 0.1 * price * 0.9999999999999999
    over = np.flatnonzero(np.floor(cash / price / 0.1) * 0.1 * price > cash)
    assert len(over) > 10
    for at in over[:50]:
        data = bars([price[at]] * 2, [price[at]] * 2)
        result = BacktestEngine(cash[at], 0, 0, 0.1).run(data, lambda _: [1, 0])
        assert result.cash.iloc[-1] >= 0
        assert result.positions.iloc[-1] == pytest.approx((lots[at] - 1) * 0.1)


def test_fills_by_hand() -> None:
    terms = {
        "initial_capital": 1000.0,
        "commission_rate": 0.01,
        "slippage_rate": 0.1,
        "lot_size": 1.0,
        "allow_short": False,
    }
    result = compare(bars([10, 10, 20, 20], [10, 15, 20, 20]), [1, -1, 0, 0], terms)
    trade = result["trades"][0]
    assert trade["shares"] == 90  # 1000 / (11 * 1.01) = 90.009
    assert trade["entry_price"] == pytest.approx(11)
    assert trade["exit_price"] == pytest.approx(18)
    assert trade["pnl"] == pytest.approx(90 * 18 * 0.99 - 90 * 11 * 1.01)
    assert trade["return_pct"] == pytest.approx(100 * trade["pnl"] / (90 * 11 * 1.01))
    assert (trade["entry_date"], trade["exit_date"], trade["holding_days"]) == (
        "2020-01-02",
        "2020-01-03",
        1,
    )
    metrics = result["metrics"]
    assert metrics["total_costs"] == pytest.approx(
        90 * 11 * 0.01 + 90 * 18 * 0.01 + 90 * 1 + 90 * 2
    )
    assert metrics["turnover"] == pytest.approx((90 * 11 + 90 * 18) / result.equity.mean())


def test_a_signal_on_the_last_bar_cannot_trade() -> None:
    result = BacktestEngine().run(bars([10, 10], [10, 10]), lambda _: [0, 1])
    assert result["num_trades"] == 0
    assert result["sharpe_ratio"] is None
    assert result["total_return_pct"] == 0


def test_an_unaffordable_buy_is_tried_again_by_later_buys() -> None:
    data = bars([10, 150, 150, 90, 90], [10, 150, 150, 90, 90])
    once = BacktestEngine(100, 0, 0, 1).run(data, lambda _: [1, 0, 0, 0, 0])
    result = BacktestEngine(100, 0, 0, 1).run(data, lambda _: [1, 1, 1, 0, 0])
    assert (once["num_trades"], result["num_trades"]) == (0, 1)
    assert result["trades"][0]["entry_date"] == str(data.index[3].date())


def test_an_open_position_is_listed_without_exit() -> None:
    result = BacktestEngine(1000, 0.01).run(bars([10, 10, 10], [10, 10, 12]), lambda _: [1, 0, 0])
    trade = result["trades"][0]
    assert (trade["exit_date"], trade["exit_price"]) == (None, None)
    assert trade["pnl"] == pytest.approx(result.equity.iloc[-1] - 1000)
    assert trade["holding_days"] == 1, "to the last bar"
    assert result["metrics"]["win_rate_pct"] is None


def test_result_is_a_mapping_with_the_contract_names() -> None:
    result = BacktestEngine().run(prices(bars=50), lambda data: np.ones(len(data)), "GOOG")
    assert list(result) == [
        "total_return_pct",
        "sharpe_ratio",
        "max_drawdown_pct",
        "num_trades",
        "metrics",
        "trades",
    ]
    assert len(result) == 6
    assert result.ticker == "GOOG"
    assert (result.equity.name, result.positions.name, result.cash.name) == (
        "equity",
        "positions",
        "cash",
    )
    json.dumps(dict(result), allow_nan=False)


@pytest.mark.parametrize("k", [2, 7, 1000])
@pytest.mark.parametrize(
    ("lot_size", "allow_short"), [(0.0, False), (0.0, True), (1.0, False), (1.0, True)]
)
def test_a_run_gives_the_same_bits_among_thousands(
    k: int, lot_size: float, allow_short: bool
) -> None:
    from backtest import metrics

    data = prices("NVDA", 400)
    random = np.random.default_rng(k)
    signals = random.choice([-1, 0, 1], size=(k, 400), p=[0.05, 0.9, 0.05]).astype(np.int8)
    terms = Terms(1e5, 0.001, 0.0005, lot_size, allow_short)
    open_ = data["Open"].to_numpy()
    close = data["Close"].to_numpy()
    many = simulate(open_, close, signals, terms)
    returns = metrics.bar_returns(many.equity)
    sharpe = metrics.sharpe_ratio(returns, 252)
    drawdown = metrics.drawdowns(many.equity).max(axis=1)
    for row in range(0, k, max(1, k // 50)):
        alone = simulate(open_, close, signals[row : row + 1], terms)
        assert (alone.equity[0] == many.equity[row]).all()
        assert (alone.shares[0] == many.shares[row]).all()
        assert alone.shortfall[0] == many.shortfall[row]
        mine = metrics.bar_returns(alone.equity[0])
        assert metrics.sharpe_ratio(mine, 252) == sharpe[row] or np.isnan(sharpe[row])
        assert metrics.drawdowns(alone.equity[0]).max() == drawdown[row]


@pytest.mark.parametrize("size", [1, 3, 64])
def test_chunks_give_the_same_bits(size: int) -> None:
    data = prices("AMD", 300)
    random = np.random.default_rng(1)
    signals = random.choice([-1, 0, 1], size=(64, 300), p=[0.05, 0.9, 0.05]).astype(np.int8)
    terms = Terms(1e5, 0.001, 0.0, 0.0, True)
    open_ = data["Open"].to_numpy()
    close = data["Close"].to_numpy()
    whole = simulate(open_, close, signals, terms).equity
    parts = [
        simulate(open_, close, signals[at : at + size], terms).equity for at in range(0, 64, size)
    ]
    assert (np.concatenate(parts) == whole).all()


DIGEST = """
import numpy as np, hashlib
from tests.support.prices import random_walk
from backtest.engine import BacktestEngine
data = random_walk(1500, 42, 0.012)
signals = np.random.default_rng(3).choice([-1, 0, 1], size=1500)
out = []
for lot, short in ((0, False), (1, True)):
    result = BacktestEngine(1e5, 0.001, 0.0005, lot, short).run(data, lambda _: signals)
    out.append(result.equity.to_numpy().tobytes() + repr(dict(result)).encode())
print(hashlib.sha256(b"".join(out)).hexdigest())
"""


@pytest.mark.process
def test_same_bytes_in_any_process() -> None:
    digests = set()
    for seed, threads in (("0", "1"), ("1", "2"), ("4242", "4")):
        threading = dict.fromkeys(
            ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), threads
        )
        environment = {**os.environ, "PYTHONHASHSEED": seed, **threading}
        command = [sys.executable, "-c", DIGEST]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        )
        digests.add(done.stdout)
    assert len(digests) == 1
    assert len(digests.pop()) == len(hashlib.sha256().hexdigest()) + 1


def broken(column: str, value: float, bar: int = 3) -> pd.DataFrame:
    data = prices(bars=10)
    data.iloc[bar, data.columns.get_loc(column)] = value
    return data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (broken("Close", np.nan), "bar 3 .*Close is nan"),
        (broken("High", np.inf), "bar 3 .*High is inf"),
        (broken("Volume", np.inf), "bar 3 .*Volume is inf"),
        (broken("Open", 0.0), "bar 3 .*Open is 0.0"),
        (broken("Low", -5.0, 4), "bar 4 .*Low is -5.0"),
        (broken("Low", 0.0), "bar 3 .*Low is 0.0, prices must be above 0"),
        (broken("Close", 1e9).assign(Volume=0.0), "bar 3 .*outside Low..High"),
        (broken("Close", 1e9).assign(High=10.0, Low=10.0, Open=10.0), "bar 0 .*outside Low..High"),
        (broken("High", 0.001), "bar 3 .*High 0.001 is below Low"),
        (broken("Low", 1e9), "bar 3 .*is below Low"),
        (broken("Close", 1e9), "bar 3 .*outside Low..High"),
        (prices(bars=1), "at least 2 bars, got 1"),
        (prices(bars=10).iloc[[0, 1, 1, 2]], "bar 2 .*ascending"),
        (prices(bars=10).iloc[[0, 2, 1]], "bar 2 .*ascending"),
        (prices(bars=10).drop(columns="Open"), "no column Open"),
        (prices(bars=10).reset_index(drop=True), "DatetimeIndex"),
        (
            prices(bars=10).set_index(pd.DatetimeIndex([pd.NaT, *prices(bars=10).index[1:]])),
            "bar 0",
        ),
        (prices(bars=10).astype(object).replace({prices(bars=10).iloc[2, 0]: "x"}), "not numbers"),
    ],
)
def test_bad_prices_are_refused(data: pd.DataFrame, message: str) -> None:
    with pytest.raises(InvalidPrices, match=message):
        BacktestEngine().run(data, lambda _: np.zeros(len(data)))


@pytest.mark.parametrize(
    ("signals", "message"),
    [
        (np.zeros(9), "expected 10 signals"),
        (np.zeros((10, 1)), "expected 10 signals"),
        (np.full(10, 2), r"bar 0 .*2.* is no signal"),
        (np.array([0] * 9 + [-2], dtype=np.int8), r"bar 9 .*-2 is no signal"),
        (np.array([0] * 9 + [-128], dtype=np.int8), r"bar 9 .*-128 is no signal"),
        (np.array([0.0, np.nan] * 5), "bar 1 .*nan is no signal"),
        (np.array([0.5] * 10), "bar 0 .*0.5 is no signal"),
        (["BUY"] * 10, "not numbers"),
        (
            pd.Series(0, index=pd.bdate_range("1999-01-01", periods=10)),
            "^the signals are not on the index of the prices$",
        ),
    ],
)
def test_bad_signals_are_refused(signals: object, message: str) -> None:
    with pytest.raises(InvalidSignals, match=message):
        BacktestEngine().run(prices(bars=10), lambda _: signals)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("initial_capital", 0),
        ("initial_capital", -1),
        ("initial_capital", float("inf")),
        ("initial_capital", float("nan")),
        ("commission_rate", -0.001),
        ("commission_rate", 1),
        ("slippage_rate", float("nan")),
        ("slippage_rate", 1.0),
        ("lot_size", -1),
        ("lot_size", float("inf")),
    ],
)
def test_bad_terms_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        BacktestEngine(**{name: value})  # type: ignore[arg-type]


def test_a_series_on_its_own_index_and_extra_columns_are_fine() -> None:
    data = prices(bars=60).assign(Dividends=0.0)
    plain = BacktestEngine().run(prices(bars=60), lambda d: pd.Series(1, index=d.index))
    extra = BacktestEngine().run(data, lambda d: pd.Series(1).reindex(range(60), fill_value=1))
    assert dict(plain) == dict(extra)
    copied = BacktestEngine().run(
        prices(bars=60), lambda d: pd.Series(1, index=d.index.copy(deep=True))
    )
    assert dict(plain) == dict(copied)
    assert plain.ticker == ""


def test_intraday_bars_with_a_time_zone() -> None:
    data = random_walk(130, 1, 0.001)
    sessions = pd.bdate_range("2024-01-02", periods=5, tz="America/New_York")
    data.index = pd.DatetimeIndex(
        [day + pd.Timedelta(minutes=570 + 15 * i) for day in sessions for i in range(26)]
    )
    result = BacktestEngine().run(data, lambda d: np.ones(len(d)))
    returns = result.equity.pct_change().fillna(0)
    expected = returns.mean() / returns.std() * np.sqrt(252 * 26)
    assert result["sharpe_ratio"] == pytest.approx(expected, rel=1e-9)
    assert result["trades"][0]["entry_date"].startswith("2024-01-02T09:45:00")


def test_sessions_are_days_of_their_own_time_zone() -> None:
    data = random_walk(40, 1, 0.001)
    # 23:30 of the day before in UTC.
    mornings = pd.date_range("2024-01-02 08:30", periods=4, freq="D", tz="Asia/Seoul")
    data.index = pd.DatetimeIndex(
        [day + pd.Timedelta(minutes=15 * i) for day in mornings for i in range(10)]
    )
    result = BacktestEngine().run(data, lambda d: [1, *[0] * 38, 0])
    returns = result.equity.pct_change().fillna(0)
    assert result["sharpe_ratio"] == pytest.approx(
        returns.mean() / returns.std() * np.sqrt(252 * 10), rel=1e-9
    )
    assert result["trades"][0]["holding_days"] == 3


def test_the_input_is_left_alone() -> None:
    data = prices(bars=100)
    before = data.copy(deep=True)
    BacktestEngine().run(data, lambda d: np.ones(len(d)))
    pd.testing.assert_frame_equal(data, before)
