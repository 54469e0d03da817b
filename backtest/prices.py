"""The engine's door: what it refuses, each refusal naming the bar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]

COLUMNS = ("Open", "High", "Low", "Close", "Volume")


class InvalidPrices(ValueError):
    """The price data cannot be backtested; the message names the first bar that is wrong."""


class InvalidSignals(ValueError):
    """A strategy answered with something other than one BUY, SELL or HOLD per bar."""


@dataclass(frozen=True)
class Prices:
    """Checked prices: the index and the two columns that are traded at, shape (n,)."""

    index: pd.DatetimeIndex
    open: Floats
    close: Floats


def checked_prices(data: pd.DataFrame) -> Prices:
    """Raises InvalidPrices unless every bar is tradable: finite, above 0, in order, Open and Close in Low..High."""
    missing = [column for column in COLUMNS if column not in data.columns]
    if missing:
        raise InvalidPrices(f"the prices have no column {missing[0]}; they need {', '.join(COLUMNS)}")
    index = _checked_index(data.index)
    try:
        open_, high, low, close, volume = _columns(data)
    except (TypeError, ValueError) as error:
        raise InvalidPrices(f"the prices are not numbers: {error}") from None
    fine = (low > 0) & (low <= open_) & (open_ <= high) & (low <= close) & (close <= high)
    fine &= np.isfinite(high) & np.isfinite(volume)  # NaN fails every comparison above
    if not fine.all():
        _name_fault(index, (open_, high, low, close, volume), int(fine.argmin()))
    return Prices(index, np.ascontiguousarray(open_), np.ascontiguousarray(close))


def _columns(data: pd.DataFrame) -> Sequence[Floats]:
    if tuple(data.columns) == COLUMNS:  # at once: five look-ups would take as long as the backtest
        return list(data.to_numpy(dtype=np.float64).T)
    return [data[column].to_numpy(dtype=np.float64) for column in COLUMNS]


def _checked_index(index: pd.Index) -> pd.DatetimeIndex:
    if not isinstance(index, pd.DatetimeIndex):
        raise InvalidPrices("the prices need a DatetimeIndex")
    if len(index) < 2:
        raise InvalidPrices(f"a backtest needs at least 2 bars, got {len(index)}")
    stamps = index.asi8
    later = stamps[1:] > stamps[:-1]
    if index.hasnans or not later.all():
        bar = int(index.isna().argmax()) if index.hasnans else int(later.argmin()) + 1
        raise InvalidPrices(f"bar {bar} ({index[bar]}): dates must be ascending, each of them once")
    return index


def _name_fault(index: pd.DatetimeIndex, columns: Sequence[Floats], bar: int) -> NoReturn:
    values = dict(zip(COLUMNS, (float(column[bar]) for column in columns), strict=True))
    where = f"bar {bar} ({index[bar]})"
    for name, value in values.items():
        if not np.isfinite(value):
            raise InvalidPrices(f"{where}: {name} is {value}")
        if value <= 0 and name != "Volume":
            raise InvalidPrices(f"{where}: {name} is {value}, prices must be above 0")
    if values["High"] < values["Low"]:
        raise InvalidPrices(f"{where}: High {values['High']} is below Low {values['Low']}")
    raise InvalidPrices(f"{where}: Open or Close lies outside Low..High: {values}")


def checked_signals(signals: object, index: pd.DatetimeIndex) -> NDArray[np.int8]:
    """One signal per bar as int8, shape (n,); raises InvalidSignals on another length, index or other values."""
    theirs = signals.index if isinstance(signals, pd.Series) else index
    if isinstance(theirs, pd.DatetimeIndex) and theirs is not index and not theirs.equals(index):
        raise InvalidSignals("the signals are not on the index of the prices")
    values = np.asarray(signals)
    if values.shape != (len(index),):
        raise InvalidSignals(f"expected {len(index)} signals, one per bar, got the shape {values.shape}")
    if values.dtype != np.int8:
        values = _as_numbers(values)
    wrong = (values != 0) & (values != 1) & (values != -1)
    if wrong.any():
        bar = int(wrong.argmax())
        raise InvalidSignals(f"bar {bar} ({index[bar]}): {values[bar]} is no signal; use BUY 1, SELL -1 or HOLD 0")
    return values.astype(np.int8, copy=False)


def _as_numbers(values: NDArray[np.generic]) -> Floats:
    try:
        return values.astype(np.float64)
    except (TypeError, ValueError):
        raise InvalidSignals("the signals are not numbers; use BUY 1, SELL -1 or HOLD 0") from None
