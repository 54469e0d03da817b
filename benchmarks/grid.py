"""Ten thousand combinations of SMA crossing on GOOG daily (2,699 bars), with costs, five metrics a row, against plain
NumPy: `python -m benchmarks.grid PATH/TO/peers.py`. Both sides take turns in one process, so that a busy machine shifts
both alike.

`peers.py` has a class Numpy with setup, prepare and grid(prepared, fasts, slows): total return, Sharpe ratio and
drawdown of every combination. Further tables: growth with the number of combinations and of bars, and every rule.
"""

from __future__ import annotations

import importlib
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from backtest.kernel import Terms
from rules.optimizer import Columns, Grid, ParameterOptimizer, grid
from rules.registry import BUILT_IN
from scripts.config import ROOT
from service.prices.series import read_csv
from service.search.evaluator import GridEvaluator

ROUNDS = 7
TERMS = Terms(100_000.0, 0.001, 0.0, 0.0, False)
FASTS, SLOWS = range(2, 102), range(105, 305, 2)
EVERY_RULE: dict[str, dict[str, object]] = {
    "MA_CROSS": {"fast": "2:101", "slow": "105:303:2"},
    "RSI": {"period": "2:21", "oversold": "10:38:2", "overbought": "60:88:2"},
    "BB": {"period": "5:104", "width": "0.5:5.45:0.05"},
    "MACD": {"fast": "5:20", "slow": "22:46", "signal": "5:14"},
    "VOLUME": {"period": "5:104", "multiple": "0.5:5.45:0.05"},
    "TREND": {"period": "2:101", "threshold": "1:50.5:0.5"},
    "ATR": {"period": "2:101", "multiple": "0.5:5.45:0.05"},
    "MOMENTUM": {"lookback": "1:2000"},
    "VALUE": {"lookback": "20:1010:10", "discount": "0:49.5:0.5"},
    "MEAN_REVERSION": {"period": "5:104", "entry": "0.5:5.45:0.05"},
    "BREAKOUT": {"entry": "2:101", "exit": "2:101"},
}


class OneByOne(BUILT_IN["MA_CROSS"]):  # type: ignore[misc]
    """The same rule as a plug-in that knows nothing of searches writes it."""

    def generate_signals(self, data: pd.DataFrame) -> pd.Series:
        return super().generate_signals(data)


def goog() -> pd.DataFrame:
    return read_csv(ROOT / "data" / "GOOG.csv", "GOOG", "GOOG.csv").data


def walk(bars: int) -> pd.DataFrame:
    """A seeded random walk by the minute."""
    random = np.random.Generator(np.random.PCG64(43))
    close = 100.0 * np.exp(np.cumsum(random.normal(0.0, 0.0006, bars)))
    open_ = np.append(100.0, close[:-1])
    high, low = np.maximum(open_, close), np.minimum(open_, close)
    columns = {"Open": open_, "High": high, "Low": low, "Close": close, "Volume": np.ones(bars)}
    return pd.DataFrame(columns, index=pd.date_range("2020-01-01", periods=bars, freq="min"))


def ours(data: pd.DataFrame, found: Grid) -> Columns:
    """A search with everything computed anew."""
    return ParameterOptimizer(GridEvaluator(data, found.rule, TERMS)).run(found).metrics


def numpy_contender(path: str, data: pd.DataFrame) -> Callable[[], list[tuple[Any, ...]]]:
    """The grid of the file's class Numpy, unchanged."""
    sys.path.insert(0, str(Path(path).resolve().parent))
    peers = importlib.import_module(Path(path).stem)
    contender = peers.Numpy()
    contender.commission = TERMS.commission_rate
    contender.setup()
    prepared = contender.prepare(data)
    return lambda: list(contender.grid(prepared, list(FASTS), list(SLOWS)))


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def against_numpy(path: str) -> None:
    """Medians over rounds of both, and of their ratio in each round."""
    data = goog()
    found, theirs = grid(BUILT_IN["MA_CROSS"], EVERY_RULE["MA_CROSS"]), numpy_contender(path, data)
    apart = np.abs([row[2] for row in theirs()] - ours(data, found)["total_return_pct"] / 100).max()
    print(
        f"{len(found)} combinations on {len(data)} bars; total returns differ by at most {apart:.1e}"
    )
    pairs = [(seconds(lambda: ours(data, found)), seconds(theirs)) for _ in range(ROUNDS)]
    mine, numpy = (statistics.median(each) for each in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    rounds = " ".join(f"{a / b:.2f}" for a, b in pairs)
    print(f"ours {mine:.3f} s, plain NumPy {numpy:.3f} s: {ratio:.2f} x (rounds {rounds})")


def growth() -> None:
    """Microseconds a row and memory above the start, by combinations and by bars."""
    data = goog()
    for fasts, slows in ((10, 10), (20, 50), (100, 100), (200, 500)):
        asked = {"fast": list(range(2, 2 + fasts)), "slow": list(range(1001 - slows, 1001))}
        measured(data, grid(BUILT_IN["MA_CROSS"], asked, 10**6))
    for bars in (1_000, 10_000, 100_000, 1_000_000):
        measured(walk(bars), grid(BUILT_IN["MA_CROSS"], {"fast": "5:24", "slow": "30:120:10"}))


def measured(data: pd.DataFrame, found: Grid) -> None:
    tracemalloc.start()
    ours(data, found)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    a_row = seconds(lambda: ours(data, found)) / len(found)
    size = f"{len(found):7} combinations {len(data):8} bars"
    print(f"{size} {a_row * 1e6:9.1f} us a row {peak / 2**20:7.1f} MiB above the start")


def every_rule() -> None:
    """Microseconds a row of each built-in rule."""
    data = goog()
    for name, asked in EVERY_RULE.items():
        found = grid(BUILT_IN[name], asked)
        a_row = seconds(partial(ours, data, found)) / len(found)
        print(f"{name:15} {len(found):6} combinations {a_row * 1e6:8.1f} us a row")
    found = grid(OneByOne, {"fast": "2:101", "slow": "105:123:2"})
    a_row = seconds(partial(ours, data, found)) / len(found)
    print(f"{'one by one':15} {len(found):6} combinations {a_row * 1e6:8.1f} us a row")


def main() -> None:
    """All tables."""
    if len(sys.argv) > 1 and Path(sys.argv[1]).is_file():
        against_numpy(sys.argv[1])
    every_rule()
    growth()


if __name__ == "__main__":
    main()
