"""Numbers as files write them: with currency signs, spaces, M for millions, or nothing at all."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from service.prices.series import MAX_QUOTED, UnreadablePrices

NOTHING = frozenset({"", "-", "--", "n/a", "na", "nan", "null", "none", "."})
AROUND = re.compile(r"[\s$€£¥₩'\u00a0\u202f]|원$|주$")
FACTORS = {"k": 1e3, "m": 1e6, "b": 1e9}


def numbers_of(
    values: pd.Series, name: str, decimal: str, thousands: str, first_line: int
) -> NDArray[np.float64]:
    """A column as floats, NaN where nothing stands. Raises UnreadablePrices with the line.

    What pandas has read as numbers stays as it is, to the last bit.
    """
    if values.dtype.kind in "fiu":
        return values.to_numpy(dtype=np.float64)
    numbers = np.empty(len(values))
    for row, value in enumerate(values):
        number = _number(value, decimal, thousands)
        if number is None:
            cell = str(value)[:MAX_QUOTED]
            raise UnreadablePrices(
                "Line {line}: {column} is no number: {cell}.",
                line=first_line + row,
                column=name,
                cell=repr(cell),
            )
        numbers[row] = number
    return numbers


def _number(value: object, decimal: str, thousands: str) -> float | None:
    if not isinstance(value, str):
        return _finite(value)
    text = AROUND.sub("", value).lower()
    if text in NOTHING:
        return np.nan
    factor = FACTORS.get(text[-1], 1.0)
    if factor != 1.0:
        text = text[:-1]
    if thousands:
        text = text.replace(thousands, "")
    plain = _finite(text.replace(decimal, "."))
    return None if plain is None else plain * factor


def _finite(value: object) -> float | None:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
