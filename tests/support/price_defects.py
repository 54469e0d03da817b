"""Prices without a defect, and nine ways to damage them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from tests.support.prices import prices

CLEAN = prices("AAPL").iloc[200:500]
Change = Callable[[pd.DataFrame], pd.DataFrame]


def set_cell(row: int, column: str, value: float) -> Change:
    """A change of one price."""

    def change(data: pd.DataFrame) -> pd.DataFrame:
        data.iloc[row, data.columns.get_loc(column)] = value
        return data

    return change


def repeat_a_day(data: pd.DataFrame) -> pd.DataFrame:
    return data.iloc[[*range(100), 99, *range(100, 300)]]


def swap_two_days(data: pd.DataFrame) -> pd.DataFrame:
    return data.iloc[[*range(99), 100, 99, *range(101, 300)]]


def put_high_below_low(data: pd.DataFrame) -> pd.DataFrame:
    is_other_day = data.index != data.index[100]
    return data.assign(High=data["High"].where(is_other_day, data["Low"] / 2))


def empty_a_date(data: pd.DataFrame) -> pd.DataFrame:
    return data.set_index(data.index.where(data.index != data.index[100]))


def split(data: pd.DataFrame) -> pd.DataFrame:
    data.iloc[150:, :4] /= 2
    data.iloc[150:, 4] *= 2
    return data


def spike(data: pd.DataFrame) -> pd.DataFrame:
    data.iloc[150, :4] *= 100
    return data


def drop_a_month(data: pd.DataFrame) -> pd.DataFrame:
    return data.drop(data.index[100:121])


# By name: the change, and the severity and the code of the finding about it.
DEFECTS: dict[str, tuple[Change, str, str]] = {
    "NaN close": (set_cell(100, "Close", np.nan), "error", "NotANumber"),
    "duplicate date": (repeat_a_day, "error", "DuplicateDate"),
    "unsorted": (swap_two_days, "error", "Unsorted"),
    "high below low": (put_high_below_low, "error", "HighBelowLow"),
    "price 0": (set_cell(100, "Low", 0.0), "error", "NotPositive"),
    "price -5": (set_cell(100, "Open", -5.0), "error", "NotPositive"),
    "a date is empty": (empty_a_date, "error", "NoDate"),
    "unadjusted split": (split, "warning", "SplitShapedJump"),
    "spike": (spike, "warning", "Spike"),
    "a month missing": (drop_a_month, "warning", "MissingSessions"),
}
