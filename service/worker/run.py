"""What a job does for a run: claim it, perform it, store what it came to."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rules.base_rule import BaseRule
from rules.plugins import rules_digest, same_digest
from service.contract.documents import canonical_json
from service.contract.request import BacktestRequest
from service.contract.result import BacktestResult
from service.contract.status import ExitCode
from service.doubt.doubt import doubt_of
from service.engine.adapter import Performed, rule_of, run_backtest, terms_of
from service.engine.figure import draw_figure
from service.engine.look import STORED, STORED_UNTIL_1_1_0
from service.engine.version import ENGINE_VERSION, FROZEN_VERSION
from service.prices.series import PriceSeries
from service.report.bars import bars_of_table
from service.report.overview import is_long, overview_of
from service.store.claims import ClaimStore
from service.store.prices import PriceStore
from service.store.rows import LISTED_METRICS, Run, StoredResult
from service.trials.records import digest_of_plugins
from service.trials.single import tried_by_run
from service.trials.skill import entry_of
from service.worker.claimed import work_on_claimed
from service.worker.software import UNKNOWN_SOFTWARE, Software, agreed_digest

logger = logging.getLogger(__name__)

RUN_FAILED_MESSAGE = "The backtest failed inside the engine; the log has the trace."


def perform(
    request: BacktestRequest,
    series: PriceSeries,
    software: Software,
    benchmark: PriceSeries | None = None,
    validate: bool = False,
    earlier: Mapping[str, Any] | None = None,
) -> tuple[BacktestResult, Performed]:
    """The result, figure and all, from a request and its prices alone; raises UserError.

    `benchmark` are the prices of a benchmark that is another ticker. `validate`: check a plug-in's
    rule first, as the web does before it accepts a run. `earlier` is the provenance of an earlier
    result of the request, which is computed as it was then.
    """
    rule = rule_of(request.rule_id, request.params, validate=validate)
    logger.info("Backtest started: ticker=%s, rule=%s", request.ticker, rule.rule_id)
    digest = rules_digest(rule)
    version = ENGINE_VERSION
    if earlier is not None:
        digest = same_digest(earlier["rules_digest"], digest)
        version = earlier["engine_version"]
    performed = run_backtest(request, series, rule, digest, benchmark, version)
    title = f"{request.ticker}  {rule.rule_id}"
    png = draw_figure(
        performed.bars,
        performed.result.trades,
        title,
        signed_drawdown=version == FROZEN_VERSION,
        look=STORED if version == ENGINE_VERSION else STORED_UNTIL_1_1_0,
    )
    doubt = _doubt_of_run(request, rule, performed) if version == ENGINE_VERSION else {}
    provenance = {**performed.result.provenance, **software.provenance()}
    result = replace(performed.result, provenance=provenance, doubt=doubt).with_figure(png)
    logger.info("Backtest completed: return=%.2f%%", result.total_return_pct)
    return result, performed


def _doubt_of_run(
    request: BacktestRequest, rule: BaseRule, performed: Performed
) -> Mapping[str, Any]:
    try:
        return doubt_of(request, rule, performed)
    except Exception:
        logger.exception("The result says nothing of what is doubtful about it")
        return {}


def overview_of_run(
    request: BacktestRequest, result: BacktestResult, performed: Performed
) -> str | None:
    """What the page shows first, as JSON, of a run that is too long for the web to make it."""
    bars = bars_of_table(performed.bars, performed.prices)
    if not is_long(bars):
        return None
    rule = rule_of(request.rule_id, request.params, validate=False)
    capital, rate = request.initial_capital, request.risk_free_rate
    try:
        return canonical_json(overview_of(bars, result.trades, rule, capital, rate))
    except Exception:
        logger.exception("The web will have to make what the page shows")
        return None


def _trials_of_run(
    request: BacktestRequest, rule: BaseRule, digest: str, performed: Performed
) -> Sequence[Mapping[str, Any]]:
    """What a run adds to the ledger; nothing where it never traded."""
    if not performed.result.num_trades:
        return []
    tried, judged = tried_by_run(
        performed.bars,
        rule.rule_id,
        terms_of(request),
        digest_of_plugins(rule, digest),
        performed.result.sharpe_ratio,
        request.risk_free_rate,
    )
    return [entry_of(request.ticker, tried, judged)]


@dataclass(frozen=True)
class RunWorker:
    """Performs runs that are recorded in a database; each call ends with an exit code.

    `expected_rules` is explained at `agreed_digest`, `stopping` at `work_on_claimed`.
    """

    claims: ClaimStore
    prices: PriceStore
    software: Software = UNKNOWN_SOFTWARE
    expected_rules: str | None = None
    stopping: threading.Event = field(default_factory=threading.Event)

    def work(self, request: BacktestRequest) -> int:
        """Claims and performs the run, unless it has ended or another worker performs it."""
        return work_on_claimed(
            self.claims,
            request.run_id,
            lambda run, attempt: self._perform(request, run, attempt),
            self.stopping,
            RUN_FAILED_MESSAGE,
        )

    def _benchmark(self, run: Run) -> PriceSeries | None:
        fingerprint = run.benchmark_fingerprint
        return None if fingerprint is None else self.prices.series(fingerprint)

    def _perform(self, request: BacktestRequest, run: Run, attempt: int) -> int:
        def find_rule() -> BaseRule:
            return rule_of(request.rule_id, request.params, validate=False)

        digest = agreed_digest(find_rule, run.rules_digest, self.expected_rules)
        series = self.prices.series(run.prices_fingerprint)
        benchmark = self._benchmark(run)
        result, performed = perform(request, series, self.software, benchmark)
        stored = StoredResult(
            result=result.stored(),
            table_csv=performed.equity_csv(),
            chart_base64=result.chart_base64,
            overview=overview_of_run(request, result, performed),
            trials=_trials_of_run(request, find_rule(), digest, performed),
        )
        metrics = {**result.metrics, **result.headline()}
        columns: dict[str, Any] = {name: metrics.get(name) for name in LISTED_METRICS}
        if digest != run.rules_digest:
            # Whoever asks for the work that the run was accepted for gets nothing of other rules.
            columns |= {"rules_digest": digest, "leads": None}
        if not self.claims.finish(request.run_id, attempt, stored, columns):
            logger.warning("The result is discarded: the run was taken away")
        return ExitCode.DONE
