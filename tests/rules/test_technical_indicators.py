"""Indicators against TA-Lib on every bundled ticker, and what they do with flat prices and gaps."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st

from extracted.features import technical_indicators as ti
from tests.support.prices import TICKERS, prices


def ohlcv(ticker: str) -> tuple[np.ndarray, ...]:
    data = prices(ticker)
    return tuple(data[name].to_numpy() for name in ("Open", "High", "Low", "Close", "Volume"))


def assert_equal(
    ours: np.ndarray, theirs: np.ndarray, scale: float, skip: np.ndarray | None = None
) -> None:
    """NaN at the same bars; equal to 1e-10 of the value, or of `scale` for small differences."""
    assert (np.isnan(ours) == np.isnan(theirs)).all()
    keep = ~np.isnan(ours) if skip is None else ~np.isnan(ours) & ~skip
    np.testing.assert_allclose(ours[keep], theirs[keep], rtol=1e-10, atol=1e-12 * scale)


@pytest.mark.parametrize("ticker", TICKERS)
@pytest.mark.parametrize("n", [2, 14, 50])
def test_equal_to_talib(ticker: str, n: int) -> None:
    _, high, low, close, volume = ohlcv(ticker)
    scale = close.max()
    assert_equal(ti.sma(close, n), talib.SMA(close, n), scale)
    assert_equal(ti.ema(close, n), talib.EMA(close, n), scale)
    still = ti.wilder(np.abs(np.diff(close, prepend=np.nan)), n) == 0
    assert_equal(ti.rsi(close, n), talib.RSI(close, n), 100, skip=still)
    assert_equal(ti.atr(high, low, close, n), talib.ATR(high, low, close, n), scale)
    adx, plus, minus = ti.directional_index(high, low, close, n)
    assert_equal(plus, talib.PLUS_DI(high, low, close, n), 100)
    assert_equal(minus, talib.MINUS_DI(high, low, close, n), 100)
    assert_equal(adx, talib.ADX(high, low, close, n), 100)
    assert_equal(ti.obv(close, volume), talib.OBV(close, volume), volume.max())


@pytest.mark.parametrize("ticker", TICKERS)
@pytest.mark.parametrize(("fast", "slow", "signal"), [(12, 26, 9), (3, 10, 16), (19, 39, 9)])
def test_macd_equals_talib(ticker: str, fast: int, slow: int, signal: int) -> None:
    close = ohlcv(ticker)[3]
    for ours, theirs in zip(
        ti.macd(close, fast, slow, signal), talib.MACD(close, fast, slow, signal), strict=True
    ):
        assert_equal(ours, theirs, close.max())


@pytest.mark.parametrize("ticker", TICKERS)
@pytest.mark.parametrize("width", [1.0, 2.0, 2.5])
def test_bollinger_equals_talib(ticker: str, width: float) -> None:
    close = ohlcv(ticker)[3]
    theirs = talib.BBANDS(close, 20, width, width)
    for ours, their in zip(ti.bollinger_bands(close, 20, width), theirs, strict=True):
        assert (np.isnan(ours) == np.isnan(their)).all()
        # TA-Lib's variance is a difference of running sums: where it is small, its error is about
        # 1e-8 of the price.
        np.testing.assert_allclose(ours[19:], their[19:], rtol=1e-10, atol=1e-8 * close.max())


@pytest.mark.parametrize("ticker", TICKERS)
def test_stochastic_equals_talib(ticker: str) -> None:
    _, high, low, close, _ = ohlcv(ticker)
    still = ti.rolling_max(high, 14) == ti.rolling_min(low, 14)
    touched = (
        pd.Series(still).rolling(5, min_periods=1).max().to_numpy() > 0
    )  # averages that contain such a bar
    for ours, theirs in zip(
        ti.stochastic(high, low, close), talib.STOCH(high, low, close, 14, 3, 0, 3, 0), strict=True
    ):
        assert_equal(ours, theirs, 100, skip=touched)
    assert np.flatnonzero(~np.isnan(ti.stochastic(high, low, close)[0]))[0] == 17


def test_first_valid_bars() -> None:
    _, high, low, close, _ = ohlcv("GOOG")
    first = {
        "sma": ti.sma(close, 20),
        "ema": ti.ema(close, 20),
        "rsi": ti.rsi(close),
        "macd": ti.macd(close)[0],
        "atr": ti.atr(high, low, close),
        "adx": ti.directional_index(high, low, close)[0],
        "+di": ti.directional_index(high, low, close)[1],
    }
    bars = {name: int(np.flatnonzero(~np.isnan(values))[0]) for name, values in first.items()}
    assert bars == {"sma": 19, "ema": 19, "rsi": 14, "macd": 33, "atr": 14, "adx": 27, "+di": 14}


def test_a_market_that_does_not_move() -> None:
    flat = np.full(60, 10.0)
    assert ti.rsi(flat)[-1] == 50
    assert ti.stochastic(flat, flat, flat)[0][-1] == 50
    assert ti.directional_index(flat, flat, flat)[0][-1] == 0
    assert ti.bollinger_bands(flat)[0][-1] == 10
    assert ti.macd(flat)[2][-1] == 0
    assert ti.atr(flat, flat, flat)[-1] == 0


@pytest.mark.parametrize("price", [0.1, 7.3, 10.1, 33.33, 101.7])
def test_averages_of_equal_values_are_that_value(price: float) -> None:
    values = np.concatenate([np.linspace(price * 2, price, 50), np.full(100, price)])
    for period in (2, 10, 20, 30):
        assert (ti.sma(values, period)[50 + period :] == price).all()
        assert (ti.rolling_std(values, period)[50 + period :] == 0).all()


def test_only_rises_and_only_falls() -> None:
    assert ti.rsi(np.arange(1.0, 60))[-1] == 100
    assert ti.rsi(np.arange(60.0, 1, -1))[-1] == 0


@pytest.mark.parametrize(
    "function", [ti.sma, ti.ema, ti.wilder, ti.rolling_max, ti.rolling_min, ti.rolling_std, ti.rsi]
)
def test_a_gap_spoils_only_what_needs_it(function: object) -> None:
    close = ohlcv("GOOG")[3][:200].copy()
    close[100] = np.nan
    after = function(close, 10)  # type: ignore[operator]
    fresh = function(close[101:], 10)  # type: ignore[operator]
    assert np.isnan(after[100:110]).all()
    np.testing.assert_array_equal(after[112:], fresh[11:])
    assert not np.isnan(after[112:]).any()


def test_macd_and_adx_recover_after_a_gap() -> None:
    _, high, low, close, volume = (values[:200].copy() for values in ohlcv("GOOG"))
    for values in (high, low, close):
        values[50] = np.nan
    np.testing.assert_array_equal(ti.macd(close)[2][51:], ti.macd(close[51:])[2])
    ours = ti.directional_index(high, low, close)[0][51:]
    np.testing.assert_array_equal(ours, ti.directional_index(high[51:], low[51:], close[51:])[0])
    assert not np.isnan(ti.obv(close, volume)[60:]).any()


def test_averages_do_not_drift() -> None:
    """After a million bars a window's mean is still exactly the mean of that window."""
    values = np.random.default_rng(0).normal(100, 1, 1_000_000)
    out = ti.sma(values, 10)
    for bar in (9, 500_000, 999_999):
        assert out[bar] == pytest.approx(values[bar - 9 : bar + 1].mean(), rel=1e-15)


