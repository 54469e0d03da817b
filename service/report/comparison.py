"""Several runs side by side, day by day, on the days that all of them have in common."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd

from service.engine.thinning import extremes

BASE = 100.0
LEAST_RETURNS = 3  # fewer have no correlation worth the name
COLUMNS = 400  # of pixels, divided among the runs
LEAST_COLUMNS = 40


@dataclass(frozen=True)
class Comparison:
    """n runs on their common period, which both `first` and `last` belong to.

    `values` has a column for each run and a row for each day on which any of them has a bar, 100 on
    the first day; NaN where a run has no bar. `drawdowns` are percentages of the peak within the
    period, of the same shape. `correlation` is that of the daily returns on the `shared_days` that
    all runs have, of shape (n, n); NaN where it is undefined.
    """

    first: date
    last: date
    values: pd.DataFrame
    drawdowns: pd.DataFrame
    correlation: pd.DataFrame
    shared_days: int

    def total_return_pct(self, name: str) -> float:
        """Of one run in the common period."""
        return float(self.values[name].dropna().iloc[-1] - BASE)

    def max_drawdown_pct(self, name: str) -> float:
        """Of one run in the common period."""
        return float(self.drawdowns[name].max())

    def correlations_of(self, name: str) -> list[float]:
        """With each run, in their order."""
        return [float(value) for value in self.correlation.loc[name].to_numpy(dtype=np.float64)]

    def csv(self, headings: Mapping[str, str]) -> str:
        """A line a day: the date, and the value of each run to 6 decimals."""
        table = self.values.rename(columns=headings)
        return str(table.to_csv(lineterminator="\n", float_format="%.6f"))


def daily_equity(table_csv: str) -> pd.Series:
    """The equity at the end of each day of a run, by its stored table of bars."""
    table = pd.read_csv(
        io.StringIO(table_csv), usecols=["date", "equity"], index_col="date", parse_dates=True
    )
    index = pd.DatetimeIndex(table.index).tz_localize(None).normalize()
    equity: pd.Series = table["equity"].groupby(index).last()
    return equity


def comparison_of(equities: Mapping[str, pd.Series]) -> Comparison | None:
    """The comparison of runs by name; None where they have no two days in common.

    A run counts from its equity on the first day, or on its last bar before it.
    """
    first = max(equity.index[0] for equity in equities.values())
    last = min(equity.index[-1] for equity in equities.values())
    if not first < last:
        return None
    rebased = {name: _rebased(equity, first, last) for name, equity in equities.items()}
    values = pd.DataFrame(rebased).rename_axis("date")
    peaks = values.cummax()
    # Of a run that is bankrupt from the start nothing is left to fall.
    drawdowns = (100 * (peaks - values) / peaks).mask(peaks <= 0, 100.0)
    shared = values.dropna()
    returns = shared.pct_change().iloc[1:].replace([np.inf, -np.inf], np.nan)
    correlation = returns.corr(min_periods=LEAST_RETURNS)
    return Comparison(first.date(), last.date(), values, drawdowns, correlation, len(shared))


def _rebased(equity: pd.Series, first: pd.Timestamp, last: pd.Timestamp) -> pd.Series:
    base = equity.loc[:first].iloc[-1]
    within = equity.loc[first:last]
    if base <= 0:
        # Nothing is left to count from: the run is bankrupt.
        return within * 0.0
    rebased = BASE * within / base
    rebased.loc[first] = BASE
    in_order: pd.Series = rebased.sort_index()
    return in_order


def kept_days(values: pd.DataFrame) -> pd.Index:
    """The days that a chart needs: the lowest and the highest of each run in each column.

    All runs are shown on the same days, so that beside each other stands what was so on one day.
    """
    if len(values) <= 2 * COLUMNS:
        return values.index
    kept = {0, len(values) - 1}
    for name in values:
        filled = values[name].ffill().bfill().to_numpy(dtype=np.float64)
        kept |= extremes(filled, max(LEAST_COLUMNS, COLUMNS // values.shape[1]))
    return values.index[sorted(kept)]


def seconds_of(days: pd.Index) -> list[int]:
    """The days as seconds since 1970."""
    stamps = days.to_numpy().astype("datetime64[s]").astype(np.int64)
    return [int(stamp) for stamp in stamps]
