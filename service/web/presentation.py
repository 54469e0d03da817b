"""How results are shown: the name, unit and explanation of each metric, and numbers as texts."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rules.base_rule import BaseRule, Parameter
from service.store.marks import Marks
from service.store.prices import Ticker, Version
from service.store.rows import Run
from service.usecases.sweeps import Estimate
from service.web.middleware.texts import plural, text


@dataclass(frozen=True)
class Metric:
    """One line of the metrics table; `unit` is "%", "money", "days", or "" for a plain number.

    Pages show the contract's value times `factor`: every rate in percent, every loss as a positive
    number, like a drawdown.
    """

    name: str
    label: str
    unit: str
    meaning: str
    factor: int = 1

    def shown(self, value: float | int | None) -> str:
        """A value of the contract as pages show it."""
        if value is None:
            return shown(None)
        return shown(self.factor * value if value else value, self.unit)


METRICS = (
    Metric("total_return_pct", "Total return", "%", "Final equity against the initial capital."),
    Metric(
        "buy_and_hold_return_pct",
        "Buy and hold",
        "%",
        "Return of buying at the first open, with the same costs, and holding to the end.",
    ),
    Metric(
        "cagr_pct",
        "Growth per 252 bars",
        "%",
        "The rate per 252 bars that compounds to the total return.",
    ),
    Metric("sharpe_ratio", "Sharpe ratio", "", "Mean return per unit of volatility, per year."),
    Metric(
        "sortino_ratio",
        "Sortino ratio",
        "",
        "Like the Sharpe ratio, but only negative returns count as risk.",
    ),
    Metric("calmar_ratio", "Calmar ratio", "", "Growth per 252 bars over the maximum drawdown."),
    Metric("volatility_pct", "Volatility", "%", "Standard deviation of the returns, per year."),
    Metric(
        "max_drawdown_pct", "Maximum drawdown", "%", "The deepest fall from a peak of the equity."
    ),
    Metric(
        "max_drawdown_days",
        "Longest drawdown",
        "days",
        "Calendar days from a peak to its recovery, or to the end.",
    ),
    Metric("num_trades", "Trades", "", "Positions opened, including one that is still open."),
    Metric("win_rate_pct", "Win rate", "%", "Closed trades that gained after costs."),
    Metric("profit_factor", "Profit factor", "", "Gains over losses of the closed trades."),
    Metric("expectancy", "Expectancy", "money", "Mean gain of a closed trade."),
    Metric("avg_trade_pct", "Average trade", "%", "Mean return of a closed trade, after costs."),
    Metric("best_trade_pct", "Best trade", "%", "Highest return of a closed trade."),
    Metric("worst_trade_pct", "Worst trade", "%", "Lowest return of a closed trade."),
    Metric("avg_holding_days", "Average holding", "days", "Calendar days from entry to exit."),
    Metric("exposure_pct", "Exposure", "%", "Share of bars that end with a position."),
    Metric(
        "turnover",
        "Turnover",
        "",
        "Value of all buys and sells over the mean equity, for the whole period.",
    ),
    Metric("total_costs", "Costs", "money", "Commission and slippage paid."),
    Metric(
        "beta",
        "Beta",
        "",
        "How much the equity moves with the benchmark: buy and hold, or another ticker.",
    ),
    Metric("alpha", "Alpha", "%", "Yearly return that beta does not explain.", factor=100),
    Metric(
        "benchmark_return_pct",
        "Benchmark",
        "%",
        "Return of buying the benchmark at its first open, with the same costs, and holding it.",
    ),
    Metric(
        "information_ratio",
        "Information ratio",
        "",
        "Return beyond the benchmark per unit of its volatility, per year.",
    ),
    Metric(
        "value_at_risk_pct",
        "Value at risk",
        "%",
        "The loss that one bar in twenty exceeds.",
        factor=-1,
    ),
    Metric(
        "expected_shortfall_pct",
        "Expected shortfall",
        "%",
        "Mean loss of the worst twentieth of the bars.",
        factor=-1,
    ),
    Metric("omega_ratio", "Omega ratio", "", "Sum of gains over sum of losses, bar by bar."),
    Metric("skew", "Skew", "", "Above 0: large gains are more common than large losses."),
    Metric(
        "kurtosis",
        "Excess kurtosis",
        "",
        "Above 0: more extreme returns than a normal distribution has.",
    ),
    Metric(
        "bankruptcy_shortfall",
        "Shortfall",
        "money",
        "What a bankrupt short position owes beyond the capital.",
    ),
)


METRICS_BY_NAME = {metric.name: metric for metric in METRICS}
# As the page of a result shows them
METRIC_GROUPS = (
    (
        "Return",
        (
            "total_return_pct",
            "buy_and_hold_return_pct",
            "cagr_pct",
            "exposure_pct",
            "turnover",
            "total_costs",
            "bankruptcy_shortfall",
        ),
    ),
    (
        "Risk",
        (
            "sharpe_ratio",
            "sortino_ratio",
            "calmar_ratio",
            "omega_ratio",
            "volatility_pct",
            "max_drawdown_pct",
            "max_drawdown_days",
            "value_at_risk_pct",
            "expected_shortfall_pct",
            "skew",
            "kurtosis",
        ),
    ),
    (
        "Trades",
        (
            "num_trades",
            "win_rate_pct",
            "profit_factor",
            "expectancy",
            "avg_trade_pct",
            "best_trade_pct",
            "worst_trade_pct",
            "avg_holding_days",
        ),
    ),
    ("Against the benchmark", ("benchmark_return_pct", "beta", "alpha", "information_ratio")),
)

# The names that forms and pages give to the fields of a request
FIELD_LABELS = {
    "ticker": "Ticker",
    "rule_id": "Rule",
    "start_date": "From",
    "end_date": "To",
    "initial_capital": "Capital",
    "commission_rate": "Commission",
    "slippage_rate": "Slippage",
    "lot_size": "Lot size",
    "allow_short": "Short selling",
    "risk_free_rate": "Risk-free rate",
    "benchmark": "Benchmark",
    "tickers": "Tickers",
    "metric": "Best by",
    "folds": "Folds",
}
# Columns of a search's table that are no metrics
LABELS = {"median_rank": "Median rank", "beats_buy_and_hold": "Beats buy and hold", "note": "Note"}
DIGITS = {"%": 2, "money": 2, "days": 1, "ratio": 2}
DIGITS_OF_PLAIN_NUMBERS = 3
SIGNIFICANT_DIGITS = 6


def shown_metric(name: str, value: float | None) -> str:
    """The value of a metric that is known by its name alone."""
    return METRICS_BY_NAME[name].shown(value)


def label_of(column: str) -> str:
    """A column of a search's table in words; parameters keep the names that rules give them."""
    label = LABELS.get(column)
    if label is None and column in METRICS_BY_NAME:
        label = METRICS_BY_NAME[column].label
    return column if label is None else text(label)


