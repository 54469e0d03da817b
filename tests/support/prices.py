"""The bundled prices, and random ones."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd

from scripts.config import ROOT
from service.prices.files.reading import read_file
from service.prices.series import PriceSeries

TICKERS = sorted(path.stem for path in (ROOT / "data").glob("*.csv"))


@cache
def series(ticker: str) -> PriceSeries:
    """The bundled price series of a ticker."""
    return read_file(ROOT / "data" / f"{ticker}.csv", ticker).series


def prices(ticker: str = "GOOG", bars: int | None = None) -> pd.DataFrame:
    """A copy of the first bars of a bundled series; all of them where `bars` is None."""
    return series(ticker).data.iloc[:bars].copy()


def random_walk(bars: int, seed: int, sigma: float) -> pd.DataFrame:
    """A seeded walk of daily OHLCV bars, `bars` business days from 2014 on; the same every time.

    sigma: standard deviation of the daily log return.
    """
    random = np.random.Generator(np.random.PCG64(seed))
    close = 100.0 * np.exp(np.cumsum(random.normal(0.0, sigma, bars)))
    open_ = np.concatenate([[100.0], close[:-1]]) * np.exp(random.normal(0.0, sigma / 4, bars))
    high = np.maximum(open_, close) * np.exp(np.abs(random.normal(0.0, sigma / 3, bars)))
    low = np.minimum(open_, close) * np.exp(-np.abs(random.normal(0.0, sigma / 3, bars)))
    volume = random.integers(1_000, 1_000_000, bars).astype(float)
    columns = {"Open": open_, "High": high, "Low": low, "Close": close, "Volume": volume}
    return pd.DataFrame(columns, index=pd.bdate_range("2014-01-01", periods=bars))
