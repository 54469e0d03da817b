"""The data gate: what is wrong with a price series, before anybody backtests it.

Errors stop a run: they are what the engine refuses. Warnings go into the result. Real one-day moves
of 50 % exist and are neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from backtest.prices import COLUMNS
from service.prices.false_moves import (
    copied_bars,
    far_prices,
    huge_volumes,
    jumps,
    short_stale_stretches,
    straight_lines,
    stretches,
    usual_around,
)
from service.prices.finding import Finding, Mask, day_of
from service.prices.periods import are_longer_than_daily, bars_a_year

Floats = NDArray[np.float64]
Days = NDArray[np.datetime64]

SPLIT_RATIOS = (1.5, 2, 3, 4, 5, 6, 7, 8, 10, 15, 20, 25, 30, 50)
LEAST_SPLIT_MOVE = np.log(1.4)  # less is none of these, whatever the market does beside it
SMALL_RATIO = 2  # below it real moves look like splits, and a split must fit more closely
MIN_SPIKE = np.log(1.5)  # a move there and back again within one bar
MAX_SPIKE_REST = 0.1  # how near the close must come back to where it was
TINY_VOLUME = 0.05  # of the usual volume
STALE_BARS = 5  # identical bars in a row
# Bars on days without a session: as many may be mistakes, more are another calendar.
MAX_ERRORS = 1000  # of each kind
FEW_BARS = 1
FEW_SHARE = 0.01
EXPLAINS_A_JUMP = ("SplitShapedJump", "Spike")


@dataclass(frozen=True)
class SplitTolerance:
    """How far open and close of the day of a split may be from its exact ratio, as fractions."""

    open: float
    close: float


TOLERANCE = SplitTolerance(open=0.08, close=0.15)
TOLERANCE_OF_SMALL_RATIOS = SplitTolerance(open=0.03, close=0.03)


NOT_DAILY_IN_1_1_0 = "the bars are not daily; they are annualised as 252 a year"


def check_prices(data: pd.DataFrame) -> list[Finding]:
    """All errors, or, where there is none, all warnings."""
    return [_said_since_1_2_0(finding, data) for finding in check_prices_1_1_0(data)]


def _said_since_1_2_0(finding: Finding, data: pd.DataFrame) -> Finding:
    if finding.code != "NotDaily":
        return finding
    count = bars_a_year(pd.DatetimeIndex(data.index))
    return replace(finding, message=f"the bars are not daily; {count:.4g} of them count as a year")


def check_prices_1_1_0(data: pd.DataFrame) -> list[Finding]:
    """What versions 1.1.0 and before 1.2.0 of the engine found, in their words."""
    findings = check_prices_1_0_0(data)
    if any(finding.severity == "error" for finding in findings):
        return findings
    explained = frozenset(finding.day for finding in findings if finding.code in EXPLAINS_A_JUMP)
    return [
        *findings,
        *jumps(data, explained | _days_after_spikes(data, findings)),
        *far_prices(data),
        *huge_volumes(data),
        *copied_bars(data),
        *short_stale_stretches(data),
        *straight_lines(data),
    ]


def check_prices_1_0_0(data: pd.DataFrame) -> list[Finding]:
    """What version 1.0.0 of the engine found, in its words: its results repeat that."""
    errors = _errors(data)
    if errors:
        return errors
    return [
        *_split_shaped_jumps(data),
        *_spikes(data),
        *_volume_warnings(data),
        *_stale_bars(data),
        *_session_warnings(data),
    ]


def _days_after_spikes(data: pd.DataFrame, findings: Sequence[Finding]) -> frozenset[str | None]:
    """The bars on which a spike goes back."""
    spikes = {finding.day for finding in findings if finding.code == "Spike"}
    if not spikes:
        return frozenset()
    days = [day_of(data, bar) for bar in range(len(data))]
    return frozenset(day for before, day in pairwise(days) if before in spikes)


def _errors(data: pd.DataFrame) -> list[Finding]:
    if len(data) < 2:
        message = f"{len(data)} bars; a backtest needs at least 2"
        return [Finding("error", "TooShort", None, message)]
    return [*_date_errors(data), *_value_errors(data)]


def _date_errors(data: pd.DataFrame) -> Iterator[Finding]:
    index = data.index
    days = index.to_numpy()
    is_missing = np.asarray(index.isna())
    yield from _errors_of_bars(
        data, "NoDate", is_missing, lambda bar: f"the date of row {bar + 1} is empty"
    )
    is_repeated = index.duplicated() & ~is_missing
    yield from _errors_of_bars(
        data, "DuplicateDate", is_repeated, lambda _: "the date stands there twice"
    )
    is_before_last = np.append(False, days[1:] < days[:-1])
    yield from _errors_of_bars(
        data, "Unsorted", is_before_last, lambda _: "the date is before the one above it"
    )


def _value_errors(data: pd.DataFrame) -> Iterator[Finding]:
    values = data[list(COLUMNS)].to_numpy(dtype=np.float64)
    is_finite = np.isfinite(values)
    yield from _errors_of_bars(
        data,
        "NotANumber",
        ~is_finite.all(axis=1),
        lambda bar: _faulty_values(values[bar], ~is_finite[bar]),
    )
    is_positive = (values > 0) | ~is_finite
    is_positive[:, -1] |= values[:, -1] == 0  # a volume may be 0
    yield from _errors_of_bars(
        data,
        "NotPositive",
        ~is_positive.all(axis=1),
        lambda bar: _faulty_values(values[bar], ~is_positive[bar]),
    )
    open_, high, low, close = values.T[:4]
    yield from _errors_of_bars(
        data,
        "HighBelowLow",
        high < low,
        lambda bar: f"High {high[bar]} is below Low {low[bar]}",
    )
    is_above = np.maximum(open_, close) > high
    is_below = np.minimum(open_, close) < low
    yield from _errors_of_bars(
        data,
        "OutsideRange",
        (high >= low) & (is_above | is_below),
        lambda bar: f"Open {open_[bar]} or Close {close[bar]} is outside Low..High",
    )


def _faulty_values(values: Floats, is_faulty: Mask) -> str:
    """The names and values of the faulty columns of one bar."""
    return ", ".join(
        f"{name} is {value}"
        for name, value, faulty in zip(COLUMNS, values, is_faulty, strict=True)
        if faulty
    )


def _split_shaped_jumps(data: pd.DataFrame) -> Iterator[Finding]:
    """Where both the overnight gap and the move from close to close have the ratio of a split."""
    open_ = data["Open"].to_numpy(dtype=np.float64)
    close = data["Close"].to_numpy(dtype=np.float64)
    gap = open_[1:] / close[:-1]
    move = close[1:] / close[:-1]
    if not (np.abs(np.log(move)) > LEAST_SPLIT_MOVE).any():
        return
    ratios = np.array([*SPLIT_RATIOS, *(1 / ratio for ratio in SPLIT_RATIOS)])
    distances = np.abs(np.log(gap / ratios[:, np.newaxis]))
    nearest = ratios[distances.argmin(axis=0)]
    for ratio in ratios:
        is_small = max(ratio, 1 / ratio) < SMALL_RATIO
        tolerance = TOLERANCE_OF_SMALL_RATIOS if is_small else TOLERANCE
        gap_fits = (nearest == ratio) & (np.abs(gap / ratio - 1) < tolerance.open)
        move_fits = np.abs(move / ratio - 1) < tolerance.close
        text = f"{ratio:g}:1" if ratio > 1 else f"1:{1 / ratio:g}"
        message = f"the price jumps {text} overnight, as at a split that was not adjusted for"
        for bar in np.flatnonzero(gap_fits & move_fits) + 1:
            yield Finding("warning", "SplitShapedJump", day_of(data, int(bar)), message)


def _spikes(data: pd.DataFrame) -> Iterator[Finding]:
    """Closes that one bar moves away and the next one moves back."""
    steps = np.diff(np.log(data["Close"].to_numpy(dtype=np.float64)))
    there = steps[:-1]
    back = steps[1:]
    is_large = (np.abs(there) > MIN_SPIKE) & (np.abs(back) > MIN_SPIKE)
    is_undone = np.abs(there + back) < MAX_SPIKE_REST
    for bar in np.flatnonzero(is_large & is_undone) + 1:
        message = f"the close is {np.exp(steps[bar - 1]):.3g} times its neighbours"
        yield Finding("warning", "Spike", day_of(data, int(bar)), message)


def _volume_warnings(data: pd.DataFrame) -> Iterator[Finding]:
    volume = data["Volume"]
    if not (volume > 0).any():
        message = "no bar has a volume; rules that use it cannot work"
        yield Finding("warning", "NoVolume", None, message)
        return
    values = volume.to_numpy(dtype=np.float64)
    usual = usual_around(volume)
    for bar in np.flatnonzero(values == 0):
        yield Finding("warning", "ZeroVolume", day_of(data, int(bar)), "the volume is 0")
    is_tiny = (values > 0) & (values < TINY_VOLUME * usual)
    for bar in np.flatnonzero(is_tiny):
        message = f"the volume is {values[bar]:.0f}, usual is {usual[bar]:.0f}"
        yield Finding("warning", "TinyVolume", day_of(data, int(bar)), message)


def _stale_bars(data: pd.DataFrame) -> Iterator[Finding]:
    """Bars in a row whose prices are identical."""
    prices = data[list(COLUMNS[:4])].to_numpy(dtype=np.float64)
    is_as_before = (prices[1:] == prices[:-1]).all(axis=1)
    for start, end in stretches(is_as_before):
        count = end - start + 1
        if count < STALE_BARS:
            continue
        where = "at the end" if end == len(is_as_before) else "in a row"
        message = f"{count} identical bars {where}: the prices may be stale"
        yield Finding("warning", "Stale", day_of(data, start), message)


def _session_warnings(data: pd.DataFrame) -> Iterator[Finding]:
    """Daily bars against the sessions of the New York Stock Exchange, if they look like such."""
    days = data.index.to_numpy().astype("datetime64[D]")
    if (days[1:] == days[:-1]).any():
        return  # bars inside a day
    if are_longer_than_daily(pd.DatetimeIndex(data.index)):
        yield Finding("warning", "NotDaily", None, NOT_DAILY_IN_1_1_0)
        return
    sessions = _nyse_sessions(days[0], days[-1])
    is_extra = ~np.isin(days, sessions)
    if _has_other_calendar(is_extra):
        message = "no calendar of the NYSE: missing sessions were not looked for"
        yield Finding("warning", "OtherCalendar", None, message)
        return
    for bar in np.flatnonzero(is_extra):
        message = "a bar on a day without a session of the NYSE"
        yield Finding("warning", "NoSession", day_of(data, int(bar)), message)
    yield from _missing_sessions(days, sessions)


def _has_other_calendar(is_extra: Mask) -> bool:
    return bool(is_extra.sum() > max(FEW_BARS, FEW_SHARE * len(is_extra)))


def missing_sessions(data: pd.DataFrame) -> int | None:
    """How many sessions of the NYSE have no bar; None of bars that follow another calendar."""
    days = data.index.to_numpy().astype("datetime64[D]")
    if len(days) < 2 or are_longer_than_daily(pd.DatetimeIndex(data.index)):
        return None
    if (days[1:] == days[:-1]).any():
        return None
    sessions = _nyse_sessions(days[0], days[-1])
    if _has_other_calendar(~np.isin(days, sessions)):
        return None
    return len(np.setdiff1d(sessions, days))


def _missing_sessions(days: Days, sessions: Days) -> Iterator[Finding]:
    """One finding for each gap between two bars."""
    missing = np.setdiff1d(sessions, days)
    next_bars = np.searchsorted(days, missing)
    for next_bar in np.unique(next_bars):
        gap = missing[next_bars == next_bar]
        count = f"{len(gap)} sessions are" if len(gap) > 1 else "1 session is"
        message = f"{count} missing from {gap[0]} on"
        yield Finding("warning", "MissingSessions", str(gap[0]), message)


def _nyse_sessions(first: np.datetime64, last: np.datetime64) -> Days:
    closed = _closed_days(first.astype(object).year, last.astype(object).year)
    days = np.arange(first, last + 1)
    return days[np.is_busday(days, holidays=closed)]


@lru_cache(maxsize=16)
def _closed_days(first_year: int, last_year: int) -> Days:
    # Imported here: only runs and imports of daily prices need it.
    from holidays import NYSE

    return np.array(sorted(NYSE(years=range(first_year, last_year + 1))), dtype="datetime64[D]")


def _errors_of_bars(
    data: pd.DataFrame, code: str, is_faulty: Mask, message_of: Callable[[int], str]
) -> Iterator[Finding]:
    """An error for each bar that is faulty, up to MAX_ERRORS: no more are read by anybody."""
    for bar in np.flatnonzero(is_faulty)[:MAX_ERRORS]:
        yield Finding("error", code, day_of(data, int(bar)), message_of(int(bar)))
