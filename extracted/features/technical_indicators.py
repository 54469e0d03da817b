"""Technical indicators: arrays in, arrays of the same length out, NaN before the first bar that has a value.

Equal to TA-Lib from its first valid bar on, except that on a market that does not move RSI and %K are 50 (TA-Lib says
0, which reads as oversold). A NaN spoils only the windows that contain it; recursive indicators start afresh after it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_CHUNK = 1 << 20  # elements of a window matrix made at once


def sma(values: ArrayLike, period: int) -> Floats:
    """Simple moving average: the mean of the last `period` values.

    Each window is summed by itself: differences of a running sum drift until they flip a signal. The mean of equal
    values is that value, to the last bit: a market that rests must not look as if it moved.
    """
    values = _floats(values)
    means = _over_windows(lambda windows: np.mean(windows, axis=1), values, period)
    return np.where(_rests(values, period), values, means)


def rolling_max(values: ArrayLike, period: int) -> Floats:
    """The largest of the last `period` values."""
    return _extreme(np.maximum, _floats(values), period)


def rolling_min(values: ArrayLike, period: int) -> Floats:
    """The smallest of the last `period` values."""
    return _extreme(np.minimum, _floats(values), period)


def rolling_std(values: ArrayLike, period: int) -> Floats:
    """Population standard deviation (denominator `period`) of the last `period` values; exactly 0 of equal ones."""
    values = _floats(values)
    spread = _over_windows(lambda windows: np.std(windows, axis=1), values, period)
    return np.where(_rests(values, period), 0.0, spread)


def ema(values: ArrayLike, period: int) -> Floats:
    """Exponential moving average, alpha = 2 / (period + 1), seeded with the mean of the first `period` values."""
    return _by_stretch(lambda x: _smooth(x, period, 2 / (period + 1)), values)


def ema_of_rows(rows: Floats, period: int) -> Floats:
    """`ema` of each row of (k, n), with the same bits in a third of the time: pandas is asked once for all of them."""
    known = ~np.isnan(rows)
    first, bars = known.argmax(axis=1), rows.shape[1]
    if (known.sum(axis=1) != bars - first).any():  # a gap: such a row starts afresh after it
        return np.stack([ema(row, period) for row in rows])
    seeded = rows.copy()
    for row, start in zip(seeded, first, strict=True):
        seed = start + period - 1
        if seed < bars:
            row[seed] = _mean(row[start : seed + 1])
        row[start:seed] = np.nan
    return np.asarray(pd.DataFrame(seeded.T).ewm(alpha=2 / (period + 1), adjust=False).mean()).T


def wilder(values: ArrayLike, period: int) -> Floats:
    """Wilder's smoothing: s + (x - s) / period, seeded with the mean of the first `period` values. Wilder (1978)."""
    return _by_stretch(lambda x: _smooth(x, period, 1 / period), values)


def rsi(close: ArrayLike, period: int = 14) -> Floats:
    """Relative strength index, 0..100; 50 where nothing moved. First value at bar `period`. Wilder (1978)."""
    change = _change(_floats(close))
    gains = wilder(np.maximum(change, 0.0), period)
    losses = wilder(np.maximum(-change, 0.0), period)
    moved = gains + losses
    return _quotient(100 * gains, moved, still=50.0)


def macd(close: ArrayLike, fast: int = 12, slow: int = 26, signal: int = 9) -> tuple[Floats, Floats, Floats]:
    """MACD line, its signal line and their difference, all from bar slow + signal - 2 on. Appel (1979).

    Both averages start at bar slow - 1, the fast one from the mean of the `fast` values up to there, as in TA-Lib.
    """
    line = macd_line(close, fast, slow)
    average = ema(line, signal)
    line = np.where(np.isnan(average), np.nan, line)
    return line, average, line - average


def macd_line(close: ArrayLike, fast: int = 12, slow: int = 26) -> Floats:
    """As `macd` has it, from bar slow - 1 on."""
    return _by_stretch(lambda x: _late(x, fast, slow) - _smooth(x, slow, 2 / (slow + 1)), close)


