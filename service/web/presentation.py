"""How results are shown: each metric's name, unit and one-line explanation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from rules.base_rule import BaseRule
from service.contract.result import BacktestResult
from service.search.luck import percent, verdict
from service.store.rows import Run
from service.web.middleware.texts import text


@dataclass(frozen=True)
class Metric:
    """One line of the metrics table."""

    name: str
    label: str
    unit: str  # "%", "money", "days" or "" for a plain number
    meaning: str


METRICS = (
    Metric("total_return_pct", "Total return", "%", "Final equity against the initial capital."),
    Metric(
        "buy_and_hold_return_pct",
        "Buy and hold",
        "%",
        "Bought at the first open with the same costs and kept.",
    ),
    Metric(
        "cagr_pct", "Growth per year", "%", "The yearly rate that compounds to the total return."
    ),
    Metric("sharpe_ratio", "Sharpe ratio", "", "Mean return per unit of volatility, per year."),
    Metric("sortino_ratio", "Sortino ratio", "", "As Sharpe, but only falls count as risk."),
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
    Metric("num_trades", "Trades", "", "Round trips begun, the open one included."),
    Metric("win_rate_pct", "Win rate", "%", "Closed trades that gained after costs."),
    Metric("profit_factor", "Profit factor", "", "Gains over losses of the closed trades."),
    Metric("expectancy", "Expectancy", "money", "Mean gain of a closed trade."),
    Metric("avg_trade_pct", "Average trade", "%", "Mean return of a closed trade, after costs."),
    Metric("best_trade_pct", "Best trade", "%", "Highest return of a closed trade."),
    Metric("worst_trade_pct", "Worst trade", "%", "Lowest return of a closed trade."),
    Metric("avg_holding_days", "Average holding", "days", "Calendar days from entry to exit."),
    Metric("exposure_pct", "Exposure", "%", "Share of bars that end with a position."),
    Metric(
        "turnover", "Turnover", "", "Traded value over the mean equity, both sides, whole period."
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
    Metric("skew", "Skew", "", "Above 0: the large returns are rather gains."),
    Metric(
        "kurtosis",
        "Excess kurtosis",
        "",
        "Above 0: more extreme returns than a normal distribution has.",
    ),
    Metric(
        "bankruptcy_shortfall", "Shortfall", "money", "What a ruined short owes beyond the capital."
    ),
)


def metric_rows(result: BacktestResult) -> Iterator[tuple[Metric, str]]:
    """Every metric that the result has, with its value as text."""
    values = {**result.metrics, **result.headline()}
    for metric in METRICS:
        if metric.name in values:
            yield metric, shown(values[metric.name], metric.unit)


def shown(value: float | int | None, unit: str = "") -> str:
    """A number for people; a dash where it is undefined."""
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    digits = {"%": 2, "money": 2, "days": 1}.get(unit, 3)
    return f"{value:,.{digits}f}" + (" %" if unit == "%" else "")


def luck(statistics: Mapping[str, float | None]) -> str:
    """What a sweep's statistics say of its best combination, in the reader's language."""
    deflated, overfitting = (
        statistics["deflated_sharpe_ratio"],
        statistics["overfitting_probability"],
    )
    said = verdict(math.nan if deflated is None else deflated, overfitting or 0.0)
    return text(said).format(probability=percent(deflated or 0.0))


def rule_document(rule: type[BaseRule]) -> dict[str, object]:
    """One rule of the catalogue, as GET /rules has it."""
    about = rule.metadata
    parameters = [
        {
            "name": parameter.name,
            "type": "integer" if parameter.whole else "number",
            "default": parameter.default,
            "low": parameter.low,
            "high": parameter.high,
            "meaning": parameter.meaning,
        }
        for parameter in about.parameters
    ]
    texts = {
        "name": about.name,
        "rule_id": rule().rule_id,
        "summary": about.summary,
        "source": about.source,
    }
    return {
        **texts,
        "ascending": [list(pair) for pair in about.ascending],
        "parameters": parameters,
    }


def run_document(run: Run) -> Mapping[str, object]:
    """One run of the history, as GET /runs has it."""
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
