"""A stored run, or a sweep, performed again: is every byte the same?"""

from __future__ import annotations

import json
import sys
from functools import cache

from rules.plugins import rules_digest
from scripts.config import load_config
from service.contract.errors import UserError
from service.contract.request import parse_request
from service.contract.result import NOT_REPRODUCED, BacktestResult
from service.contract.sweep import parse_sweep
from service.contract.sweep_result import SweepResult
from service.search.plan import SweepPlan
from service.search.result import EndedShard, judged
from service.store.database import Engine
from service.store.migrate import open_database
from service.store.prices import PriceStore
from service.store.requests import RequestStore
from service.store.rows import Run, StoredResult
from service.store.shards import ShardStore
from service.usecases.runs import result_from_store
from service.worker.run import perform
from service.worker.software import Software

Results = tuple[BacktestResult | SweepResult, BacktestResult | SweepResult, bool]


def replay(run_id: str) -> int:
    """Recomputes a stored run, or a sweep, from its request and prices; 0 when every reproducible byte is the same."""
    engine = open_database(load_config())
    store = RequestStore(engine)
    run = store.get(run_id)
    stored = None if run is None else store.result_of(run)
    if run is None or stored is None:
        print(f"{run_id} is no completed run of this database", file=sys.stderr)
        return 1
    again = _sweep_again if run.is_sweep else _run_again
    try:
        then, now, same_table = again(engine, run, stored)
    except UserError as error:
        print(f"{run_id} cannot be performed any more: {error}", file=sys.stderr)
        return 1
    same = now.reproducible() == then.reproducible() and same_table
    print(
        f"{run_id}: {'every byte is the same' if same else 'the bytes DIFFER: ' + _difference(then, now)}"
    )
    return 0 if same else 1


def _run_again(engine: Engine, run: Run, stored: StoredResult) -> Results:
    series = PriceStore(engine).series(run.prices_fingerprint)
    now, performed = perform(parse_request(json.loads(run.request)), series, Software())
    return result_from_store(stored), now, performed.equity_csv() == stored.table_csv


def _sweep_again(engine: Engine, run: Run, stored: StoredResult) -> Results:
    """Rows that were lost then are computed now, and differ."""
    prices, store = ShardStore(engine).fingerprints(run.run_id), PriceStore(engine)
    plan = SweepPlan(
        parse_sweep(json.loads(run.request)), cache(lambda ticker: store.series(prices[ticker]))
    )
    shards = [EndedShard(part.start, part.stop, plan.computed(part)) for part in plan.shards()]
    done = judged(plan, shards, {"rules_digest": rules_digest(plan.rule)})
    then = SweepResult(**{**json.loads(stored.result), "chart_base64": stored.chart_base64})
    return then, done.result, done.table_csv == stored.table_csv


def _difference(then: BacktestResult | SweepResult, now: BacktestResult | SweepResult) -> str:
    before, after = ({**result.document(), **result.provenance} for result in (then, now))
    ignored = {"run_id", "provenance", *NOT_REPRODUCED}
    return (
        ", ".join(
            name for name in before if name not in ignored and before[name] != after.get(name)
        )
        or "the table"
    )