def shown(value: float | int | None, unit: str = "") -> str:
    """A number as readers expect it; a dash where it is undefined."""
    if value is None:
        return "–"
    digits = 0 if isinstance(value, int) else DIGITS.get(unit, DIGITS_OF_PLAIN_NUMBERS)
    number = f"{value:,.{digits}f}"
    if unit == "days":
        return plural("%(count)s day", "%(count)s days", math.ceil(value)) % {"count": number}
    return f"{number} %" if unit == "%" else number


def unbroken(sentence: str) -> str:
    """The sentence without a new line between a number and its unit."""
    return sentence.replace(" %", "\N{NO-BREAK SPACE}%")


def price_text(value: float | None) -> str:
    """A price, or a number of shares, to six significant digits; whole numbers stay whole."""
    if value is None:
        return shown(None)
    if value == int(value):
        return f"{value:,.0f}"
    magnitude = math.floor(math.log10(abs(value)))
    return f"{value:,.{max(0, SIGNIFICANT_DIGITS - 1 - magnitude)}f}"


def estimate_text(found: Estimate) -> str:
    """What a search would compute, in a sentence."""
    seconds = max(1, math.ceil(found.core_seconds))
    counted = {
        "count": f"{found.combinations:,}",
        "skipped": f"{found.skipped:,}",
        "tickers": found.tickers,
        "seconds": plural("%(count)s second", "%(count)s seconds", seconds)
        % {"count": f"{seconds:,}"},
    }
    return (
        text(
            "%(count)s combinations on each of %(tickers)s tickers (%(skipped)s skipped): about "
            "%(seconds)s on one core."
        )
        % counted
    )


