"""Sweeps that are submitted and launched, for tests of their workers."""

from __future__ import annotations

import io

import pandas as pd
from sqlalchemy import Engine, text

from service.store.rows import Run
from service.usecases.sweeps import Sweeps
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


def end_leases(engine: Engine) -> None:
    """Lets the leases of all shards run out, as if their workers had fallen silent."""
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE sweep_shards SET lease_until = '2020-01-01' WHERE status = 'running'")
        )
