"""Where a request meets the engine: request + price series + rule -> result. No clock, no input, no output."""

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


def rule_of(rule_id: str, params: Mapping[str, Any], *, validate: bool) -> BaseRule:
    """The rule a request names; raises InvalidRequest."""
    try:
        return find_rule(rule_id, params, validate=validate)
    except InvalidRule as error:
        raise InvalidRequest(error.template, **error.values) from None


@dataclass(frozen=True)
class Performed:
    """A performed run: its result without a figure, and per bar close, equity, drawdown, position and buy and hold."""

    result: BacktestResult
    bars: pd.DataFrame

    def equity_csv(self) -> str:
        """date, equity, drawdown (fraction), position (shares), buy_and_hold: one line per bar."""
        return str(self.bars.drop(columns="close").to_csv(lineterminator="\n"))


def window(series: PriceSeries, first: date, last: date) -> pd.DataFrame:
    """The bars from `first` to `last`, both inclusive; any dates, also those that pandas cannot hold."""
    first, last = max(first, series.first), min(last, series.last)
    if first > last:
        return series.data.iloc[:0]
    return series.data.loc[
        pd.Timestamp(first) : pd.Timestamp(last) + pd.Timedelta(days=1, nanoseconds=-1)
    ]


def check_window(
    request: BacktestRequest, rule: BaseRule, bars: int, first: date, last: date
) -> None:
    """Raises NoData when too few bars lie in the requested dates; `first` and `last` are those of the whole series."""
    values = {"ticker": request.ticker, "start": request.start_date, "end": request.end_date}
    if bars < 2:
        template = (
            "{ticker} has {bars} bars from {start} to {end}; its prices are from {first} to {last}."
        )
        raise NoData(template, **values, bars=bars, first=first, last=last)
    if bars < rule.warm_up + 1:
        template = "{rule} needs {needed} bars, {ticker} has {bars} from {start} to {end}; choose a longer range."
        raise NoData(template, **values, bars=bars, rule=rule.rule_id, needed=rule.warm_up + 1)


class Documented(Protocol):
    """A request of any kind."""

    def document(self) -> dict[str, Any]: ...


def fingerprint_of_work(
    request: Documented, prices_fingerprint: str, rules_digest: str, version: int = RESULT_VERSION
) -> str:
    """SHA-256 of all that decides a result: two runs that share it give the same bytes, whatever their run_id.

    `version` is that of the result's contract.
    """
    asked = {name: value for name, value in request.document().items() if name != "run_id"}
    work = [asked, prices_fingerprint, rules_digest, ENGINE_VERSION, version]
    return hashlib.sha256(canonical_json(work).encode()).hexdigest()


def run_backtest(
    request: BacktestRequest, series: PriceSeries, rule: BaseRule, rules_digest: str
) -> Performed:
    """Performs the run on the bars of its window; raises NoData when they are too few or the data gate refuses them."""
    data = window(series, request.start_date, request.end_date)
    check_window(request, rule, len(data), series.first, series.last)
    findings = check_prices(series.data)
    refuse_errors(findings, series)
    engine = BacktestEngine(
        request.initial_capital,
        request.commission_rate,
        request.slippage_rate,
        request.lot_size,
        request.allow_short,
    )
    done = engine.run(data, rule.generate_signals, series.ticker)
    warnings = [*_clipped(request, series), *_within(findings, data), *done.warnings]
    provenance = _provenance(request, series, rule, data) | {
        "rules_digest": rules_digest,
        "warnings": warnings,
    }
    return Performed(_result(request, done, provenance), _bars(data, done))


def _result(
    request: BacktestRequest, done: EngineResult, provenance: dict[str, Any]
) -> BacktestResult:
    metrics = dict(metrics_of(done))
    if done.bankruptcy_shortfall:
        metrics["bankruptcy_shortfall"] = done.bankruptcy_shortfall
    return BacktestResult(
        run_id=request.run_id,
        status="completed",
        total_return_pct=done["total_return_pct"],
        sharpe_ratio=done["sharpe_ratio"],
        max_drawdown_pct=done["max_drawdown_pct"],
        num_trades=done["num_trades"],
        metrics=metrics,
        trades=done["trades"],
        provenance=provenance,
    )


def refuse_errors(findings: Sequence[Finding], series: PriceSeries) -> None:
    """Raises NoData where the data gate found an error."""
    error = next((finding for finding in findings if finding.severity == "error"), None)
    if error is not None:
        template = "The prices of {ticker} cannot be backtested: {day}: {message}."
        raise NoData(template, ticker=series.ticker, day=error.day, message=error.message)


def _clipped(request: BacktestRequest, series: PriceSeries) -> list[dict[str, str | None]]:
    clipped = []
    if request.start_date < series.first:
        message = f"the prices start later than asked: {series.first}"
        clipped.append(Finding("warning", "Clipped", str(series.first), message).warning())
    if request.end_date > series.last:
        message = f"the prices end earlier than asked: {series.last}"
        clipped.append(Finding("warning", "Clipped", str(series.last), message).warning())
    return clipped


def _within(findings: Sequence[Finding], data: pd.DataFrame) -> list[dict[str, str | None]]:
    first, last = str(data.index[0].date()), str(data.index[-1].date())
    return [
        finding.warning()
        for finding in findings
        if finding.day is None or first <= finding.day[:10] <= last
    ]


def _provenance(
    request: BacktestRequest, series: PriceSeries, rule: BaseRule, data: pd.DataFrame
) -> dict[str, Any]:
    asked = request.document()
    return {
        "ticker": request.ticker,
        "rule_id": rule.rule_id,
        "params": dict(rule.params),
        **{name: asked[name] for name in ("start_date", "end_date", "initial_capital")},
        **{
            name: asked[name]
            for name in ("commission_rate", "slippage_rate", "lot_size", "allow_short")
        },
        "fill": "next_open",
        "engine_version": ENGINE_VERSION,
        "contract_version": RESULT_VERSION,
        "prices_fingerprint": series.fingerprint,
        "prices_source": series.source,
        "first_bar": str(data.index[0].date()),
        "last_bar": str(data.index[-1].date()),
        "bars": len(data),
    }


def _bars(data: pd.DataFrame, done: EngineResult) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "close": data["Close"],
            "equity": done.equity,
            "drawdown": drawdowns(done.equity.to_numpy()),
            "position": done.positions,
            "buy_and_hold": done.benchmark,
        }
    ).rename_axis("date")