def rule_document(rule: type[BaseRule]) -> dict[str, object]:
    """A rule of the catalogue, as GET /rules answers it."""
    metadata = rule.metadata
    return {
        "name": metadata.name,
        "rule_id": rule().rule_id,
        "summary": metadata.summary,
        "source": metadata.source,
        "ascending": [list(pair) for pair in metadata.ascending],
        "parameters": [_parameter_document(parameter) for parameter in metadata.parameters],
    }


def rule_choice(rule: type[BaseRule]) -> dict[str, str]:
    """A rule as completion offers it."""
    return {"value": rule().rule_id, "detail": text(rule.metadata.summary)}


def _parameter_document(parameter: Parameter) -> dict[str, object]:
    return {
        "name": parameter.name,
        "type": "integer" if parameter.whole else "number",
        "default": parameter.default,
        "low": parameter.low,
        "high": parameter.high,
        "meaning": parameter.meaning,
    }


def ticker_document(ticker: Ticker) -> dict[str, Any]:
    """An entry of the catalogue."""
    return {
        "ticker": ticker.ticker,
        "first_day": ticker.first_day.isoformat(),
        "last_day": ticker.last_day.isoformat(),
        "bars": ticker.bars,
        "source": ticker.source,
        "prices_fingerprint": ticker.fingerprint,
        "names": list(ticker.names),
    }


def version_document(version: Version) -> dict[str, Any]:
    """Prices that a ticker has or had."""
    return {
        "prices_fingerprint": version.fingerprint,
        "source": version.source,
        "first_day": version.first_day.isoformat(),
        "last_day": version.last_day.isoformat(),
        "bars": version.bars,
        "stored_at": version.stored_at.replace(tzinfo=UTC).isoformat(),
        "client": version.client,
        "runs": version.runs,
    }


def run_document(run: Run, marks: Marks) -> Mapping[str, object]:
    """A run of the history, as GET /runs answers it."""
    first, last = days_of(run)
    # None where the row cannot be read.
    return {
        "run_id": run.run_id,
        "ticker": run.ticker,
        "rule_id": run.rule_id,
        "status": run.status,
        "reason": run.reason,
        "start_date": first or None,
        "end_date": last or None,
        "costs_pct": run.costs_pct,
        "total_return_pct": run.total_return_pct,
        "buy_and_hold_return_pct": run.buy_and_hold_return_pct,
        "excess_pct": run.excess_pct,
        "sharpe_ratio": run.sharpe_ratio,
        "max_drawdown_pct": run.max_drawdown_pct,
        "num_trades": run.num_trades,
        "created_at": utc(run.created_at) or None,
        "kind": run.kind,
        "batch_id": run.batch_id,
        "star": marks.is_starred,
        "tags": list(marks.tags),
        "note": marks.note,
    }


def days_of(run: Run) -> tuple[str, str]:
    """First and last day of what was asked."""
    if run.start_date is not None and run.end_date is not None:
        return run.start_date, run.end_date
    # The release before recorded it during an upgrade.
    asked = json.loads(run.request)
    return asked.get("start_date", ""), asked.get("end_date", "")


def period_of(run: Run) -> str:
    """What was asked, from day to day."""
    return " – ".join(days_of(run))


def utc(moment: datetime | None) -> str:
    """ISO 8601 to the second, UTC; nothing where the moment cannot be read."""
    if moment is None:
        return ""
    return moment.isoformat(timespec="seconds") + "Z"


def elapsed(moment: datetime | None) -> int:
    """Whole seconds since then; `moment` is UTC."""
    if moment is None:
        return 0
    return max(0, int((datetime.now(UTC) - moment.replace(tzinfo=UTC)).total_seconds()))
