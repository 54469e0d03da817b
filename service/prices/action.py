"""What a company did to its shares: dividends paid and splits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any


@dataclass(frozen=True)
class Action:
    """On a day, a dividend for each share in the currency of the prices, 0 for none.

    `split` is the number of new shares for one old share, 0 for none: 4 for four to one.
    """

    day: date
    dividend: float = 0.0
    split: float = 0.0

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {"day": self.day.isoformat(), "dividend": self.dividend, "split": self.split}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Action:
        """The inverse of `document`; raises KeyError, TypeError or ValueError."""
        day = date.fromisoformat(document["day"])
        return cls(day, float(document["dividend"]), float(document["split"]))
