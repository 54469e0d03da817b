"""A run as a chart in a browser needs it: at most as many points as there are pixels.

A chart of a million bars shows the same as one of the lowest and the highest bar of each column of
pixels. Whoever zooms in asks again, for a part of the bars.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rules.base_rule import Line
from service.engine.thinning import extremes
from service.report.bars import Bars, Floats

COLUMNS = 450
# The lowest and the highest close, and the lowest and the highest equity
POINTS_PER_COLUMN = 4
MAX_POINTS = COLUMNS * POINTS_PER_COLUMN
# More cannot be told apart, and the first view must load at once.
MAX_TRADES = 400
DIGITS_OF_PRICES = 7
DIGITS_OF_MONEY = 9
DECIMALS_OF_DRAWDOWNS = 5
DECIMALS_OF_RETURNS = 2

Positions = NDArray[np.intp]


def chart_of(
    bars: Bars,
    trades: Sequence[Mapping[str, Any]],
    lines: Sequence[Line],
    first: int = 0,
    end: int | None = None,
) -> dict[str, Any]:
    """The bars from number `first` up to `end` (not included) as a JSON document.

    `time` is in seconds since 1970 by the exchange's clock, each list has a value for each point.
    Each point is a bar of the run; `high` and `low` are those since the point before. `trades` are
    left out where there are more than MAX_TRADES; `entry` and `exit` are numbers of points.
    """
    end = len(bars) if end is None else min(end, len(bars))
    first = min(max(first, 0), end - 1)
    kept = kept_bars(bars, first, end)
    stamps = bars.stamps
    shown_trades = _trades_between(trades, stamps, first, end)
    return {
        "bars": len(bars),
        "first": first,
        "end": end,
        "is_thinned": len(kept) < end - first,
        "has_times": bars.has_times,
        "time": (stamps[kept].astype("datetime64[s]").astype(np.int64)).tolist(),
        "bar": kept.tolist(),
        **_candles(bars.prices, first, kept),
        "equity": _significant(bars.equity[kept], DIGITS_OF_MONEY),
        "holding": _significant(bars.holding[kept], DIGITS_OF_MONEY),
        "drawdown": np.round(bars.drawdown[kept], DECIMALS_OF_DRAWDOWNS).tolist(),
        "position": _significant(bars.position[kept]),
        "lines": [
            {"name": line.name, "scale": line.scale, "values": _significant(line.values[kept])}
            for line in lines
        ],
        "trade_count": len(shown_trades),
        "trades": _trade_documents(shown_trades, kept) if len(shown_trades) <= MAX_TRADES else [],
    }


def kept_bars(bars: Bars, first: int, end: int) -> Positions:
    """The numbers of the bars that the chart has as points, ascending.

    All of them where there are at most MAX_POINTS; else the first, the last, the deepest drawdown,
    and the extremes of each column of pixels.
    """
    if end - first <= MAX_POINTS:
        return np.arange(first, end)
    shapes = [bars.equity]
    if bars.prices is not None:
        shapes.append(bars.prices["Close"].to_numpy())
    kept = {first, end - 1, first + int(bars.drawdown[first:end].argmax())}
    for values in shapes:
        kept |= extremes(values, COLUMNS, first, end)
    return np.array(sorted(kept), dtype=np.intp)


def _candles(prices: pd.DataFrame | None, first: int, kept: Positions) -> dict[str, Any]:
    """Of the bars after the point before up to each point: nothing where prices are gone."""
    if prices is None:
        return {}
    starts = np.concatenate([[first], kept[:-1] + 1])
    columns = {name: prices[name].to_numpy(dtype=np.float64) for name in prices}
    end = int(kept[-1]) + 1
    return {
        "open": _significant(columns["Open"][starts]),
        "high": _significant(np.maximum.reduceat(columns["High"][:end], starts)),
        "low": _significant(np.minimum.reduceat(columns["Low"][:end], starts)),
        "close": _significant(columns["Close"][kept]),
    }


@dataclass(frozen=True)
class _PlacedTrade:
    """A trade with the number it has in the result, from 1, and those of its bars."""

    number: int
    fields: Mapping[str, Any]
    entry_bar: int
    exit_bar: int | None


def _trades_between(
    trades: Sequence[Mapping[str, Any]], stamps: NDArray[np.datetime64], first: int, end: int
) -> list[_PlacedTrade]:
    """The trades that were open at any of these bars."""
    placed = []
    for number, (trade, entry_bar, exit_bar) in enumerate(
        zip(trades, *bars_of_trades(trades, stamps), strict=True), 1
    ):
        is_open_later = exit_bar < 0 or exit_bar >= first
        if entry_bar < end and is_open_later:
            exit_or_none = None if exit_bar < 0 else int(exit_bar)
            placed.append(_PlacedTrade(number, trade, int(entry_bar), exit_or_none))
    return placed


def bars_of_trades(
    trades: Sequence[Mapping[str, Any]], stamps: NDArray[np.datetime64]
) -> tuple[Positions, Positions]:
    """The numbers of the bars of entry and exit; -1 for the exit of a trade that is open."""
    entries = bars_at([trade["entry_date"] for trade in trades], stamps)
    is_closed = np.array([trade["exit_date"] is not None for trade in trades], dtype=bool)
    exits = np.full(len(trades), -1)
    exits[is_closed] = bars_at(
        [trade["exit_date"] for trade in trades if trade["exit_date"] is not None], stamps
    )
    return entries, exits


def bars_at(dates: Sequence[str], stamps: NDArray[np.datetime64]) -> Positions:
    """The numbers of the bars at these dates, which are as a result writes them."""
    moments = pd.to_datetime(list(dates), format="ISO8601")
    wall_clock = moments.tz_localize(None).to_numpy().astype("datetime64[ns]")
    return np.searchsorted(stamps, wall_clock)


def _trade_documents(trades: Sequence[_PlacedTrade], kept: Positions) -> list[dict[str, Any]]:
    def point_at(bar: int | None) -> int | None:
        """The point that shows this bar, None where it is outside of the chart."""
        if bar is None or not kept[0] <= bar <= kept[-1]:
            return None
        return int(np.searchsorted(kept, bar))

    return [
        {
            "number": trade.number,
            "entry": point_at(trade.entry_bar),
            "exit": point_at(trade.exit_bar),
            "side": trade.fields["direction"],
            "return_pct": round(trade.fields["return_pct"], DECIMALS_OF_RETURNS),
        }
        for trade in trades
    ]


def _significant(values: Floats, digits: int = DIGITS_OF_PRICES) -> list[float | None]:
    """Rounded to so many significant digits: prices may be 1e-8 or 1e9. None for NaN."""
    with np.errstate(divide="ignore", invalid="ignore"):
        magnitude = np.floor(np.log10(np.abs(values)))
    decimals = np.where(np.isfinite(magnitude), digits - 1 - magnitude, 0)
    return [
        round(value, int(places)) if np.isfinite(value) else None
        for value, places in zip(values.tolist(), decimals.tolist(), strict=True)
    ]
