"""What a run made of bars that did not exist when it was asked for, and whether it surprises."""

from __future__ import annotations

import hashlib
import math
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd

from backtest.metrics import Floats, bar_returns, deviation, mean
from rules.base_rule import BaseRule
from service.contract.request import BacktestRequest
from service.doubt.bands import TAIL
from service.doubt.bootstrap import Ints, block_length
from service.doubt.digits import six_digits
from service.engine.adapter import engine_of, window
from service.engine.look_ahead import checked_for_look_ahead
from service.engine.metrics import LEAST_BARS, risk_free_per_bar
from service.prices.periods import bars_a_year
from service.prices.series import PriceSeries

LEAST_ASKED = 60  # bars of the run, to say what is expected of the next
RESAMPLES = 1000
LEAST_RESAMPLES = 200
MOST_CELLS = 400_000  # resamples times bars: a longer record has fewer resamples
CELLS_AT_ONCE = 1 << 17


def forward_of(
    request: BacktestRequest, rule: BaseRule, known: PriceSeries, series: PriceSeries
) -> dict[str, Any]:
    """A run, asked for on the prices `known`, on the bars that `series` has after the last of them.

    The run goes on as if it had been asked for to the last bar of `series`, with the same rule on
    the same terms; what it makes after the last known bar is the record. All percentages are of
    that time, and the two amounts of equity, before it and at its end, have every bit of the run.
    `bars` is 0 where there are no new ones; `is_same_past` says whether the bars before
    are those that the run was asked for on.
    """
    data = window(series, request.start_date, series.last)
    past = window(known, request.start_date, known.last)
    last_known = known.data.index[-1]
    known_bars = int(data.index.searchsorted(last_known, side="right"))
    document: dict[str, Any] = {
        "asked_until": str(last_known.date()),
        "bars": len(data) - known_bars,
        "is_same_past": data.iloc[:known_bars].equals(past),
    }
    if known_bars < 2 or not document["bars"]:
        return {**document, "bars": 0}
    signals = checked_for_look_ahead(rule, data, known_bars)
    result = engine_of(request).run(data, lambda _: signals, series.ticker)
    equity = result.equity.to_numpy(dtype=np.float64)
    # Later days were asked for, perhaps, and there were no bars yet.
    end_of_asked = pd.Timestamp(min(request.end_date, known.last)) + timedelta(days=1)
    asked = equity[: min(int(data.index.searchsorted(end_of_asked)), known_bars)]
    held = result.benchmark.to_numpy(dtype=np.float64)
    periods = bars_a_year(pd.DatetimeIndex(data.index))
    risk_free = risk_free_per_bar(request.risk_free_rate, periods)
    since = slice(known_bars - 1, None)
    return {
        **document,
        "first_bar": str(data.index[known_bars].date()),
        "last_bar": str(data.index[-1].date()),
        **_numbers(equity[since], held[since], asked, periods, risk_free, _seed(request, series)),
    }


def _numbers(
    equity: Floats, held: Floats, asked: Floats, periods: float, risk_free: float, seed: int
) -> dict[str, float | bool | None]:
    """Of equity and holding (n + 1,) from the last known bar on; `asked` is that of the run."""
    grown = _growth(equity)
    expected = expected_growth(asked, len(equity) - 1, seed)
    low, high = (math.nan, math.nan) if expected is None else expected
    returns = bar_returns(equity)[1:]
    return {
        "equity_before": float(equity[0]),
        "equity_now": float(equity[-1]),
        "return_pct": six_digits(100 * (grown - 1)),
        "holding_pct": six_digits(100 * (_growth(held) - 1)),
        "sharpe_ratio": six_digits(sharpe_since(returns, periods, risk_free)),
        "low_pct": six_digits(100 * (low - 1)),
        "high_pct": six_digits(100 * (high - 1)),
        "is_inside": None if expected is None or math.isnan(grown) else low <= grown <= high,
    }


def _growth(equity: Floats) -> float:
    """End / start; NaN where nothing was left at the start."""
    return float(equity[-1] / equity[0]) if equity[0] > 0 else math.nan


def _seed(request: BacktestRequest, series: PriceSeries) -> int:
    """Of the lots that are drawn: the same for the same run on the same prices."""
    fields = request.document()
    fields.pop("run_id")
    text = f"{sorted(fields.items())}{series.fingerprint}"
    return int(hashlib.sha256(text.encode()).hexdigest(), 16)


def sharpe_since(returns: Floats, periods: float, risk_free: float) -> float:
    """The Sharpe ratio of a year of new returns (n,); NaN of a few, or where nothing moved.

    `periods` is the number of bars in a year, `risk_free` the rate of one.
    """
    spread = float(deviation(returns)) if len(returns) >= LEAST_BARS else 0.0
    if not spread > 0:
        return math.nan
    return (float(mean(returns)) - risk_free) / spread * math.sqrt(periods)


def expected_growth(equity: Floats, bars: int, seed: int) -> tuple[float, float] | None:
    """Between which growths, end / start, the next bars of a run lie in 95 of 100 cases.

    `equity` (n,) is that of the run as it was asked for, `bars` how many are next. Its returns are
    drawn again in blocks, so many in a row; as nobody knows the true drift, each draw has another
    one. None where the run is too short, or never moved.
    """
    returns = bar_returns(equity)
    count = len(returns)
    if count < LEAST_ASKED or returns.max() == returns.min() or equity.min() <= 0:
        return None
    logs = np.log1p(returns)
    random = np.random.Generator(np.random.PCG64(seed))
    resamples = max(LEAST_RESAMPLES, min(RESAMPLES, MOST_CELLS // bars))
    block = block_length(returns)
    at_once = max(1, CELLS_AT_ONCE // bars)
    parts = [
        np.add.reduce(logs[_places(random, count, bars, rows, block)], axis=1)
        for rows in _rows_at_once(resamples, at_once)
    ]
    sums = np.concatenate(parts)
    drifts = bars / math.sqrt(count) * _deviation_of_mean(logs) * random.standard_normal(resamples)
    low, high = np.quantile(sums + drifts, [TAIL, 1 - TAIL])
    return math.exp(low), math.exp(high)


def _rows_at_once(rows: int, at_once: int) -> list[int]:
    """So many rows, in parts of at most `at_once`."""
    return [min(at_once, rows - done) for done in range(0, rows, at_once)]


def _deviation_of_mean(values: Floats) -> float:
    """That of the mean of values (n,), times the root of their number, whatever follows what."""
    count = len(values)
    block = max(1, round(block_length(values)))
    whole = count // block * block
    sums = np.add.reduce(values[:whole].reshape(-1, block), axis=1)
    return float(np.std(sums, ddof=1)) / math.sqrt(block) if len(sums) > 1 else 0.0


def _places(
    random: np.random.Generator, count: int, bars: int, resamples: int, mean_block: float
) -> Ints:
    """Which of `count` returns stand where, in blocks that begin anywhere, (resamples, bars)."""
    begins = random.random((resamples, bars)) < 1 / mean_block
    begins[:, 0] = True
    bar = np.arange(bars)
    first = np.maximum.accumulate(np.where(begins, bar, 0), axis=1)
    starts = random.integers(0, count, (resamples, bars))
    return np.asarray((np.take_along_axis(starts, first, axis=1) + bar - first) % count)
