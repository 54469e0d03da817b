"""What a job does: claim a run, perform it, keep what it came to."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from rules.base_rule import BaseRule
from rules.plugins import rules_digest
from service.contract.errors import InvalidRequest, RulesMismatch, UserError
from service.contract.request import BacktestRequest
from service.contract.result import BacktestResult
from service.contract.status import ExitCode, Reason, Status
from service.engine.adapter import Performed, rule_of, run_backtest
from service.engine.figure import draw_figure
from service.prices.series import PriceSeries
from service.store.database import AWAY, DatabaseError
from service.store.prices import PriceStore
from service.store.run_store import RunStore, StoredResult
from service.worker.holding import DATABASE_PATIENCE_SECONDS, Stopped, lease, patiently, this_worker

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class Software:
    """Which code performs the run: provenance that may differ between runs of the same bytes."""

    code_revision: str = ""
    image: str = ""


def perform(
    request: BacktestRequest, series: PriceSeries, software: Software, validate: bool = False
) -> tuple[BacktestResult, Performed]:
    """The result, figure and all, from a request and its prices alone; raises UserError.

    `validate`: check a plug-in's rule first, as the web does before it accepts a run.
    """
    rule = rule_of(request.rule_id, request.params, validate=validate)
    logger.info("Backtest started: ticker=%s, rule=%s", request.ticker, rule.rule_id)
    performed = run_backtest(request, series, rule, rules_digest(rule))
    png = draw_figure(performed.bars, performed.result.trades, f"{request.ticker}  {rule.rule_id}")
    provenance = {
        **performed.result.provenance,
        "code_revision": software.code_revision,
        "image": software.image,
    }
    result = replace(performed.result, provenance=provenance).with_figure(png)
    logger.info("Backtest completed: return=%.2f%%", result.total_return_pct)
    return result, performed


def agreed_digest(rule: Callable[[], BaseRule], accepted: str, expected: str | None) -> str:
    """Of the rules to compute with: those that the run was accepted with or, if it waited for an upgrade, today's.

    `expected` are those of whoever launched this worker, None where that is another release (in the middle of an
    upgrade). Raises RulesMismatch where nobody else has the worker's rules, or the worker has no such rule.
    """
    try:
        digest = rules_digest(rule())
    except InvalidRequest:
        raise RulesMismatch from None
    if digest not in (accepted, expected) and expected is not None:
        raise RulesMismatch
    if digest != accepted:
        logger.warning(
            "The rules have changed since the run was accepted; it is performed with those of today"
        )
    return digest


@dataclass(frozen=True)
class Worker:
    """Performs runs that are recorded in a database; each call ends with an exit code of the contract.

    `expected_rules`: see `agreed_digest`. `stopping` is set by who raises Stopped: what fails from then on is nobody's
    fault.
    """

    run_store: RunStore
    price_store: PriceStore
    software: Software = Software()
    expected_rules: str | None = None
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
                logger.info(
                    "Nothing to do: the run is %s", "not recorded" if run is None else run.status
                )
                return None
            if not waited:
                logger.info("Waiting: another worker holds the run")
            waited = True
            time.sleep(1)

    def _attempt(self, request: BacktestRequest, attempt: int) -> int:
        try:
            return self._perform(request, attempt)
        except (Stopped, Exception) as error:  # noqa: BLE001  whatever a rule or a library raises: the reason is saved
            if (
                isinstance(error, Stopped) or self.stopping.is_set()
            ):  # libraries make other errors of a Stopped
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
        self._patiently(
            lambda: self.run_store.fail_attempt(run_id, attempt, Reason.ENGINE_ERROR, message)
        )
        return ExitCode.ENGINE_ERROR

    def _release(self, run_id: str, attempt: int) -> None:
        """At once or not at all: who says stop does not wait, and the controller sees the job's end anyhow."""
        try:
            self.run_store.release(run_id, attempt)
        except DatabaseError:
            logger.exception("Stopped, and the run could not be given back")
        else:
            logger.warning("Stopped: the run goes back to the queue")

    def _perform(self, request: BacktestRequest, attempt: int) -> int:
        run = self._patiently(lambda: self.run_store.get(request.run_id))
        assert run is not None  # claimed a moment ago
        digest = agreed_digest(
            lambda: rule_of(request.rule_id, request.params, validate=False),
            run.rules_digest,
            self.expected_rules,
        )
        series = self._patiently(lambda: self.price_store.series(run.prices_fingerprint))
        result, performed = perform(request, series, self.software)
        stored = StoredResult(
            replace(result, chart_base64=None).canonical(),
            performed.equity_csv(),
            result.chart_base64,
        )
        # who asks for the work that it was accepted for gets nothing of other rules
        anew = {"rules_digest": digest, "leads": None} if digest != run.rules_digest else {}
        ended = {**result.headline(), **anew}
        if not self._patiently(
            lambda: self.run_store.finish(request.run_id, attempt, stored, ended)
        ):
            logger.warning("The result is discarded: the run was taken away")
        return ExitCode.DONE

    def _patiently(self, action: Callable[[], T]) -> T:
        return patiently(action, self.patience)
