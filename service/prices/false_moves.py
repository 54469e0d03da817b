"""Moves that no market made: other units, misplaced digits, copied and invented bars.

The thresholds leave room for the wildest days of large stocks, and for each kind of fault there is
a test that plants it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from backtest.metrics import Floats
from backtest.prices import COLUMNS
from service.prices.finding import Finding, Mask, day_of

MAX_JUMP = 3.0  # the price of one bar to that of the next, where no split explains it
FAR_FROM_CLOSES = np.log(1.35)  # an open, high or low beyond both closes beside it
HUGE_VOLUME = 100  # times the usual
HUGE_SPREADS = 12  # times the median distance from the usual, of logarithms: thin stocks vary more
USUAL_BARS = 51  # bars whose median is usual
STALE_BARS = 4  # identical prices in a row
COPIED_WITHIN = 10  # bars
MAX_RESTS = 2  # other closes around them that do not move
USUAL_MOVE_BARS = 251  # so many that an invented month among them does not count
LINE_BARS = 8  # closes that lie on one straight line
NEAR_THE_LINE = 0.1  # of the usual move


def jumps(data: pd.DataFrame, explained_days: frozenset[str | None]) -> Iterator[Finding]:
    """Overnight moves above x3 or below 1/3 that nothing explains yet."""
    open_, close = (data[name].to_numpy(dtype=np.float64) for name in ("Open", "Close"))
    for moved in (close[1:] / close[:-1], open_[1:] / close[:-1]):
        is_jump = (moved > MAX_JUMP) | (moved < 1 / MAX_JUMP)
        new = [
            (int(bar) + 1, day)
            for bar in np.flatnonzero(is_jump)
            if (day := day_of(data, int(bar) + 1)) not in explained_days
        ]
        explained_days |= {day for _, day in new}
        for bar, day in new:
            message = (
                f"the price is {moved[bar - 1]:.3g} times that of the bar before, which no split "
                "explains: a crash, another unit such as pence for pounds, or a mistake"
            )
            yield Finding("warning", "Jump", day, message)


def far_prices(data: pd.DataFrame) -> Iterator[Finding]:
    """Opens, highs and lows that are far beyond both the close before and that of their bar."""
    close = data["Close"].to_numpy(dtype=np.float64)
    for name in ("Open", "High", "Low"):
        values = data[name].to_numpy(dtype=np.float64)[1:]
        from_before = np.log(values / close[:-1])
        from_own = np.log(values / close[1:])
        apart = np.minimum(np.abs(from_before), np.abs(from_own))
        is_far = (from_before * from_own > 0) & (apart > FAR_FROM_CLOSES)
        for bar in np.flatnonzero(is_far) + 1:
            message = (
                f"{name} {values[bar - 1]:g} is far from the closes beside it, "
                f"{close[bar - 1]:g} and {close[bar]:g}"
            )
            yield Finding("warning", "FarPrice", day_of(data, int(bar)), message)


def huge_volumes(data: pd.DataFrame) -> Iterator[Finding]:
    """Volumes in another unit, or with digits too many, by what the series' volumes are like."""
    volume = data["Volume"]
    values = volume.to_numpy(dtype=np.float64)
    usual = usual_around(volume)
    is_traded = (values > 0) & (usual > 0)
    apart = np.log(np.where(is_traded, values, 1.0) / np.where(is_traded, usual, 1.0))
    spread = float(np.median(np.abs(apart[is_traded]))) if is_traded.any() else 0.0
    for bar in np.flatnonzero(apart > max(np.log(HUGE_VOLUME), HUGE_SPREADS * spread)):
        message = f"the volume is {values[bar]:.0f}, usual is {usual[bar]:.0f}"
        yield Finding("warning", "HugeVolume", day_of(data, int(bar)), message)


def copied_bars(data: pd.DataFrame) -> Iterator[Finding]:
    """Bars that repeat one shortly before to the last share; stale stretches are found as such."""
    values = data[list(COLUMNS)].to_numpy(dtype=np.float64)
    prices = values[:, :4]
    is_as_before = np.append(False, (prices[1:] == prices[:-1]).all(axis=1))
    is_stale = np.zeros(len(data), dtype=bool)
    for start, end in stretches(is_as_before):
        is_stale[start:end] = end - start >= STALE_BARS - 1
    is_copy = np.zeros(len(data), dtype=bool)
    for bars_before in range(1, min(COPIED_WITHIN, len(data) - 1) + 1):
        is_copy[bars_before:] |= (values[bars_before:] == values[:-bars_before]).all(axis=1)
    for bar in np.flatnonzero(is_copy & (values[:, -1] > 0) & ~is_stale):
        message = "prices and volume are those of a bar shortly before: a copy?"
        yield Finding("warning", "CopiedBar", day_of(data, int(bar)), message)


def short_stale_stretches(data: pd.DataFrame) -> Iterator[Finding]:
    """Exactly as many identical bars; longer stretches are found by `checks`.

    Where closes often rest, as those of cheap stocks in eighths of a dollar did, so few are usual.
    """
    prices = data[list(COLUMNS[:4])].to_numpy(dtype=np.float64)
    is_as_before = (prices[1:] == prices[:-1]).all(axis=1)
    rests = pd.Series(np.append(0.0, prices[1:, -1] == prices[:-1, -1]))
    around = rests.rolling(USUAL_BARS, center=True, min_periods=1).sum().to_numpy()
    for start, end in stretches(is_as_before):
        others = around[start] - (STALE_BARS - 1)
        if end - start + 1 == STALE_BARS and others <= MAX_RESTS:
            message = f"{STALE_BARS} identical bars in a row: the prices may be stale"
            yield Finding("warning", "Stale", day_of(data, start), message)


def straight_lines(data: pd.DataFrame) -> Iterator[Finding]:
    """Closes that a straight line joins, as where missing bars were interpolated."""
    closes = data["Close"]
    if len(closes) < LINE_BARS:
        return
    windows = np.lib.stride_tricks.sliding_window_view(closes.to_numpy(dtype=np.float64), LINE_BARS)
    share = np.linspace(0.0, 1.0, LINE_BARS)
    first, last = windows[:, :1], windows[:, -1:]
    off_the_line = np.abs(windows - (first + share * (last - first))).max(axis=1)
    usual_move = usual_around(closes.diff().abs(), USUAL_MOVE_BARS)[LINE_BARS // 2 :][
        : len(windows)
    ]
    rests = np.count_nonzero(windows[:, 1:] == windows[:, :-1], axis=1)
    is_straight = (off_the_line < NEAR_THE_LINE * usual_move) & (rests <= LINE_BARS - 3)
    for start, end in stretches(is_straight):
        count = end - start + LINE_BARS - 1
        message = f"{count} closes lie on one straight line: interpolated?"
        yield Finding("warning", "StraightLine", day_of(data, start), message)


def usual_around(values: pd.Series, bars: int = USUAL_BARS) -> Floats:
    """The median of the bars around each, (n,)."""
    rolling = values.rolling(bars, center=True, min_periods=1)
    return np.asarray(rolling.median().to_numpy(dtype=np.float64))


def stretches(mask: Mask) -> list[tuple[int, int]]:
    """Start and end of each run of true values."""
    edges = np.flatnonzero(np.diff(mask, prepend=False, append=False))
    pairs: NDArray[np.int64] = edges.reshape(-1, 2)
    return [(int(start), int(end)) for start, end in pairs]
