"""How a figure looks: the words on it, and whether it is for dark pages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

WORDS = ("Close", "Bought", "Sold", "Price", "Equity", "Buy and hold", "Strategy", "Drawdown, %")


@dataclass(frozen=True)
class Look:
    """`words` has a translation for each of WORDS; what is missing stays English.

    `is_small`: fewer pixels and few colours, a sixth of the bytes. `has_plain_prices`: 0.000012 and
    2.5M at the axis of prices, and no factor above it.
    """

    words: Mapping[str, str] = field(default_factory=dict)
    is_dark: bool = False
    is_small: bool = False
    has_plain_prices: bool = True

    def word(self, english: str) -> str:
        """The translation."""
        return self.words.get(english, english)


# Of the figure that is stored with each result, and of those that were until version 1.1.0.
STORED = Look(is_small=True)
STORED_UNTIL_1_1_0 = Look(has_plain_prices=False)
