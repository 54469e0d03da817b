"""How results are shown: the name, unit and explanation of each metric, and numbers as texts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from rules.base_rule import BaseRule, Parameter
from service.contract.result import BacktestResult
from service.search.luck import percent, verdict
from service.store.rows import Run
from service.web.middleware.texts import text


@dataclass(frozen=True)
class Metric:
    """One line of the metrics table; `unit` is "%", "money", "days", or "" for a plain number."""

    name: str
    label: str
    unit: str
    meaning: str


METRICS = (
    Metric("total_return_pct", "Total return", "%", "Final equity against the initial capital."),
    Metric(
        "buy_and_hold_return_pct",
        "Buy and hold",
        "%",
        "Return of buying at the first open, with the same costs, and holding to the end.",
    ),
    Metric(
        "cagr_pct", "Growth per year", "%", "The yearly rate that compounds to the total return."
    ),
    Metric("sharpe_ratio", "Sharpe ratio", "", "Mean return per unit of volatility, per year."),
    Metric(
        "sortino_ratio",
        "Sortino ratio",
        "",
        "Like the Sharpe ratio, but only negative returns count as risk.",
    ),
    Metric("calmar_ratio", "Calmar ratio", "", "Growth per year over the maximum drawdown."),
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
    Metric("beta", "Beta", "", "How much the equity moves with buy and hold."),
    Metric("alpha", "Alpha", "", "Yearly return that beta does not explain, as a fraction."),
    Metric(
        "information_ratio",
        "Information ratio",
        "",
        "Return beyond buy and hold per unit of its volatility, per year.",
    ),
    Metric(
        "value_at_risk_pct", "Value at risk", "%", "The return that one bar in twenty falls below."
    ),
    Metric(
        "expected_shortfall_pct",
        "Expected shortfall",
        "%",
        "Mean return of the worst twentieth of the bars.",
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


DIGITS = {"%": 2, "money": 2, "days": 1}
DIGITS_OF_PLAIN_NUMBERS = 3


def metric_rows(result: BacktestResult) -> Iterator[tuple[Metric, str]]:
    """Every metric that the result has, with its value as text."""
    values = {**result.metrics, **result.headline()}
    for metric in METRICS:
        if metric.name in values:
            yield metric, shown(values[metric.name], metric.unit)


def shown(value: float | int | None, unit: str = "") -> str:
    """A number as readers expect it; a dash where it is undefined."""
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    digits = DIGITS.get(unit, DIGITS_OF_PLAIN_NUMBERS)
    suffix = " %" if unit == "%" else ""
    return f"{value:,.{digits}f}{suffix}"


def luck(statistics: Mapping[str, float | None]) -> str:
    """How much of a sweep's best result is luck, as a sentence in the reader's language."""
    deflated = statistics["deflated_sharpe_ratio"]
    overfitting = statistics["overfitting_probability"] or 0.0
    template = verdict(math.nan if deflated is None else deflated, overfitting)
    return text(template).format(probability=percent(deflated or 0.0))


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


def _parameter_document(parameter: Parameter) -> dict[str, object]:
    return {
        "name": parameter.name,
        "type": "integer" if parameter.whole else "number",
        "default": parameter.default,
        "low": parameter.low,
        "high": parameter.high,
        "meaning": parameter.meaning,
    }


def run_document(run: Run) -> Mapping[str, object]:
    """A run of the history, as GET /runs answers it."""
    return {
        "run_id": run.run_id,
        "ticker": run.ticker,
        "rule_id": run.rule_id,
        "status": run.status,
        "reason": run.reason,
        "total_return_pct": run.total_return_pct,
        "sharpe_ratio": run.sharpe_ratio,
        "max_drawdown_pct": run.max_drawdown_pct,
        "num_trades": run.num_trades,
        "created_at": utc(run.created_at),
        "kind": run.kind,
    }


def utc(moment: datetime) -> str:
    """ISO 8601 to the second, UTC."""
    return moment.isoformat(timespec="seconds") + "Z"
