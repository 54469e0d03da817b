"""What the statistics of a search mean, in a sentence. A lucky search never reads as a success."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

USUAL_CONFIDENCE = 0.95
USUAL_SIGNIFICANCE = 0.05
EVEN_CHANCE = 0.5

NOTHING_TRADED = "No combination traded: there is nothing to judge."
NO_BETTER = (
    "The best combination earned {best} %, holding the ticker {holding} %: "
    "the search found nothing better than holding."
)
SILENT = (
    "The best combination earned {best} %, holding the ticker {holding} %. "
    "Too little happened to say how much of that is luck."
)
SKILL = (
    "The best combination earned {best} %, holding the ticker {holding} %. With {probability} "
    "probability its timing is more than luck after {tries} tries: by the usual 95 % it is."
)
LUCK = (
    "The best combination earned {best} %, holding the ticker {holding} %. With {probability} "
    "probability its timing is more than luck after {tries} tries: less than the usual 95 %, so "
    "treat it as luck until new data say otherwise."
)
DOUBTED = (
    "The best combination earned {best} %, holding the ticker {holding} %. With {probability} "
    "probability its timing is more than luck after {tries} tries, but by the reality check luck "
    "alone beats holding by as much with p = {reality_check}, above the usual 0.05: treat it as "
    "luck until new data say otherwise."
)
UNSTEADY = (
    "The best combination earned {best} %, holding the ticker {holding} %. With {probability} "
    "probability its timing is more than luck after {tries} tries, but the best of one half of the "
    "time is usually below average in the other half: treat it as luck until new data say "
    "otherwise."
)


@dataclass(frozen=True)
class Evidence:
    """What is known of the best combination of a search.

    `timing` is the probability that its timing is more than luck, `overfitting` that of
    overfitting, `reality_check` a p-value; NaN where undefined or not asked for. The returns are
    in percent, `holding_pct` is that of buy and hold.
    """

    trades: int
    tries: int
    best_pct: float
    holding_pct: float
    timing: float
    overfitting: float
    reality_check: float

    @property
    def template(self) -> str:
        """The sentence that fits, with places for the numbers."""
        if not self.trades:
            return NOTHING_TRADED
        if not self.best_pct > self.holding_pct:
            return NO_BETTER
        if math.isnan(self.timing):
            return SILENT
        if self.timing < USUAL_CONFIDENCE:
            return LUCK
        if self.reality_check > USUAL_SIGNIFICANCE:
            return DOUBTED
        return UNSTEADY if self.overfitting > EVEN_CHANCE else SKILL

    @property
    def is_more_than_luck(self) -> bool:
        """Whether the search is a success: everything known speaks for it."""
        return self.template == SKILL

    def sentence(self, translated: Callable[[str], str] = str, tries: str = "") -> str:
        """The verdict with its numbers, in the language of `translated`.

        `tries` are the tries in words, where they are not those of the search alone.
        """
        return translated(self.template).format(
            best=f"{self.best_pct:,.2f}",
            holding=f"{self.holding_pct:,.2f}",
            probability=percent(self.timing),
            reality_check=f"{self.reality_check:.3f}",
            tries=tries or f"{self.tries:,}",
        )


def percent(probability: float) -> str:
    """In whole percent, rounded down; only certainty is shown as 100 %, and 94.9 as 94."""
    if math.isnan(probability):
        return "–"
    if 0.99 < probability < 1:
        return "> 99 %"
    if 0 < probability < 0.01:
        return "< 1 %"
    return f"{math.floor(100 * probability + 1e-9)} %"
