"""A performed run as a PNG in memory: price with entries and exits, equity against buy and hold, drawdown.

Matplotlib's Agg canvas without pyplot: a Figure made here is known to nobody else and freed with its last reference.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter
from numpy.typing import NDArray

WIDTH, HEIGHT, DPI = 12.0, 9.0, 100  # inches and dots per inch: 1200 x 900 pixels
COLUMNS = 1000  # about as many as the axes have pixels
MAX_MARKERS = 2000
MILLION = 1e6
MARGINS = {
    "left": 0.08,
    "right": 0.985,
    "top": 0.95,
    "bottom": 0.05,
    "hspace": 0.08,
}  # fixed: a layout solver takes as long as all the rest
BLUE, GREY, GREEN, RED = "#2563eb", "#94a3b8", "#15803d", "#dc2626"


def draw_figure(bars: pd.DataFrame, trades: Sequence[Mapping[str, Any]], title: str) -> bytes:
    """PNG of 1200 x 900 pixels. `bars` has close, equity, drawdown and buy_and_hold per bar, `trades` as in the result.

    The same input gives the same bytes; the time hardly grows with the number of bars.
    """
    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI)
    canvas = FigureCanvasAgg(figure)
    price, equity, drawdown = figure.subplots(
        3, 1, sharex=True, height_ratios=(3, 2, 1), gridspec_kw=MARGINS
    )
    dates = bars.index.to_numpy()
    price.set_title(title, loc="left", fontsize=13, y=1.01)  # y: else its place is searched for
    _line(price, dates, bars["close"].to_numpy(), GREY, "Close")
    _markers(price, trades)
    _line(equity, dates, bars["buy_and_hold"].to_numpy(), GREY, "Buy and hold")
    _line(equity, dates, bars["equity"].to_numpy(), BLUE, "Strategy")
    at, depth = _thinned(dates, -100 * bars["drawdown"].to_numpy())
    drawdown.fill_between(at, depth, 0, color=RED, alpha=0.35, linewidth=0)
    for axes, label in ((price, "Price"), (equity, "Equity"), (drawdown, "Drawdown, %")):
        _dress(axes, label)
    large = max(bars["equity"].max(), bars["buy_and_hold"].max()) >= MILLION
    equity.yaxis.set_major_formatter(
        EngFormatter(sep="") if large else "{x:,.6g}"
    )  # 2.5M fits beside the axis
    locator = AutoDateLocator()  # type: ignore[no-untyped-call]
    drawdown.xaxis.set_major_locator(locator)
    drawdown.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    return png_of(canvas)


def png_of(canvas: FigureCanvasAgg) -> bytes:
    """The drawn figure, which is empty afterwards."""
    buffer = io.BytesIO()
    canvas.print_png(buffer, metadata={"Software": None})  # type: ignore[no-untyped-call]
    canvas.figure.clear()  # breaks the cycles between figure, axes and canvas: the memory is free at once
    return buffer.getvalue()


def _dress(axes: Axes, label: str) -> None:
    axes.set_ylabel(label)
    axes.grid(alpha=0.25)
    axes.margins(x=0.01)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper left", frameon=False, ncols=4)


def _line(axes: Axes, dates: NDArray[Any], values: NDArray[Any], colour: str, label: str) -> None:
    axes.plot(*_thinned(dates, values), color=colour, linewidth=1.2, label=label)


def _thinned(dates: NDArray[Any], values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The lowest and the highest value of each pixel column: looks the same, at a fixed cost."""
    if len(values) <= 2 * COLUMNS:
        return dates, values
    edges = np.linspace(0, len(values), COLUMNS + 1).astype(int)
    pairs = [
        (a + int(values[a:b].argmin()), a + int(values[a:b].argmax())) for a, b in pairwise(edges)
    ]
    keep = np.unique(np.array(pairs))
    return dates[keep], values[keep]


def _markers(axes: Axes, trades: Sequence[Mapping[str, Any]]) -> None:
    """Up where shares were bought, down where they were sold, at the fill prices."""
    fills = [(t["entry_date"], t["entry_price"], t["direction"] == "long") for t in trades]
    fills += [
        (t["exit_date"], t["exit_price"], t["direction"] == "short")
        for t in trades
        if t["exit_date"]
    ]
    for bought, marker, colour, label in ((True, "^", GREEN, "Bought"), (False, "v", RED, "Sold")):
        chosen = [(day, price) for day, price, is_buy in fills if is_buy is bought]
        chosen = chosen[:: 1 + len(chosen) // MAX_MARKERS]
        if chosen:
            days, prices = zip(*chosen, strict=True)
            at = pd.to_datetime(
                list(days), format="ISO8601"
            ).to_numpy()  # with a time of day or without
            axes.scatter(at, prices, marker=marker, color=colour, s=36, zorder=3, label=label)
