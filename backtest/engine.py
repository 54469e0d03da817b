"""BacktestEngine: prices and a strategy in, equity and trades out.

Frozen once released: new behaviour goes into wrappers such as `service/enhanced_engine.py`. No clock, no randomness, no
global state, no input or output: the same input gives the same bits in any process.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from backtest import metrics
from backtest.kernel import Fills, Ledger, Terms, simulate
from backtest.prices import Prices, checked_prices, checked_signals
from backtest.trades import fills_of, trade_table, trading_costs

ENGINE_VERSION = "1.0.0"

Strategy = Callable[[pd.DataFrame], Any]


class BacktestResult(Mapping[str, Any]):
    """What a run came to, with the names of the result contract; the numbers are there, the tables made when asked for.

    Keys: total_return_pct, sharpe_ratio, max_drawdown_pct, num_trades, metrics, trades (a list of plain
    dictionaries). Attributes beside them: `equity` and `positions` (Series on the data's index), `cash`, `trades`
    (DataFrame), `benchmark` (equity of buy and hold on the same terms), `bankruptcy_shortfall` (money) and `warnings`.
    """

    def __init__(self, ticker: str, prices: Prices, ledger: Ledger, terms: Terms) -> None:
        self.ticker = ticker
        self._prices, self._ledger, self._terms = prices, ledger, terms
        equity = ledger.equity[0]
        self.bankruptcy_shortfall = float(ledger.shortfall[0])
        self._numbers: dict[str, Any] = {
            "total_return_pct": 100 * float(metrics.total_return(equity)),
            "sharpe_ratio": self._sharpe_ratio(equity),
            "max_drawdown_pct": 100 * float(metrics.drawdowns(equity).max()),
            "num_trades": int(np.count_nonzero(ledger.fills.held)),
        }

    def _sharpe_ratio(self, equity: metrics.Floats) -> float | None:
        sharpe = float(metrics.sharpe_ratio(metrics.bar_returns(equity), metrics.bars_per_year(self._prices.index)))
        return sharpe if math.isfinite(sharpe) else None

    def __getitem__(self, name: str) -> Any:
        if name == "metrics":
            return self.metrics
        if name == "trades":
            return self._trade_records
        return self._numbers[name]

    def __iter__(self) -> Iterator[str]:
        return iter((*self._numbers, "metrics", "trades"))

    def __len__(self) -> int:
        return len(self._numbers) + 2

    def _series(self, values: metrics.Floats, name: str) -> pd.Series:
        return pd.Series(values, index=self._prices.index, name=name)

    @cached_property
    def equity(self) -> pd.Series:
        """Money at each close; the first value is the initial capital."""
        return self._series(self._ledger.equity[0], "equity")

    @cached_property
    def positions(self) -> pd.Series:
        """Shares held at each close, negative when short."""
        return self._series(self._ledger.shares[0], "positions")

    @cached_property
    def cash(self) -> pd.Series:
        """Money not invested at each close; equity = cash + positions * close."""
        cash = np.full(len(self._prices.close), self._terms.initial_capital)
        fills = self._fills
        ends = np.append(fills.bar[1:], len(cash)) if len(fills.bar) else fills.bar
        for start, end, value in zip(fills.bar, ends, fills.cash, strict=True):
            cash[start:end] = value
        return self._series(cash, "cash")

    @cached_property
    def benchmark(self) -> pd.Series:
        """Equity of buying at the open of bar 1 on the same terms and holding to the end."""
        signals = np.ones((1, len(self._prices.close)), dtype=np.int8)
        ledger = simulate(self._prices.open, self._prices.close, signals, self._terms)
        return self._series(ledger.equity[0], "benchmark")

    @cached_property
    def trades(self) -> pd.DataFrame:
        """One row per round trip begun; see `backtest.trades.trade_table`."""
        return trade_table(self._fills, float(self._ledger.equity[0, -1]), self._prices.index, self._terms)

    @cached_property
    def metrics(self) -> dict[str, float | int | None]:
        """Every other metric by name, None where it is undefined; see `backtest.metrics`."""
        costs = trading_costs(self._fills, self._terms)
        return metrics.PerformanceMetrics(
            equity=self._ledger.equity[0],
            positions=self._ledger.shares[0],
            benchmark=self.benchmark.to_numpy(),
            index=self._prices.index,
            trades=self.trades,
            traded=costs.traded,
            costs=costs.commission + costs.slippage,
        ).as_dict()

    @property
    def warnings(self) -> list[dict[str, Any]]:
        """What the reader must know about the run itself: {code, bar, message}."""
        if not self._ruined:
            return []
        day = _iso(self._prices.index[int(self._fills.bar[-1])])
        message = (
            f"the short position lost more than the capital: closed on {day}, "
            f"{self.bankruptcy_shortfall:.2f} owed beyond it; equity is 0 from there on"
        )
        return [{"code": "Ruin", "bar": day, "message": message}]

    @property
    def _ruined(self) -> bool:
        return bool(self._ledger.equity[0, -1] == 0)

    @cached_property
    def _fills(self) -> Fills:
        return fills_of(self._ledger, 0)

    @cached_property
    def _trade_records(self) -> list[dict[str, Any]]:
        return [_plain(trade) for trade in self.trades.to_dict("records")]


def _plain(trade: Mapping[Any, Any]) -> dict[str, Any]:
    """ISO dates, None for the exit that has not come."""
    record = {str(name): value for name, value in trade.items()}
    for name in ("entry_date", "exit_date"):
        record[name] = None if pd.isna(trade[name]) else _iso(trade[name])
    if record["exit_date"] is None:
        record["exit_price"] = None
    return record


def _iso(stamp: pd.Timestamp) -> str:
    """The date alone for daily bars, with the time for bars inside a day."""
    return stamp.date().isoformat() if stamp == stamp.normalize() else stamp.isoformat()


class BacktestEngine:
    """Trades one strategy on one ticker.

    The signal of bar t fills at the open of bar t+1: a buy at open * (1 + slippage_rate), a sale at
    open * (1 - slippage_rate), each paying commission_rate of its value. A buy spends all cash (rounded down to whole
    lots of `lot_size` shares; 0 means fractional shares), a sale closes the position and, where `allow_short`, sells
    as much short. An open position is marked at the last close.
    """

    def __init__(
        self,
        initial_capital: float = 100_000.0,
        commission_rate: float = 0.001,
        slippage_rate: float = 0.0,
        lot_size: float = 0.0,
        allow_short: bool = False,
    ) -> None:
        if not (initial_capital > 0 and math.isfinite(initial_capital)):
            raise ValueError(f"initial_capital must be above 0 and finite, got {initial_capital}")
        for name, rate in (("commission_rate", commission_rate), ("slippage_rate", slippage_rate)):
            if not 0 <= rate < 1:
                raise ValueError(f"{name} must be at least 0 and below 1, got {rate}")
        if not (lot_size >= 0 and math.isfinite(lot_size)):
            raise ValueError(f"lot_size must be 0 (fractional shares) or a number of shares, got {lot_size}")
        costs = float(commission_rate), float(slippage_rate)
        self._terms = Terms(float(initial_capital), *costs, float(lot_size), bool(allow_short))

    def run(self, data: pd.DataFrame, strategy_func: Strategy, ticker: str = "") -> BacktestResult:
        """Backtest `strategy_func(data)`, one of BUY (+1), SELL (-1), HOLD (0) per bar, on daily or intraday bars.

        `data` has float columns Open, High, Low, Close, Volume on an ascending DatetimeIndex. Raises InvalidPrices or
        InvalidSignals, naming the bar.
        """
        prices = checked_prices(data)
        signals = checked_signals(strategy_func(data), prices.index)
        ledger = simulate(prices.open, prices.close, signals[np.newaxis, :], self._terms)
        return BacktestResult(ticker, prices, ledger, self._terms)
