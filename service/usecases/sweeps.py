"""The use cases of sweeps, as `service.usecases.runs` has those of runs: submit, progress, result, the single run of a cell."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from rules.plugins import rules_digest
from service.contract.documents import canonical_json
from service.contract.errors import InvalidRequest, NoResult, RunNotFound
from service.contract.request import BacktestRequest
from service.contract.status import SWEEP
from service.contract.sweep import SweepRequest, parse_sweep
from service.contract.sweep_result import SWEEP_VERSION, SweepResult
from service.engine.adapter import fingerprint_of_work
from service.search.plan import SweepPlan
from service.store.rows import Run, StoredResult
from service.store.shards import NewSweep
from service.usecases.runs import Planned, Runs, with_run_id

MOST_BYTES = 60_000  # of a request: a database column holds 65,535


@dataclass(frozen=True)
class Sweeps:
    """Sweeps as the web sees them; to the store and the controller each is a run."""

    runs: Runs

    def submit(self, document: object, client: str = "", force: bool = False) -> tuple[Run, bool]:
        """Records the sweep that `document` (sweep request v1) asks for, as `Runs.submit` does a run."""
        request = parse_sweep(with_run_id(document))
        if len(request.canonical().encode()) > MOST_BYTES:
            raise InvalidRequest("The grid is too long; write its values as start:stop:step.")
        return self.runs.record(request, lambda: self._planned(request), client, force)

    def _planned(self, request: SweepRequest) -> Planned:
        prices = {name: self.runs.ticker(name).fingerprint for name in request.tickers}
        series_of = cache(lambda ticker: self.runs.price_store.series(prices[ticker]))
        plan = SweepPlan(request, series_of, validate=True)
        plan.check()
        digest, fingerprint = (
            rules_digest(plan.rule),
            hashlib.sha256(canonical_json(prices).encode()).hexdigest(),
        )
        row = {
            "run_id": request.run_id,
            "request": request.canonical(),
            "ticker": request.tickers[0],
            "rule_id": plan.rule.metadata.name,
            "prices_fingerprint": fingerprint,
            "rules_digest": digest,
            "kind": SWEEP,
        }
        work = fingerprint_of_work(request, fingerprint, digest, SWEEP_VERSION)
        return Planned(row, work, NewSweep(prices, plan.shards()))

    def sweep(self, run_id: str) -> Run:
        """The row; raises RunNotFound."""
        run = self.runs.run(run_id)
        if run.kind != SWEEP:
            raise RunNotFound(run_id)
        return run

    def progress(self, run: Run) -> tuple[int, int]:
        """How many shards have ended, and how many there are."""
        return self.runs.run_store.shard_counts(run.reused_from or run.run_id)

    def result(self, run: Run) -> SweepResult:
        """Sweep result v1 of a sweep that has ended, its figure inline."""
        stored = self.runs.stored(run)
        if stored is None:
            seen = {"evidence": json.loads(run.evidence)} if run.evidence else {}
            return SweepResult(
                run.run_id, "failed", asked_of(run).metric, run.message, run.reason, provenance=seen
            )
        return _result_of(run, stored)

    def found(self, run: Run) -> tuple[SweepResult, str]:
        """Result and table of a completed sweep, read at once; raises NoResult."""
        stored = self.runs.stored(run)
        if stored is None:
            raise NoResult(run.run_id, run.status)
        return _result_of(run, stored), stored.table_csv

    def table_csv(self, run: Run) -> str:
        """The table alone; raises NoResult."""
        return self.found(run)[1]

    def single(self, run: Run, ticker: str, params: Mapping[str, Any]) -> BacktestRequest:
        """What to ask for to get one of its combinations with everything that a run has; raises InvalidRequest."""
        return asked_of(run).single(str(uuid.uuid4()), ticker, run.rule_id, params)


def _result_of(run: Run, stored: StoredResult) -> SweepResult:
    document = {
        **json.loads(stored.result),
        "chart_base64": stored.chart_base64,
        "run_id": run.run_id,
    }
    return SweepResult(**document)


def asked_of(run: Run) -> SweepRequest:
    """What the sweep was asked with."""
    return parse_sweep(json.loads(run.request))
