"""Times a parameter search: `python -m benchmarks.search [PATH/TO/peers.py]`.

With `peers.py` it compares itself with plain NumPy: ten thousand combinations of SMA crossing on
GOOG daily (2,699 bars), with costs, five metrics a row. Both take turns in one process, so that a
busy machine slows both. `peers.py` has a class Numpy with setup, prepare and
grid(prepared, fasts, slows): total return, Sharpe ratio and drawdown of every combination.

Two more tables have the time of each rule, and its growth with combinations and bars.
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
from service.prices.files.reading import read_file
from service.search.evaluator import SearchEvaluator

ROUNDS = 7
TERMS = Terms(100_000.0, 0.001, 0.0, 0.0, False)
FASTS = range(2, 102)
SLOWS = range(105, 305, 2)
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
    """The same rule as a plug-in without `conditions`: a search computes its rows one by one."""

    def generate_signals(self, data: pd.DataFrame) -> pd.Series:
        return super().generate_signals(data)


def goog() -> pd.DataFrame:
    return read_file(ROOT / "data" / "GOOG.csv", "GOOG").series.data


def walk(bars: int) -> pd.DataFrame:
    """A seeded random walk with a bar every minute."""
    random = np.random.Generator(np.random.PCG64(43))
    close = 100.0 * np.exp(np.cumsum(random.normal(0.0, 0.0006, bars)))
    open_ = np.append(100.0, close[:-1])
    columns = {
        "Open": open_,
        "High": np.maximum(open_, close),
        "Low": np.minimum(open_, close),
        "Close": close,
        "Volume": np.ones(bars),
    }
    return pd.DataFrame(columns, index=pd.date_range("2020-01-01", periods=bars, freq="min"))


def search(data: pd.DataFrame, searched: Grid) -> Columns:
    """The metrics of every row, with everything computed anew."""
    evaluator = SearchEvaluator(data, searched.rule, TERMS)
    return ParameterOptimizer(evaluator).run(searched).metrics


def numpy_contender(path: str, data: pd.DataFrame) -> Callable[[], list[tuple[Any, ...]]]:
    """The search of the file's class Numpy, with its data prepared."""
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
    """Prints the medians of both, and the median of their ratio in each round."""
    data = goog()
    searched = grid(BUILT_IN["MA_CROSS"], EVERY_RULE["MA_CROSS"])
    contender = numpy_contender(path, data)
    our_returns = search(data, searched)["total_return_pct"] / 100
    difference = np.abs([row[2] for row in contender()] - our_returns).max()
    print(f"{len(searched)} combinations on {len(data)} bars")
    print(f"total returns differ by at most {difference:.1e}")
    our_seconds = []
    numpy_seconds = []
    for _ in range(ROUNDS):
        our_seconds.append(seconds(lambda: search(data, searched)))
        numpy_seconds.append(seconds(contender))
    ratios = [ours / numpy for ours, numpy in zip(our_seconds, numpy_seconds, strict=True)]
    print(f"ours {statistics.median(our_seconds):.3f} s")
    print(f"plain NumPy {statistics.median(numpy_seconds):.3f} s")
    rounds = " ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"ratio {statistics.median(ratios):.2f} (rounds {rounds})")


def print_all_growth() -> None:
    """Prints microseconds a row and memory above the start, by combinations and by bars."""
    data = goog()
    for fasts, slows in ((10, 10), (20, 50), (100, 100), (200, 500)):
        values = {"fast": list(range(2, 2 + fasts)), "slow": list(range(1001 - slows, 1001))}
        print_growth(data, grid(BUILT_IN["MA_CROSS"], values, 10**6))
    for bars in (1_000, 10_000, 100_000, 1_000_000):
        print_growth(walk(bars), grid(BUILT_IN["MA_CROSS"], {"fast": "5:24", "slow": "30:120:10"}))


def print_growth(data: pd.DataFrame, searched: Grid) -> None:
    """Prints a line of the table of growth."""
    tracemalloc.start()
    search(data, searched)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    microseconds = 1e6 * seconds_a_row(data, searched)
    size = f"{len(searched):7} combinations {len(data):8} bars"
    print(f"{size} {microseconds:9.1f} us a row {peak / 2**20:7.1f} MiB above the start")


def seconds_a_row(data: pd.DataFrame, searched: Grid) -> float:
    """The seconds of one search, divided by its rows."""
    return seconds(partial(search, data, searched)) / len(searched)


def print_all_rules() -> None:
    """Prints microseconds a row of each built-in rule."""
    data = goog()
    for name, values in EVERY_RULE.items():
        print_rule(name, data, grid(BUILT_IN[name], values))
    print_rule("one by one", data, grid(OneByOne, {"fast": "2:101", "slow": "105:123:2"}))


def print_rule(name: str, data: pd.DataFrame, searched: Grid) -> None:
    """Prints a line of the table of rules."""
    microseconds = 1e6 * seconds_a_row(data, searched)
    print(f"{name:15} {len(searched):6} combinations {microseconds:8.1f} us a row")


def main() -> None:
    """Prints all tables."""
    if len(sys.argv) > 1 and Path(sys.argv[1]).is_file():
        against_numpy(sys.argv[1])
    print_all_rules()
    print_all_growth()


if __name__ == "__main__":
    main()
