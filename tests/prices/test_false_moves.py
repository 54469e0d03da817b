"""Moves that no market made are found, each kind by its own name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from service.prices.checks import check_prices, check_prices_1_0_0
from tests.support.prices import TICKERS, prices

Damage = Callable[[pd.DataFrame], pd.DataFrame]
ROW = 600
PRICES = ["Open", "High", "Low", "Close"]


def times(factor: float) -> Damage:
    """All prices from a bar on in another unit."""

    def damage(data: pd.DataFrame) -> pd.DataFrame:
        data.loc[data.index[ROW] :, PRICES] *= factor
        return data

    return damage


def open_too_high(data: pd.DataFrame) -> pd.DataFrame:
    rows = data.index[200::200]
    data.loc[rows, "Open"] *= 1.5
    data["High"] = data[["Open", "High"]].max(axis=1)
    return data


def low_without_a_digit(data: pd.DataFrame) -> pd.DataFrame:
    data.loc[data.index[ROW], "Low"] /= 10
    return data


def high_with_a_digit_too_many(data: pd.DataFrame) -> pd.DataFrame:
    data.loc[data.index[ROW], "High"] *= 10
    return data


def day_before_copied(data: pd.DataFrame) -> pd.DataFrame:
    data.iloc[ROW] = data.iloc[ROW - 1]
    return data


def week_before_copied(data: pd.DataFrame) -> pd.DataFrame:
    data.iloc[ROW : ROW + 5] = data.iloc[ROW - 5 : ROW].to_numpy()
    return data


def four_stale_bars(data: pd.DataFrame) -> pd.DataFrame:
    data.loc[data.index[ROW : ROW + 3], PRICES] = data.iloc[ROW - 1][PRICES].to_numpy()
    return data


def volume_in_single_shares(data: pd.DataFrame) -> pd.DataFrame:
    data.loc[data.index[ROW], "Volume"] *= 1000
    return data


def interpolated_month(data: pd.DataFrame) -> pd.DataFrame:
    data.iloc[ROW : ROW + 21] = np.nan
    return data.interpolate()


def interpolated_in_cents(data: pd.DataFrame) -> pd.DataFrame:
    return interpolated_month(data).round(2)


DEFECTS: dict[str, tuple[Damage, str]] = {
    **{f"prices x{factor}": (times(factor), "Jump") for factor in (9, 12, 35, 75, 100, 1000)},
    "prices / 12": (times(1 / 12), "Jump"),
    "prices / 100": (times(1 / 100), "Jump"),
    "open 1.5 times too high": (open_too_high, "FarPrice"),
    "low / 10": (low_without_a_digit, "FarPrice"),
    "high x10": (high_with_a_digit_too_many, "FarPrice"),
    "day before copied": (day_before_copied, "CopiedBar"),
    "week before copied": (week_before_copied, "CopiedBar"),
    "four stale bars": (four_stale_bars, "Stale"),
    "volume x1000": (volume_in_single_shares, "HugeVolume"),
    "interpolated month": (interpolated_month, "StraightLine"),
    "interpolated month in cents": (interpolated_in_cents, "StraightLine"),
}


@pytest.mark.parametrize("ticker", ["GOOG", "SPY", "AAPL", "TSLA"])
@pytest.mark.parametrize("defect", DEFECTS)
def test_every_defect_is_named_where_it_is(defect: str, ticker: str) -> None:
    damage, code = DEFECTS[defect]
    before = {finding.code for finding in check_prices(prices(ticker))}
    data = damage(prices(ticker))
    findings = [finding for finding in check_prices(data) if finding.code not in before]
    assert {finding.code for finding in findings} - {"Stale"} <= {code}, findings
    assert code in {finding.code for finding in findings}
    if defect != "open 1.5 times too high":
        first = next(finding for finding in findings if finding.code == code)
        row = data.index.get_loc(pd.Timestamp(str(first.day)))
        assert abs(row - ROW) <= 8
    assert all(finding.severity == "warning" for finding in findings)


@pytest.mark.parametrize("defect", DEFECTS)
def test_version_1_0_0_saw_none_of_them(defect: str) -> None:
    damage, code = DEFECTS[defect]
    assert code not in {finding.code for finding in check_prices_1_0_0(damage(prices("AAPL")))}


@pytest.mark.parametrize("ticker", TICKERS)
def test_nothing_of_it_on_real_prices(ticker: str) -> None:
    assert check_prices(prices(ticker)) == check_prices_1_0_0(prices(ticker))


def test_a_spike_is_no_jump_there_and_back() -> None:
    data = prices("AAPL")
    data.loc[data.index[ROW], PRICES] *= 100
    assert [finding.code for finding in check_prices(data)] == ["Spike"]


def test_a_split_is_no_jump() -> None:
    data = prices("AAPL")
    data.loc[data.index[ROW] :, PRICES] /= 20
    assert [finding.code for finding in check_prices(data)] == ["SplitShapedJump"]


def test_closes_that_often_rest_are_not_stale() -> None:
    """Microsoft in 1990, in eighths of a dollar."""
    data = prices("MSFT").loc["1990-01-02":"1990-12-31"]  # type: ignore[misc]
    stretch = data.loc["1990-02-09":"1990-02-14", PRICES]  # type: ignore[misc]
    assert len(stretch.drop_duplicates()) == 1
    assert len(stretch) == 4
    assert "Stale" not in {finding.code for finding in check_prices(data)}


@pytest.mark.parametrize("bars", range(2, 12))
def test_short_series(bars: int) -> None:
    codes = {finding.code for finding in check_prices(prices("AAPL", bars))}
    assert codes == set()


def test_a_stale_stretch_is_named_once() -> None:
    data = prices("AAPL")
    data.iloc[ROW : ROW + 6] = data.iloc[ROW - 1].to_numpy()
    codes = [finding.code for finding in check_prices(data)]
    assert codes.count("Stale") == 1
    assert "CopiedBar" not in codes


def test_thin_stocks_have_no_huge_volumes() -> None:
    """Their volumes vary by many times from day to day."""
    data = prices("AAPL")
    random = np.random.Generator(np.random.PCG64(1))
    data["Volume"] = np.round(np.exp(random.normal(8.0, 2.2, len(data))))
    assert "HugeVolume" not in {finding.code for finding in check_prices(data)}
