"""A small line of closes, drawn as SVG by the page itself."""

from __future__ import annotations

import numpy as np
import pandas as pd

WIDTH = 800
HEIGHT = 160
MAX_POINTS = 400


def line_of(data: pd.DataFrame) -> str:
    """The points of a polyline in a box of WIDTH x HEIGHT: closes on a logarithmic scale."""
    close = data["Close"].to_numpy(dtype=float)
    chosen = np.unique(np.linspace(0, len(close) - 1, min(len(close), MAX_POINTS)).astype(int))
    heights = np.log(close[chosen])
    low, span = heights.min(), float(np.ptp(heights)) or 1.0
    across = WIDTH * chosen / max(len(close) - 1, 1)
    down = HEIGHT * (1 - (heights - low) / span)
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, down, strict=True))
