"""Each change is what its name says, by other ways than those of the code."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest.engine import BacktestEngine
from rules.base_rule import BaseRule
from rules.registry import rule_from_id
from service.contract.request import BacktestRequest, parse_request
from service.doubt.best_trades import without_best_trades
from service.doubt.fragility import (
    Performance,
    break_even_cost,
    neighbours,
    rows_of,
    with_noise,
)
from service.engine.adapter import run_backtest
from service.engine.metrics import metrics_of
from tests.support.prices import prices, random_walk, series
from tests.support.requests import REQUEST

RUN_ID = "7b1c1c60-0000-4000-8000-000000000000"


def asked_for(**changes: object) -> BacktestRequest:
    return parse_request({**REQUEST, "run_id": RUN_ID, **changes})


def performance(
    request: BacktestRequest, data: pd.DataFrame, rule: BaseRule | None = None
) -> Performance:
    rule = rule or rule_from_id(request.rule_id, request.params)
    signals = np.asarray(rule.generate_signals(data.copy()), dtype=np.int8)
    asked = Performance(request, rule, data, signals, np.ones(1), np.ones(1), [])
    result = asked.engine().run(data, lambda _: signals)
    return Performance(
        request,
        rule,
        data,
        signals,
        result.equity.to_numpy(),
        result.positions.to_numpy(),
        result["trades"],
    )


def goog() -> pd.DataFrame:
    return prices().loc["2013-01-02":"2019-12-31"]  # type: ignore[misc]


@pytest.fixture(scope="module")
def run() -> Performance:
    return performance(asked_for(rule_id="MA_CROSS_10_30"), goog())


def row(rows: list[dict[str, Any]], change: str, **details: object) -> dict[str, Any]:
    (found,) = [
        each
        for each in rows
        if each["change"] == change and all(each[name] == what for name, what in details.items())
    ]
    return found


def numbers(result: Any) -> dict[str, Any]:
    """Of a result of the engine, by the definitions of a run's own metrics."""
    metrics = metrics_of(result)
    names = ("cagr_pct", "sharpe_ratio", "max_drawdown_pct")
    found = {name: float(f"{metrics[name]:.6g}") for name in names}
    return {**found, "num_trades": metrics["num_trades"]}


def without_details(found: dict[str, Any]) -> dict[str, Any]:
    names = ("cagr_pct", "sharpe_ratio", "max_drawdown_pct", "num_trades")
    return {name: found[name] for name in names}


def test_the_changes_of_a_rule_in_their_order(run: Performance) -> None:
    rows = rows_of(run, 5)
    assert [each["change"] for each in rows] == [
        "asked", "late", "close", "costs", "costs", "first_year", "last_year",
        "parameter", "parameter", "parameter", "parameter", "noise", "worst_noise", "best_trades",
    ]  # fmt: skip


def test_each_change_is_what_the_engine_makes_of_it(run: Performance) -> None:
    rows = rows_of(run, 5)
    data, rule, engine = run.data, run.rule, BacktestEngine()
    signals = rule.generate_signals(data)
    expected = {
        "asked": engine.run(data, lambda _: signals),
        "late": engine.run(data, lambda _: signals.shift(1, fill_value=0)),
        "close": engine.run(data.assign(Open=data.Close), lambda _: signals),
        "first_year": engine.run(data.loc["2014-01-02":], rule.generate_signals),  # type: ignore[misc]
        "last_year": engine.run(data.loc[:"2018-12-31"], rule.generate_signals),  # type: ignore[misc]
    }
    for change, result in expected.items():
        assert without_details(row(rows, change)) == numbers(result), change
    dear = BacktestEngine(commission_rate=0.005)
    assert without_details(row(rows, "costs", factor=5)) == numbers(
        dear.run(data, lambda _: signals)
    )
    slower = rule_from_id("MA_CROSS_10_33")
    found = row(rows, "parameter", name="slow", value=33)
    assert without_details(found) == numbers(engine.run(data, slower.generate_signals))
    assert (found["member"], found["asked"]) == ("MA_CROSS_10_30", 30)


