"""How a figure looks: the words on it, and whether it is for dark pages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

WORDS = ("Close", "Bought", "Sold", "Price", "Equity", "Buy and hold", "Strategy", "Drawdown, %")


@dataclass(frozen=True)
class Look:
    """`words` has a translation for each of WORDS; what is missing stays English."""

    words: Mapping[str, str] = field(default_factory=dict)
    is_dark: bool = False

    def word(self, english: str) -> str:
        """The translation."""
        return self.words.get(english, english)


# The look of the figure that is stored with each result
STORED = Look()
