"""The page of a completed run: its answer in a sentence, six tiles, its tear sheet, its trades."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from babel.dates import get_day_names, get_month_names
from flask import request

from service.contract.request import BacktestRequest
from service.usecases.views import View
from service.web.drawings import columns_of, curve_of, dots_of
from service.web.middleware.texts import language, plural, text
from service.web.pages.common import choice_in_query, whole_number
from service.web.presentation import (
    METRIC_GROUPS,
    METRICS_BY_NAME,
    Metric,
    shown,
    shown_metric,
    unbroken,
)
from service.web.result_doubt import Doubt, doubt_page_of, in_words

TRADES_ON_A_PAGE = 100
MAX_PAGE = 1_000_000
DAYS_OF_YEAR = 365.25
HEAT_LEVELS = 4
# The returns of months are coloured from 0 to this quantile of their sizes.
FULL_HEAT_QUANTILE = 0.9
SORTABLE = (
    "number",
    "entry_date",
    "holding_days",
    "pnl",
    "return_pct",
    "adverse",
    "favourable",
)
SORTS = tuple(sign + name for name in SORTABLE for sign in ("", "-"))
SIDES = ("long", "short")
OUTCOMES = ("gain", "loss")

AHEAD = "{own} against {holding} of holding: ahead by {points} percentage points."
BEHIND = "{own} against {holding} of holding: behind by {points} percentage points."
AS_MUCH = "{own}, as much as holding."
NEVER_TRADED = "The rule never traded: the money stayed as it was, while holding made {holding}."
WITHOUT_HOLDING = "{own} in the whole period."


@dataclass(frozen=True)
class Tile:
    """One number of the first screen, with what to compare it to; `tone` is gain, loss or ""."""

    label: str
    value: str
    details: Sequence[str]
    tone: str = ""


@dataclass(frozen=True)
class TradeRow:
    """A trade as the table shows it; excursions are None where prices are gone."""

    number: int
    fields: Mapping[str, Any]
    adverse: float | None
    favourable: float | None

    def key(self, column: str) -> Any:
        """What rows are sorted by."""
        if column in ("number", "adverse", "favourable"):
            value = getattr(self, column)
            return -1.0 if value is None else value
        return self.fields[column]


@dataclass(frozen=True)
class TradeQuery:
    """Which trades, in which order, and which page of them."""

    sort: str
    side: str
    outcome: str
    page: int


@dataclass(frozen=True)
class TradeTable:
    """The trades that were asked for, one page of them."""

    rows: Sequence[TradeRow]
    count: int
    page: int
    pages: int
    sort: str
    side: str
    outcome: str

    def other_sort(self, column: str) -> str:
        """What a click on the column's heading sorts by: descending first."""
        return column if self.sort == f"-{column}" else f"-{column}"

    def direction(self, column: str) -> str | None:
        """As aria-sort says it."""
        return {column: "ascending", f"-{column}": "descending"}.get(self.sort)


def page_values(view: View) -> dict[str, Any]:
    """What the templates of the page and of the report need."""
    values = {**view.result.metrics, **view.result.headline()}
    sheet = view.sheet
    years = _years_of(view)
    doubt = Doubt(view.result.doubt, _calendar_factor(values, years))
    return {
        "verdict": unbroken(verdict(values)),
        "tiles": list(tiles_of(values, sheet, view.request, years, doubt)),
        "doubt": doubt_page_of(view, years, doubt),
        "facts": [unbroken(fact) for fact in facts_of(view)],
        "groups": [(title, list(_rows(names, values, doubt))) for title, names in METRIC_GROUPS],
        "sheet": sheet,
        "heat": heat_of(sheet["years"]),
        "months": get_month_names("abbreviated", locale=language()),
        "weekdays": get_day_names("abbreviated", locale=language()),
        "drawings": drawings_of(view, sheet),
        "tenths": tenths,
    }


def tenths(value: float) -> str:
    """The number with one decimal, without a sign where it is 0."""
    return f"{round(value, 1) + 0.0:.1f}"


def _rows(
    names: Sequence[str], values: Mapping[str, Any], doubt: Doubt
) -> Iterator[tuple[Metric, str, str | None]]:
    """Each metric with its value and its band."""
    for name in names:
        if name in values:
            metric = METRICS_BY_NAME[name]
            yield metric, metric.shown(values[name]), doubt.band(name)


