"""What the data gate finds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Mask = NDArray[np.bool_]  # of bars


@dataclass(frozen=True)
class Finding:
    """One thing to know about the prices; `day` is the ISO date of its bar, None for all bars."""

    severity: str  # "error" or "warning"
    code: str
    day: str | None
    message: str

    def document(self) -> dict[str, str | None]:
        """As JSON."""
        return dict(vars(self))

    def warning(self) -> dict[str, str | None]:
        """As the provenance of a result has it."""
        return {"code": self.code, "bar": self.day, "message": self.message}


def errors_among(findings: Iterable[Finding]) -> list[Finding]:
    """Those for which prices are refused."""
    return [finding for finding in findings if finding.severity == "error"]


def day_of(data: pd.DataFrame, bar: int) -> str:
    """The date alone for daily bars, with the time for bars inside a day."""
    stamp = data.index[bar]
    if pd.isna(stamp):
        return "no date"
    is_midnight = stamp == stamp.normalize()
    return str(stamp.date()) if is_midnight else str(stamp.isoformat())
