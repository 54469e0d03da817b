"""Numbers as files write them: with currency signs, spaces, M for millions, or nothing at all."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from service.prices.files.marks import AROUND, Marks, bare
from service.prices.series import MAX_QUOTED, UnreadablePrices

NOTHING = frozenset({"", "-", "--", "n/a", "#n/a", "na", "nan", "null", "none", "."})
FACTORS = {"k": 1e3, "m": 1e6, "b": 1e9}


def numbers_of(
    values: pd.Series, name: str, marks: Marks, lines: Sequence[int]
) -> NDArray[np.float64]:
    """A column as floats, NaN where nothing stands. Raises UnreadablePrices with the line.

    What pandas has read as numbers stays as it is, to the last bit.
    """
    if values.dtype.kind in "fiu":
        return values.to_numpy(dtype=np.float64)
    numbers = np.empty(len(values))
    for row, value in enumerate(values):
        number = _number(value, marks)
        if number is None:
            raise UnreadablePrices(
                "Line {line}: {column} is no number: {cell}.",
                line=lines[row],
                column=name,
                cell=repr(str(value)[:MAX_QUOTED]),
            )
        numbers[row] = number
    return numbers


def _number(value: object, marks: Marks) -> float | None:
    """None where it is none, or is not written as the numbers of this file are."""
    text = AROUND.sub("", str(value)).lower()
    if text in NOTHING:
        return np.nan
    plain = bare(text)
    if not any(map(str.isdigit, plain)) or not marks.grammar.fullmatch(plain):
        return None
    if marks.thousands:
        plain = plain.replace(marks.thousands, "")
    try:
        number = float(plain.replace(marks.decimal, "."))
    except ValueError:
        return None
    return number * FACTORS.get(text[-1], 1.0) if math.isfinite(number) else None
