"""How many bars are a year."""

from __future__ import annotations

import numpy as np
import pandas as pd

from backtest.metrics import ONE_DAY, bars_per_year, wall_clock

DAYS_OF_YEAR = 365.25
MAX_DAYS_BETWEEN_DAILY_BARS = 4  # the median


def bars_a_year(index: pd.DatetimeIndex) -> float:
    """252 for daily bars, 252 sessions of bars inside a day, else as many as there are in a year.

    So weekly bars count 52.18 and monthly ones 12, some missing ones less. Until version 1.1.0 of
    the engine all bars that are longer than a day counted 252.
    """
    if not are_longer_than_daily(index):
        return bars_per_year(index)
    stamps = wall_clock(index)
    days = (stamps[-1] - stamps[0]) / ONE_DAY
    return float((len(stamps) - 1) * DAYS_OF_YEAR / days)


def are_longer_than_daily(index: pd.DatetimeIndex) -> bool:
    """Whether most bars are apart by more than a weekend and a holiday."""
    days = wall_clock(index).astype("datetime64[D]").astype(np.int64)
    return len(days) > 1 and bool(np.median(np.diff(days)) > MAX_DAYS_BETWEEN_DAILY_BARS)
