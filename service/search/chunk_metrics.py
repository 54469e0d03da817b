"""Metrics of many runs at once: what a chunk of simulated runs came to, one number a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from backtest import metrics
from backtest.engine import BacktestResult
from backtest.kernel import Ledger, Terms
from backtest.metrics import Floats
from backtest.prices import Prices
from backtest.trades import fills_of
from service.engine.metrics import (
    ANNUAL_METRICS,
    LEAST_BARS,
    PLAIN,
    Reference,
    annual_growth,
    metrics_of,
    risk_free_per_bar,
)

BARS_PER_SPAN = 100  # of the spans of bars in which a drawdown is looked for


@dataclass(frozen=True)
class Chunk:
    """k simulated runs on the same n bars, and the numbers that several metrics share.

    `periods` is the number of bars in a year, `reference` what the runs are measured against.
    """

    prices: Prices
    terms: Terms
    periods: float
    ledger: Ledger
    reference: Reference = PLAIN

    @cached_property
    def risk_free(self) -> float:
        """The risk-free rate of one bar."""
        return risk_free_per_bar(self.reference.risk_free_rate, self.periods)

    @cached_property
    def returns(self) -> Floats:
        """Returns per bar, (k, n): the values of `metrics.bar_returns`, in half its time.

        `metrics.bar_returns` looks for bars without any equity left. Here a chunk that has none
        is divided in one contiguous array.
        """
        equity = self.ledger.equity
        if not equity.min() > 0:
            return metrics.bar_returns(equity)
        returns = np.empty_like(equity)
        returns[:, 0] = 1.0
        np.divide(equity[:, 1:], equity[:, :-1], out=returns[:, 1:])
        returns -= 1.0
        return returns

    @cached_property
    def max_drawdown(self) -> Floats:
        """The maximum of `metrics.drawdowns` of each run, a fraction, (k,).

        Rounding keeps the order of numbers, so that one subtraction a run is enough.
        """
        return np.asarray(1 - lowest_below_peak(self.ledger.equity))

    @cached_property
    def annual_growth(self) -> Floats:
        """Compound annual growth, a fraction, (k,)."""
        equity = self.ledger.equity
        return annual_growth(equity[:, -1] / equity[:, 0], equity.shape[1], self.periods)

    def trade_counts(self) -> Floats:
        """Round trips begun, the open one included, (k,)."""
        fills = self.ledger.fills
        entry_rows = fills.row[fills.held != 0]
        counts = np.bincount(entry_rows, minlength=len(self.ledger.equity))
        return counts.astype(np.float64)

    def result(self, row: int) -> BacktestResult:
        """The result of one run, as the engine gives it."""
        ledger = self.ledger
        only_row = slice(row, row + 1)
        fills = fills_of(ledger, row)
        fills = replace(fills, row=np.zeros_like(fills.row))
        ledger_of_row = Ledger(
            ledger.equity[only_row], ledger.shares[only_row], fills, ledger.shortfall[only_row]
        )
        return BacktestResult("", self.prices, ledger_of_row, self.terms)


def _volatility_pct(chunk: Chunk) -> Floats:
    return 100 * metrics.deviation(chunk.returns) * math.sqrt(chunk.periods)


def _exposure_pct(chunk: Chunk) -> Floats:
    shares = chunk.ledger.shares
    return np.asarray(100 * np.count_nonzero(shares, axis=-1) / shares.shape[1])


# Metrics that are computed for all runs of a chunk at once.
CHUNK_METRICS: Mapping[str, Callable[[Chunk], Floats]] = {
    "total_return_pct": lambda chunk: 100 * metrics.total_return(chunk.ledger.equity),
    "sharpe_ratio": lambda chunk: metrics.sharpe_ratio(
        chunk.returns, chunk.periods, chunk.risk_free
    ),
    "max_drawdown_pct": lambda chunk: 100 * chunk.max_drawdown,
    "num_trades": Chunk.trade_counts,
    "cagr_pct": lambda chunk: 100 * chunk.annual_growth,
    "volatility_pct": _volatility_pct,
    "sortino_ratio": lambda chunk: metrics.sortino_ratio(
        chunk.returns, chunk.periods, chunk.risk_free
    ),
    "calmar_ratio": lambda chunk: metrics.ratio(chunk.annual_growth, chunk.max_drawdown),
    "exposure_pct": _exposure_pct,
}

# Every other metric of a result: each run has to make its own result, a thousand take two seconds.
SINGLE_RUN_METRICS = (
    "max_drawdown_days", "turnover", "total_costs", "value_at_risk_pct", "expected_shortfall_pct",
    "omega_ratio", "skew", "kurtosis", "buy_and_hold_return_pct", "beta", "alpha",
    "information_ratio", "win_rate_pct", "profit_factor", "avg_trade_pct", "best_trade_pct",
    "worst_trade_pct", "avg_holding_days", "expectancy",
)  # fmt: skip

SEARCH_METRICS = (*CHUNK_METRICS, *SINGLE_RUN_METRICS)


def metrics_of_chunk(chunk: Chunk, wanted: Sequence[str]) -> dict[str, Floats]:
    """The `wanted` metrics of SEARCH_METRICS in that order, (k,) each, NaN where undefined."""
    run_by_run = [name for name in wanted if name not in CHUNK_METRICS]
    of_runs = _metrics_run_by_run(chunk, run_by_run) if run_by_run else {}
    numbers = {
        name: of_runs[name] if name in of_runs else CHUNK_METRICS[name](chunk) for name in wanted
    }
    row_count, bars = chunk.ledger.equity.shape
    if bars < LEAST_BARS:
        numbers |= dict.fromkeys(ANNUAL_METRICS & numbers.keys(), np.full(row_count, np.nan))
    return numbers


def _metrics_run_by_run(chunk: Chunk, names: Sequence[str]) -> dict[str, Floats]:
    rows = range(len(chunk.ledger.equity))
    runs = [metrics_of(chunk.result(row), chunk.reference) for row in rows]
    # None, an undefined metric, becomes NaN.
    return {name: np.array([run[name] for run in runs], dtype=np.float64) for name in names}


def lowest_below_peak(equity: Floats) -> Floats:
    """The minimum of equity / running maximum in each row, (k,); `equity` is (k, n), not negative.

    `maximum.accumulate` over all bars takes longer than all other metrics and holds the
    interpreter's lock. So it runs over spans of bars: where a span makes no new peak, its lowest
    bar decides. Of the other spans only those are looked into whose lowest bar against their
    highest would be a deeper fall than all of the former.
    """
    starts = np.arange(0, equity.shape[1], BARS_PER_SPAN)
    lowest = np.minimum.reduceat(equity, starts, axis=-1)
    highest = np.maximum.reduceat(equity, starts, axis=-1)
    with_first = np.concatenate([equity[:, :1], highest], axis=1)
    peak = np.maximum.accumulate(with_first, axis=-1)  # before each span, and after the last one
    result = (lowest / peak[:, :-1]).min(axis=-1)
    row, span = np.nonzero(lowest / peak[:, 1:] < result[:, np.newaxis])
    bars = np.minimum(starts[span, np.newaxis] + np.arange(BARS_PER_SPAN), equity.shape[1] - 1)
    values = equity[row[:, np.newaxis], bars]
    peaks = np.maximum(np.maximum.accumulate(values, axis=-1), peak[row, span, np.newaxis])
    np.minimum.at(result, row, (values / peaks).min(axis=-1))
    return np.asarray(result)
