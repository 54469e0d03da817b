"""EnhancedEngine: what the frozen engine lacks, added around it. The pattern for later additions.

It holds a BacktestEngine, calls it as anybody would, and answers with the engine's own result.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from backtest.engine import BacktestEngine, BacktestResult, Strategy
from backtest.metrics import drawdowns
from rules.base_rule import Signal


def frozen_metrics_of(result: BacktestResult) -> Mapping[str, float | int | None]:
    """The result's metrics, None where one is undefined.

    For `alpha` the engine raises the mean excess return to the power of the bars in a year. With
    returns that no market has, the power overflows to infinity, which is undefined too: None says
    so, and NumPy's warning adds nothing.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return result.metrics


class EnhancedEngine:
    """A long-only BacktestEngine with a limit on the drawdown; the arguments are the engine's."""

    def __init__(
        self,
        initial_capital: float = 100_000.0,
        commission_rate: float = 0.001,
        slippage_rate: float = 0.0,
        lot_size: float = 0.0,
    ) -> None:
        self._engine = BacktestEngine(initial_capital, commission_rate, slippage_rate, lot_size)

    def run(self, data: pd.DataFrame, strategy_func: Strategy, ticker: str = "") -> BacktestResult:
        """As `BacktestEngine.run`."""
        return self._engine.run(data, strategy_func, ticker)

    def run_with_risk_limit(
        self,
        data: pd.DataFrame,
        strategy_func: Strategy,
        ticker: str = "",
        *,
        max_drawdown_pct: float,
    ) -> BacktestResult:
        """As `run`, until a close has a drawdown above `max_drawdown_pct` (0..100).

        After it the position is sold at the next open, and nothing is bought any more. The drawdown
        may pass the limit by that bar's fall and the next open's gap. Raises ValueError outside
        0..100.
        """
        if not 0 <= max_drawdown_pct <= 100:
            raise ValueError(f"max_drawdown_pct must be between 0 and 100, got {max_drawdown_pct}")
        result = self._engine.run(data, strategy_func, ticker)
        is_above_limit = 100 * drawdowns(result.equity.to_numpy()) > max_drawdown_pct
        if not is_above_limit.any():
            return result
        first_bar_above = int(is_above_limit.argmax())
        signals = np.array(strategy_func(data), dtype=np.int8)
        signals[first_bar_above:] = Signal.SELL
        return self._engine.run(data, lambda _: signals, ticker)
