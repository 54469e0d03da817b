"""What a job does: claim a run, perform it, keep what it came to."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from sqlalchemy.exc import DBAPIError

from rules.plugins import rules_digest
from service.contract.errors import InvalidRequest, UserError
from service.contract.request import BacktestRequest
from service.contract.result import BacktestResult
from service.contract.status import ExitCode, Reason, Status
from service.engine_adapter import Performed, run_backtest
from service.figures import draw_figure
from service.holding import DATABASE_PATIENCE_SECONDS, Stopped, lease, patiently, this_worker
from service.price_series import PriceSeries
from service.runs import rule_of
from service.store.database import AWAY
from service.store.price_store import PriceStore
from service.store.run_store import Run, RunStore, StoredResult

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class Software:
    """Which code performs the run: provenance that may differ between runs of the same bytes."""

    code_revision: str = ""
    image: str = ""


def perform(
    request: BacktestRequest, series: PriceSeries, software: Software, validated: bool = False
) -> tuple[BacktestResult, Performed]:
    """The result, figure and all, from a request and its prices alone; raises UserError.

    `validated`: check a plug-in's rule first, as the web does before it accepts a run.
    """
    rule = rule_of(request.rule_id, request.params, validated=validated)
    logger.info("Backtest started: ticker=%s, rule=%s", request.ticker, rule.rule_id)
    performed = run_backtest(request, series, rule, rules_digest(rule))
    png = draw_figure(performed.bars, performed.result.trades, f"{request.ticker}  {rule.rule_id}")
    provenance = {**performed.result.provenance, "code_revision": software.code_revision, "image": software.image}
    result = replace(performed.result, provenance=provenance).with_figure(png)
    logger.info("Backtest completed: return=%.2f%%", result.total_return_pct)
    return result, performed


@dataclass(frozen=True)
class Worker:
    """Performs runs that are recorded in a database; each call ends with an exit code of the contract.

    `stopping` is set by who raises Stopped: what fails from then on is nobody's fault.
    """

    run_store: RunStore
    price_store: PriceStore
    software: Software = Software()
    patience: float = DATABASE_PATIENCE_SECONDS
    stopping: threading.Event = field(default_factory=threading.Event)

    def work(self, request: BacktestRequest) -> int:
        """Claims and performs the run, unless it has ended or somebody else holds it to its end."""
        try:
            attempt = self._claim(request.run_id)
        except AWAY:
            logger.exception("The database is away")
            return ExitCode.DATABASE_AWAY
        except Stopped:
            return ExitCode.STOPPED
        if attempt is None:
            return ExitCode.DONE
        store, run_id = self.run_store, request.run_id
        with lease(lambda: store.renew(run_id, attempt), store.lease_seconds):
            return self._attempt(request, attempt)

    def _claim(self, run_id: str) -> int | None:
        """Waits while another worker holds the run: leaving at once would end the job that the other runs in."""
        name, waited = this_worker(), False
        while True:
            attempt = self._patiently(lambda: self.run_store.claim(run_id, name))
            if attempt is not None:
                return attempt
            run = self._patiently(lambda: self.run_store.get(run_id))
            if run is not None and run.status == Status.RUNNING and run.claimed_by == name:
                return run.attempt  # ours: the connection died before the claim was answered
            if run is None or run.status.final or run.status == Status.CANCELLING:
                logger.info("Nothing to do: the run is %s", "not recorded" if run is None else run.status)
                return None
            if not waited:
                logger.info("Waiting: another worker holds the run")
            waited = True
            time.sleep(1)

    def _attempt(self, request: BacktestRequest, attempt: int) -> int:
        try:
            return self._perform(request, attempt)
        except (Stopped, Exception) as error:  # noqa: BLE001  whatever a rule or a library raises: the reason is saved
            if isinstance(error, Stopped) or self.stopping.is_set():  # libraries make other errors of a Stopped
                self._release(request.run_id, attempt)
                return ExitCode.STOPPED
            return self._failed(request.run_id, attempt, error)

    def _failed(self, run_id: str, attempt: int, error: Exception) -> int:
        """Saves the reason; the trace is in the log."""
        if isinstance(error, UserError):
            logger.warning("Refused: %s", error)
            code, message = error.code, str(error)
            self._patiently(lambda: self.run_store.fail_attempt(run_id, attempt, code, message))
            return ExitCode.NO_DATA if code == Reason.NO_DATA else ExitCode.BAD_INPUT
        if isinstance(error, AWAY):
            logger.exception("The database went away")
            return ExitCode.DATABASE_AWAY
        logger.exception("The engine failed")  # or a rule or a figure
        message = "The backtest failed inside the engine; the log has the trace."
        self._patiently(lambda: self.run_store.fail_attempt(run_id, attempt, Reason.ENGINE_ERROR, message))
        return ExitCode.ENGINE_ERROR

    def _release(self, run_id: str, attempt: int) -> None:
        """At once or not at all: who says stop does not wait, and the controller sees the job's end anyhow."""
        try:
            self.run_store.release(run_id, attempt)
        except DBAPIError:
            logger.exception("Stopped, and the run could not be given back")
        else:
            logger.warning("Stopped: the run goes back to the queue")

    def _perform(self, request: BacktestRequest, attempt: int) -> int:
        run = self._patiently(lambda: self.run_store.get(request.run_id))
        assert run is not None  # claimed a moment ago
        if self._rules_differ(run, request):
            message = "The rules of the worker are not those that the run was accepted with."
            mismatch = Reason.RULES_MISMATCH
            self._patiently(lambda: self.run_store.fail_attempt(request.run_id, attempt, mismatch, message))
            return ExitCode.BAD_INPUT
        series = self._patiently(lambda: self.price_store.series(run.prices_fingerprint))
        result, performed = perform(request, series, self.software)
        stored = StoredResult(
            replace(result, chart_base64=None).canonical(), performed.equity_csv(), result.chart_base64
        )
        if not self._patiently(lambda: self.run_store.finish(request.run_id, attempt, stored, result.headline())):
            logger.warning("The result is discarded: the run was taken away")
        return ExitCode.DONE

    def _rules_differ(self, run: Run, request: BacktestRequest) -> bool:
        """Also when the worker has no such rule at all: the web had it."""
        try:
            rule = rule_of(request.rule_id, request.params, validated=False)
        except InvalidRequest:
            return True
        return rules_digest(rule) != run.rules_digest

    def _patiently(self, action: Callable[[], T]) -> T:
        return patiently(action, self.patience)
