"""Sweeps that are submitted and launched, for tests of their workers."""

from __future__ import annotations

import io

import pandas as pd

from service.store.rows import CLAIM_SECONDS, Run
from service.store.shards import ShardStore
from service.usecases.sweeps import Sweeps
from tests.support.clocks import SteadyClock
from tests.support.requests import SWEEP

TWO_TICKERS = {**SWEEP, "tickers": ["GOOG", "SPY"]}


def submit_launched(sweeps: Sweeps, document: object = SWEEP) -> Run:
    """Records a sweep and marks it as launched."""
    run, _ = sweeps.submit(document)
    assert sweeps.runs.run_store.mark_launched(run.run_id)
    return run


def table_of(sweeps: Sweeps, run_id: str) -> pd.DataFrame:
    """The table of a sweep's combinations."""
    return pd.read_csv(io.StringIO(sweeps.table_csv(sweeps.sweep(run_id))))


def watch_leases_end(store: ShardStore, run: Run, shard: int, steady_clock: SteadyClock) -> None:
    """Another worker has watched a shard for the length of its lease: nobody has renewed it."""
    assert store.claim_shard(run, shard, "watching") is None
    steady_clock.now += CLAIM_SECONDS