def test_the_terms_of_the_request_hold_for_each_change() -> None:
    terms: dict[str, Any] = {
        "commission_rate": 0.002, "slippage_rate": 0.001, "lot_size": 1, "allow_short": True,
        "initial_capital": 5000.0,
    }  # fmt: skip
    run = performance(asked_for(rule_id="RSI_14_30_70", **terms), goog())
    rows = rows_of(run, 5)
    engine = BacktestEngine(**terms)
    late = np.concatenate([[0], run.signals[:-1]])
    assert without_details(row(rows, "late")) == numbers(engine.run(run.data, lambda _: late))
    twice = BacktestEngine(**{**terms, "commission_rate": 0.004, "slippage_rate": 0.002})
    expected = numbers(twice.run(run.data, lambda _: run.signals))
    assert without_details(row(rows, "costs", factor=2)) == expected


def test_a_combination_has_a_row_for_each_number_of_each_rule() -> None:
    run = performance(asked_for(rule_id="ANY(MA_CROSS_10_30,RSI_14_30_70)"), goog())
    found = [each for each in rows_of(run, 5) if each["change"] == "parameter"]
    assert [(each["member"], each["name"], each["value"]) for each in found] == [
        ("MA_CROSS_10_30", "fast", 9), ("MA_CROSS_10_30", "fast", 11),
        ("MA_CROSS_10_30", "slow", 27), ("MA_CROSS_10_30", "slow", 33),
        ("RSI_14_30_70", "period", 12), ("RSI_14_30_70", "period", 16),
        ("RSI_14_30_70", "oversold", 27.0), ("RSI_14_30_70", "oversold", 33.0),
        ("RSI_14_30_70", "overbought", 63.0), ("RSI_14_30_70", "overbought", 77.0),
    ]  # fmt: skip


def test_a_number_at_its_limit_has_a_neighbour_on_one_side() -> None:
    run = performance(asked_for(rule_id="MOMENTUM_1"), goog())
    found = [each for each in rows_of(run, 5) if each["change"] == "parameter"]
    assert [each["value"] for each in found] == [2]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (10, [9, 11]), (3, [2, 4]), (1, [0, 2]), (0, [-1, 1]), (14, [12, 16]), (15, [13, 17]),
        (-10, [-9, -11]), (0.1, [0.09, 0.11]), (2.0, [1.8, 2.2]), (0.0, []),
    ],
)  # fmt: skip
def test_neighbours_are_a_tenth_away_and_one_at_least(value: float, expected: list[float]) -> None:
    assert list(neighbours(value)) == expected


def test_without_the_best_trades_their_bars_earn_nothing() -> None:
    """Ten trades of two bars each: five earn 10 %, five 1 %."""
    index = pd.date_range("2020-01-01", periods=60, freq="D")
    close = [100.0]
    for bar in range(1, 60):
        trade, place = divmod(bar, 6)
        gain = 1.1 if trade % 2 else 1.01
        close.append(close[-1] * (gain if place == 3 else 1.0))
    frame = dict.fromkeys(("Open", "High", "Low", "Close"), close)
    data = pd.DataFrame({**frame, "Volume": 1.0}, index=index)
    data["Open"] = data["Close"].shift(1, fill_value=100.0)
    data["High"] = data[["Open", "Close"]].max(axis=1)
    data["Low"] = data[["Open", "Close"]].min(axis=1)
    signals = np.zeros(60, np.int8)
    signals[2::6], signals[4::6] = 1, -1
    request = asked_for(commission_rate=0.0)
    result = BacktestEngine(commission_rate=0.0).run(data, lambda _: signals)
    rule = rule_from_id("MA_CROSS_10_30")
    run = Performance(
        request,
        rule,
        data,
        signals,
        result.equity.to_numpy(),
        result.positions.to_numpy(),
        result["trades"],
    )
    found = row(rows_of(run, 1), "best_trades")
    assert result["num_trades"] == 10
    assert found["num_trades"] == 5
    assert found["cagr_pct"] == pytest.approx(100 * (1.01 ** (5 * 252 / 60) - 1), rel=1e-5)


def test_of_reversals_each_trade_has_what_it_made() -> None:
    """Longs gain 5 % from their last close to the open at which they are turned, shorts nothing."""
    index = pd.date_range("2020-01-01", periods=80, freq="D")
    price, opens, closes = 100.0, [], []
    for bar in range(80):
        if bar % 8 == 5:
            price *= 1.05
        opens.append(price)
        closes.append(price)
    frame = {"Open": opens, "High": opens, "Low": opens, "Close": closes, "Volume": 1.0}
    data = pd.DataFrame(frame, index=index)
    signals = np.zeros(80, np.int8)
    signals[::8], signals[4::8] = 1, -1
    engine = BacktestEngine(commission_rate=0.0, allow_short=True)
    result = engine.run(data, lambda _: signals)
    gains = [trade["return_pct"] for trade in result["trades"]]
    assert gains[:4] == pytest.approx([5, 0, 5, 0])
    equity = without_best_trades(
        result.equity.to_numpy(), result.positions.to_numpy(), result["trades"], 6
    )
    assert equity is not None
    assert equity[-1] / equity[0] == pytest.approx(1.05**4)
    assert np.diff(equity).min() >= -1e-6