@settings(max_examples=50)
@given(st.lists(st.floats(1, 1000), min_size=0, max_size=40), st.integers(1, 50))
def test_short_series_have_the_right_length(values: list[float], period: int) -> None:
    array = np.array(values)
    for function in (ti.sma, ti.ema, ti.wilder, ti.rolling_std, ti.rsi):
        out = function(array, period)
        assert len(out) == len(array)
        assert np.isnan(out[: period - 1]).all()
    assert len(ti.atr(array, array, array, period)) == len(array)
    assert len(ti.directional_index(array, array, array, max(2, period))[0]) == len(array)
    assert len(ti.macd(array)[0]) == len(array)


def test_vwap_of_days_and_sessions() -> None:
    _, high, low, close, volume = (values[:60] for values in ohlcv("GOOG"))
    typical = (high + low + close) / 3
    rolling = ti.vwap(high, low, close, volume, 14)
    assert np.isnan(rolling[:13]).all()
    assert rolling[20] == pytest.approx((typical * volume)[7:21].sum() / volume[7:21].sum())
    session = np.repeat([1, 2, 3], 20)
    anchored = ti.vwap(high, low, close, volume, session=session)
    assert anchored[0] == pytest.approx(typical[0])
    assert anchored[39] == pytest.approx((typical * volume)[20:40].sum() / volume[20:40].sum())


def test_vwap_without_volume_keeps_the_value_before() -> None:
    price = np.array([1.0, 2, 3, 4, 5])
    volume = np.array([1.0, 1, 0, 0, 1])
    out = ti.vwap(price, price, price, volume, 2)
    np.testing.assert_allclose(out[1:], [1.5, 2, 2, 5])
    assert np.isnan(out[0])


@settings(max_examples=150)
@given(
    st.integers(2, 12),
    st.lists(st.lists(st.sampled_from([1.0, 2.5, 7.0]), max_size=30), min_size=1, max_size=5),
)
def test_averages_of_rows_are_those_of_each(period: int, known: list[list[float]]) -> None:
    """Rows that begin late, rest, or are too short for an average."""
    rows = np.full((len(known), 30), np.nan)
    for row, values in zip(rows, known, strict=True):
        row[30 - len(values) :] = values
    row_by_row = np.stack([ti.ema(row, period) for row in rows])
    assert ti.ema_of_rows(rows, period).tobytes() == row_by_row.tobytes()


def test_averages_of_rows_with_gaps_are_those_of_each() -> None:
    close = prices(bars=300)["Close"].to_numpy()
    rows = np.stack([close, np.where(np.arange(300) == 150, np.nan, close), np.full(300, np.nan)])
    row_by_row = np.stack([ti.ema(row, 10) for row in rows])
    assert np.flatnonzero(np.isnan(row_by_row[1])).tolist() == [*range(9), *range(150, 160)]
    np.testing.assert_array_equal(ti.ema_of_rows(rows, 10), row_by_row)
