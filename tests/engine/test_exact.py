"""Correctly rounded numbers, against decimal arithmetic, and by processors without FMA."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from decimal import Context, Decimal
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest import metrics as frozen
from scripts.config import ROOT
from service.engine.exact import normal_probability, normal_quantile, power, powers
from service.engine.metrics import excess_kurtosis, skewness

DIGITS = Context(prec=60)
WITHOUT_FMA = "glibc.cpu.hwcaps=-FMA,-AVX2,-FMA4"


@given(st.floats(1e-6, 1e6), st.floats(-3, 300))
def test_the_nearest_double_of_a_power(base: float, exponent: float) -> None:
    true = DIGITS.exp(DIGITS.multiply(DIGITS.ln(Decimal(base)), Decimal(exponent)))
    assert power(base, exponent) == float(true)


def test_powers_at_the_edges() -> None:
    assert powers(np.array([0.0, 1.0, 2.0, np.nan]), 0.5)[:3].tolist() == [0.0, 1.0, 2**0.5]
    assert math.isnan(powers(np.array([np.nan]), 0.5)[0])
    assert power(1e300, 252) == math.inf
    assert math.isnan(power(-1.0, 0.5))
    assert power(1.01, 0.0) == 1.0


@given(st.floats(-8, 8))
def test_probabilities(value: float) -> None:
    assert normal_probability(value) == pytest.approx(NormalDist().cdf(value), rel=1e-12)
    assert 0 <= normal_probability(value) <= 1


@given(st.floats(1e-9, 1 - 1e-9))
def test_quantiles_lead_back(probability: float) -> None:
    assert normal_probability(normal_quantile(probability)) == pytest.approx(probability, rel=1e-9)
    assert normal_quantile(probability) == pytest.approx(
        NormalDist().inv_cdf(probability), rel=1e-9, abs=1e-12
    )


@given(st.lists(st.floats(-0.2, 0.2), min_size=4, max_size=60))
def test_moments_are_those_of_the_frozen_engine(values: list[float]) -> None:
    returns = np.array(values)
    with np.errstate(invalid="ignore"):
        expected = frozen.skewness(returns), frozen.excess_kurtosis(returns)
    found = skewness(returns), excess_kurtosis(returns)
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-6, nan_ok=True)


JUDGED = """
from service.contract.sweep import parse_sweep
from service.search.plan import SweepPlan
from service.search.result import EndedShard, judge_sweep
from tests.support.prices import series
from tests.support.requests import RUN_ID, SWEEP
asked = {**SWEEP, "run_id": RUN_ID, "folds": 4, "reality_check": True, "benchmark": "SPY"}
plan = SweepPlan(parse_sweep(asked), series)
shards = [EndedShard(rows.start, rows.stop, plan.compute_shard(rows)) for rows in plan.shards()]
judged = judge_sweep(plan, shards, {})
print(judged.result.canonical(), judged.table_csv)
"""


@pytest.mark.process
def test_the_same_bytes_of_a_search_without_fused_multiplication() -> None:
    def judged(**environment: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", JUDGED],
            cwd=ROOT,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    plain = judged()
    assert "timing_probability" in plain
    assert judged(GLIBC_TUNABLES=WITHOUT_FMA) == plain


@pytest.mark.process
@pytest.mark.parametrize("rule", ["MA_CROSS_7_66", "MEAN_REVERSION_20_2", "MACD_12_26_9"])
def test_the_same_bytes_without_fused_multiplication(rule: str) -> None:
    """Processors without FMA take other code of the C library; its last digits differ."""
    request = {
        "RUN_ID": "7ec8e7de-0c65-4b8c-9d4c-7b6a1f0d6a11",
        "TICKER": "GOOG",
        "RULE_ID": rule,
        "START_DATE": "2013-01-02",
        "END_DATE": "2023-09-21",
        "RISK_FREE_RATE": "0.03",
        "SQLITE_PATH": "",
        "DB_HOST": "",
    }

    def performed(**environment: str) -> str:
        done = subprocess.run(
            [sys.executable, "worker.py"],
            cwd=ROOT,
            env={**os.environ, **request, **environment},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    plain = performed()
    assert json.loads(plain)["metrics"]["cagr_pct"] is not None
    assert performed(GLIBC_TUNABLES=WITHOUT_FMA) == plain