def verdict(values: Mapping[str, Any]) -> str:
    """Better or worse than holding, in one sentence."""
    own, holding = values["total_return_pct"], values.get("buy_and_hold_return_pct")
    texts = {"own": shown(own, "%"), "holding": shown(holding, "%")}
    if holding is None:
        return text(WITHOUT_HOLDING).format(**texts)
    if not values["num_trades"]:
        return text(NEVER_TRADED).format(**texts)
    points = round(own - holding, 2)
    if points == 0:
        return text(AS_MUCH).format(**texts)
    template = AHEAD if points > 0 else BEHIND
    return text(template).format(points=shown(abs(points), "ratio"), **texts)


def tiles_of(
    values: Mapping[str, Any],
    sheet: Mapping[str, Any],
    asked: BacktestRequest,
    years: float,
    doubt: Doubt,
) -> Iterator[Tile]:
    """The six of the first screen; `years` is the time by the calendar from first to last bar."""
    held = sheet["holding"]

    def of_holding(value: float | None, unit: str = "%") -> str:
        return f"{text('Holding')} {shown(value, unit)}"

    own, holding = values["total_return_pct"], values.get("buy_and_hold_return_pct")
    # Few bars have no numbers per year.
    has_years = values.get("cagr_pct") is not None and years > 0
    tone = ""
    if holding is not None and values["num_trades"] and round(own - holding, 2) != 0:
        tone = "gain" if own > holding else "loss"
    yield Tile(
        text("Total return"),
        shown(own, "%"),
        [of_holding(holding)],
        tone,
    )
    yield Tile(
        text("Growth per year"),
        shown(growth_by_calendar(own, years) if has_years else None, "%"),
        [
            *_known(doubt.band_of_yearly_growth()),
            of_holding(growth_by_calendar(holding, years) if has_years else None),
        ],
    )
    yield Tile(
        text("Sharpe ratio"),
        shown(values["sharpe_ratio"], "ratio"),
        [
            doubt.band("sharpe_ratio", "ratio") or _band(sheet["sharpe_band"]),
            of_holding(held["sharpe_ratio"], "ratio"),
        ],
    )
    yield Tile(
        text("Maximum drawdown"),
        shown(values["max_drawdown_pct"], "%"),
        [*_known(doubt.band("max_drawdown_pct")), of_holding(held["max_drawdown_pct"])],
    )
    yield Tile(
        text("Trades"),
        shown(values["num_trades"]),
        [
            f"{text('Win rate')} {shown_metric('win_rate_pct', values.get('win_rate_pct'))}",
            *_known(doubt.band("win_rate_pct")),
        ],
    )
    costs = values.get("total_costs")
    yield Tile(
        text("Costs"),
        shown(costs, "money"),
        [_of_capital(costs, asked.initial_capital)],
    )


def _years_of(view: View) -> float:
    """By the calendar, from the first bar to the last."""
    provenance, asked = view.result.provenance, view.request
    first = str(provenance.get("first_bar", asked.start_date))
    last = str(provenance.get("last_bar", asked.end_date))
    return (date.fromisoformat(last[:10]) - date.fromisoformat(first[:10])).days / DAYS_OF_YEAR


def growth_by_calendar(return_pct: float | None, years: float) -> float | None:
    """The rate in percent that compounds to the return in so many years, None where none does.

    The metric `cagr_pct` counts 252 bars as a year, whatever the calendar says.
    """
    growth = None if return_pct is None else 1 + return_pct / 100
    if growth is None or growth < 0:
        return None
    try:
        yearly: float = growth ** (1 / years)
        return 100 * (yearly - 1)
    except OverflowError:
        return None


def _calendar_factor(values: Mapping[str, Any], years: float) -> float:
    """How many times as much grows in a year of the calendar as in one of the metrics, by logs."""
    by_bars = values.get("cagr_pct")
    own = growth_by_calendar(values["total_return_pct"], years) if years > 0 else None
    if not by_bars or not own or min(by_bars, own) <= -100:
        return 1.0
    return math.log1p(own / 100) / math.log1p(by_bars / 100)


def _known(detail: str | None) -> list[str]:
    return [] if detail is None else [detail]


def _band(band: Sequence[float] | None) -> str:
    if band is None:
        return text("no band can be made of these bars")
    low, high = (shown(bound, "ratio") for bound in band)
    return in_words(low, high)


def _of_capital(costs: float | None, capital: float) -> str:
    share = None if costs is None else 100 * costs / capital
    return text("%(share)s of the capital") % {"share": shown(share, "%")}


