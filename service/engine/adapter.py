"""Where a request meets the engine: request, price series and rule in, result out.

No clock, no input, no output.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from functools import partial
from typing import Any, Protocol

import numpy as np
import pandas as pd

from backtest.engine import BacktestEngine
from backtest.engine import BacktestResult as EngineResult
from backtest.kernel import Terms
from backtest.metrics import Floats, drawdowns
from rules.base_rule import BaseRule, InvalidRule
from rules.plugins import find_rule
from service.contract.documents import canonical_json
from service.contract.errors import InvalidRequest, NoData
from service.contract.request import BacktestRequest
from service.contract.result import HEADLINE, RESULT_VERSION, BacktestResult
from service.engine.enhanced_engine import frozen_metrics_of
from service.engine.look_ahead import Signals, checked_for_look_ahead
from service.engine.metrics import LEAST_BARS, Reference, metrics_of
from service.engine.version import (
    ENGINE_VERSION,
    FROZEN_VERSION,
    LARGE_FIGURE_VERSION,
    periods_of_version,
)
from service.prices.checks import check_prices, check_prices_1_0_0, check_prices_1_1_0
from service.prices.finding import Finding
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
SHORT_WINDOW = "{bars} bars are too few for numbers per year: those need {needed}"


def rule_of(rule_id: str, params: Mapping[str, Any], *, validate: bool) -> BaseRule:
    """The rule a request names; raises InvalidRequest."""
    try:
        return find_rule(rule_id, params, validate=validate)
    except InvalidRule as error:
        raise InvalidRequest(error.template, **error.values) from None


@dataclass(frozen=True)
class Performed:
    """A performed run: its result without a figure, and a table with a row for each bar.

    The columns of `bars` are close, equity, drawdown, position and buy_and_hold, those of `prices`
    Open High Low Close Volume of the same bars. `signals` are what the rule said on each, (n,).
    """

    result: BacktestResult
    bars: pd.DataFrame
    prices: pd.DataFrame
    signals: Signals

    def equity_csv(self) -> str:
        """A line a bar: date, equity, drawdown (fraction), position (shares), buy_and_hold."""
        return str(self.bars.drop(columns="close").to_csv(lineterminator="\n"))


class OnTerms(Protocol):
    """A request of any kind that says on what terms to trade."""

    @property
    def initial_capital(self) -> float: ...

    @property
    def commission_rate(self) -> float: ...

    @property
    def slippage_rate(self) -> float: ...

    @property
    def lot_size(self) -> float: ...

    @property
    def allow_short(self) -> bool: ...


def terms_of(request: OnTerms) -> Terms:
    """Capital and costs of a request."""
    return Terms(
        initial_capital=request.initial_capital,
        commission_rate=request.commission_rate,
        slippage_rate=request.slippage_rate,
        lot_size=request.lot_size,
        allow_short=request.allow_short,
    )


def engine_of(request: OnTerms) -> BacktestEngine:
    """The frozen engine on the terms of the request."""
    return BacktestEngine(**asdict(terms_of(request)))


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
    request: Documented,
    prices_fingerprints: Sequence[str | None],
    rules_digest: str,
    version: int = RESULT_VERSION,
) -> str:
    """SHA-256 of all that decides a result; `version` is that of the result's contract.

    Two runs that share it give the same bytes, whatever their run_id.
    """
    fields = request.document()
    fields.pop("run_id", None)
    work = [fields, list(prices_fingerprints), rules_digest, ENGINE_VERSION, version]
    return hashlib.sha256(canonical_json(work).encode()).hexdigest()


@dataclass(frozen=True)
class Definitions:
    """What one version of the engine makes of a run besides the frozen engine's own numbers."""

    metrics_of: Callable[[EngineResult, Reference], Mapping[str, float | int | None]]
    check_prices: Callable[[pd.DataFrame], list[Finding]]
    repeated_fields: Sequence[str]
    least_bars: int


SINCE_1_2_0 = Definitions(
    metrics_of=metrics_of,
    check_prices=check_prices,
    repeated_fields=(*REPEATED_FIELDS, "risk_free_rate", "benchmark"),
    least_bars=LEAST_BARS,
)
DEFINITIONS: Mapping[str, Definitions] = {
    FROZEN_VERSION: Definitions(
        metrics_of=lambda result, _: frozen_metrics_of(result),
        check_prices=check_prices_1_0_0,
        repeated_fields=REPEATED_FIELDS,
        least_bars=0,
    ),
    LARGE_FIGURE_VERSION: replace(
        SINCE_1_2_0,
        metrics_of=partial(metrics_of, periods_of=periods_of_version(LARGE_FIGURE_VERSION)),
        check_prices=check_prices_1_1_0,
    ),
    ENGINE_VERSION: SINCE_1_2_0,
}


