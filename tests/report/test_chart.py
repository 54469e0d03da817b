"""The chart of a run: every point is a bar of the run, and no extreme is lost."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.base_rule import Line
from rules.registry import rule_from_id
from service.report.bars import Bars, bars_from_csv
from service.report.chart import MAX_POINTS, MAX_TRADES, chart_of, kept_bars
from service.report.overview import lines_of
from tests.support.prices import random_walk, series
from tests.support.reports import made_up, performed

MOST_BYTES = 200_000


def long_bars(count: int, seed: int = 1) -> Bars:
    """Bars of a walk without a run."""
    data = random_walk(count, seed, 0.01)
    data.index = pd.date_range("2000-01-03 09:00", periods=count, freq="min")
    equity = np.exp(np.cumsum(np.random.default_rng(seed).normal(0, 0.01, count)))
    drawdown = 1 - equity / np.maximum.accumulate(equity)
    return Bars(data.index, equity, drawdown, np.ones(count), equity[::-1].copy(), data)


def test_few_bars_are_all_there() -> None:
    result, bars, _ = performed(start_date="2013-01-02", end_date="2014-01-02")
    chart = chart_of(bars, result.trades, lines_of(rule_from_id("MA_CROSS_10_30"), bars))
    assert chart["bar"] == list(range(len(bars)))
    assert not chart["is_thinned"]
    assert not chart["has_times"]
    assert bars.prices is not None
    assert chart["close"] == pytest.approx(bars.prices["Close"].to_list(), rel=1e-6)
    assert chart["equity"] == pytest.approx(bars.equity.tolist(), rel=1e-8)
    assert [line["name"] for line in chart["lines"]] == ["SMA 10", "SMA 30"]
    assert chart["lines"][1]["values"][:29] == [None] * 29
    assert pd.to_datetime(chart["time"], unit="s").equals(bars.index)


@pytest.mark.parametrize("count", [MAX_POINTS, MAX_POINTS + 1, 50_000])
def test_thinned_bars_keep_every_extreme(count: int) -> None:
    bars = long_bars(count)
    chart = chart_of(bars, [], [])
    assert len(chart["time"]) <= MAX_POINTS + 3
    assert chart["is_thinned"] == (count > MAX_POINTS)
    assert chart["bar"][0] == 0
    assert chart["bar"][-1] == count - 1
    assert bars.prices is not None
    for name, extreme in (("equity", bars.equity), ("drawdown", bars.drawdown)):
        assert max(chart[name]) == pytest.approx(extreme.max(), abs=1e-5)
    assert max(chart["high"]) == pytest.approx(bars.prices["High"].max(), rel=1e-6)
    assert min(chart["low"]) == pytest.approx(bars.prices["Low"].min(), rel=1e-6)
    assert len(json.dumps(chart, separators=(",", ":"))) < MOST_BYTES


@settings(max_examples=40)
@given(st.integers(2, 9000), st.integers(0, 3), st.data())
def test_points_are_bars_in_order(count: int, seed: int, data: st.DataObject) -> None:
    bars = long_bars(count, seed)
    first = data.draw(st.integers(0, count - 1))
    end = data.draw(st.integers(first + 1, count))
    kept = kept_bars(bars, first, end)
    assert kept[0] == first
    assert kept[-1] == end - 1
    assert (np.diff(kept) > 0).all()
    chart = chart_of(bars, [], [], first, end)
    assert chart["equity"] == pytest.approx(bars.equity[kept].tolist(), rel=1e-8)
    candles = zip(chart["open"], chart["high"], chart["low"], chart["close"], strict=True)
    assert all(low <= min(o, c) and high >= max(o, c) for o, high, low, c in candles)


@pytest.mark.parametrize(("first", "end"), [(10**8, 10**9), (5, 3), (0, 10**9)])
def test_a_part_that_is_not_there(first: int, end: int) -> None:
    bars = long_bars(100)
    chart = chart_of(bars, [], [], first, end)
    assert 0 <= chart["first"] < chart["end"] <= 100


def test_trades_stand_at_their_bars() -> None:
    result, bars, _ = performed()
    chart = chart_of(bars, result.trades, [])
    assert chart["trade_count"] == len(result.trades)
    days = [str(np.datetime64(time, "s"))[:10] for time in chart["time"]]
    for number, (shown, trade) in enumerate(zip(chart["trades"], result.trades, strict=True), 1):
        assert shown["number"] == number
        # A point of a thinned chart may be some bars later.
        assert days[shown["entry"] - 1] < trade["entry_date"] <= days[shown["entry"]]
        if trade["exit_date"] is None:
            assert shown["exit"] is None
        else:
            assert days[shown["exit"] - 1] < trade["exit_date"] <= days[shown["exit"]]


def test_a_part_has_the_trades_that_were_open_in_it() -> None:
    result, bars, _ = performed()
    trade = result.trades[3]
    entry = int(bars.index.searchsorted(pd.Timestamp(trade["entry_date"])))
    inside = chart_of(bars, result.trades, [], entry + 1, entry + 3)
    assert [each["number"] for each in inside["trades"]] == [4]
    assert (inside["trades"][0]["entry"], inside["trades"][0]["exit"]) == (None, None)


def test_too_many_trades_are_counted_only() -> None:
    bars = long_bars(3 * MAX_TRADES)
    trades = [
        {"entry_date": str(stamp), "exit_date": None, "direction": "long", "return_pct": 1.0}
        for stamp in bars.index[: MAX_TRADES + 1]
    ]
    chart = chart_of(bars, trades, [])
    assert (chart["trade_count"], chart["trades"]) == (MAX_TRADES + 1, [])


@pytest.mark.parametrize("scale", [1e-8, 1e9])
def test_tiny_and_huge_prices_keep_their_digits(scale: float) -> None:
    data = random_walk(300, 5, 0.02)
    data[["Open", "High", "Low", "Close"]] *= scale / 100
    _, bars, _ = performed(made_up(data), rule_id="RSI")
    chart = chart_of(bars, [], [Line("x", data["Close"].to_numpy())])
    assert chart["close"] == pytest.approx(data["Close"].to_list(), rel=1e-6)
    assert chart["lines"][0]["values"] == chart["close"]


def test_without_prices_the_money_is_there_alone() -> None:
    _, _, table_csv = performed()
    bars = bars_from_csv(table_csv, None)
    chart = chart_of(bars, [], [])
    assert not {"open", "high", "low", "close"} & set(chart)
    assert chart["equity"]


def test_the_stored_table_gives_the_bars_of_the_run() -> None:
    _, bars, table_csv = performed(start_date="2015-06-01")
    again = bars_from_csv(table_csv, series("GOOG"))
    assert again.index.equals(bars.index)
    assert again.prices is not None
    assert again.prices.equals(bars.prices)
    for name in ("equity", "drawdown", "position", "holding"):
        assert np.array_equal(getattr(again, name), getattr(bars, name))


def test_other_prices_are_not_taken_for_those_of_the_run() -> None:
    _, _, table_csv = performed()
    assert bars_from_csv(table_csv, made_up(random_walk(5000, 1, 0.01))).prices is None


def test_a_rule_that_fails_at_drawing_draws_nothing(caplog: pytest.LogCaptureFixture) -> None:
    _, bars, _ = performed()
    rule = rule_from_id("RSI")

    def fail(_: pd.DataFrame) -> list[Line]:
        raise ZeroDivisionError

    object.__setattr__(rule, "lines", fail)
    assert list(lines_of(rule, bars)) == []
    assert "cannot be drawn" in caplog.text
    for values in (np.ones(3), np.ones((2, len(bars))), ["text"] * len(bars)):
        object.__setattr__(rule, "lines", lambda _, values=values: [Line("odd", values)])
        assert list(lines_of(rule, bars)) == []


def test_lines_may_be_series_or_lists(caplog: pytest.LogCaptureFixture) -> None:
    _, bars, _ = performed()
    rule = rule_from_id("RSI")
    for values in (pd.Series(np.arange(len(bars)), bars.index), list(range(len(bars)))):
        object.__setattr__(rule, "lines", lambda _, values=values: [Line("fine", values)])
        (line,) = lines_of(rule, bars)
        assert line.values.tolist() == list(map(float, range(len(bars))))


def test_a_rule_cannot_change_the_candles() -> None:
    _, bars, _ = performed()
    rule = rule_from_id("RSI")

    def spoil(data: pd.DataFrame) -> list[Line]:
        data.loc[:, "Close"] = 0.0
        return []

    object.__setattr__(rule, "lines", spoil)
    lines_of(rule, bars)
    assert bars.prices is not None
    assert (bars.prices["Close"] > 0).all()
