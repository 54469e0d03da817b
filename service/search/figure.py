"""A sweep as a PNG in memory: the metric over two parameters as a heatmap, over one as a line; small multiples for the
tickers, or for a third parameter."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rules.base_rule import number_text
from rules.optimizer import LESS_IS_BETTER, SearchTable
from service.contract.sweep import SweepRequest
from service.engine.figure import png_of

WIDTH, DPI = 1160, 100  # pixels, and dots per inch
MOST_PANELS, MOST_LABELS = 12, 12
ABOVE, BELOW, BESIDE, BETWEEN, RIGHT = 48, 48, 80, 44, 96  # pixels around and between the panels
HEIGHTS = {1: 520, 2: 420, 3: 320, 4: 260}  # of a panel, by the columns


@dataclass(frozen=True)
class Panel:
    """What one panel shows: of a ticker, the rows where `fixed` holds; the best of those that share x and y."""

    ticker: str
    table: SearchTable
    fixed: Mapping[str, Any]
    x: str
    y: str | None

    @property
    def xs(self) -> NDArray[Any]:
        return np.unique(self.table.grid.params[self.x])

    @property
    def ys(self) -> NDArray[Any]:
        return np.unique(self.table.grid.params[self.y]) if self.y else np.zeros(1)

    def rows(self) -> Iterator[tuple[int, int, int]]:
        """(row, column, row of the table) of each cell that has one, the best."""
        params = self.table.grid.params
        shown = np.ones(len(self.table.grid), dtype=bool)
        for name, value in self.fixed.items():
            shown &= params[name] == value
        columns = np.searchsorted(self.xs, params[self.x])
        lines = (
            np.searchsorted(self.ys, params[self.y]) if self.y else np.zeros(len(shown), dtype=int)
        )
        order = self.table.order()
        order = order[shown[order]]
        _, firsts = np.unique(lines[order] * len(self.xs) + columns[order], return_index=True)
        for row in order[firsts]:
            yield int(lines[row]), int(columns[row]), int(row)

    def scores(self) -> NDArray[np.float64]:
        """The metric, (ys, xs); NaN where there is no combination or none that traded: doing nothing is not good."""
        found = np.full((len(self.ys), len(self.xs)), np.nan)
        traded = self.table.metrics["num_trades"] > 0
        for line, column, row in self.rows():
            if traded[row]:
                found[line, column] = self.table.metrics[self.table.metric][row]
        return found

    def document(self, box: Sequence[float]) -> dict[str, Any]:
        """As the result has it; `box` is left, top, right, bottom in pixels."""
        ys = self.ys.tolist() if self.y else []
        axes = {"x": self.x, "xs": self.xs.tolist(), "y": self.y, "ys": ys}
        return {
            "ticker": self.ticker,
            "fixed": dict(self.fixed),
            **axes,
            "box": [float(edge) for edge in box],
        }


def panels_of(tables: Mapping[str, SearchTable]) -> list[Panel]:
    """One for each ticker, or, of a single ticker, for each value of a third parameter."""
    first = next(iter(tables.values()))
    varied = [name for name, values in first.grid.params.items() if len(np.unique(values)) > 1]
    x = varied[1] if len(varied) > 1 else varied[0] if varied else next(iter(first.grid.params))
    y = varied[0] if len(varied) > 1 else None
    if len(tables) > 1 or len(varied) < 3:
        return [
            Panel(ticker, table, {}, x, y) for ticker, table in list(tables.items())[:MOST_PANELS]
        ]
    thirds = np.unique(first.grid.params[varied[2]])
    ticker = next(iter(tables))
    if len(thirds) > MOST_PANELS:
        return [Panel(ticker, first, {}, x, y)]
    return [Panel(ticker, first, {varied[2]: third.item()}, x, y) for third in thirds]


def draw_sweep(
    request: SweepRequest, tables: Mapping[str, SearchTable]
) -> tuple[bytes, list[dict[str, Any]]]:
    """PNG 1160 pixels wide, and where each panel is; the same input gives the same bytes."""
    panels = panels_of(tables)
    columns = min(len(panels), 4 if len(panels) > 6 else 3 if len(panels) > 4 else 2)
    lines = math.ceil(len(panels) / columns)
    tall = HEIGHTS[columns]
    height = ABOVE + lines * tall + (lines - 1) * (BELOW + BETWEEN) + BELOW + 20
    wide = (WIDTH - RIGHT - columns * BESIDE) / columns
    figure = Figure(figsize=(WIDTH / DPI, height / DPI), dpi=DPI)
    canvas = FigureCanvasAgg(figure)
    scores = [panel.scores() for panel in panels]
    colours = _colours(scores, request.metric)
    documents = []
    for number, (panel, found) in enumerate(zip(panels, scores, strict=True)):
        left = BESIDE + (number % columns) * (wide + BESIDE)
        top = ABOVE + (number // columns) * (tall + BELOW + BETWEEN)
        axes = figure.add_axes(
            (left / WIDTH, 1 - (top + tall) / height, wide / WIDTH, tall / height)
        )
        _draw(axes, panel, found, colours)
        documents.append(panel.document((left, top, left + wide, top + tall)))
    if panels[0].y:
        bar = figure.add_axes(
            (1 - (RIGHT - 20) / WIDTH, 1 - (ABOVE + tall) / height, 14 / WIDTH, tall / height)
        )
        figure.colorbar(ScalarMappable(*colours), cax=bar).set_label(request.metric)
    return png_of(canvas), documents


def _colours(scores: Sequence[NDArray[np.float64]], metric: str) -> tuple[Normalize, str]:
    """Yellow is good, and the same number has the same colour in every panel."""
    known = np.concatenate([found[~np.isnan(found)] for found in scores])
    low, high = (known.min(), known.max()) if len(known) else (0.0, 1.0)
    return Normalize(
        low, high if high > low else low + 1.0
    ), "viridis_r" if metric in LESS_IS_BETTER else "viridis"


def _draw(
    axes: Axes, panel: Panel, scores: NDArray[np.float64], colours: tuple[Normalize, str]
) -> None:
    fixed = "".join(f", {name} {number_text(value)}" for name, value in panel.fixed.items())
    axes.set_title(panel.ticker + fixed, loc="left", fontsize=11)
    axes.set_xlabel(panel.x)
    _label(axes.xaxis, panel.xs)
    if panel.y is None:
        axes.plot(scores[0], marker="o", markersize=3, color="#2563eb")
        axes.set_xlim(-0.5, len(panel.xs) - 0.5)
        axes.set_ylabel(panel.table.metric)
        axes.grid(alpha=0.3)
        return
    axes.set_facecolor("#e2e8f0")
    axes.imshow(
        scores,
        norm=colours[0],
        cmap=colours[1],
        aspect="auto",
        origin="lower",
        interpolation="nearest",
    )
    axes.set_ylabel(panel.y)
    _label(axes.yaxis, panel.ys)
    if not np.isnan(scores).all():
        ranks = panel.table.ranks()
        line, column, _ = min(panel.rows(), key=lambda cell: ranks[cell[2]])
        axes.plot(
            column,
            line,
            marker="o",
            markersize=11,
            fillstyle="none",
            color="#dc2626",
            markeredgewidth=2,
        )


def _label(axis: Any, values: NDArray[Any]) -> None:
    """Not every value where there are many."""
    step = math.ceil(len(values) / MOST_LABELS)
    at = list(range(0, len(values), step))
    axis.set_ticks(at, [number_text(values[i].item()) for i in at])
