"""From the fills of one run to its table of trades, and what trading cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from backtest.kernel import Fills, Ledger, Terms
from backtest.metrics import wall_clock

COLUMNS = (
    "entry_date",
    "entry_price",
    "exit_date",
    "exit_price",
    "shares",
    "direction",
    "pnl",
    "return_pct",
    "holding_days",
)


def fills_of(ledger: Ledger, row: int) -> Fills:
    """The fills of one run."""
    fills, mine = ledger.fills, ledger.fills.row == row
    columns = (fills.row, fills.bar, fills.buys, fills.price, fills.wealth, fills.cash, fills.held)
    return Fills(*(column[mine] for column in columns))


def trade_table(fills: Fills, equity_end: float, index: pd.DatetimeIndex, terms: Terms) -> pd.DataFrame:
    """One row per round trip begun, the open one last with neither exit date nor exit price.

    Prices are fill prices, `pnl` is money net of both commissions (an open trade is marked at the last close without
    cost), `return_pct` is percent of what the entry took, `holding_days` are calendar days.
    """
    entry = np.flatnonzero(fills.held)
    open_ended = len(entry) > 0 and entry[-1] == len(fills.bar) - 1
    exits = entry + 1
    wealth = np.append(fills.wealth, equity_end)
    bars = np.append(fills.bar, len(index) - 1)
    pnl = wealth[exits] - wealth[entry]
    shares = np.abs(fills.held[entry])
    paid = shares * fills.price[entry] * (1 + terms.commission_rate)
    exit_date = index[bars[exits]].to_series().reset_index(drop=True)
    exit_price = np.append(fills.price, np.nan)[exits]
    if open_ended:
        exit_date.iloc[-1] = None
    days = wall_clock(index).astype("datetime64[D]").astype(np.int64)
    values = (
        index[fills.bar[entry]],
        fills.price[entry],
        exit_date,
        exit_price,
        shares,
        np.where(fills.held[entry] > 0, "long", "short"),
        pnl,
        100 * pnl / paid,
        days[bars[exits]] - days[fills.bar[entry]],
    )
    return pd.DataFrame(dict(zip(COLUMNS, values, strict=True)))


@dataclass(frozen=True)
class TradingCosts:
    """What a run traded and paid, in money."""

    traded: float  # notional, both sides
    commission: float
    slippage: float  # against the price without it


def trading_costs(fills: Fills, terms: Terms) -> TradingCosts:
    """Commission and slippage of every fill of one run."""
    before = np.concatenate([np.zeros(min(1, len(fills.held))), fills.held[:-1]])
    shares = np.abs(fills.held - before)  # a reversal trades the old position and the new one
    traded = shares * fills.price
    side = np.where(fills.buys, 1.0, -1.0)
    untouched = fills.price / (1 + side * terms.slippage_rate)
    return TradingCosts(
        traded=float(traded.sum()),
        commission=float((traded * terms.commission_rate).sum()),
        slippage=float((shares * np.abs(fills.price - untouched)).sum()),
    )
