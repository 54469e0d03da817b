"""A sweep as a PNG in memory: the metric over two parameters as a heatmap, over one as a line.

There is a panel for each ticker, or for each value of a third parameter.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from backtest.metrics import Floats
from rules.base_rule import number_text
from rules.optimizer import LESS_IS_BETTER, Columns, SearchTable
from service.contract.sweep import SweepRequest
from service.engine.figure import png_of

DOTS_PER_INCH = 100
MAX_PANELS = 12
MAX_LABELS = 12
# Pixels: of the figure, around the panels, and between them.
WIDTH = 1160
ABOVE = 48
BELOW = 48
BESIDE = 80
BETWEEN = 44
RIGHT = 96
BOTTOM = 20
COLOUR_BAR_WIDTH = 14
PANEL_HEIGHTS = {1: 520, 2: 420, 3: 320, 4: 260}  # by the number of columns

LINE_COLOUR = "#2563eb"
BEST_COLOUR = "#dc2626"
NO_CELL_COLOUR = "#e2e8f0"


@dataclass(frozen=True)
class Cell:
    """A place in a panel, and the best of the rows of the table that belong there."""

    line: int
    column: int
    row: int


@dataclass(frozen=True)
class Panel:
    """What one panel shows of a ticker: the rows whose parameters have the `fixed` values.

    `x` and `y` are the parameters on its axes. Of the rows that share both, the best is shown.
    """

    ticker: str
    table: SearchTable
    fixed: Mapping[str, Any]
    x: str
    y: str | None

    @property
    def xs(self) -> NDArray[Any]:
        """The values on the horizontal axis, ascending."""
        return np.unique(self.table.grid.params[self.x])

    @property
    def ys(self) -> NDArray[Any]:
        """The values on the vertical axis, ascending; one 0 where there is no such parameter."""
        if self.y is None:
            return np.zeros(1)
        return np.unique(self.table.grid.params[self.y])

    def cells(self) -> Iterator[Cell]:
        """Every place that has a row."""
        params = self.table.grid.params
        is_shown = np.ones(len(self.table.grid), dtype=bool)
        for name, value in self.fixed.items():
            is_shown &= params[name] == value
        columns = np.searchsorted(self.xs, params[self.x])
        lines = np.zeros(len(is_shown), dtype=int)
        if self.y is not None:
            lines = np.searchsorted(self.ys, params[self.y])
        best_first = self.table.order()
        best_first = best_first[is_shown[best_first]]
        places = lines[best_first] * len(self.xs) + columns[best_first]
        _, best_of_places = np.unique(places, return_index=True)
        for row in best_first[best_of_places]:
            yield Cell(int(lines[row]), int(columns[row]), int(row))

    def scores(self) -> Floats:
        """The metric, (ys, xs); NaN where there is no combination, or none that traded."""
        table = self.table
        scores = np.full((len(self.ys), len(self.xs)), np.nan)
        traded = table.metrics["num_trades"] > 0
        for cell in self.cells():
            if traded[cell.row]:
                scores[cell.line, cell.column] = table.metrics[table.metric][cell.row]
        return scores

    def document(self, box: Sequence[float]) -> dict[str, Any]:
        """As the result has it; `box` is left, top, right, bottom in pixels."""
        return {
            "ticker": self.ticker,
            "fixed": dict(self.fixed),
            "x": self.x,
            "xs": self.xs.tolist(),
            "y": self.y,
            "ys": [] if self.y is None else self.ys.tolist(),
            "box": [float(edge) for edge in box],
        }


def panels_of(tables: Mapping[str, SearchTable]) -> list[Panel]:
    """One for each ticker, or, of a single ticker, for each value of a third parameter."""
    first_ticker = next(iter(tables))
    params = tables[first_ticker].grid.params
    varied = [name for name, values in params.items() if len(np.unique(values)) > 1]
    x, y = _axes_of(varied, params)
    if len(tables) > 1 or len(varied) < 3:
        panels = [Panel(ticker, table, {}, x, y) for ticker, table in tables.items()]
        return panels[:MAX_PANELS]
    table = tables[first_ticker]
    third = varied[2]
    values = np.unique(params[third])
    if len(values) > MAX_PANELS:
        return [Panel(first_ticker, table, {}, x, y)]
    return [Panel(first_ticker, table, {third: value.item()}, x, y) for value in values]


def _axes_of(varied: Sequence[str], params: Columns) -> tuple[str, str | None]:
    """The parameters of the horizontal and the vertical axis, from those that vary."""
    if len(varied) > 1:
        return varied[1], varied[0]
    x = varied[0] if varied else next(iter(params))
    return x, None


@dataclass(frozen=True)
class Layout:
    """Where panels are, in pixels: in lines of `columns` panels."""

    panel_count: int

    @property
    def columns(self) -> int:
        """Panels in a line."""
        if self.panel_count > 6:
            return 4
        if self.panel_count > 4:
            return 3
        return min(self.panel_count, 2)

    @property
    def panel_height(self) -> int:
        return PANEL_HEIGHTS[self.columns]

    @property
    def panel_width(self) -> float:
        return (WIDTH - RIGHT - self.columns * BESIDE) / self.columns

    @property
    def height(self) -> int:
        """Of the figure."""
        lines = math.ceil(self.panel_count / self.columns)
        return ABOVE + lines * self.panel_height + (lines - 1) * (BELOW + BETWEEN) + BELOW + BOTTOM

    def box(self, number: int) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of a panel, from the left and from the top."""
        line, column = divmod(number, self.columns)
        left = BESIDE + column * (self.panel_width + BESIDE)
        top = ABOVE + line * (self.panel_height + BELOW + BETWEEN)
        return left, top, left + self.panel_width, top + self.panel_height

    def axes_of(self, number: int) -> tuple[float, float, float, float]:
        """Left, bottom, width and height of a panel, as fractions of the figure, from below."""
        left, _, _, bottom = self.box(number)
        return (
            left / WIDTH,
            1 - bottom / self.height,
            self.panel_width / WIDTH,
            self.panel_height / self.height,
        )

    def axes_of_colour_bar(self) -> tuple[float, float, float, float]:
        """As `axes_of`: at the right end of the first line."""
        return (
            1 - (RIGHT - BOTTOM) / WIDTH,
            1 - (ABOVE + self.panel_height) / self.height,
            COLOUR_BAR_WIDTH / WIDTH,
            self.panel_height / self.height,
        )


