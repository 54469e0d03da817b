"""The data gate: what is wrong with a price series, before anybody backtests it.

Errors stop a run: they are what the engine refuses. Warnings go into the result. Real one-day moves of 50 % exist and
are neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from service.prices.series import COLUMNS

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

SPLIT_RATIOS = (1.5, 2, 3, 4, 5, 6, 7, 8, 10, 15, 20, 25, 30, 50)
SPLIT_TOLERANCE = (
    0.08,
    0.15,
)  # how far the open and the close of that day may be from the exact ratio
SMALL_RATIO, SMALL_TOLERANCE = 2, (0.03, 0.03)  # below it real moves look alike
SPIKE = np.log(1.5)  # a move there and back again within one bar
REVERTED = 0.1  # how near the close must come back to where it was
TINY_VOLUME = 0.05  # of the usual volume
USUAL_BARS = 51  # bars whose median volume is usual
STALE_BARS = 5  # identical bars in a row
FEW_BARS, FEW_SHARE = (
    1,
    0.01,
)  # off the calendar: as many may be mistakes, more are another calendar


@dataclass(frozen=True)
class Finding:
    """One thing to know about the prices; `day` is the ISO date of its bar, None when it is about the whole."""

    severity: str  # "error" or "warning"
    code: str
    day: str | None
    message: str

    def warning(self) -> dict[str, str | None]:
        """As the provenance of a result has it."""
        return {"code": self.code, "bar": self.day, "message": self.message}


def check_prices(data: pd.DataFrame) -> list[Finding]:
    """Every finding, errors first; warnings are looked for only where there is no error."""
    errors = list(_errors(data))
    return errors or [
        found for check in (_jumps, _spikes, _volume, _stale, _sessions) for found in check(data)
    ]


def _errors(data: pd.DataFrame) -> Iterator[Finding]:
    if len(data) < 2:
        yield Finding("error", "TooShort", None, f"{len(data)} bars; a backtest needs at least 2")
        return
    days = data.index.to_numpy()
    yield from _each(
        data, "NoDate", data.index.isna(), lambda bar: f"the date of row {bar + 1} is empty"
    )
    yield from _each(
        data,
        "DuplicateDate",
        data.index.duplicated() & data.index.notna(),
        lambda bar: "the date stands there twice",
    )
    unsorted = np.append(False, days[1:] < days[:-1])
    yield from _each(data, "Unsorted", unsorted, lambda bar: "the date is before the one above it")
    values = data[list(COLUMNS)].to_numpy(dtype=np.float64)
    finite = np.isfinite(values)
    yield from _each(
        data, "NotANumber", ~finite.all(axis=1), lambda bar: _named(values[bar], ~finite[bar])
    )
    positive = (values > 0) | ~finite
    positive[:, -1] |= values[:, -1] == 0
    yield from _each(
        data, "NotPositive", ~positive.all(axis=1), lambda bar: _named(values[bar], ~positive[bar])
    )
    open_, high, low, close = values.T[:4]
    yield from _each(
        data, "HighBelowLow", high < low, lambda bar: f"High {high[bar]} is below Low {low[bar]}"
    )
    outside = (high >= low) & ((np.maximum(open_, close) > high) | (np.minimum(open_, close) < low))
    yield from _each(
        data,
        "OutsideRange",
        outside,
        lambda bar: f"Open {open_[bar]} or Close {close[bar]} is outside Low..High",
    )


def _named(values: Floats, wrong: Mask) -> str:
    return ", ".join(
        f"{name} is {value}" for name, value, bad in zip(COLUMNS, values, wrong, strict=True) if bad
    )


def _jumps(data: pd.DataFrame) -> Iterator[Finding]:
    """The overnight gap and the close both show the ratio of a split."""
    open_, close = (data[name].to_numpy(dtype=np.float64) for name in ("Open", "Close"))
    gap, move = open_[1:] / close[:-1], close[1:] / close[:-1]
    ratios = np.array([*SPLIT_RATIOS, *(1 / ratio for ratio in SPLIT_RATIOS)])
    nearest = ratios[np.abs(np.log(gap / ratios[:, np.newaxis])).argmin(axis=0)]
    for ratio in ratios:
        of_gap, of_move = (
            SMALL_TOLERANCE if max(ratio, 1 / ratio) < SMALL_RATIO else SPLIT_TOLERANCE
        )
        near = (
            (nearest == ratio)
            & (np.abs(gap / ratio - 1) < of_gap)
            & (np.abs(move / ratio - 1) < of_move)
        )
        text = f"{ratio:g}:1" if ratio > 1 else f"1:{1 / ratio:g}"
        message = f"the price jumps {text} overnight, as at a split that was not adjusted for"
        yield from _each(data, "SplitShapedJump", np.append(False, near), lambda _: message)  # noqa: B023


def _spikes(data: pd.DataFrame) -> Iterator[Finding]:
    logs = np.log(data["Close"].to_numpy(dtype=np.float64))
    steps = np.diff(logs)
    alone = (
        (np.abs(steps[:-1]) > SPIKE)
        & (np.abs(steps[1:]) > SPIKE)
        & (np.abs(steps[:-1] + steps[1:]) < REVERTED)
    )
    spiked = np.concatenate([[False], alone, [False]])[: len(data)]
    yield from _each(
        data,
        "Spike",
        spiked,
        lambda bar: f"the close is {np.exp(steps[bar - 1]):.3g} times its neighbours",
    )


def _volume(data: pd.DataFrame) -> Iterator[Finding]:
    volume = data["Volume"]
    if not (volume > 0).any():
        yield Finding(
            "warning", "NoVolume", None, "no bar has a volume; rules that use it cannot work"
        )
        return
    values = volume.to_numpy(dtype=np.float64)
    usual = volume.rolling(USUAL_BARS, center=True, min_periods=1).median().to_numpy()
    yield from _each(data, "ZeroVolume", values == 0, lambda bar: "the volume is 0")
    tiny = (values > 0) & (values < TINY_VOLUME * usual)
    yield from _each(
        data,
        "TinyVolume",
        tiny,
        lambda bar: f"the volume is {values[bar]:.0f}, usual is {usual[bar]:.0f}",
    )


def _stale(data: pd.DataFrame) -> Iterator[Finding]:
    values = data[list(COLUMNS[:4])].to_numpy(dtype=np.float64)
    same = (values[1:] == values[:-1]).all(axis=1)
    edges = np.flatnonzero(np.diff(same, prepend=False, append=False)).reshape(-1, 2)
    for start, end in edges[edges[:, 1] - edges[:, 0] >= STALE_BARS - 1]:
        where = "at the end" if end == len(same) else "in a row"
        message = f"{end - start + 1} identical bars {where}: the prices may be stale"
        yield Finding("warning", "Stale", _day(data, int(start)), message)


def _sessions(data: pd.DataFrame) -> Iterator[Finding]:
    """Daily bars against the sessions of the New York Stock Exchange, where they look as if they came from there."""
    days = data.index.to_numpy().astype("datetime64[D]")
    if (days[1:] == days[:-1]).any():
        return
    if np.median(np.diff(days).astype(np.int64)) > 4:
        yield Finding(
            "warning", "NotDaily", None, "the bars are not daily; they are annualised as 252 a year"
        )
        return
    expected = _nyse_sessions(days[0], days[-1])
    extra = ~np.isin(days, expected)
    if extra.sum() > max(FEW_BARS, FEW_SHARE * len(days)):
        yield Finding(
            "warning",
            "OtherCalendar",
            None,
            "no calendar of the NYSE: missing sessions were not looked for",
        )
        return
    yield from _each(
        data, "NoSession", extra, lambda bar: "a bar on a day without a session of the NYSE"
    )
    missing = np.setdiff1d(expected, days)
    before = np.searchsorted(days, missing)
    for at in np.unique(before):
        gap = missing[before == at]
        count = f"{len(gap)} sessions are" if len(gap) > 1 else "1 session is"
        yield Finding(
            "warning", "MissingSessions", str(gap[0]), f"{count} missing from {gap[0]} on"
        )


def _nyse_sessions(first: np.datetime64, last: np.datetime64) -> NDArray[np.datetime64]:
    from holidays import NYSE  # here: only runs and imports of daily prices need it

    years = range(first.astype(object).year, last.astype(object).year + 1)
    closed = np.array(sorted(NYSE(years=years)), dtype="datetime64[D]")
    span = np.arange(first, last + 1)
    return span[np.is_busday(span, holidays=closed)]


def _each(
    data: pd.DataFrame, code: str, bars: Iterable[bool], message: Callable[[int], str]
) -> Iterator[Finding]:
    severity = "warning" if code in WARNINGS else "error"
    for bar in np.flatnonzero(np.asarray(bars)):
        yield Finding(severity, code, _day(data, int(bar)), message(int(bar)))


WARNINGS = {"SplitShapedJump", "Spike", "ZeroVolume", "TinyVolume", "NoSession"}


def _day(data: pd.DataFrame, bar: int) -> str:
    stamp = data.index[bar]
    return (
        "no date"
        if pd.isna(stamp)
        else str(stamp.date() if stamp == stamp.normalize() else stamp.isoformat())
    )
