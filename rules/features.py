"""Prices as the conditions of a rule see them: columns, and indicators of them, each computed once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MOST_BYTES = 64 << 20  # of indicators that are kept; a search over a million bars computes some of them again


class Features:
    """The columns of `data` (n bars) and what is made of them: `features.of(sma, "Close", 20)`.

    Where a number is an array of shape (k, 1) there are k rows, (k, n), one for each (or one row where all k are the
    same): so the same conditions serve one rule and k of them at once, with the same bits. An indicator of several
    lines gives them one after the other.
    """

    def __init__(self, data: pd.DataFrame, most_bytes: int = MOST_BYTES) -> None:
        column = cache(lambda name: data[name].to_numpy(dtype=np.float64))

        @lru_cache(maxsize=max(4, most_bytes // (8 * max(1, len(data)))))
        def once(indicator: Callable[..., Any], columns: str, *numbers: Any) -> Floats:
            return np.asarray(indicator(*map(column, columns.split()), *numbers))

        self.column, self._once = column, once  # no methods: who forgets the Features frees its arrays at once

    def of(self, indicator: Callable[..., Any], columns: str, *numbers: Any) -> Floats:
        """`indicator(*columns, *numbers)`; `columns` are names with spaces between them."""
        if not any(isinstance(number, np.ndarray) for number in numbers):
            return self._once(indicator, columns, *numbers)
        flat = (each.ravel().tolist() for each in np.broadcast_arrays(*numbers))
        rows = [self._once(indicator, columns, *row) for row in zip(*flat, strict=True)]
        stacked = np.stack(rows[:1] if all(row is rows[0] for row in rows) else rows)
        return stacked if stacked.ndim == 2 else np.moveaxis(stacked, 1, 0)


def lagged(values: Floats, bars: int) -> Floats:
    """`values` of `bars` bars before, NaN where there are none."""
    shifted = np.full(len(values), np.nan)
    shifted[bars:] = values[: max(0, len(values) - bars)]
    return shifted
