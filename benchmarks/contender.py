"""Our search as an adapter for peers.py, which runs each engine in processes of its own, in turns:

    PYTHONPATH=. python peers.py --only numpy,vectorbt-rust,backtesting,ours --data goog \
        --tasks grid400,grid10k --adapter benchmarks/contender.py \
        --adapter-python PEERS_VENV/bin/python

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
    name = "ours"
    about = "service.search.evaluator"
    module = "service.search.evaluator"
    packages = ["numpy", "pandas"]

    def setup(self) -> None:
        """Takes the terms of peers.py, and imports what peers.py must neither need nor time."""
        from backtest.kernel import Terms
        from rules.optimizer import ParameterOptimizer, grid
        from rules.registry import BUILT_IN
        from service.search.evaluator import SearchEvaluator

        self.rule = BUILT_IN["MA_CROSS"]
        self.terms = Terms(self.cash, self.commission, 0.0, 0.0, False)
        self.grid_of = grid
        self.evaluator = SearchEvaluator
        self.optimizer = ParameterOptimizer

    def single(self, prepared: pd.DataFrame, fast: int, slow: int) -> dict[str, Any]:
        """One run, as a search of one row."""
        ((_, _, total_return, sharpe),) = self.grid(prepared, [fast], [slow])
        return {"total_return": total_return, "sharpe": sharpe, "trades": 0}

    def grid(self, prepared: pd.DataFrame, fasts: list[int], slows: list[int]) -> list[Row]:
        """A row for each combination: fast, slow, total return, Sharpe ratio."""
        searched = self.grid_of(self.rule, {"fast": fasts, "slow": slows})
        evaluator = self.evaluator(prepared, self.rule, self.terms)
        metrics = self.optimizer(evaluator).run(searched).metrics
        rows = zip(
            searched.params["fast"].tolist(),
            searched.params["slow"].tolist(),
            (metrics["total_return_pct"] / 100).tolist(),
            metrics["sharpe_ratio"].tolist(),
            strict=True,
        )
        return list(rows)


ADAPTERS = [Ours]
