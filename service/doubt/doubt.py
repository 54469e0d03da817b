"""All that is doubtful about a performed run, as its result's document has it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from rules.base_rule import BaseRule
from service.contract.request import BacktestRequest
from service.doubt.bands import Sample, bands_of
from service.doubt.digits import six_digits
from service.doubt.fragility import Performance, break_even_cost, rows_of
from service.doubt.luck import minimum_track_record, skill_probability
from service.doubt.regimes import regimes_of
from service.engine.adapter import Performed
from service.engine.metrics import LEAST_BARS


def doubt_of(request: BacktestRequest, rule: BaseRule, performed: Performed) -> dict[str, Any]:
    """Bands, probability of skill, changes and regimes; the same bytes for the same result.

    The fields are those of `doubt` in the contract of a result.
    """
    run = Performance(
        request=request,
        rule=rule,
        data=performed.prices,
        signals=performed.signals,
        equity=performed.bars["equity"].to_numpy(),
        position=performed.bars["position"].to_numpy(),
        trades=performed.result.trades,
    )
    gains = [trade["pnl"] for trade in performed.result.trades if trade["exit_date"]]
    sample = Sample(run.equity, np.array(gains, np.float64), run.periods, run.risk_free)
    seed = seed_of(performed)
    # Growth that no market has is infinite, and so undefined.
    with np.errstate(over="ignore", invalid="ignore"):
        bands = {name: list(band) for name, band in bands_of(sample, seed).items()}
        close = run.data["Close"].to_numpy(dtype=np.float64)
        return {
            "bands": bands,
            **_of_sharpe_ratio(sample),
            "changes": rows_of(run, seed),
            "break_even_cost_pct": break_even_cost(run),
            "regimes": regimes_of(close, run.equity, run.periods, run.risk_free),
        }


def seed_of(performed: Performed) -> int:
    """Of everything that is drawn by lot: the fingerprint of the result."""
    return int(hashlib.sha256(performed.result.reproducible().encode()).hexdigest(), 16)


def _of_sharpe_ratio(sample: Sample) -> Mapping[str, float | int | None]:
    excess = sample.returns - sample.risk_free
    enough = len(excess) >= LEAST_BARS
    probability = skill_probability(excess) if enough else math.nan
    return {
        "probabilistic_sharpe_ratio": six_digits(probability),
        "min_track_record_bars": minimum_track_record(excess) if enough else None,
    }
