"""The terms of most searches."""

from __future__ import annotations

from backtest.kernel import Terms

PLAIN = Terms(
    initial_capital=100_000.0,
    commission_rate=0.001,
    slippage_rate=0.0,
    lot_size=0.0,
    allow_short=False,
)
