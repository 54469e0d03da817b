"""The use cases of runs: submit, status, cancel, result."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any, Protocol

import pandas as pd

from rules.base_rule import BaseRule
from rules.plugins import rules_digest
from service.contract.errors import (
    NoResult,
    QueueFull,
    RunConflict,
    RunEnded,
    RunNotFound,
    TooManyRequests,
    TooManyRows,
    UnknownTicker,
)
from service.contract.request import BacktestRequest, parse_request
from service.contract.result import BacktestResult, failed_result, result_of_stored
from service.contract.status import (
    ATTACHED,
    BACKTEST,
    HINTS,
    NO_CONTROLLER,
    Reason,
    RunStatus,
    Status,
)
from service.engine.adapter import (
    check_benchmark,
    check_window,
    fingerprint_of_work,
    rule_of,
    window,
)
from service.store.leases import CONTROLLER, LeaseStore
from service.store.prices import PriceStore, Ticker
from service.store.requests import NewRun, RequestStore
from service.store.rows import Run, StoredResult, reading
from service.usecases.names import with_tickers
from service.usecases.shares import may_have

RATE_SECONDS = 60
MAX_NEAR_TICKERS = 3
MIN_SIMILARITY = 0.3


def with_run_id(document: object) -> object:
    """The document with a new run_id, where it has none."""
    if not isinstance(document, dict):
        return document
    return {"run_id": str(uuid.uuid4()), **document}


class Request(Protocol):
    """A request of any kind."""

    @property
    def run_id(self) -> str: ...

    def canonical(self) -> str: ...


@dataclass(frozen=True)
class Runs:
    """What the web may do with runs.

    `max_pending` runs and `max_pending_rows` rows of sweeps may wait, shared by the clients as
    `service.usecases.shares` says. `rate_limit` is the number of runs that one client may submit in
    a minute, 0 for any number.
    With `leases` the status of a waiting run says when no controller is there to start it.
    """

    run_store: RequestStore
    price_store: PriceStore
    _: KW_ONLY
    max_pending: int = 1000
    max_pending_rows: int = 2_000_000
    rate_limit: int = 0
    leases: LeaseStore | None = None

    def submit(self, document: object, client: str = "", force: bool = False) -> tuple[Run, bool]:
        """Records the run of `document` (request v1); returns its row, and whether it is new.

        The same run_id with the same request gives the same row. Work that an earlier run did or is
        doing is answered from that run, unless `force` asks to compute it again. `client` is the
        name of who submits it. Raises InvalidRequest, NoData, RunConflict, QueueFull or
        TooManyRequests; then nothing is stored.
        """
        request = parse_request(with_tickers(with_run_id(document), self.price_store))
        return self.record(request, lambda: self.planned(request), client, force)

    def record(
        self, request: Request, plan: Callable[[], NewRun], client: str, force: bool
    ) -> tuple[Run, bool]:
        """Records a request, planned by `plan` where its run_id is new; see `submit`."""
        known = self.run_store.get(request.run_id)
        if known is not None:
            _check_same(known, request)
            return known, False
        self.check_rate(client, 1)
        planned = plan()
        self.check_room([planned], client, force)
        work = None if force else planned.work
        is_new = self.run_store.add({**planned.values, "client": client}, work, planned.sweep)
        run = self.run(request.run_id)
        if not is_new:
            _check_same(run, request)
        return run, is_new

    def planned(self, request: BacktestRequest) -> NewRun:
        """The run as it is recorded; raises InvalidRequest or NoData where it cannot be."""
        rule = rule_of(request.rule_id, request.params, validate=True)
        ticker = self.ticker(request.ticker)
        data = self._checked_window(request, rule, ticker)
        benchmark = self.benchmark_fingerprint(request.benchmark, request.ticker)
        if benchmark is not None:
            check_benchmark(self.price_store.series(benchmark), data.index)
        digest = rules_digest(rule)
        row = {
            "run_id": request.run_id,
            "request": request.canonical(),
            "ticker": request.ticker,
            "rule_id": rule.rule_id,
            "prices_fingerprint": ticker.fingerprint,
            "benchmark_fingerprint": benchmark,
            "rules_digest": digest,
            **searched_values(request.document()),
        }
        prices = [ticker.fingerprint, benchmark]
        return NewRun(row, fingerprint_of_work(request, prices, digest))

    def benchmark_fingerprint(self, name: str, ticker: str) -> str | None:
        """Of the benchmark's prices; None where the benchmark is the ticker itself, held."""
        return self.ticker(name).fingerprint if name not in ("", ticker) else None

    def ticker(self, name: str) -> Ticker:
        """The ticker's entry of the catalogue; raises UnknownTicker with the nearest names."""
        ticker = self.price_store.ticker(name)
        if ticker is None:
            names = [known.ticker for known in self.price_store.tickers()]
            near = get_close_matches(name, names, n=MAX_NEAR_TICKERS, cutoff=MIN_SIMILARITY)
            named = self.price_store.ticker_named(name)
            meant = [f"{named} ({name})"] if named is not None else []
            raise UnknownTicker(name, [*meant, *(near or names[:MAX_NEAR_TICKERS])])
        return ticker

    def _checked_window(
        self, request: BacktestRequest, rule: BaseRule, ticker: Ticker
    ) -> pd.DataFrame:
        series = self.price_store.series(ticker.fingerprint)
        data = window(series, request.start_date, request.end_date)
        check_window(request, rule, len(data), ticker.first_day, ticker.last_day)
        return data

    def check_room(self, planned: Sequence[NewRun], client: str, force: bool) -> None:
        """Raises QueueFull where they do not all fit into the queue, or into the client's share."""
        new = [run for run in planned if force or not self._has_leader(run)]
        if not new:
            return
        waiting = self.run_store.queued_count(self.max_pending)
        if waiting + len(new) > self.max_pending:
            held = self.run_store.queued_by_client()
            if not may_have(held, client, len(new), self.max_pending):
                waiting = sum(held.values())
                own = held.get(client, 0)
                raise QueueFull(waiting, own if own < waiting else 0)
        rows = sum(run.sweep.rows for run in new if run.sweep is not None)
        if rows:
            held = self.run_store.rows_by_client()
            own = held.get(client, 0)
            if own and not may_have(held, client, rows, self.max_pending_rows):
                raise TooManyRows(sum(held.values()), own)

    def _has_leader(self, run: NewRun) -> bool:
        return run.work is not None and self.run_store.has_leader(run.work)

    def check_rate(self, client: str, new: int) -> None:
        """Raises TooManyRequests where the client may not ask for so many more runs now.

        Counts in the database, so that all replicas of the web count together. It comes before the
        runs are planned, which takes the time.
        """
        if not self.rate_limit:
            return
        recent = self.run_store.recent_count(client, RATE_SECONDS, self.rate_limit)
        if recent + new > self.rate_limit:
            raise TooManyRequests(self.rate_limit)

    def run(self, run_id: str) -> Run:
        """The row; raises RunNotFound."""
        run = self.run_store.get(run_id)
        if run is None:
            raise RunNotFound(run_id)
        return run

    def backtest(self, run_id: str) -> Run:
        """The row of a backtest; raises RunNotFound, also where the run is a sweep."""
        run = self.run(run_id)
        if run.kind != BACKTEST:
            raise RunNotFound(run_id)
        return run

    def request_and_rule(self, run: Run) -> tuple[BacktestRequest, BaseRule]:
        """The run's request and rule; raises InvalidRequest where the rule is gone."""
        request = parse_request(json.loads(run.request))
        return request, rule_of(request.rule_id, request.params, validate=True)

    def cancel(self, run_id: str) -> Run:
        """Cancels the run, at once or as soon as its job is gone; a second time changes nothing.

        Raises RunNotFound, or RunEnded where the run completed or failed before.
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
        if run.reason not in list(Reason):
            return None
        return HINTS.get(Reason(run.reason))

    def result(self, run: Run) -> BacktestResult:
        """Result v1 of a run that has ended, with the figure in it."""
        stored = self.stored(run)
        if stored is None:
            evidence = {"evidence": json.loads(run.evidence)} if run.evidence else {}
            return failed_result(run.run_id, run.reason, run.message, evidence)
        return replace(result_from_store(stored), run_id=run.run_id)

    def equity_csv(self, run: Run) -> str:
        """The equity table of a completed run as CSV; raises NoResult."""
        stored = self.stored(run)
        if stored is None:
            raise NoResult(run.run_id, run.status)
        return stored.table_csv

    def stored(self, run: Run) -> StoredResult | None:
        """The stored result of a completed run, None for any other run."""
        if run.status != Status.COMPLETED:
            return None
        return self.run_store.result_of(run)


def searched_values(document: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that runs are found by, of the document of a request."""
    return {
        "start_date": document["start_date"],
        "end_date": document["end_date"],
        "costs_pct": round(100 * (document["commission_rate"] + document["slippage_rate"]), 6),
    }


def _check_same(run: Run, request: Request) -> None:
    """Raises RunConflict where the run was recorded for another request."""
    if run.request != request.canonical():
        raise RunConflict(request.run_id)


def result_from_store(stored: StoredResult) -> BacktestResult:
    """Result v1 as the run stored it, with the figure in it; raises BadRow."""
    with reading("The result of a run"):
        return result_of_stored(stored.result, stored.chart_base64)


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.replace(tzinfo=UTC).isoformat()