def facts_of(view: View) -> Iterator[str]:
    """What was asked, in words."""
    asked = view.request
    provenance = view.result.provenance
    first = provenance.get("first_bar", asked.start_date)
    last = provenance.get("last_bar", asked.end_date)
    yield f"{first} – {last}"
    bars = provenance.get("bars")
    if bars:
        yield plural("%(count)s bar", "%(count)s bars", bars) % {"count": shown(bars)}
    yield f"{text('Capital')} {shown(asked.initial_capital, 'money')}"
    yield f"{text('Commission')} {_rate(asked.commission_rate)}"
    yield f"{text('Slippage')} {_rate(asked.slippage_rate)}"
    yield _lots(asked.lot_size)
    yield text("long and short") if asked.allow_short else text("long only")
    if asked.benchmark:
        yield f"{text('Benchmark')} {asked.benchmark}"
    if asked.risk_free_rate:
        yield f"{text('Risk-free rate')} {_rate(asked.risk_free_rate)}"


def _rate(fraction: float) -> str:
    return f"{100 * fraction:.6g} %"


def _lots(lot_size: float) -> str:
    if lot_size == 0:
        return text("fractions of shares")
    if lot_size == 1:
        return text("whole shares")
    return text("lots of %(size)s shares") % {"size": f"{lot_size:g}"}


def heat_of(years: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """The class of each month's cell, from `loss-4` to `gain-4`; "" where there is no return."""
    sizes = sorted(
        abs(value) for year in years for value in year["months"] if value is not None and value
    )
    full = sizes[int(FULL_HEAT_QUANTILE * (len(sizes) - 1))] if sizes else 0.0

    def level(value: float | None) -> str:
        if value is None or not value or not full:
            return ""
        size = min(HEAT_LEVELS, 1 + int(HEAT_LEVELS * abs(value) / full * 0.999))
        return f"{'gain' if value > 0 else 'loss'}-{size}"

    return [[level(value) for value in year["months"]] for year in years]


def drawings_of(view: View, sheet: Mapping[str, Any]) -> dict[str, Any]:
    """The small figures of the tear sheet."""
    drawings: dict[str, Any] = {
        name: None if sheet[name] is None else columns_of(**sheet[name])
        for name in ("returns", "holding_days")
    }
    rolling = sheet["rolling"]
    for name in ("sharpe", "volatility", "beta"):
        drawings[name] = None if rolling is None else curve_of(rolling[name])
    excursions = sheet["excursions"]
    if excursions:
        gains = [trade["pnl"] for trade in view.trades]
        drawings["excursions"], drawings["largest"] = dots_of(excursions, gains)
    return drawings


def trade_rows(view: View) -> list[TradeRow]:
    """All trades, in the order of their entries."""
    excursions = view.sheet["excursions"] or [(None, None)] * len(view.trades)
    return [
        TradeRow(number, trade, adverse, favourable)
        for number, (trade, (adverse, favourable)) in enumerate(
            zip(view.trades, excursions, strict=True), 1
        )
    ]


def trade_query() -> TradeQuery:
    """Which trades the query asks for; raises InvalidRequest."""
    return TradeQuery(
        sort=choice_in_query("sort", SORTS) or "number",
        side=choice_in_query("side", SIDES),
        outcome=choice_in_query("outcome", OUTCOMES),
        page=whole_number("page", request.args.get("page", "1"), 1, MAX_PAGE),
    )


def trade_table(view: View, asked: TradeQuery) -> TradeTable:
    """The trades that are asked for, one page of them; the last one where there are fewer."""
    rows = [row for row in trade_rows(view) if _is_wanted(row.fields, asked.side, asked.outcome)]
    rows.sort(key=lambda row: row.key(asked.sort.lstrip("-")), reverse=asked.sort.startswith("-"))
    pages = max(1, -(-len(rows) // TRADES_ON_A_PAGE))
    page = min(pages, asked.page)
    start = (page - 1) * TRADES_ON_A_PAGE
    shown_rows = rows[start : start + TRADES_ON_A_PAGE]
    return TradeTable(shown_rows, len(rows), page, pages, asked.sort, asked.side, asked.outcome)


def _is_wanted(trade: Mapping[str, Any], side: str, outcome: str) -> bool:
    if side and trade["direction"] != side:
        return False
    if not outcome:
        return True
    is_gain: bool = trade["pnl"] > 0
    return is_gain == (outcome == "gain")
