"""Compares an engine run with plain NumPy and backtesting.py: `python -m benchmarks.engine`.

They take turns in one process, so that a busy machine slows all. It prints medians and ratios;
backtesting.py is in benchmarks/requirements.txt.

The NumPy floor is a short program for the same model: moving averages from running sums, positions,
equity by a cumulative product, return, Sharpe ratio and drawdown. Our engine takes the signals and
returns a result with more numbers.

The file is also an adapter for harnesses that import `Adapter` and call setup, prepare and single.
"""

from __future__ import annotations

import contextlib
import io
import statistics
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

# A harness imports this file from anywhere.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pandas as pd

from backtest.engine import BacktestEngine
from rules.registry import rule_from_id
from scripts.config import ROOT
from service.prices.files.reading import read_file

ROUNDS = 15
REPEATS = 100
PEER_REPEATS = 3
FAST = 10
SLOW = 30
COMMISSION = 0.001
CASH = 1e9

Numbers = tuple[float, float, float]  # total return, Sharpe ratio, drawdown


def numpy_floor(data: pd.DataFrame) -> Callable[[], Numbers]:
    """The same model in plain NumPy, its inputs prepared beforehand."""
    open_ = data["Open"].to_numpy()
    close = data["Close"].to_numpy()
    sums = np.concatenate([[0.0], np.cumsum(close)])
    before = np.concatenate([close[:1], close[:-1]])
    growth_held = close / before
    growth_entered = close / open_ / (1 + COMMISSION)
    growth_left = open_ / before * (1 - COMMISSION)

    def average(bars: int) -> np.ndarray:
        result = np.full(len(close), np.nan)
        result[bars - 1 :] = (sums[bars:] - sums[:-bars]) / bars
        return result

    def run() -> Numbers:
        is_above = average(FAST) > average(SLOW)
        is_in = np.concatenate([[False], is_above[:-1]])
        was_in = np.concatenate([[False], is_in[:-1]])
        growth_in = np.where(was_in, growth_held, growth_entered)
        growth_out = np.where(was_in, growth_left, 1.0)
        growth = np.where(is_in, growth_in, growth_out)
        equity = np.cumprod(growth)
        returns = growth - 1.0
        drawdown = 1 - equity / np.maximum.accumulate(np.maximum(equity, 1.0))
        sharpe = returns.mean() / returns.std(ddof=1) * np.sqrt(252)
        return float(equity[-1] - 1), float(sharpe), float(drawdown.max())

    return run


def ours(data: pd.DataFrame) -> Callable[[], Numbers]:
    """BacktestEngine with the signals given."""
    signals = rule_from_id(f"MA_CROSS_{FAST}_{SLOW}").generate_signals(data)
    engine = BacktestEngine(CASH, COMMISSION)

    def run() -> Numbers:
        result = engine.run(data, lambda _: signals)
        return (
            result["total_return_pct"] / 100,
            result["sharpe_ratio"],
            result["max_drawdown_pct"] / 100,
        )

    return run


def backtesting_py(data: pd.DataFrame) -> Callable[[], Numbers] | None:
    """The best-known peer, with its own statistics; None where it is not installed."""
    try:
        import backtesting
    except ImportError:
        return None
    rule = rule_from_id(f"MA_CROSS_{FAST}_{SLOW}")
    signals = rule.generate_signals(data).to_numpy().astype(float)

    class Follow(backtesting.Strategy):  # type: ignore[misc]
        def init(self) -> None:
            self.signals = self.I(lambda: signals, plot=False)

        def next(self) -> None:
            if self.signals[-1] > 0 and not self.position:
                self.buy()
            elif self.signals[-1] < 0:
                self.position.close()

    test = backtesting.Backtest(data, Follow, cash=CASH, commission=COMMISSION)

    def run() -> Numbers:
        # It prints a progress bar.
        with contextlib.redirect_stderr(io.StringIO()):
            stats = test.run()
        return stats["Return [%]"] / 100, stats["Sharpe Ratio"], -stats["Max. Drawdown [%]"] / 100

    return run


try:
    from peers import Contender  # type: ignore[import-not-found]
except ImportError:
    Contender = object


class Adapter(Contender):  # type: ignore[misc]
    """BacktestEngine for a harness: signals are computed once per (fast, slow)."""

    name = "ours"
    about = "BacktestEngine, signals given"
    module = "numpy"
    packages = ["numpy", "pandas"]

    def setup(self) -> None:
        """Takes costs and capital of the harness."""
        self.engine = BacktestEngine(self.cash, self.commission)

    def prepare(self, data: pd.DataFrame) -> pd.DataFrame:
        """Returns the data unchanged."""
        self.signals = cache(
            lambda fast, slow: rule_from_id(f"MA_CROSS_{fast}_{slow}").generate_signals(data)
        )
        return data

    def single(self, prepared: pd.DataFrame, fast: int, slow: int) -> dict[str, Any]:
        """One run."""
        signals = self.signals(fast, slow)
        result = self.engine.run(prepared, lambda _: signals)
        return {
            "total_return": result["total_return_pct"] / 100,
            "sharpe": result["sharpe_ratio"],
            "trades": result["num_trades"],
        }


def seconds(run: Callable[[], object], repeats: int) -> float:
    """Mean time of one call."""
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - start) / repeats


def median_ratio(times: list[float], base: list[float]) -> float:
    """The median over rounds of the ratio in each round."""
    return statistics.median(taken / other for taken, other in zip(times, base, strict=True))


def main() -> None:
    """Times every contender once per round, each round in another order, and prints the medians."""
    data = read_file(ROOT / "data" / "GOOG.csv", "GOOG").series.data
    contenders = {"numpy floor": (numpy_floor(data), REPEATS), "ours": (ours(data), REPEATS)}
    peer = backtesting_py(data)
    if peer is not None:
        contenders["backtesting.py"] = (peer, PEER_REPEATS)
    for name, (run, _) in contenders.items():
        print(f"{name:15} return {run()[0]:.9f}")
    times: dict[str, list[float]] = {name: [] for name in contenders}
    names = list(contenders)
    for number in range(ROUNDS):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            run, repeats = contenders[name]
            times[name].append(seconds(run, repeats))
    floor = times["numpy floor"]
    for name, taken in times.items():
        ratio = median_ratio(taken, floor)
        print(f"{name:15} {statistics.median(taken) * 1e6:10.1f} us   {ratio:8.2f} x the floor")
    if peer is not None:
        ratio = median_ratio(times["backtesting.py"], times["ours"])
        print(f"backtesting.py takes {ratio:.0f} x as long as ours")


if __name__ == "__main__":
    main()
