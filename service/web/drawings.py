"""Small figures as SVG: where each bar, line and point stands; the templates write the elements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

WIDTH = 400
HEIGHT = 140
MAX_DOTS = 500


@dataclass(frozen=True)
class Column:
    """One column of a histogram; `is_loss`: all its values are below zero."""

    x: float
    y: float
    width: float
    height: float
    is_loss: bool
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Curve:
    """Values over time: the points of one SVG path, which has gaps where there is no value."""

    path: str
    low: float
    high: float
    zero: float | None


@dataclass(frozen=True)
class Dot:
    """One trade."""

    x: float
    y: float
    is_loss: bool


def columns_of(edges: Sequence[float], counts: Sequence[int]) -> list[Column]:
    """The columns of a histogram, as high as the figure where there are most values."""
    most = max(counts)
    width = WIDTH / len(counts)
    columns = []
    for number, count in enumerate(counts):
        height = HEIGHT * count / most
        low, high = edges[number], edges[number + 1]
        columns.append(
            Column(
                x=round(number * width, 1),
                y=round(HEIGHT - height, 1),
                width=round(width - 1, 1),
                height=round(height, 1),
                is_loss=high <= 0,
                low=low,
                high=high,
                count=count,
            )
        )
    return columns


def curve_of(values: Sequence[float | None]) -> Curve | None:
    """The curve of values at even distances; None where there are no two of them."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return None
    low, high = min(known), max(known)
    reach = high - low or 1.0

    def height_of(value: float) -> float:
        return round(HEIGHT - (value - low) / reach * HEIGHT, 1)

    steps = []
    is_drawing = False
    for number, value in enumerate(values):
        if value is not None:
            x = round(number / (len(values) - 1) * WIDTH, 1)
            steps.append(f"{'L' if is_drawing else 'M'}{x:g} {height_of(value):g}")
        is_drawing = value is not None
    zero = height_of(0) if low < 0 < high else None
    return Curve("".join(steps), low, high, zero)


def dots_of(
    excursions: Sequence[Sequence[float]], gains: Sequence[float]
) -> tuple[list[Dot], float]:
    """A dot for each trade: adverse excursion to the right, favourable up; and the largest."""
    largest = max((max(pair) for pair in excursions), default=0.0)
    if largest <= 0:
        return [], 0.0
    step = 1 + len(excursions) // MAX_DOTS
    dots = [
        Dot(
            x=round(adverse / largest * WIDTH, 1),
            y=round(HEIGHT - favourable / largest * HEIGHT, 1),
            is_loss=gain <= 0,
        )
        for (adverse, favourable), gain in list(zip(excursions, gains, strict=True))[::step]
    ]
    return dots, largest


@dataclass(frozen=True)
class Lines:
    """Several curves over the same time and the same scale: the points of an SVG path for each."""

    paths: Sequence[str]
    low: float
    high: float


def lines_over_time(curves: Sequence[pd.Series]) -> Lines:
    """The curves by the times of their own indexes, each with at least one value."""
    low = min(float(curve.min()) for curve in curves)
    high = max(float(curve.max()) for curve in curves)
    first = min(curve.index[0] for curve in curves)
    span = max(curve.index[-1] for curve in curves) - first
    reach = high - low or 1.0
    paths = []
    for curve in curves:
        places = (curve.index - first) / span * WIDTH
        heights = HEIGHT - (curve.to_numpy() - low) / reach * HEIGHT
        points = [f"{x:.2f} {y:.2f}" for x, y in zip(places, heights, strict=True)]
        paths.append("M" + "L".join(points))
    return Lines(paths, low, high)


@dataclass(frozen=True)
class Strip:
    """Values on one axis: a dot for each, the first as a line, a band, the place of zero."""

    dots: Sequence[LabelledDot]
    asked: float
    band: tuple[float, float] | None
    zero: float | None
    low: float
    high: float


@dataclass(frozen=True)
class LabelledDot:
    """A dot and what it says when one points at it."""

    x: float
    y: float
    label: str


def strip_of(
    points: Sequence[tuple[float, str]], band: Sequence[float | None] | None
) -> Strip | None:
    """Values with their labels, the first is what the others are compared to; None without any."""
    if not points:
        return None
    values = [value for value, _ in points]
    ends = [] if band is None else [bound for bound in band if bound is not None]
    low, high = min([*values, *ends]), max([*values, *ends])
    reach = high - low or 1.0

    def place_of(value: float) -> float:
        return round((value - low) / reach * WIDTH, 1)

    # One above the other, so that equal values can be told apart.
    heights = HEIGHT / len(points)
    dots = [
        LabelledDot(place_of(value), round((number + 0.5) * heights, 1), label)
        for number, (value, label) in enumerate(points)
    ]
    return Strip(
        dots=dots,
        asked=place_of(values[0]),
        band=(place_of(ends[0]), place_of(ends[1])) if len(ends) == 2 else None,
        zero=place_of(0.0) if low <= 0 <= high else None,
        low=low,
        high=high,
    )
