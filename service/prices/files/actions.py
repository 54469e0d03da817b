"""Dividends and splits that stand beside the prices of a file."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from service.prices.action import Action
from service.prices.files.columns import DIVIDEND, SPLIT

RATIO = r"^([0-9.]+)\s*[:/]\s*([0-9.]+)$"  # 4:1
UNCHANGED = 1.0  # a split of one share into one, as Alpha Vantage writes it


def actions_in(table: pd.DataFrame, days: pd.DatetimeIndex, decimal: str) -> tuple[Action, ...]:
    """Those of the table's rows, oldest first; cells that are no positive number stand for none."""
    dividends = _amounts(table, DIVIDEND, decimal)
    splits = _amounts(table, SPLIT, decimal)
    splits[splits == UNCHANGED] = 0.0
    is_dated = np.asarray(days.notna())
    rows = np.flatnonzero(((dividends > 0) | (splits > 0)) & is_dated)
    # Each bar of a day may have them.
    by_day = {
        days[int(row)].date(): (float(dividends[row]), float(splits[row])) for row in rows[::-1]
    }
    return tuple(Action(day, *by_day[day]) for day in sorted(by_day))


def _amounts(table: pd.DataFrame, name: str, decimal: str) -> NDArray[np.float64]:
    """The numbers of a column; 0 for all where there is none."""
    if name not in table:
        return np.zeros(len(table))
    cells = table[name].astype(str).str.replace(decimal, ".", regex=False).str.strip("$€₩ ")
    ratios = cells.str.extract(RATIO).astype(float)
    plain = pd.to_numeric(cells, errors="coerce")
    amounts = plain.fillna(ratios[0] / ratios[1]).to_numpy(dtype=np.float64)
    return np.where(np.isfinite(amounts) & (amounts > 0), amounts, 0.0)
