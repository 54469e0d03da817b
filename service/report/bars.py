"""The bars of a run: what is stored of them, and the prices they were made from."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from service.prices.series import PriceSeries

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Bars:
    """n bars: money and shares at each close, all of shape (n,).

    `drawdown` is a fraction of the peak, 0 at a peak. `prices` has the columns Open High Low Close
    Volume on the same index; it is None where the prices of the run are gone.
    """

    index: pd.DatetimeIndex
    equity: Floats
    drawdown: Floats
    position: Floats
    holding: Floats
    prices: pd.DataFrame | None = None

    def __len__(self) -> int:
        return len(self.index)

    @property
    def stamps(self) -> NDArray[np.datetime64]:
        """The times of the bars as their exchange's clock shows them."""
        return np.asarray(self.index.tz_localize(None).to_numpy()).astype("datetime64[ns]")

    @property
    def has_times(self) -> bool:
        """Whether the bars are shorter than a day."""
        return bool((self.stamps != self.stamps.astype("datetime64[D]")).any())


def bars_of_table(table: pd.DataFrame, prices: pd.DataFrame | None) -> Bars:
    """From a table with equity, drawdown, position and buy_and_hold, and the prices of its bars."""

    def column(name: str) -> Floats:
        return table[name].to_numpy(dtype=np.float64)

    return Bars(
        index=pd.DatetimeIndex(table.index),
        equity=column("equity"),
        drawdown=column("drawdown"),
        position=column("position"),
        holding=column("buy_and_hold"),
        prices=prices,
    )


def bars_from_csv(table_csv: str, series: PriceSeries | None) -> Bars:
    """From the stored table of a run, and the series of its prices where it is still there."""
    table = pd.read_csv(io.StringIO(table_csv), index_col="date", parse_dates=True)
    prices = None if series is None else _prices_at(series.data, pd.DatetimeIndex(table.index))
    return bars_of_table(table, prices)


def _prices_at(data: pd.DataFrame, index: pd.DatetimeIndex) -> pd.DataFrame | None:
    """The prices of these bars; None where they are not all there."""
    first = int(data.index.searchsorted(index[0]))
    prices = data.iloc[first : first + len(index)]
    return prices if prices.index.equals(index) else None