@dataclass(frozen=True)
class Colours:
    """The colour of each number, in every panel: `colour_map` over the range of `scale`."""

    scale: Normalize
    colour_map: str


def draw_sweep(
    request: SweepRequest, tables: Mapping[str, SearchTable]
) -> tuple[bytes, list[dict[str, Any]]]:
    """PNG 1160 pixels wide, and where each panel is; the same input gives the same bytes."""
    panels = panels_of(tables)
    layout = Layout(len(panels))
    size = (WIDTH / DOTS_PER_INCH, layout.height / DOTS_PER_INCH)
    figure = Figure(figsize=size, dpi=DOTS_PER_INCH)
    canvas = FigureCanvasAgg(figure)
    scores = [panel.scores() for panel in panels]
    colours = _colours(scores, request.metric)
    documents = []
    for number, panel in enumerate(panels):
        axes = figure.add_axes(layout.axes_of(number))
        _draw(axes, panel, scores[number], colours)
        documents.append(panel.document(layout.box(number)))
    if panels[0].y is not None:
        colour_axes = figure.add_axes(layout.axes_of_colour_bar())
        mapping = ScalarMappable(colours.scale, colours.colour_map)
        figure.colorbar(mapping, cax=colour_axes).set_label(request.metric)
    return png_of(canvas), documents


def _colours(scores: Sequence[Floats], metric: str) -> Colours:
    """Yellow is good."""
    known = np.concatenate([of_panel[~np.isnan(of_panel)] for of_panel in scores])
    low = float(known.min()) if len(known) else 0.0
    high = float(known.max()) if len(known) else 1.0
    if not high > low:
        high = low + 1.0
    colour_map = "viridis_r" if metric in LESS_IS_BETTER else "viridis"
    return Colours(Normalize(low, high), colour_map)


def _draw(axes: Axes, panel: Panel, scores: Floats, colours: Colours) -> None:
    fixed = "".join(f", {name} {number_text(value)}" for name, value in panel.fixed.items())
    axes.set_title(panel.ticker + fixed, loc="left", fontsize=11)
    axes.set_xlabel(panel.x)
    _label(axes.xaxis, panel.xs)
    if panel.y is None:
        _draw_line(axes, panel, scores[0])
        return
    axes.set_ylabel(panel.y)
    _label(axes.yaxis, panel.ys)
    _draw_heatmap(axes, scores, colours)
    if not np.isnan(scores).all():
        _mark_best(axes, panel)


def _draw_line(axes: Axes, panel: Panel, scores: Floats) -> None:
    axes.plot(scores, marker="o", markersize=3, color=LINE_COLOUR)
    axes.set_xlim(-0.5, len(panel.xs) - 0.5)
    axes.set_ylabel(panel.table.metric)
    axes.grid(alpha=0.3)


def _draw_heatmap(axes: Axes, scores: Floats, colours: Colours) -> None:
    axes.set_facecolor(NO_CELL_COLOUR)
    axes.imshow(
        scores,
        norm=colours.scale,
        cmap=colours.colour_map,
        aspect="auto",
        origin="lower",
        interpolation="nearest",
    )


def _mark_best(axes: Axes, panel: Panel) -> None:
    ranks = panel.table.ranks()
    best = min(panel.cells(), key=lambda cell: ranks[cell.row])
    axes.plot(
        best.column,
        best.line,
        marker="o",
        markersize=11,
        fillstyle="none",
        color=BEST_COLOUR,
        markeredgewidth=2,
    )


def _label(axis: Axis, values: NDArray[Any]) -> None:
    """Labels MAX_LABELS of the values at most."""
    step = math.ceil(len(values) / MAX_LABELS)
    positions = list(range(0, len(values), step))
    axis.set_ticks(positions, [number_text(values[place].item()) for place in positions])
