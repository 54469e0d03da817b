"""Ours as a contender of the team's peers harness: `peers.py --adapter benchmarks/peers_adapter.py`.

The signals are computed once per (fast, slow) and given to the engine; `grid` loops over single runs.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

from peers import Contender  # type: ignore[import-not-found]


class Adapter(Contender):  # type: ignore[misc]
    """BacktestEngine with the result's frozen numbers taken."""

    name, about, module, packages = "ours", "BacktestEngine, signals given", "backtest.engine", ["numpy", "pandas"]

    def setup(self) -> None:
        sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
        from backtest.engine import BacktestEngine
        from rules.registry import rule_from_id

        self.engine, self.rule = BacktestEngine(self.cash, self.commission), rule_from_id

    def prepare(self, data: Any) -> Any:
        self.signals = lru_cache(lambda fast, slow: self.rule(f"MA_CROSS_{fast}_{slow}").generate_signals(data))
        return data

    def single(self, prepared: Any, fast: int, slow: int) -> dict[str, float]:
        signals = self.signals(fast, slow)
        result = self.engine.run(prepared, lambda _: signals)
        names = {"total_return": result["total_return_pct"] / 100, "sharpe": result["sharpe_ratio"]}
        return {**names, "trades": result["num_trades"]}
