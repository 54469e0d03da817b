"""How sure a result is, as its page says it: in sentences, a small figure and tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rules.base_rule import number_text
from service.usecases.views import View
from service.web.drawings import Strip, strip_of
from service.web.middleware.texts import text
from service.web.presentation import METRICS_BY_NAME, shown, unbroken

NO_END = "\N{INFINITY}"
GROWTH = ("cagr_pct", "holding_cagr_pct")
CHANGED_NUMBERS = ("factor", "asked", "value", "series")
UNITS = {
    "cagr_pct": "%",
    "holding_cagr_pct": "%",
    "share_pct": "%",
    "max_drawdown_pct": "%",
    "sharpe_ratio": "ratio",
    "num_trades": "",
}
NEEDED_TRADES = 10
# Without its best trades, most rules of real skill lose as much where trades are few.
NOT_JUDGED = "best_trades"
BAND_OF_ANOTHER_TIME = "another time as long, 95 %%: %(low)s to %(high)s"
KEPT_SHARE = 0.5  # of the Sharpe ratio: a change that leaves less shows that the run hangs on it

CHANGES = {
    "asked": "As asked",
    "late": "Signals one bar late",
    "close": "Filled at the next close",
    "costs": "Costs times {factor}",
    "first_year": "Without the first year",
    "last_year": "Without the last year",
    "parameter": "{name} {value} instead of {asked}",
    "noise": "Noise in the prices, middle of {series}",
    "worst_noise": "Noise in the prices, worst of {series}",
    "best_trades": "Without its five best trades",
}
REGIMES = {
    "rising": "Rising",
    "flat": "Flat",
    "falling": "Falling",
    "calm": "Calm",
    "wild": "Wild",
}
STURDY = "Sturdy: each of {all} changes leaves at least half of the Sharpe ratio. Worst: {worst}."
FRAGILE = (
    "Fragile: less than half of the Sharpe ratio is left after {lost} of {all} changes. "
    "Worst: {worst}."
)
FEW_TRADES = "Whether it is sturdy cannot be told from {trades} trades: {needed} are needed."
FEW_BARS = "Whether it is sturdy cannot be told: its bars are too few for a Sharpe ratio."
NOTHING_TO_LOSE = "Its Sharpe ratio is not above 0: there is nothing that a change could take away."
SKILL = "With {probability} probability its Sharpe ratio is above 0, if nothing else was tried."
LONG_ENOUGH = "Its record of {own} years is long enough for 95 %: {needed} would do."
TOO_SHORT = "For 95 % its record would have to be {needed} years long; it has {own}."
BREAKS_EVEN = "It breaks even where each purchase and each sale costs {cost}; asked: {asked}."
LOSES_WITHOUT_COSTS = "Also without any costs it would not have gained."
LONG_YEARS = "more than 100"


@dataclass(frozen=True)
class ChangeRow:
    """A change and what it leads to; `is_lost`: it takes more than half of the Sharpe ratio."""

    label: str
    numbers: Mapping[str, str]
    is_lost: bool


@dataclass(frozen=True)
class RegimeRow:
    """One kind of market and the growth in it, as texts."""

    label: str
    numbers: Mapping[str, str]


@dataclass(frozen=True)
class DoubtPage:
    """What the page shows; `tone` is that of the first sentence: gain, loss or ""."""

    tone: str
    sentences: Sequence[str]
    strip: Strip | None
    changes: Sequence[ChangeRow]
    regimes: Sequence[RegimeRow]


@dataclass(frozen=True)
class Doubt:
    """What a result says of its doubts; all is empty in that of an earlier version.

    `calendar_factor` leads from growth in a year of the metrics to that in one of the calendar.
    """

    fields: Mapping[str, Any]
    calendar_factor: float

    def band(self, name: str, unit: str | None = None) -> str | None:
        """The band of a metric in words, None where there is none; one end may be open.

        `unit` is that of `shown`, the metric's own by default.
        """
        band = self.fields.get("bands", {}).get(name)
        if band is None or band == [None, None]:
            return None
        unit = METRICS_BY_NAME[name].unit if unit is None else unit
        low, high = (NO_END if bound is None else shown(bound, unit) for bound in band)
        if name == "max_drawdown_pct":
            return unbroken(text(BAND_OF_ANOTHER_TIME) % {"low": low, "high": high})
        return in_words(low, high)

    def band_of_yearly_growth(self) -> str | None:
        """That of the growth in a year of the calendar."""
        band = self.fields.get("bands", {}).get("cagr_pct")
        if band is None or None in band:
            return None
        return in_words(*(shown(self.yearly_growth(bound), "%") for bound in band))

    def yearly_growth(self, cagr_pct: float | None) -> float | None:
        """In a year of the calendar, in percent."""
        if cagr_pct is None or cagr_pct <= -100:
            return cagr_pct
        try:
            return 100 * math.expm1(self.calendar_factor * math.log1p(cagr_pct / 100))
        except OverflowError:
            return None


def in_words(low: str, high: str) -> str:
    """A band between two numbers."""
    return unbroken(text("95 %% band: %(low)s to %(high)s") % {"low": low, "high": high})


def doubt_page_of(view: View, years: float, doubt: Doubt) -> DoubtPage | None:
    """None where the result says nothing of it: it is of an earlier version, or nothing traded.

    `years` is the length of the run.
    """
    rows = doubt.fields.get("changes", ())
    if len(rows) < 2:
        return None
    asked, others = rows[0], rows[1:]
    lost = [row for row in others if _is_lost(row, asked)]
    verdict, tone = _sturdiness(asked, others, lost)
    return DoubtPage(
        tone=tone,
        sentences=[verdict, *_of_luck(view, years, doubt), *_of_costs(view, doubt)],
        strip=_strip(rows, doubt.fields["bands"].get("sharpe_ratio")),
        changes=[ChangeRow(_label(row, others), _numbers(row, doubt), row in lost) for row in rows],
        regimes=[_regime_row(row, doubt) for row in doubt.fields["regimes"]],
    )


def _regime_row(row: Mapping[str, Any], doubt: Doubt) -> RegimeRow:
    label = REGIMES[row["regime"]]
    return RegimeRow(text(label), _numbers(row, doubt))


def _is_lost(row: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
    """Whether less than half of the Sharpe ratio is left, of one that is above 0."""
    before = asked["sharpe_ratio"] or 0
    return before > 0 and _sharpe_or_nothing(row) < KEPT_SHARE * before


def _sturdiness(
    asked: Mapping[str, Any],
    others: Sequence[Mapping[str, Any]],
    lost: Sequence[Mapping[str, Any]],
) -> tuple[str, str]:
    """The verdict and its tone."""
    if asked["sharpe_ratio"] is None:
        return text(FEW_BARS), ""
    if asked["sharpe_ratio"] <= 0:
        return text(NOTHING_TO_LOSE), ""
    if asked["num_trades"] < NEEDED_TRADES:
        trades = asked["num_trades"]
        return text(FEW_TRADES).format(trades=trades, needed=NEEDED_TRADES), ""
    judged = [row for row in others if row["change"] != NOT_JUDGED]
    lost = [row for row in lost if row["change"] != NOT_JUDGED]
    worst = min(judged, key=_sharpe_or_nothing)
    label = _label(worst, others)
    told = f"{label}, {text('Sharpe ratio')} {shown(worst['sharpe_ratio'], 'ratio')}"
    template = FRAGILE if lost else STURDY
    sentence = text(template).format(lost=len(lost), all=len(judged), worst=told)
    return sentence, "loss" if lost else "gain"


def _sharpe_or_nothing(row: Mapping[str, Any]) -> float:
    """0 where it is undefined: nothing moved."""
    return float(row["sharpe_ratio"] or 0)


def _of_luck(view: View, years: float, doubt: Doubt) -> Iterator[str]:
    probability = doubt.fields["probabilistic_sharpe_ratio"]
    needed = doubt.fields["min_track_record_bars"]
    if probability is None:
        return
    yield text(SKILL).format(probability=_percent(probability))
    bars = view.result.provenance["bars"]
    if needed is not None and years >= 1:
        yield length_sentence(needed, bars, years)


def length_sentence(needed: int, bars: int, years: float) -> str:
    """Whether a run of so many bars, and years, is long enough where so many bars are needed."""
    is_enough = needed <= bars
    template = LONG_ENOUGH if is_enough else TOO_SHORT
    # Both are rounded so that the sentence is true of what it shows.
    rounded = math.floor if is_enough else math.ceil
    needed_years = rounded(10 * needed * years / bars) / 10
    shown_years = text(LONG_YEARS) if needed_years > 100 else f"{needed_years:.1f}"
    return text(template).format(needed=shown_years, own=f"{math.floor(10 * years) / 10:,.1f}")


def _of_costs(view: View, doubt: Doubt) -> Iterator[str]:
    cost = doubt.fields["break_even_cost_pct"]
    if cost is None:
        return
    if cost == 0:
        yield text(LOSES_WITHOUT_COSTS)
        return
    asked = 100 * (view.request.commission_rate + view.request.slippage_rate)
    yield text(BREAKS_EVEN).format(cost=f"{cost:.3g} %", asked=f"{asked:.3g} %")


def _percent(probability: float) -> str:
    """With one decimal, and never a certainty that there is not."""
    return f"{min(max(100 * probability, 0.1), 99.9):.1f} %"


def _strip(rows: Sequence[Mapping[str, Any]], band: Sequence[float | None] | None) -> Strip | None:
    if rows[0]["sharpe_ratio"] is None:
        return None
    known = [row for row in rows if row["sharpe_ratio"] is not None]
    points = [
        (row["sharpe_ratio"], f"{_label(row, rows)}: {shown(row['sharpe_ratio'], 'ratio')}")
        for row in known
    ]
    return strip_of(points, band)


def _label(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """What is changed, in words; of a combination also in which of its rules."""
    template = CHANGES[row["change"]]
    numbers = {name: number_text(row[name]) for name in CHANGED_NUMBERS if name in row}
    label = text(template).format(**{**row, **numbers})
    members = {each["member"] for each in rows if "member" in each}
    return f"{row['member']}: {label}" if "member" in row and len(members) > 1 else label


def _numbers(row: Mapping[str, Any], doubt: Doubt) -> dict[str, str]:
    growth = {name: doubt.yearly_growth(row[name]) for name in GROWTH if name in row}
    return {
        name: shown(growth.get(name, row[name]), unit)
        for name, unit in UNITS.items()
        if name in row
    }
