"""Which values a drawing needs: more than its columns of pixels can show are not drawn."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray


def extremes(
    values: NDArray[Any], columns: int, first: int = 0, end: int | None = None
) -> set[int]:
    """The numbers of the lowest and the highest value of each column, from `first` up to `end`."""
    end = len(values) if end is None else end
    found = set()
    for start, stop in pairwise(np.linspace(first, end, columns + 1).astype(int)):
        column = values[start:stop]
        found |= {int(start + column.argmin()), int(start + column.argmax())}
    return found