def bollinger_bands(close: ArrayLike, period: int = 20, width: float = 2.0) -> tuple[Floats, Floats, Floats]:
    """Upper, middle and lower band: the average, `width` population deviations above and below. Bollinger (2001)."""
    middle, spread = sma(close, period), width * rolling_std(close, period)
    return middle + spread, middle, middle - spread


def true_range(high: ArrayLike, low: ArrayLike, close: ArrayLike) -> Floats:
    """max(H - L, |H - C[-1]|, |L - C[-1]|); NaN on the first bar, which has no close before it. Wilder (1978)."""
    high, low, before = _floats(high), _floats(low), _previous(_floats(close))
    return np.maximum(high - low, np.maximum(np.abs(high - before), np.abs(low - before)))


def atr(high: ArrayLike, low: ArrayLike, close: ArrayLike, period: int = 14) -> Floats:
    """Average true range in money, Wilder-smoothed; first value at bar `period`. Wilder (1978)."""
    return wilder(true_range(high, low, close), period)


def stochastic(
    high: ArrayLike, low: ArrayLike, close: ArrayLike, period: int = 14, k_period: int = 3, d_period: int = 3
) -> tuple[Floats, Floats]:
    """Slow %K and %D, 0..100, both from bar period + k_period + d_period - 3 on; 50 without a range. Lane (1984)."""
    lowest, highest = rolling_min(low, period), rolling_max(high, period)
    fast_k = _quotient(100 * (_floats(close) - lowest), highest - lowest, still=50.0)
    slow_k = sma(fast_k, k_period)
    slow_d = sma(slow_k, d_period)
    return np.where(np.isnan(slow_d), np.nan, slow_k), slow_d


def directional_index(
    high: ArrayLike, low: ArrayLike, close: ArrayLike, period: int = 14
) -> tuple[Floats, Floats, Floats]:
    """ADX (first value at bar 2 * period - 1), +DI and -DI (at bar `period`), each 0..100. Wilder (1978)."""
    high, low = _floats(high), _floats(low)
    up, down = _change(high), -_change(low)
    gone = np.isnan(up) | np.isnan(down)
    plus = np.where(gone, np.nan, np.where((up > down) & (up > 0), up, 0.0))
    minus = np.where(gone, np.nan, np.where((down > up) & (down > 0), down, 0.0))
    ranges = _wilder_sum(true_range(high, low, close), period)
    plus_di = _quotient(100 * _wilder_sum(plus, period), ranges, still=0.0)
    minus_di = _quotient(100 * _wilder_sum(minus, period), ranges, still=0.0)
    dx = _quotient(100 * np.abs(plus_di - minus_di), plus_di + minus_di, still=0.0)
    return wilder(dx, period), plus_di, minus_di


def obv(close: ArrayLike, volume: ArrayLike) -> Floats:
    """On-balance volume: starts at the first one; added on a higher close, taken off on a lower. Granville (1963)."""
    volume = _floats(volume)
    steps = np.sign(_change(_floats(close))) * volume

    def total(x: Floats) -> Floats:
        return np.cumsum(x)

    steps[:1] = volume[:1]
    return _by_stretch(total, steps)


def vwap(
    high: ArrayLike,
    low: ArrayLike,
    close: ArrayLike,
    volume: ArrayLike,
    period: int | None = 14,
    session: ArrayLike | None = None,
) -> Floats:
    """Volume-weighted average of the typical price (H + L + C) / 3; without any volume the value before stays.

    Over the last `period` bars (daily data), or from the start of each session (bars inside a day), where `session`
    holds a label per bar, such as its date.
    """
    typical = (_floats(high) + _floats(low) + _floats(close)) / 3
    volume = _floats(volume)
    if session is None:
        assert period is not None, "give a period or the sessions"
        money, shares = sma(typical * volume, period), sma(volume, period)
    else:
        money, shares = _session_total(typical * volume, session), _session_total(volume, session)
    average = pd.Series(_quotient(money, shares, still=np.nan)).ffill()
    return np.asarray(average.where(~np.isnan(shares)))


def _session_total(values: Floats, session: ArrayLike) -> Floats:
    return np.asarray(pd.Series(values).groupby(np.asarray(session), sort=False).cumsum())