@pytest.mark.parametrize("allow_short", [False, True])
@pytest.mark.parametrize("count", [1, 5, 30])
def test_without_the_best_trades_the_others_multiply(allow_short: bool, count: int) -> None:
    run = performance(asked_for(rule_id="RSI_5_40_60", allow_short=allow_short), goog())
    equity = without_best_trades(run.equity, run.position, run.trades, count)
    assert equity is not None
    money, growth = 100_000.0, []
    for trade in run.trades:
        growth.append(1 + trade["pnl"] / money)
        money += trade["pnl"]
    others = sorted(growth)[:-count]
    assert equity[-1] / equity[0] == pytest.approx(np.prod(others))


def test_a_trade_that_ended_on_the_bar_of_its_entry_is_not_told_apart() -> None:
    position = np.array([0.0, 1.0, 0.0, 0.0])
    trades = [{"pnl": 1.0}, {"pnl": -1.0}]
    assert without_best_trades(np.full(4, 10.0), position, trades, 1) is None
    assert without_best_trades(np.array([9.0, 5.0, 0, 0]), position, trades[:1], 1) is None


def test_break_even_costs_leave_nothing(run: Performance) -> None:
    cost = break_even_cost(run)
    assert cost is not None
    engine = BacktestEngine(commission_rate=cost / 100)
    left = engine.run(run.data, lambda _: run.signals)["total_return_pct"]
    assert left == pytest.approx(0, abs=0.3)


def test_break_even_costs_of_a_loser_and_of_one_that_never_trades() -> None:
    data = goog()
    falling = data.iloc[::-1].set_axis(data.index)
    falling["Open"] = falling["Close"].shift(1).fillna(falling["Open"])
    falling["High"] = falling[["Open", "Close"]].max(axis=1)
    falling["Low"] = falling[["Open", "Close"]].min(axis=1)
    loser = performance(asked_for(rule_id="MA_CROSS_10_30"), falling)
    idle = replace(loser, signals=np.zeros(len(data), np.int8), trades=[])
    assert break_even_cost(loser) == 0
    assert break_even_cost(idle) is None
    assert [each["change"] for each in rows_of(idle, 1)] == ["asked"]


def test_without_costs_none_are_multiplied() -> None:
    run = performance(asked_for(rule_id="MA_CROSS_10_30", commission_rate=0.0), goog())
    assert "costs" not in [each["change"] for each in rows_of(run, 1)]


def test_a_year_is_left_out_of_a_run_of_more_than_two_and_a_half() -> None:
    run = performance(asked_for(rule_id="MA_CROSS_10_30"), goog().iloc[:600])
    assert "first_year" not in [each["change"] for each in rows_of(run, 1)]


class Fussy(BaseRule):
    """Refuses prices of which none of its own makers thought."""

    metadata = rule_from_id("MA_CROSS_10_30").metadata

    @property
    def warm_up(self) -> int:
        return 1

    def generate_signals(self, data: pd.DataFrame) -> pd.Series:
        if data["Close"].iloc[40] != goog()["Close"].iloc[40]:
            raise ZeroDivisionError("somebody else's mistake")
        values = np.where(np.arange(len(data)) % 20 == 0, 1, 0)
        values[10::20] = -1
        return pd.Series(values.astype(np.int8), index=data.index)


def test_a_rule_that_fails_on_other_prices_has_the_other_rows() -> None:
    run = performance(asked_for(), goog(), Fussy())
    changes = [each["change"] for each in rows_of(run, 1)]
    assert not {"noise", "worst_noise", "first_year"} & set(changes)
    assert {"late", "close", "costs", "last_year", "parameter", "best_trades"} <= set(changes)


class Careless(Fussy):
    """Changes the prices that it is given, refuses a parameter, has no warm-up for another."""

    def __init__(self, /, **params: object) -> None:
        super().__init__(**params)
        if self.params["fast"] == 9:
            raise ValueError("nine is not my number")

    @property
    def warm_up(self) -> int:
        return {10: 1}[self.params["fast"]]

    def generate_signals(self, data: pd.DataFrame) -> pd.Series:
        data["Close"] += 2.0
        values = np.where(np.arange(len(data)) % 20 == 0, 1, 0)
        values[10::20] = -1
        return pd.Series(values.astype(np.int8), index=data.index)


