"""A small line of closes with what is to be known about its bars, drawn as SVG by the page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

WIDTH = 800
HEIGHT = 160
MAX_POINTS = 400


@dataclass(frozen=True)
class Mark:
    """A place on the line: how far from the left in a box of WIDTH, the day, and what is there."""

    across: float
    day: str
    what: str


def line_of(data: pd.DataFrame) -> str:
    """The points of a polyline in a box of WIDTH x HEIGHT: closes on a logarithmic scale."""
    close = data["Close"].to_numpy(dtype=float)
    chosen = np.unique(np.linspace(0, len(close) - 1, min(len(close), MAX_POINTS)).astype(int))
    heights = np.log(close[chosen])
    low, span = heights.min(), float(np.ptp(heights)) or 1.0
    across = WIDTH * chosen / max(len(close) - 1, 1)
    down = HEIGHT * (1 - (heights - low) / span)
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, down, strict=True))


def marks_of(data: pd.DataFrame, pairs: Iterable[tuple[str | None, str]]) -> list[Mark]:
    """Where the days are, ISO texts, of which there is something to say; few may be no days."""
    dated = [(day, what) for day, what in pairs if day]
    return list(_marks(data, dated))


def _marks(data: pd.DataFrame, pairs: Sequence[tuple[str, str]]) -> Iterator[Mark]:
    """Those outside the bars have no place."""
    days = pd.to_datetime([day for day, _ in pairs], format="ISO8601", errors="coerce")
    places = np.minimum(data.index.searchsorted(days), len(data) - 1)
    first, last = data.index[0].normalize(), data.index[-1]
    for (day, what), place, moment in zip(pairs, places, days, strict=True):
        if not pd.isna(moment) and first <= moment <= last:
            yield Mark(WIDTH * float(place) / max(len(data) - 1, 1), day, what)