def run_backtest(
    request: BacktestRequest,
    series: PriceSeries,
    rule: BaseRule,
    rules_digest: str,
    benchmark: PriceSeries | None = None,
    version: str = ENGINE_VERSION,
) -> Performed:
    """Performs the run on the bars of its window, by the definitions of a version of the engine.

    `benchmark` are the prices of the ticker that the request names as such. Raises NoData when
    there are too few bars or the data gate found an error, LookAhead when the rule's signals depend
    on later prices.
    """
    definitions = DEFINITIONS[version]
    data = window(series, request.start_date, request.end_date)
    check_window(request, rule, len(data), series.first, series.last)
    findings = definitions.check_prices(series.data)
    refuse_errors(findings, series)
    engine = engine_of(request)
    signals = checked_for_look_ahead(rule, data)
    engine_result = engine.run(data, lambda _: signals, series.ticker)
    data_findings = [
        *_clipping_findings(request, series),
        *_findings_within(findings, data),
        *_length_findings(len(data), definitions.least_bars),
        *_benchmark_findings(benchmark, data),
    ]
    warnings = [finding.warning() for finding in data_findings]
    reference = Reference(
        request.risk_free_rate,
        None if benchmark is None else held_benchmark(engine, benchmark, data.index),
    )
    provenance = {
        **_provenance(request, series, rule, data, definitions.repeated_fields),
        **({} if benchmark is None else {"benchmark_fingerprint": benchmark.fingerprint}),
        "engine_version": version,
        "rules_digest": rules_digest,
        "warnings": [*warnings, *engine_result.warnings],
    }
    metrics = definitions.metrics_of(engine_result, reference)
    result = _contract_result(request.run_id, engine_result, metrics, provenance)
    return Performed(result, _table_of_bars(data, engine_result), data, signals)


def held_benchmark(engine: BacktestEngine, benchmark: PriceSeries, index: pd.Index) -> Floats:
    """Equity of buying the benchmark and holding it, at the bars of `index`, on the engine's terms.

    On a day without a bar of its own it is worth what it was before. Raises NoData where its prices
    do not cover those bars.
    """
    refuse_errors(check_prices(benchmark.data), benchmark)
    check_benchmark(benchmark, index)
    first_bar = benchmark.data.index.searchsorted(index[0], side="right") - 1
    end_bar = benchmark.data.index.searchsorted(index[-1], side="right")
    held = benchmark.data.iloc[first_bar : max(end_bar, first_bar + 2)]
    equity = engine.run(held, lambda data: np.zeros(len(data), np.int8)).benchmark
    return np.asarray(equity.reindex(index, method="ffill").to_numpy(dtype=np.float64))


def check_benchmark(benchmark: PriceSeries, index: pd.Index) -> None:
    """Raises NoData where the benchmark's prices do not cover the bars of `index`."""
    if benchmark.data.index[0] > index[0] or benchmark.data.index[-1] < index[-1]:
        template = (
            "The benchmark {ticker} has prices from {first} to {last}, the run needs them from "
            "{start} to {end}; choose other dates or another benchmark."
        )
        raise NoData(
            template,
            ticker=benchmark.ticker,
            first=benchmark.first,
            last=benchmark.last,
            start=index[0].date(),
            end=index[-1].date(),
        )


def _contract_result(
    run_id: str,
    engine_result: EngineResult,
    metrics: Mapping[str, float | int | None],
    provenance: dict[str, Any],
) -> BacktestResult:
    headline = {name: metrics.get(name, engine_result[name]) for name in HEADLINE}
    others = {name: value for name, value in metrics.items() if name not in HEADLINE}
    if engine_result.bankruptcy_shortfall:
        others["bankruptcy_shortfall"] = engine_result.bankruptcy_shortfall
    return BacktestResult(
        run_id=run_id,
        status="completed",
        metrics=others,
        trades=engine_result["trades"],
        provenance=provenance,
        **headline,
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


def _length_findings(bars: int, needed: int) -> list[Finding]:
    """That the window is too short for numbers per year."""
    if bars >= needed:
        return []
    message = SHORT_WINDOW.format(bars=bars, needed=needed)
    return [Finding("warning", "ShortWindow", None, message)]


def _benchmark_findings(benchmark: PriceSeries | None, data: pd.DataFrame) -> list[Finding]:
    """What is wrong with the prices of the benchmark in the dates of the run."""
    if benchmark is None:
        return []
    findings = _findings_within(check_prices(benchmark.data), data)
    return [
        replace(finding, message=f"{benchmark.ticker}: {finding.message}") for finding in findings
    ]


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
    request: BacktestRequest,
    series: PriceSeries,
    rule: BaseRule,
    data: pd.DataFrame,
    repeated_fields: Sequence[str],
) -> dict[str, Any]:
    fields = request.document()
    return {
        **{name: fields[name] for name in repeated_fields},
        "rule_id": rule.rule_id,
        "params": dict(rule.params),
        "fill": "next_open",
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