def test_a_careless_rule_changes_no_prices_and_costs_its_own_rows_alone() -> None:
    data = goog()
    run = performance(asked_for(), data.copy(), Careless())
    before = run.data.copy()
    rows = rows_of(run, 1)
    assert run.data.equals(before)
    values = [(each["name"], each["value"]) for each in rows if each["change"] == "parameter"]
    assert values == [("slow", 27), ("slow", 33)]
    assert row(rows, "noise")


def test_a_series_in_which_nothing_is_traded_counts_as_nothing_earned() -> None:
    run = performance(asked_for(), goog(), Idle())
    rows = rows_of(run, 1)
    assert row(rows, "worst_noise")["num_trades"] == 0
    assert row(rows, "noise")["series"] == 9


class Idle(Fussy):
    """Trades on the prices as they are alone."""

    def generate_signals(self, data: pd.DataFrame) -> pd.Series:
        values = np.zeros(len(data), np.int8)
        if data["Close"].iloc[40] == goog()["Close"].iloc[40]:
            values[::20], values[10::20] = 1, -1
        return pd.Series(values, index=data.index)


@settings(max_examples=40)
@given(st.integers(0, 1000), st.integers(1, 60))
def test_noisy_bars_are_bars(seed: int, count: int) -> None:
    data = random_walk(count, seed, 0.2)
    changed = with_noise(data, np.random.Generator(np.random.PCG64(seed)))
    body = changed[["Open", "Close"]]
    assert (changed["High"] >= body.max(axis=1)).all()
    assert (changed["Low"] <= body.min(axis=1)).all()
    assert (changed > 0).all().all()
    assert (changed["Volume"] == data["Volume"]).all()
    assert (changed["Close"] != data["Close"]).any()


def test_noise_is_up_to_a_quarter_of_the_average_true_range() -> None:
    data = goog()
    changed = with_noise(data, np.random.Generator(np.random.PCG64(1)))
    before = data["Close"].shift(1).fillna(data["Open"])
    true_range = np.maximum(data["High"], before) - np.minimum(data["Low"], before)
    usual = true_range.rolling(14).mean()  # the first bars have none of their own
    share = ((changed["Close"] - data["Close"]).abs() / usual).dropna()
    assert share.max() <= 0.25 + 1e-9
    assert share.mean() == pytest.approx(0.125, abs=0.01)


def test_the_middle_of_the_noisy_runs_is_above_the_worst(run: Performance) -> None:
    rows = rows_of(run, 9)
    assert row(rows, "noise")["sharpe_ratio"] >= row(rows, "worst_noise")["sharpe_ratio"]
    assert rows == rows_of(run, 9)
    random = np.random.Generator(np.random.PCG64(9))
    sharpes = []
    for _ in range(9):
        noisy = with_noise(run.data, random)
        sharpes.append(BacktestEngine().run(noisy, run.rule.generate_signals)["sharpe_ratio"])
    assert row(rows, "noise")["sharpe_ratio"] == pytest.approx(np.median(sharpes), rel=1e-5)
    assert row(rows, "worst_noise")["sharpe_ratio"] == pytest.approx(min(sharpes), rel=1e-5)
    assert row(rows, "noise")["series"] == 9
    assert row(rows, "noise") != row(rows_of(run, 10), "noise")


def test_the_run_as_asked_has_the_numbers_of_its_result() -> None:
    request = asked_for(rule_id="MA_CROSS_10_30", risk_free_rate=0.02)
    rule = rule_from_id(request.rule_id)
    performed = run_backtest(request, series("GOOG"), rule, "0" * 64)
    bars = performed.bars
    run = Performance(
        request, rule, performed.prices, performed.signals,
        bars["equity"].to_numpy(), bars["position"].to_numpy(),
        performed.result.trades,
    )  # fmt: skip
    asked, result = rows_of(run, 1)[0], performed.result
    assert asked["sharpe_ratio"] == pytest.approx(result.sharpe_ratio, rel=1e-5)
    assert asked["cagr_pct"] == pytest.approx(result.metrics["cagr_pct"], rel=1e-5)
    assert asked["num_trades"] == result.num_trades
