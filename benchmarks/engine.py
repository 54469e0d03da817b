"""One engine run against plain NumPy and backtesting.py, in one process and taking turns, so that a busy machine
shifts all alike: `python -m benchmarks.engine`. Prints medians and ratios; needs benchmarks/requirements.txt for the
second.

The NumPy floor is the shortest honest program for the same model: moving averages from running sums, positions, equity
by a cumulative product, return, Sharpe ratio and drawdown. Ours gets the signals and gives the result's four numbers.

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

sys.path.insert(
    0, str(Path(__file__).resolve().parent.parent)
)  # a harness imports this file from anywhere

import numpy as np
import pandas as pd

from backtest.engine import BacktestEngine
from rules.registry import rule_from_id
from scripts.config import ROOT
from service.prices.series import read_csv

ROUNDS, REPEATS = 15, 100
FAST, SLOW, COMMISSION = 10, 30, 0.001


def numpy_floor(data: pd.DataFrame) -> Callable[[], tuple[float, float, float]]:
    """The same model in plain NumPy, its inputs prepared beforehand."""
    open_, close = data["Open"].to_numpy(), data["Close"].to_numpy()
    sums = np.concatenate([[0.0], np.cumsum(close)])
    before = np.concatenate([close[:1], close[:-1]])
    held, entered, left = (
        close / before,
        close / open_ / (1 + COMMISSION),
        open_ / before * (1 - COMMISSION),
    )

    def average(k: int) -> np.ndarray:
        out = np.full(len(close), np.nan)
        out[k - 1 :] = (sums[k:] - sums[:-k]) / k
        return out

    def run() -> tuple[float, float, float]:
        up = average(FAST) > average(SLOW)
        now = np.concatenate([[False], up[:-1]])
        last = np.concatenate([[False], now[:-1]])
        growth = np.where(now, np.where(last, held, entered), np.where(last, left, 1.0))
        equity = np.cumprod(growth)
        returns = growth - 1.0
        drawdown = 1 - equity / np.maximum.accumulate(np.maximum(equity, 1.0))
        sharpe = returns.mean() / returns.std(ddof=1) * np.sqrt(252)
        return float(equity[-1] - 1), float(sharpe), float(drawdown.max())

    return run


def ours(data: pd.DataFrame) -> Callable[[], tuple[float, float, float]]:
    """BacktestEngine with the signals given."""
    signals = rule_from_id(f"MA_CROSS_{FAST}_{SLOW}").generate_signals(data)
    engine = BacktestEngine(1e9, COMMISSION)

    def run() -> tuple[float, float, float]:
        result = engine.run(data, lambda _: signals)
        return (
            result["total_return_pct"] / 100,
            result["sharpe_ratio"],
            result["max_drawdown_pct"] / 100,
        )

    return run


def backtesting_py(data: pd.DataFrame) -> Callable[[], tuple[float, float, float]] | None:
    """The best-known peer, with its own statistics; None where it is not installed."""
    try:
        import backtesting
    except ImportError:
        return None
    signals = (
        rule_from_id(f"MA_CROSS_{FAST}_{SLOW}").generate_signals(data).to_numpy().astype(float)
    )

    class Follow(backtesting.Strategy):  # type: ignore[misc]
        def init(self) -> None:
            self.given = self.I(lambda: signals, plot=False)

        def next(self) -> None:
            if self.given[-1] > 0 and not self.position:
                self.buy()
            elif self.given[-1] < 0:
                self.position.close()

    test = backtesting.Backtest(data, Follow, cash=1e9, commission=COMMISSION)

    def run() -> tuple[float, float, float]:
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
            stats = test.run()
        return stats["Return [%]"] / 100, stats["Sharpe Ratio"], -stats["Max. Drawdown [%]"] / 100

    return run


try:
    from peers import Contender  # type: ignore[import-not-found]
except ImportError:
    Contender = object


class Adapter(Contender):  # type: ignore[misc]
    """BacktestEngine for a harness: signals are computed once per (fast, slow), the frozen numbers are taken."""

    name, about, module, packages = (
        "ours",
        "BacktestEngine, signals given",
        "numpy",
        ["numpy", "pandas"],
    )

    def setup(self) -> None:
        """Costs and capital are the harness's."""
        self.engine = BacktestEngine(self.cash, self.commission)

    def prepare(self, data: pd.DataFrame) -> pd.DataFrame:
        """Data as they are."""
        self.signals = cache(
            lambda fast, slow: rule_from_id(f"MA_CROSS_{fast}_{slow}").generate_signals(data)
        )
        return data

    def single(self, prepared: pd.DataFrame, fast: int, slow: int) -> dict[str, Any]:
        """One run."""
        signals = self.signals(fast, slow)
        result = self.engine.run(prepared, lambda _: signals)
        numbers = {
            "total_return": result["total_return_pct"] / 100,
            "sharpe": result["sharpe_ratio"],
        }
        return {**numbers, "trades": result["num_trades"]}


def seconds(run: Callable[[], object], repeats: int) -> float:
    """Mean time of one call."""
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - start) / repeats


def main() -> None:
    """Every contender once per round, first in another place each round."""
    data = read_csv(ROOT / "data" / "GOOG.csv", "GOOG", "GOOG.csv").data
    contenders = {"numpy floor": (numpy_floor(data), REPEATS), "ours": (ours(data), REPEATS)}
    peer = backtesting_py(data)
    if peer is not None:
        contenders["backtesting.py"] = (peer, 3)
    for name, (run, _) in contenders.items():
        print(f"{name:15} return {run()[0]:.9f}")
    times: dict[str, list[float]] = {name: [] for name in contenders}
    names = list(contenders)
    for number in range(ROUNDS):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            times[name].append(seconds(*contenders[name]))
    floor = times["numpy floor"]
    for name, taken in times.items():
        ratio = statistics.median(mine / base for mine, base in zip(taken, floor, strict=True))
        print(f"{name:15} {statistics.median(taken) * 1e6:10.1f} us   {ratio:8.2f} x the floor")
    if peer is not None:
        ratios = [
            theirs / mine
            for theirs, mine in zip(times["backtesting.py"], times["ours"], strict=True)
        ]
        print(f"backtesting.py takes {statistics.median(ratios):.0f} x as long as ours")


if __name__ == "__main__":
    main()