def _floats(values: ArrayLike) -> Floats:
    return np.asarray(values, dtype=np.float64)


def _previous(values: Floats) -> Floats:
    return np.concatenate([np.full(min(1, len(values)), np.nan), values[:-1]])


def _change(values: Floats) -> Floats:
    return np.asarray(values - _previous(values))


def _quotient(numerator: Floats, denominator: Floats, still: float) -> Floats:
    """numerator / denominator, `still` where nothing moved and the denominator is 0."""
    quotient = np.full(len(numerator), np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator != 0)
    quotient[denominator == 0] = still
    return quotient


def _mean(values: Floats) -> float:
    """Of all of them; that of equal values is that value."""
    return float(values[-1] if np.max(values) == np.min(values) else np.mean(values))


def _rests(values: Floats, period: int) -> NDArray[np.bool_]:
    """Whether the last `period` values are all equal, shape (n,)."""
    bars = np.arange(len(values))
    changed = np.append(True, values[1:] != values[:-1])[: len(values)]
    return np.asarray(bars - np.maximum.accumulate(np.where(changed, bars, 0)) >= period - 1)


def _extreme(pick: np.ufunc, values: Floats, period: int) -> Floats:
    """`pick` over each window, from windows of 1, 2, 4 ... values: two of the longest that fit cover it."""
    out = np.full(len(values), np.nan)
    if period <= len(values):
        span, longest = values, 1
        while 2 * longest <= period:
            span, longest = pick(span[longest:], span[: len(span) - longest]), 2 * longest
        rest = period - longest
        out[period - 1 :] = pick(span[rest:], span[: len(span) - rest])
    return out


def _over_windows(reduce: Callable[[Floats], Floats], values: ArrayLike, period: int) -> Floats:
    """`reduce` of each window (a row) of `period` values, set at the window's last bar."""
    values = _floats(values)
    out = np.full(len(values), np.nan)
    if period <= len(values):
        windows = sliding_window_view(values, period)
        step = max(1, _CHUNK // period)
        for at in range(0, len(windows), step):
            part = windows[at : at + step]
            out[at + period - 1 : at + period - 1 + len(part)] = reduce(part)
    return out


def _by_stretch(smooth: Callable[[Floats], Floats], values: ArrayLike) -> Floats:
    """`smooth` applied to each unbroken stretch of numbers; NaN between them."""
    values = _floats(values)
    unknown = np.concatenate([[True], np.isnan(values), [True]])
    edges = np.flatnonzero(unknown[1:] != unknown[:-1])
    out = np.full(len(values), np.nan)
    for start, end in edges.reshape(-1, 2):
        out[start:end] = smooth(values[start:end])
    return out


def _smooth(values: Floats, period: int, weight: float) -> Floats:
    """s + weight * (x - s) from bar period - 1 on, seeded there with the mean of the values so far."""
    out = np.full(len(values), np.nan)
    if period <= len(values):
        tail = values[period - 1 :].copy()
        tail[0] = _mean(values[:period])
        out[period - 1 :] = pd.Series(tail).ewm(alpha=weight, adjust=False).mean().to_numpy()
    return out


def _late(values: Floats, fast: int, slow: int) -> Floats:
    """The fast average of a MACD: as `ema`, but starting where the slow one does."""
    out = np.full(len(values), np.nan)
    out[slow - fast :] = _smooth(values[slow - fast :], fast, 2 / (fast + 1))
    return out


def _wilder_sum(values: Floats, period: int) -> Floats:
    """Wilder's running sum s - s / period + x, seeded with the first period - 1 values, from the next one on."""

    def total(x: Floats) -> Floats:
        out = np.full(len(x), np.nan)
        if period <= len(x):
            tail = x[period - 2 :].copy() if period > 1 else np.append(0.0, x)
            tail[0] = x[: period - 1].sum() / period  # in units of s / period this is Wilder's smoothing
            smoothed = pd.Series(tail).ewm(alpha=1 / period, adjust=False).mean().to_numpy()
            out[period - 1 :] = smoothed[1:] * period
        return out

    return _by_stretch(total, values)
