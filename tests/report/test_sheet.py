"""The tear sheet: its numbers by definition, by empyrical, and by adding up to the result."""

from __future__ import annotations

import math

import empyrical
import numpy as np
import pandas as pd
import pytest

from service.report.bars import Bars, bars_from_csv
from service.report.sheet import (
    CRISES,
    crises_of,
    drawdowns_of,
    excursions_of,
    histogram_of,
    rolling_of,
    sharpe_band,
    sheet_of,
    weekdays_of,
    years_of,
)
from tests.support.prices import random_walk
from tests.support.reports import made_up, performed

RESULT, BARS, TABLE = performed()
CAPITAL = 100_000.0
RETURNS = pd.Series(BARS.equity, BARS.index).pct_change().fillna(0.0)


def bars_with(equity: list[float], first: str = "2020-01-01") -> Bars:
    """Daily bars with this equity, and holding that never moves."""
    money = np.array(equity)
    index = pd.date_range(first, periods=len(money))
    drawdown = 1 - money / np.maximum.accumulate(money)
    return Bars(index, money, drawdown, np.zeros(len(money)), np.full(len(money), money[0]))


def test_months_are_those_of_empyrical() -> None:
    expected = empyrical.aggregate_returns(RETURNS, "monthly")
    years = years_of(BARS, CAPITAL)
    for (year, month), growth in expected.items():
        (row,) = [row for row in years if row["year"] == year]
        assert row["months"][month - 1] == pytest.approx(100 * growth, abs=1e-9)


def test_months_multiply_to_the_year_and_years_to_the_result() -> None:
    total = holding = 1.0
    for year in years_of(BARS, CAPITAL):
        months = [value for value in year["months"] if value is not None]
        assert math.prod(1 + value / 100 for value in months) == pytest.approx(
            1 + year["total"] / 100
        )
        total *= 1 + year["total"] / 100
        holding *= 1 + year["holding"] / 100
    assert 100 * (total - 1) == pytest.approx(RESULT.total_return_pct)
    assert 100 * (holding - 1) == pytest.approx(RESULT.metrics["buy_and_hold_return_pct"])


def test_weekdays_and_months_of_the_calendar_are_means() -> None:
    sheet = sheet_of(BARS, RESULT.trades, CAPITAL, 0.0)
    by_day = RETURNS.groupby(RETURNS.index.day_of_week).mean()
    for row in sheet["weekdays"]:
        assert row["mean"] == pytest.approx(100 * by_day[row["weekday"]], abs=1e-9)
    assert sum(row["days"] for row in sheet["weekdays"]) == len(BARS)
    monthly = empyrical.aggregate_returns(RETURNS, "monthly")
    by_month = monthly.groupby(level=1).mean()
    for month, mean in by_month.items():
        assert sheet["month_means"][month - 1] == pytest.approx(100 * mean, abs=1e-9)


def test_the_days_of_intraday_bars_are_whole_days() -> None:
    index = pd.date_range("2024-01-01 09:00", periods=48, freq="h")  # Monday to Wednesday
    money = 100 * 1.01 ** np.arange(48)
    bars = Bars(index, money, np.zeros(48), np.ones(48), money)
    days = weekdays_of(bars, 100.0)
    assert [(day["weekday"], day["days"]) for day in days] == [(0, 1), (1, 1), (2, 1)]
    assert days[1]["mean"] == pytest.approx(100 * (1.01**24 - 1))


def test_the_worst_drawdown_is_that_of_the_result() -> None:
    falls = drawdowns_of(BARS)
    assert len(falls) == 5
    assert falls[0]["depth"] == pytest.approx(RESULT.max_drawdown_pct)
    assert [fall["depth"] for fall in falls] == sorted(
        (fall["depth"] for fall in falls), reverse=True
    )
    longest = RESULT.metrics["max_drawdown_days"]
    assert max(fall["days"] for fall in falls) == longest


def test_a_drawdown_by_hand() -> None:
    falls = drawdowns_of(bars_with([100, 110, 99, 104, 110, 121, 60.5]))
    assert [(fall["depth"], fall["peak"], fall["trough"], fall["recovered"]) for fall in falls] == [
        (pytest.approx(50.0), "2020-01-06", "2020-01-07", None),
        (pytest.approx(10.0), "2020-01-02", "2020-01-03", "2020-01-05"),
    ]
    assert [(fall["days_down"], fall["days"]) for fall in falls] == [(1, 1), (1, 3)]
    assert drawdowns_of(bars_with([1, 2, 3])) == []


def test_rolling_numbers_are_those_of_empyrical() -> None:
    rolling = rolling_of(BARS, 252, 0.0)
    assert rolling is not None
    assert rolling["bars"] == 126
    held = pd.Series(BARS.holding, BARS.index).pct_change().fillna(0.0)
    for at in (0, 100, 239):
        day = pd.Timestamp(rolling["days"][at])
        window = RETURNS[:day][-126:]
        assert rolling["sharpe"][at] == pytest.approx(empyrical.sharpe_ratio(window), abs=1e-5)
        volatility = empyrical.annual_volatility(window)
        assert rolling["volatility"][at] == pytest.approx(100 * volatility, abs=1e-5)
        beta = empyrical.beta(window, held[:day][-126:])
        assert rolling["beta"][at] == pytest.approx(beta, abs=1e-5)


def test_rolling_numbers_of_money_that_rests_are_undefined() -> None:
    rolling = rolling_of(bars_with([100.0] * 300), 252, 0.0)
    assert rolling is not None
    assert set(rolling["sharpe"]) == {None}
    assert set(rolling["volatility"]) == {0.0}
    assert rolling_of(bars_with([100.0] * 251), 252, 0.0) is None


