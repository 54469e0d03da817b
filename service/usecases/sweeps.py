"""The use cases of sweeps: submit, progress, result, and the run of one combination."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from rules.base_rule import CompositeRule
from rules.plugins import rules_digest
from service.contract.documents import canonical_json
from service.contract.errors import InvalidRequest, NoResult, RunNotFound
from service.contract.request import BacktestRequest
from service.contract.status import SWEEP
from service.contract.sweep import SweepRequest, parse_sweep
from service.contract.sweep_result import SWEEP_VERSION, SweepResult, sweep_result_of_stored
from service.engine.adapter import fingerprint_of_work, rule_of
from service.search.combined import combined
from service.search.plan import SweepPlan
from service.store.requests import NewRun
from service.store.rows import Run, StoredResult, reading
from service.store.shards import NewSweep
from service.usecases.names import with_tickers
from service.usecases.runs import Runs, searched_values, with_run_id

# The column of the request in the database holds 65,535 bytes.
MAX_REQUEST_BYTES = 60_000


@dataclass(frozen=True)
class Estimate:
    """What a sweep would compute: rows of all tickers, and roughly the seconds of one core."""

    combinations: int
    skipped: int
    tickers: int
    core_seconds: float


@dataclass(frozen=True)
class Sweeps:
    """What the web may do with sweeps; in the store a sweep is a run of its own kind."""

    runs: Runs

    def submit(self, document: object, client: str = "", force: bool = False) -> tuple[Run, bool]:
        """Records the sweep of `document` (sweep request v1); otherwise like `Runs.submit`."""
        request = self._request(document)
        if len(request.canonical().encode()) > MAX_REQUEST_BYTES:
            raise InvalidRequest("The grid is too long; write its values as start:stop:step.")
        return self.runs.record(request, lambda: self._planned(request), client, force)

    def estimate(self, document: object) -> Estimate:
        """What the sweep of `document` would compute; raises as `submit` does, stores nothing."""
        request = self._request(document)
        plan = self._plan(request, self._prices(request), validate=False)
        plan.check()
        return Estimate(len(plan.grid), plan.grid.skipped, len(request.tickers), plan.core_seconds)

    def _request(self, document: object) -> SweepRequest:
        return parse_sweep(with_tickers(with_run_id(document), self.runs.price_store))

    def _prices(self, request: SweepRequest) -> dict[str, str]:
        return {name: self.runs.ticker(name).fingerprint for name in request.priced_tickers}

    def _plan(
        self, request: SweepRequest, prices: Mapping[str, str], *, validate: bool
    ) -> SweepPlan:
        series_of = cache(lambda ticker: self.runs.price_store.series(prices[ticker]))
        return SweepPlan(request, series_of, validate=validate)

    def _planned(self, request: SweepRequest) -> NewRun:
        prices = self._prices(request)
        plan = self._plan(request, prices, validate=True)
        plan.check()
        digest = rules_digest(plan.asked_rule)
        fingerprint = hashlib.sha256(canonical_json(prices).encode()).hexdigest()
        row = {
            "run_id": request.run_id,
            "request": request.canonical(),
            "ticker": request.tickers[0],
            "rule_id": plan.rule.metadata.name,
            "prices_fingerprint": fingerprint,
            "rules_digest": digest,
            "kind": SWEEP,
            **searched_values(request.document()),
        }
        work = fingerprint_of_work(request, [fingerprint], digest, SWEEP_VERSION)
        return NewRun(row, work, NewSweep(prices, plan.shards()))

    def sweep(self, run_id: str) -> Run:
        """The row of a sweep; raises RunNotFound, also where the run is a backtest."""
        run = self.runs.run(run_id)
        if run.kind != SWEEP:
            raise RunNotFound(run_id)
        return run

    def progress(self, run: Run) -> tuple[int, int]:
        """The number of shards that have ended, and the number of all shards."""
        return self.runs.run_store.shard_counts(run.reused_from or run.run_id)

    def result(self, run: Run) -> SweepResult:
        """Sweep result v1 of a sweep that has ended, with the figure in it."""
        stored = self.runs.stored(run)
        if stored is not None:
            return _result_from_store(run, stored)
        provenance = {"evidence": json.loads(run.evidence)} if run.evidence else {}
        return SweepResult(
            run.run_id,
            "failed",
            "" if run.bad_columns else asked_of(run).metric,
            error_message=run.message,
            error_code=run.reason,
            provenance=provenance,
        )

    def result_and_table(self, run: Run) -> tuple[SweepResult, str]:
        """Result and table (CSV) of a completed sweep, read at once; raises NoResult."""
        stored = self.runs.stored(run)
        if stored is None:
            raise NoResult(run.run_id, run.status)
        return _result_from_store(run, stored), stored.table_csv

    def table_csv(self, run: Run) -> str:
        """The table of a completed sweep as CSV; raises NoResult."""
        _, table = self.result_and_table(run)
        return table

    def single(self, run: Run, ticker: str, params: Mapping[str, Any]) -> BacktestRequest:
        """The request for a backtest of one combination; raises InvalidRequest."""
        asked = asked_of(run)
        rule = rule_of(asked.rule_id, {}, validate=False)
        if isinstance(rule, CompositeRule):
            # A combination has its numbers in its name alone.
            rule_id = type(combined(rule))(**params).rule_id
            return asked.single(str(uuid.uuid4()), ticker, rule_id, {})
        return asked.single(str(uuid.uuid4()), ticker, run.rule_id, params)


def _result_from_store(run: Run, stored: StoredResult) -> SweepResult:
    with reading(f"The result of run {run.run_id}"):
        return sweep_result_of_stored(stored.result, run.run_id, stored.chart_base64)


def asked_of(run: Run) -> SweepRequest:
    """The request of a sweep."""
    return parse_sweep(json.loads(run.request))
