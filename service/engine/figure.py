"""A performed run as a PNG in memory: price with fills, equity against buy and hold, drawdown.

It uses Matplotlib's Agg canvas without pyplot: nothing else refers to a figure made here.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context, rcParams
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, fontManager
from matplotlib.ticker import EngFormatter
from numpy.typing import NDArray
from PIL import Image

from service.engine.look import STORED, STORED_UNTIL_1_1_0, Look
from service.engine.thinning import extremes

# Inches, and dots per inch: 1200 x 900 pixels, or 960 x 720.
WIDTH = 12.0
HEIGHT = 9.0
DOTS_PER_INCH = 100
SMALL_DOTS_PER_INCH = 80
PIXEL_COLUMNS = 1000  # about as many as the axes have
MAX_MARKERS = 2000
MILLION = 1e6
# Fixed margins: a layout solver takes as long as all the rest.
MARGINS = {"left": 0.08, "right": 0.985, "top": 0.95, "bottom": 0.05, "hspace": 0.08}
PANEL_HEIGHTS = (3, 2, 1)
BLUE = "#2563eb"
GREY = "#94a3b8"
GREEN = "#15803d"
RED = "#dc2626"
# Of a small figure: each colour of lines and letters, and how much of it there is on the paper.
PAPER = "#ffffff"
INKS = (GREY, BLUE, GREEN, RED, "#000000")
STRENGTHS = (1 / 3, 2 / 3, 1.0)
GRID = "#b0b0b0"
GRID_STRENGTH = 0.25
FILL_STRENGTH = 0.35
DARK_PAPER = "#0f172a"
LIGHT_INK = "#e2e8f0"
# A package of fonts that is never imported: NanumGothic, under the SIL Open Font License
FONT_PACKAGE = "koreanize_matplotlib"
FONT_FILE = Path("fonts/NanumGothic.ttf")


@dataclass(frozen=True)
class Fill:
    """Shares bought or sold at a fill price; `date` is an ISO date, with a time or without."""

    date: str
    price: float
    is_purchase: bool


def draw_figure(
    bars: pd.DataFrame,
    trades: Sequence[Mapping[str, Any]],
    title: str,
    signed_drawdown: bool = False,
    look: Look = STORED,
) -> bytes:
    """PNG of 1200 x 900 pixels, or 960 x 720; the same input gives the same bytes.

    `bars` has close, equity, drawdown and buy_and_hold for each bar, `trades` are those of the
    result. Version 1.0.0 of the engine wrote drawdowns as negative numbers: `signed_drawdown`. The
    time hardly grows with the number of bars.
    """
    if look in (STORED, STORED_UNTIL_1_1_0):
        return _drawn(bars, trades, title, signed_drawdown, look)
    # The settings are those of the process: nobody else may draw meanwhile.
    with rc_context(_settings_of(look)):
        return _drawn(bars, trades, title, signed_drawdown, look)


def _drawn(
    bars: pd.DataFrame,
    trades: Sequence[Mapping[str, Any]],
    title: str,
    signed_drawdown: bool,
    look: Look,
) -> bytes:
    dots_per_inch = SMALL_DOTS_PER_INCH if look.is_small else DOTS_PER_INCH
    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=dots_per_inch)
    canvas = FigureCanvasAgg(figure)
    price, equity, drawdown = figure.subplots(
        3, 1, sharex=True, height_ratios=PANEL_HEIGHTS, gridspec_kw=MARGINS
    )
    # With a given y Matplotlib does not search for a free place.
    price.set_title(title, loc="left", fontsize=13, y=1.01)
    _draw_price(price, bars, trades, look)
    _draw_equity(equity, bars, look)
    _draw_drawdown(drawdown, bars, signed_drawdown, look)
    return _small_png_of(canvas) if look.is_small else png_of(canvas)


def _settings_of(look: Look) -> Any:
    """Matplotlib's settings for it."""
    settings: dict[str, Any] = {}
    if look.words:
        settings["font.family"] = [*rcParams["font.family"], *_hangul_family()]
    if look.is_dark:
        settings |= dict.fromkeys(("figure.facecolor", "axes.facecolor"), DARK_PAPER)
        settings |= dict.fromkeys(
            ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"),
            LIGHT_INK,
        )
    return settings


@cache
def _hangul_family() -> list[str]:
    """The font for the letters that Matplotlib's own lacks; none where its package is missing."""
    package = find_spec(FONT_PACKAGE)
    if package is None or not package.submodule_search_locations:
        return []
    path = Path(package.submodule_search_locations[0]) / FONT_FILE
    fontManager.addfont(path)
    return [FontProperties(fname=path).get_name()]


def png_of(canvas: FigureCanvasAgg) -> bytes:
    """The figure as a PNG; its pixels are freed at once, the rest by the garbage collector."""
    buffer = io.BytesIO()
    canvas.print_png(buffer, metadata={"Software": None})  # type: ignore[no-untyped-call]
    # Clearing the figure would break its cycles, and takes a tenth of the time of drawing it.
    canvas.renderer = None
    return buffer.getvalue()


