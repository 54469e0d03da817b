"""The engine's definition once more, bar by bar in plain Python, to compare the engine with.

It is slow and plain, and was written without looking at the engine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import pandas as pd


@dataclass
class Naive:
    initial: float
    commission: float
    slippage: float
    lot: float
    short: bool
    equity: list[float] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    trades: list[dict[str, Any]] = field(default_factory=list)
    shortfall: float = 0.0
    traded: float = 0.0
    costs: float = 0.0

    def run(self, opens: list[float], closes: list[float], signals: list[int]) -> Naive:
        self.cash = self.initial
        self.held = 0.0
        self.ruined = False
        for bar in range(len(opens)):
            if bar > 0 and not self.ruined:
                self._trade(bar, opens[bar], signals[bar - 1])
            if self.held < 0 and self.cash + self.held * closes[bar] <= 0:
                self._close(bar, closes[bar] * (1 + self.slippage))
                self._ruin()
            self.equity.append(0.0 if self.ruined else self.cash + self.held * closes[bar])
            self.shares.append(self.held)
        return self

    def _trade(self, bar: int, price: float, signal: int) -> None:
        buy = price * (1 + self.slippage)
        sell = price * (1 - self.slippage)
        if signal == 1 and self.held <= 0:
            if self.held < 0:
                self._close(bar, buy)
                if self.cash <= 0:
                    self._ruin()
                    return
            self._open(bar, buy, 1)
        if signal == -1 and self.held >= 0:
            if self.held > 0:
                self._close(bar, sell)
            if self.short:
                self._open(bar, sell, -1)

    def _open(self, bar: int, fill: float, side: int) -> None:
        size = self.cash / (fill * (1 + self.commission))
        if self.lot:
            size = math.floor(size / self.lot) * self.lot
        if size <= 0:
            return
        self._pay(size, fill, side)
        self.trades.append(
            {
                "entry": bar,
                "fill": fill,
                "shares": size,
                "side": side,
                "cash": self.cash,
                "exit": None,
            }
        )
        self.cash -= side * size * fill + size * fill * self.commission
        self.held = side * size

    def _close(self, bar: int, fill: float) -> None:
        self._pay(abs(self.held), fill, -1 if self.held > 0 else 1)
        self.cash += self.held * fill - abs(self.held) * fill * self.commission
        self.held = 0.0
        trade = self.trades[-1]
        trade.update(exit=bar, exit_fill=fill, pnl=self.cash - trade["cash"])

    def _pay(self, size: float, fill: float, side: int) -> None:
        before_slippage = fill / (1 + side * self.slippage)
        self.traded += size * fill
        self.costs += size * fill * self.commission + size * abs(fill - before_slippage)

    def _ruin(self) -> None:
        self.shortfall = -self.cash
        self.cash = 0.0
        self.ruined = True


def naive_run(data: pd.DataFrame, signals: list[int], terms: dict[str, float]) -> Naive:
    """A run of the naive engine; `terms` are all keyword arguments of BacktestEngine."""
    naive = Naive(
        initial=terms["initial_capital"],
        commission=terms["commission_rate"],
        slippage=terms["slippage_rate"],
        lot=terms["lot_size"],
        short=bool(terms["allow_short"]),
    )
    return naive.run(data["Open"].tolist(), data["Close"].tolist(), signals)
