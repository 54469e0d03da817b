"""The use cases of the web: submit a run, see where it stands, read what it came to."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any, Protocol

from rules.base_rule import BaseRule
from rules.plugins import rules_digest
from service.contract.errors import (
    InvalidRequest,
    NoResult,
    QueueFull,
    RunConflict,
    RunEnded,
    RunNotFound,
    TooManyRequests,
)
from service.contract.request import BacktestRequest, parse_request
from service.contract.result import BacktestResult, failed_result
from service.contract.status import (
    ATTACHED,
    BACKTEST,
    HINTS,
    NO_CONTROLLER,
    Reason,
    RunStatus,
    Status,
)
from service.engine.adapter import check_window, fingerprint_of_work, rule_of, window
from service.store.leases import CONTROLLER, LeaseStore
from service.store.prices import PriceStore, Ticker
from service.store.requests import RequestStore
from service.store.rows import Run, StoredResult
from service.store.shards import NewSweep

RATE_SECONDS = 60
BY_COMMAND = (
    'There are no prices of "{ticker}". Nearest are {near}; add others with {command} --tickers {ticker}'
    " (Yahoo Finance) or {command} import --ticker {ticker} - < {ticker}.csv."
)
BY_CHART = (
    'There are no prices of "{ticker}". Nearest are {near}; add others with {command} import --ticker {ticker} -'
    " < {ticker}.csv, or by the chart's value prices.tickers (Yahoo Finance)."
)


def with_run_id(document: object) -> object:
    """The document with a run_id of its own, where it has none."""
    return {"run_id": str(uuid.uuid4()), **document} if isinstance(document, dict) else document


class Asked(Protocol):
    """A request of any kind."""

    @property
    def run_id(self) -> str: ...

    def canonical(self) -> str: ...


@dataclass(frozen=True)
class Planned:
    """The row of a new run, the fingerprint of its work, and what is recorded with it."""

    row: Mapping[str, Any]
    work: str
    sweep: NewSweep | None = None


@dataclass(frozen=True)
class Runs:
    """The service as the web sees it."""

    run_store: RequestStore
    price_store: PriceStore
    max_pending: int = 1000
    rate_limit: int = 0  # runs that one client may ask for in a minute; 0 for any number
    leases: LeaseStore | None = None  # to say when no controller is there to start the runs
    prices_command: str = "python scripts/data_loader.py"
    in_cluster: bool = False  # where pods do not reach Yahoo Finance but for the chart's CronJob

    def submit(self, document: object, client: str = "", force: bool = False) -> tuple[Run, bool]:
        """Records the run that `document` (contract request v1) asks for; the row and whether it is new.

        The same run_id with the same request gives the same row. The same work under another run_id is answered from
        the run that did it or does it, unless `force` wants it done anew. `client` is who asks. Raises InvalidRequest,
        NoData, RunConflict, QueueFull or TooManyRequests, and then nothing is stored.
        """
        request = parse_request(with_run_id(document))
        return self.record(request, lambda: self._planned(request), client, force)

    def record(
        self, request: Asked, plan: Callable[[], Planned], client: str, force: bool
    ) -> tuple[Run, bool]:
        """Records what is asked for, planned once it is known to be new; see `submit`."""
        known = self.run_store.get(request.run_id)
        if known is not None:
            return self._same(known, request), False
        planned = plan()
        self._check_rate(client)
        work = None if force else planned.work
        if work is None or not self.run_store.has_leader(work):
            self._check_queue()
        added = self.run_store.add({**planned.row, "client": client}, work, planned.sweep)
        return (
            (self.run(request.run_id), True)
            if added
            else (self._same(self.run(request.run_id), request), False)
        )

    def _planned(self, request: BacktestRequest) -> Planned:
        rule = rule_of(request.rule_id, request.params, validate=True)
        ticker = self.ticker(request.ticker)
        self._check_window(request, rule, ticker)
        digest = rules_digest(rule)
        row = {
            "run_id": request.run_id,
            "request": request.canonical(),
            "ticker": request.ticker,
            "rule_id": rule.rule_id,
            "prices_fingerprint": ticker.fingerprint,
            "rules_digest": digest,
        }
        return Planned(row, fingerprint_of_work(request, ticker.fingerprint, digest))

    def _same(self, known: Run, request: Asked) -> Run:
        if known.request != request.canonical():
            raise RunConflict(request.run_id)
        return known

    def ticker(self, name: str) -> Ticker:
        """The catalogue's entry; raises InvalidRequest with the nearest ones."""
        ticker = self.price_store.ticker(name)
        if ticker is None:
            names = [known.ticker for known in self.price_store.tickers()]
            near = get_close_matches(name, names, n=3, cutoff=0.3) or names[:3]
            if not near:
                template = "There are no prices yet; add some with {command} import --ticker {ticker} - < {ticker}.csv."
                raise InvalidRequest(template, ticker=name, command=self.prices_command)
            template = BY_CHART if self.in_cluster else BY_COMMAND
            raise InvalidRequest(
                template, ticker=name, near=", ".join(near), command=self.prices_command
            )
        return ticker

    def _check_window(self, request: BacktestRequest, rule: BaseRule, ticker: Ticker) -> None:
        bars = len(
            window(
                self.price_store.series(ticker.fingerprint), request.start_date, request.end_date
            )
        )
        check_window(request, rule, bars, ticker.first_day, ticker.last_day)

    def _check_queue(self) -> None:
        waiting = self.run_store.queued_count(self.max_pending)
        if waiting >= self.max_pending:
            raise QueueFull(waiting)

    def _check_rate(self, client: str) -> None:
        """Counted in the database, so that all replicas of the web count together."""
        if (
            self.rate_limit
            and self.run_store.recent_count(client, RATE_SECONDS, self.rate_limit)
            >= self.rate_limit
        ):
            raise TooManyRequests(self.rate_limit)

    def run(self, run_id: str) -> Run:
        """The row; raises RunNotFound."""
        run = self.run_store.get(run_id)
        if run is None:
            raise RunNotFound(run_id)
        return run

    def backtest(self, run_id: str) -> Run:
        """The row of a run that is no sweep; raises RunNotFound."""
        run = self.run(run_id)
        if run.kind != BACKTEST:
            raise RunNotFound(run_id)
        return run

    def request_and_rule(self, run: Run) -> tuple[BacktestRequest, BaseRule]:
        """What was asked for; raises InvalidRequest where there is no such rule any more."""
        request = parse_request(json.loads(run.request))
        return request, rule_of(request.rule_id, request.params, validate=True)

    def cancel(self, run_id: str) -> Run:
        """Ends the run, at once or as soon as its job is gone; doing it twice changes nothing.

        Raises RunNotFound, or RunEnded when it completed or failed before.
        """
        self.run_store.cancel(run_id)
        run = self.run(run_id)
        if run.status in (Status.COMPLETED, Status.FAILED):
            raise RunEnded(run_id, run.status)
        return run

    def status(self, run: Run) -> RunStatus:
        """Status v1 of a run."""
        waiting = run.status == Status.PENDING and run.launched_at is None and not run.attached
        return RunStatus(
            run_id=run.run_id,
            status=run.status,
            reason=run.reason,
            hint=self._hint(run, waiting),
            attempt=run.attempt,
            reused_from=run.reused_from,
            queue_position=self.run_store.queue_position(run) if waiting else None,
            created_at=_iso(run.created_at),
            started_at=_iso(run.started_at),
            finished_at=_iso(run.finished_at),
            poll_after_s=None if run.status.final else 1.0,
        )

    def _hint(self, run: Run, waiting: bool) -> str | None:
        if waiting and self.leases is not None and not self.leases.is_held(CONTROLLER):
            return NO_CONTROLLER
        if run.attached:
            return ATTACHED
        return HINTS.get(Reason(run.reason)) if run.reason in list(Reason) else None

    def result(self, run: Run) -> BacktestResult:
        """Result v1 of a run that has ended, its figure inline."""
        stored = self.stored(run)
        if stored is None:
            evidence = {"evidence": json.loads(run.evidence)} if run.evidence else {}
            return failed_result(run.run_id, run.reason, run.message, evidence)
        return replace(result_from_store(stored), run_id=run.run_id)

    def equity_csv(self, run: Run) -> str:
        """The equity table of a completed run; raises NoResult."""
        stored = self.stored(run)
        if stored is None:
            raise NoResult(run.run_id, run.status)
        return stored.table_csv

    def stored(self, run: Run) -> StoredResult | None:
        """What a completed run left; a cancelled twin of one has none."""
        return self.run_store.result_of(run) if run.status == Status.COMPLETED else None


def result_from_store(stored: StoredResult) -> BacktestResult:
    """Result v1 as it was when the run was performed."""
    return BacktestResult(**{**json.loads(stored.result), "chart_base64": stored.chart_base64})


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.replace(tzinfo=UTC).isoformat()