def _small_png_of(canvas: FigureCanvasAgg) -> bytes:
    """As `png_of`, with the nearest of few colours for each pixel."""
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    picture = Image.fromarray(pixels).convert("RGB")
    canvas.renderer = None
    buffer = io.BytesIO()
    few = picture.quantize(palette=_palette(), dither=Image.Dither.NONE)
    few.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


@cache
def _palette() -> Image.Image:
    """A picture whose palette has the colours of a small figure."""
    shades = [_shade(ink, strength) for ink in INKS for strength in STRENGTHS]
    colours = [_shade(PAPER, 1.0), _shade(GRID, GRID_STRENGTH), _shade(RED, FILL_STRENGTH), *shades]
    picture = Image.new("P", (1, 1))
    picture.putpalette(np.array(colours, dtype=np.uint8).tobytes())
    return picture


def _shade(colour: str, strength: float) -> NDArray[np.float64]:
    """So much of the colour on white paper, each of red, green and blue from 0 to 255."""
    return np.round(255 * (1 + strength * (np.array(to_rgb(colour)) - 1)))


def _draw_price(
    axes: Axes, bars: pd.DataFrame, trades: Sequence[Mapping[str, Any]], look: Look
) -> None:
    _draw_line(axes, bars["close"], GREY, look.word("Close"))
    fills = _fills_of(trades)
    purchases = [fill for fill in fills if fill.is_purchase]
    sales = [fill for fill in fills if not fill.is_purchase]
    _draw_markers(axes, purchases, "^", GREEN, look.word("Bought"))
    _draw_markers(axes, sales, "v", RED, look.word("Sold"))
    _dress(axes, look.word("Price"))
    if look.has_plain_prices:
        _write_plainly(axes, bars["close"].max())


def _draw_equity(axes: Axes, bars: pd.DataFrame, look: Look) -> None:
    _draw_line(axes, bars["buy_and_hold"], GREY, look.word("Buy and hold"))
    _draw_line(axes, bars["equity"], BLUE, look.word("Strategy"))
    _dress(axes, look.word("Equity"))
    largest = max(bars["equity"].max(), bars["buy_and_hold"].max())
    axes.yaxis.set_major_formatter(EngFormatter(sep="") if largest >= MILLION else "{x:,.6g}")


def _write_plainly(axes: Axes, largest: float) -> None:
    """Numbers as they are, without a factor or an offset above the axis."""
    if largest >= MILLION:
        # 2.5M fits beside the axis, 2,500,000 does not.
        axes.yaxis.set_major_formatter(EngFormatter(sep=""))
    else:
        axes.ticklabel_format(axis="y", style="plain", useOffset=False)


def _draw_drawdown(axes: Axes, bars: pd.DataFrame, signed: bool, look: Look) -> None:
    dates, depths = _thinned(bars.index.to_numpy(), -100 * bars["drawdown"].to_numpy())
    axes.fill_between(dates, depths, 0, color=RED, alpha=FILL_STRENGTH, linewidth=0)
    _dress(axes, look.word("Drawdown, %"))
    if not signed:
        axes.yaxis.set_major_formatter(lambda depth, _: f"{abs(depth):g}")
    locator = AutoDateLocator()  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]


def _dress(axes: Axes, label: str) -> None:
    axes.set_ylabel(label)
    axes.grid(color=GRID, alpha=GRID_STRENGTH)
    axes.margins(x=0.01)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper left", frameon=False, ncols=4)


def _draw_line(axes: Axes, column: pd.Series, colour: str, label: str) -> None:
    dates, values = _thinned(column.index.to_numpy(), column.to_numpy())
    axes.plot(dates, values, color=colour, linewidth=1.2, label=label)


def _thinned(dates: NDArray[Any], values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The lowest and the highest value of each pixel column: looks the same, at a fixed cost."""
    if len(values) <= 2 * PIXEL_COLUMNS:
        return dates, values
    kept = sorted(extremes(values, PIXEL_COLUMNS))
    return dates[kept], values[kept]


def _fills_of(trades: Sequence[Mapping[str, Any]]) -> list[Fill]:
    """All entries, then all exits."""
    entries = [
        Fill(trade["entry_date"], trade["entry_price"], is_purchase=trade["direction"] == "long")
        for trade in trades
    ]
    exits = [
        Fill(trade["exit_date"], trade["exit_price"], is_purchase=trade["direction"] == "short")
        for trade in trades
        if trade["exit_date"]
    ]
    return entries + exits


def _draw_markers(axes: Axes, fills: Sequence[Fill], marker: str, colour: str, label: str) -> None:
    """A marker for each fill, or for some of them where there are more than MAX_MARKERS."""
    drawn = fills[:: 1 + len(fills) // MAX_MARKERS]
    if not drawn:
        return
    dates = pd.to_datetime([fill.date for fill in drawn], format="ISO8601").to_numpy()
    prices = [fill.price for fill in drawn]
    axes.scatter(dates, prices, marker=marker, color=colour, s=36, zorder=3, label=label)
