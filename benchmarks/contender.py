"""Our grid as a contender of peers.py, which runs each engine in processes of its own and lets them take turns:

    PYTHONPATH=. python peers.py --only numpy,vectorbt-rust,backtesting,ours --data goog \
        --tasks grid400,grid10k --adapter benchmarks/contender.py --adapter-python PEERS_VENV/bin/python

Its price file, `goog.csv` in PEERS_CACHE, may be data/GOOG.csv. Ours has five metrics a row, the
engines of peers.py have two or three.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from peers import Contender  # type: ignore[import-not-found]

Row = tuple[int, int, float, float]


class Ours(Contender):  # type: ignore[misc]
    """SMA crossing: total return, Sharpe ratio, drawdown, trades, growth a year."""

    cores = 2
    name, about, module, packages = (
        "ours",
        "service.search.evaluator",
        "service.search.evaluator",
        ["numpy", "pandas"],
    )

    def setup(self) -> None:
        from backtest.kernel import Terms
        from rules.optimizer import ParameterOptimizer, grid
        from rules.registry import BUILT_IN
        from service.search.evaluator import GridEvaluator

        self.rule, self.terms = (
            BUILT_IN["MA_CROSS"],
            Terms(self.cash, self.commission, 0.0, 0.0, False),
        )
        self.grid_of, self.evaluator, self.optimizer = grid, GridEvaluator, ParameterOptimizer

    def single(self, prepared: pd.DataFrame, fast: int, slow: int) -> dict[str, Any]:
        ((_, _, total, sharpe),) = self.grid(prepared, [fast], [slow])
        return {"total_return": total, "sharpe": sharpe, "trades": 0}

    def grid(self, prepared: pd.DataFrame, fasts: list[int], slows: list[int]) -> list[Row]:
        asked = self.grid_of(self.rule, {"fast": fasts, "slow": slows})
        found = self.optimizer(self.evaluator(prepared, self.rule, self.terms)).run(asked)
        columns = [
            found.grid.params["fast"],
            found.grid.params["slow"],
            found.metrics["total_return_pct"] / 100,
        ]
        return list(
            zip(*(each.tolist() for each in [*columns, found.metrics["sharpe_ratio"]]), strict=True)
        )


ADAPTERS = [Ours]