def test_the_band_of_the_sharpe_ratio_covers_the_truth() -> None:
    """In about 95 of 100 samples, of which each has 1,000 bars."""
    random = np.random.default_rng(3)
    covered = 0
    for _ in range(400):
        band = sharpe_band(random.standard_t(5, 1000) * 0.01 + 0.0005, 252)
        assert band is not None
        truth = 0.0005 / (0.01 * math.sqrt(5 / 3)) * math.sqrt(252)
        covered += band[0] <= truth <= band[1]
    assert 0.92 <= covered / 400 <= 0.98


def test_the_band_is_around_the_ratio_and_nothing_of_a_few_bars() -> None:
    sheet = sheet_of(BARS, RESULT.trades, CAPITAL, 0.0)
    low, high = sheet["sharpe_band"]
    assert (low + high) / 2 == pytest.approx(RESULT.sharpe_ratio)
    assert sharpe_band(np.ones(19), 252) is None
    assert sharpe_band(np.zeros(500), 252) is None


def test_holding_by_the_definitions_of_the_run() -> None:
    held = sheet_of(BARS, RESULT.trades, CAPITAL, 0.0)["holding"]
    held_returns = pd.Series(BARS.holding, BARS.index).pct_change().fillna(0.0)
    assert held["sharpe_ratio"] == pytest.approx(empyrical.sharpe_ratio(held_returns))
    assert held["max_drawdown_pct"] == pytest.approx(-100 * empyrical.max_drawdown(held_returns))
    assert held["cagr_pct"] == pytest.approx(100 * empyrical.cagr(held_returns))


def test_crises_are_measured_from_close_to_close() -> None:
    (covid,) = [crisis for crisis in crises_of(BARS) if crisis["name"] == "Covid-19"]
    holding = pd.Series(BARS.holding, BARS.index)
    assert covid["holding"] == pytest.approx(
        100 * (holding["2020-03-23"] / holding["2020-02-19"] - 1)
    )
    names = [crisis["name"] for crisis in crises_of(BARS)]
    assert "Financial crisis" not in names, "the run began later"
    assert [crisis.first for crisis in CRISES] == sorted(crisis.first for crisis in CRISES)


def test_excursions_by_hand() -> None:
    index = pd.date_range("2020-01-01", periods=5)
    columns = {
        "Open": [10.0, 10, 12, 11, 9],
        "High": [11.0, 13, 15, 12, 99],
        "Low": [9.0, 8, 11, 7, 1],
        "Close": [10.0, 12, 11, 9, 9],
        "Volume": [1.0] * 5,
    }
    prices = pd.DataFrame(columns, index)
    bars = Bars(index, np.ones(5), np.zeros(5), np.ones(5), np.ones(5), prices)

    def trade(direction: str, exit_date: str | None) -> dict[str, object]:
        exit_price = None if exit_date is None else 9.0
        return {
            "entry_date": "2020-01-02",
            "entry_price": 10.0,
            "exit_date": exit_date,
            "exit_price": exit_price,
            "direction": direction,
        }

    trades = [trade("long", "2020-01-05"), trade("short", "2020-01-05"), trade("long", None)]
    # Nothing of the bar of the exit counts but its open, at which the trade left.
    assert excursions_of(bars, trades) == [[30.0, 50.0], [50.0, 30.0], [90.0, 890.0]]


def test_no_excursion_is_negative_or_less_than_the_trade_itself() -> None:
    result, bars, _ = performed(made_up(random_walk(1500, 3, 0.03)), allow_short=True)
    excursions = excursions_of(bars, result.trades)
    assert excursions is not None
    for (adverse, favourable), trade in zip(excursions, result.trades, strict=True):
        assert adverse >= 0
        assert favourable >= 0
        if trade["exit_price"] is not None:
            moved = 100 * (trade["exit_price"] / trade["entry_price"] - 1)
            gain = moved if trade["direction"] == "long" else -moved
            assert -adverse - 1e-3 <= gain <= favourable + 1e-3


def test_excursions_need_prices() -> None:
    assert excursions_of(bars_from_csv(TABLE, None), RESULT.trades) is None


def test_histograms_count_every_value_once() -> None:
    values = [trade["return_pct"] for trade in RESULT.trades]
    histogram = histogram_of(values)
    assert histogram is not None
    assert sum(histogram["counts"]) == len(values)
    days = histogram_of([3, 3, 10, 154], whole=True)
    assert days is not None
    assert sum(days["counts"]) == 4
    assert all(edge == int(edge) for edge in days["edges"])
    assert histogram_of([1.0]) is None
    assert histogram_of([1.0, 1.0]) is None


@pytest.mark.parametrize("bars", [3, 19, 40])
def test_a_run_of_a_few_bars_has_a_sheet(bars: int) -> None:
    data = random_walk(bars, 1, 0.02)
    result, shown, _ = performed(made_up(data), rule_id="MOMENTUM_1")
    sheet = sheet_of(shown, result.trades, CAPITAL, 0.02)
    assert sheet["years"]
    assert sheet["rolling"] is None or bars >= 40


def test_a_run_that_lost_everything_has_a_sheet() -> None:
    sheet = sheet_of(bars_with([100.0] * 30 + [0.0] * 30), [], 100.0, 0.0)
    assert sheet["years"][0]["total"] == pytest.approx(-100.0)
    assert sheet["drawdowns"][0]["depth"] == 100.0
