"""A stored run, or a sweep, performed again: is every byte the same?"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from functools import cache

from rules.plugins import rules_digest, same_digest
from scripts.config import load_config
from service.contract.errors import InvalidRequest, UserError
from service.contract.request import parse_request
from service.contract.result import NOT_REPRODUCED, BacktestResult
from service.contract.sweep import parse_sweep
from service.contract.sweep_result import SweepResult
from service.search.plan import SweepPlan
from service.search.result import EndedShard, judge_sweep
from service.store.database import Engine
from service.store.migrate import open_database
from service.store.prices import PriceStore
from service.store.requests import RequestStore
from service.store.rows import Run, StoredResult
from service.store.shards import ShardStore
from service.usecases.runs import result_from_store
from service.worker.run import perform
from service.worker.software import Software


@dataclass(frozen=True)
class Comparison:
    """The stored result, the one computed now, and whether both have the same table."""

    stored: BacktestResult | SweepResult
    computed: BacktestResult | SweepResult
    same_table: bool

    @property
    def is_same(self) -> bool:
        """Whether every byte that a run must reproduce is the same."""
        return self.same_table and self.computed.reproducible() == self.stored.reproducible()

    def differing_fields(self) -> str:
        """Their names, or that it is the table."""
        before = {**self.stored.document(), **self.stored.provenance}
        after = {**self.computed.document(), **self.computed.provenance}
        ignored = {"run_id", "provenance", *NOT_REPRODUCED}
        names = [name for name in before if name not in ignored and before[name] != after.get(name)]
        return ", ".join(names) or "the table"


def replay(run_id: str) -> int:
    """Recomputes a stored run, or a sweep, from its request and prices.

    Returns 0 when every reproducible byte is the same, else 1.
    """
    engine = open_database(load_config())
    store = RequestStore(engine)
    run = store.get(run_id)
    stored = None if run is None else store.result_of(run)
    if run is None or stored is None:
        print(f"{run_id} is no completed run of this database", file=sys.stderr)
        return 1
    if run.is_fetch:
        print(f"{run_id} fetched prices: a vendor's answer cannot be replayed", file=sys.stderr)
        return 1
    compute = _compute_sweep if run.is_sweep else _compute_run
    try:
        comparison = compute(engine, run, stored)
    except UserError as error:
        print(f"{run_id} cannot be performed any more: {error}", file=sys.stderr)
        return 1
    if comparison.is_same:
        print(f"{run_id}: every byte is the same")
        return 0
    print(f"{run_id}: the bytes DIFFER: {comparison.differing_fields()}")
    return 1


def _compute_run(engine: Engine, run: Run, stored: StoredResult) -> Comparison:
    price_store = PriceStore(engine)
    series = price_store.series(run.prices_fingerprint)
    fingerprint = run.benchmark_fingerprint
    benchmark = None if fingerprint is None else price_store.series(fingerprint)
    request = parse_request(json.loads(run.request))
    before = result_from_store(stored)
    result, performed = perform(request, series, Software(), benchmark, earlier=before.provenance)
    same_table = performed.equity_csv() == stored.table_csv
    return Comparison(before, result, same_table)


def _compute_sweep(engine: Engine, run: Run, stored: StoredResult) -> Comparison:
    """Rows that were lost with their worker are computed now, so that such a sweep differs.

    Raises InvalidRequest for a sweep of an earlier version, which judged searches otherwise.
    """
    before = json.loads(stored.result)
    price_store = PriceStore(engine)
    fingerprints = ShardStore(engine).fingerprints(run.run_id)
    series_of = cache(lambda ticker: price_store.series(fingerprints[ticker]))
    plan = SweepPlan(parse_sweep(json.loads(run.request)), series_of)
    shards = [EndedShard(rows.start, rows.stop, plan.compute_shard(rows)) for rows in plan.shards()]
    digest = same_digest(before["provenance"]["rules_digest"], rules_digest(plan.rule))
    judged = judge_sweep(plan, shards, {"rules_digest": digest})
    version = before["provenance"]["engine_version"]
    if version != judged.result.provenance["engine_version"]:
        template = "version {version} of the engine judged it; replay it with its own release"
        raise InvalidRequest(template, version=version)
    document = {**before, "chart_base64": stored.chart_base64}
    same_table = judged.table_csv == stored.table_csv
    return Comparison(SweepResult(**document), judged.result, same_table)
