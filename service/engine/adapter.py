"""Where a request meets the engine: request, price series and rule in, result out.

No clock, no input, no output.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Protocol

import pandas as pd

from backtest.engine import ENGINE_VERSION, BacktestEngine
from backtest.engine import BacktestResult as EngineResult
from backtest.metrics import drawdowns
from rules.base_rule import BaseRule, InvalidRule
from rules.plugins import find_rule
from service.contract.documents import canonical_json
from service.contract.errors import InvalidRequest, NoData
from service.contract.request import BacktestRequest
from service.contract.result import RESULT_VERSION, BacktestResult
from service.engine.enhanced_engine import metrics_of
from service.prices.checks import Finding, check_prices
from service.prices.series import PriceSeries

# Fields of a request that its result repeats in the provenance.
REPEATED_FIELDS = (
    "ticker",
    "start_date",
    "end_date",
    "initial_capital",
    "commission_rate",
    "slippage_rate",
    "lot_size",
    "allow_short",
)


def rule_of(rule_id: str, params: Mapping[str, Any], *, validate: bool) -> BaseRule:
    """The rule a request names; raises InvalidRequest."""
    try:
        return find_rule(rule_id, params, validate=validate)
    except InvalidRule as error:
        raise InvalidRequest(error.template, **error.values) from None


@dataclass(frozen=True)
class Performed:
    """A performed run: its result without a figure, and a table with a row for each bar.

    The columns of `bars` are close, equity, drawdown, position and buy_and_hold.
    """

    result: BacktestResult
    bars: pd.DataFrame

    def equity_csv(self) -> str:
        """A line a bar: date, equity, drawdown (fraction), position (shares), buy_and_hold."""
        return str(self.bars.drop(columns="close").to_csv(lineterminator="\n"))


def window(series: PriceSeries, first: date, last: date) -> pd.DataFrame:
    """The bars from `first` to `last`, both inclusive, any dates, also those pandas cannot hold."""
    first = max(first, series.first)
    last = min(last, series.last)
    if first > last:
        return series.data.iloc[:0]
    end_of_last_day = pd.Timestamp(last) + pd.Timedelta(days=1, nanoseconds=-1)
    return series.data.loc[pd.Timestamp(first) : end_of_last_day]


def check_window(
    request: BacktestRequest, rule: BaseRule, bars: int, first: date, last: date
) -> None:
    """Raises NoData when too few bars lie in the requested dates.

    `bars` is the number of bars there, `first` and `last` are the dates of the whole series.
    """
    values = {
        "ticker": request.ticker,
        "start": request.start_date,
        "end": request.end_date,
        "bars": bars,
    }
    if bars < 2:
        template = (
            "{ticker} has {bars} bars from {start} to {end}; its prices are from {first} to {last}."
        )
        raise NoData(template, **values, first=first, last=last)
    needed = rule.warm_up + 1
    if bars < needed:
        template = (
            "{rule} needs {needed} bars, {ticker} has {bars} from {start} to {end}; "
            "choose a longer range."
        )
        raise NoData(template, **values, rule=rule.rule_id, needed=needed)


class Documented(Protocol):
    """A request of any kind."""

    def document(self) -> dict[str, Any]:
        """Its fields, as JSON has them."""
        ...


def fingerprint_of_work(
    request: Documented, prices_fingerprint: str, rules_digest: str, version: int = RESULT_VERSION
) -> str:
    """SHA-256 of all that decides a result; `version` is that of the result's contract.

    Two runs that share it give the same bytes, whatever their run_id.
    """
    fields = request.document()
    fields.pop("run_id", None)
    work = [fields, prices_fingerprint, rules_digest, ENGINE_VERSION, version]
    return hashlib.sha256(canonical_json(work).encode()).hexdigest()


def run_backtest(
    request: BacktestRequest, series: PriceSeries, rule: BaseRule, rules_digest: str
) -> Performed:
    """Performs the run on the bars of its window.

    Raises NoData when there are too few bars or the data gate found an error.
    """
    data = window(series, request.start_date, request.end_date)
    check_window(request, rule, len(data), series.first, series.last)
    findings = check_prices(series.data)
    refuse_errors(findings, series)
    engine = BacktestEngine(
        initial_capital=request.initial_capital,
        commission_rate=request.commission_rate,
        slippage_rate=request.slippage_rate,
        lot_size=request.lot_size,
        allow_short=request.allow_short,
    )
    engine_result = engine.run(data, rule.generate_signals, series.ticker)
    data_findings = [*_clipping_findings(request, series), *_findings_within(findings, data)]
    warnings = [finding.warning() for finding in data_findings]
    provenance = {
        **_provenance(request, series, rule, data),
        "rules_digest": rules_digest,
        "warnings": [*warnings, *engine_result.warnings],
    }
    result = _contract_result(request.run_id, engine_result, provenance)
    return Performed(result, _table_of_bars(data, engine_result))


def _contract_result(
    run_id: str, engine_result: EngineResult, provenance: dict[str, Any]
) -> BacktestResult:
    metrics = dict(metrics_of(engine_result))
    if engine_result.bankruptcy_shortfall:
        metrics["bankruptcy_shortfall"] = engine_result.bankruptcy_shortfall
    return BacktestResult(
        run_id=run_id,
        status="completed",
        total_return_pct=engine_result["total_return_pct"],
        sharpe_ratio=engine_result["sharpe_ratio"],
        max_drawdown_pct=engine_result["max_drawdown_pct"],
        num_trades=engine_result["num_trades"],
        metrics=metrics,
        trades=engine_result["trades"],
        provenance=provenance,
    )


def refuse_errors(findings: Sequence[Finding], series: PriceSeries) -> None:
    """Raises NoData where the data gate found an error."""
    for finding in findings:
        if finding.severity == "error":
            template = "The prices of {ticker} cannot be backtested: {day}: {message}."
            raise NoData(template, ticker=series.ticker, day=finding.day, message=finding.message)


def _clipping_findings(request: BacktestRequest, series: PriceSeries) -> list[Finding]:
    """That the series starts later, or ends earlier, than the request."""
    findings = []
    if request.start_date < series.first:
        message = f"the prices start later than asked: {series.first}"
        findings.append(Finding("warning", "Clipped", str(series.first), message))
    if request.end_date > series.last:
        message = f"the prices end earlier than asked: {series.last}"
        findings.append(Finding("warning", "Clipped", str(series.last), message))
    return findings


def _findings_within(findings: Sequence[Finding], data: pd.DataFrame) -> list[Finding]:
    """Those of the bars in `data`, and those of the whole series."""
    first_day = str(data.index[0].date())
    last_day = str(data.index[-1].date())
    return [
        finding
        for finding in findings
        if finding.day is None or first_day <= finding.day[:10] <= last_day
    ]


def _provenance(
    request: BacktestRequest, series: PriceSeries, rule: BaseRule, data: pd.DataFrame
) -> dict[str, Any]:
    fields = request.document()
    return {
        **{name: fields[name] for name in REPEATED_FIELDS},
        "rule_id": rule.rule_id,
        "params": dict(rule.params),
        "fill": "next_open",
        "engine_version": ENGINE_VERSION,
        "contract_version": RESULT_VERSION,
        "prices_fingerprint": series.fingerprint,
        "prices_source": series.source,
        "first_bar": str(data.index[0].date()),
        "last_bar": str(data.index[-1].date()),
        "bars": len(data),
    }


def _table_of_bars(data: pd.DataFrame, engine_result: EngineResult) -> pd.DataFrame:
    columns = {
        "close": data["Close"],
        "equity": engine_result.equity,
        "drawdown": drawdowns(engine_result.equity.to_numpy()),
        "position": engine_result.positions,
        "buy_and_hold": engine_result.benchmark,
    }
    return pd.DataFrame(columns).rename_axis("date")
