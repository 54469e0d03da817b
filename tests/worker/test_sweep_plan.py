"""How a sweep is cut into shards, and what computing and storing one takes."""

from __future__ import annotations

import io
import tracemalloc
from typing import Any

import numpy as np
import pytest

from service.contract.sweep import parse_sweep
from service.search import plan as plans
from service.search.plan import SweepPlan
from service.usecases.sweeps import Sweeps, asked_of
from tests.support.prices import series
from tests.support.requests import RUN_ID, SWEEP
from tests.support.sweeps import TWO_TICKERS


def test_shards_are_shorter_where_a_row_costs_more(
    sweeps: Sweeps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plans, "SHARD_CELLS", 20_000)
    changes: list[dict[str, Any]] = [
        {},
        {"folds": 4},
        {"folds": 4, "anchored": True},
        {"metric": "omega_ratio"},
    ]
    requests = [asked_of(sweeps.submit({**TWO_TICKERS, **change})[0]) for change in changes]
    counts = [len(SweepPlan(request, series).shards()) for request in requests]
    assert counts == sorted(set(counts))


def test_the_memory_of_many_tickers_is_that_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Indicators of a ticker are of no use for the next one."""
    request = parse_sweep(
        {
            **SWEEP,
            "run_id": RUN_ID,
            "tickers": ["GOOG", "SPY", "AAPL", "MSFT"],
            "grid": {"fast": "2:200:1", "slow": 250},
        }
    )
    plan = SweepPlan(request, series)
    plan.check()
    tracemalloc.start()
    plan.compute_shard(slice(0, plan.rows))
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 2**20, "an indicator has 8 KiB, and each ticker has 200"


@pytest.mark.parametrize("folds", [0, 5, 20])
def test_a_shard_fits_its_field(folds: int) -> None:
    """MEDIUMBLOB takes 16 MiB, of however short a time."""
    grid = {"period": 5, "oversold": "1:49:0.5", "overbought": "51:99:0.1"}
    change = {
        "run_id": RUN_ID,
        "rule_id": "RSI",
        "grid": grid,
        "folds": folds,
        "start_date": "2017-09-01",
    }
    plan = SweepPlan(parse_sweep({**SWEEP, **change, "metric": "cagr_pct"}), series)
    with np.load(io.BytesIO(plan.compute_shard(slice(0, 3)))) as arrays:
        a_row = sum(arrays[name].nbytes for name in arrays.files) / 3
    assert 2**23 * (folds > 0) < plan.shards()[0].stop * a_row < 2**24 - 4096
