"""The arithmetic of a backtest: prices and signals in, equity and fills out, for many runs at once.

Arrays of k runs over n bars have shape (k, n), one run a contiguous row. Everything is either elementwise or reduced
along the last axis, so a run gives the same bits alone as among thousands, and nothing here calls BLAS.

The fill model: a signal of bar t trades at the open of bar t+1. A buy spends all cash, a sale closes the position,
equity is marked at closes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Terms:
    """On what terms a run trades.

    `commission_rate` and `slippage_rate` are fractions of the traded value and of the price; `lot_size` is in shares,
    0 for fractional shares.
    """

    initial_capital: float
    commission_rate: float
    slippage_rate: float
    lot_size: float
    allow_short: bool


@dataclass(frozen=True)
class Fills:
    """Every change of position, ordered by run and bar: m of them, each array of shape (m,).

    A fill of nothing may be among them: no shares before, none after, the same cash.
    """

    row: Ints  # which run
    bar: Ints  # filled at this bar
    buys: NDArray[np.bool_]  # bought (True) or sold
    price: Floats  # fill price, money per share, slippage included
    wealth: Floats  # cash once the old position is closed, before the new one is opened
    cash: Floats  # cash afterwards
    held: Floats  # shares afterwards, negative when short


@dataclass(frozen=True)
class Ledger:
    """The books of k runs over n bars; money unless said otherwise."""

    equity: Floats  # (k, n), marked at closes
    shares: Floats  # (k, n), held at closes
    fills: Fills
    shortfall: Floats  # (k,), what a ruined short owes beyond its capital, else 0


def simulate(open_: Floats, close: Floats, signals: NDArray[np.int8], terms: Terms) -> Ledger:
    """Trade `signals` of shape (k, n), each -1, 0 or +1, at prices of shape (n,)."""
    fills = _fills_in_lots(open_, signals, terms) if terms.lot_size else _fills(open_, signals, terms)
    equity, shares = _mark(fills, close, len(signals), terms.initial_capital)
    shortfall = np.zeros(len(signals))
    if terms.allow_short:
        for row in np.flatnonzero((equity <= 0).any(axis=1)):
            fills = _settle_ruin(int(row), fills, equity, shares, shortfall, close, terms)
    return Ledger(equity, shares, fills, shortfall)


def _fills(open_: Floats, signals: NDArray[np.int8], terms: Terms) -> Fills:
    """Fills with fractional shares: wealth is the capital times the growth of every trade closed so far."""
    row, bar, buys, first = _changes(signals)
    price = _fill_price(open_[bar], buys, terms)
    wealth = _compound(_growth(price, buys, first, terms), first, terms.initial_capital)
    size = wealth / (price * (1 + terms.commission_rate))
    if terms.allow_short:
        held = np.where(buys, size, -size)
        cash = np.where(buys, 0.0, wealth + size * price * (1 - terms.commission_rate))
    else:
        held = np.where(buys, size, 0.0)
        cash = np.where(buys, 0.0, wealth)
    return Fills(row, bar, buys, price, wealth, cash, held)


def _changes(signals: NDArray[np.int8]) -> tuple[Ints, Ints, NDArray[np.bool_], NDArray[np.bool_]]:
    """Row, bar and side of every change of direction, and whether it is the first of its row.

    A first sale without a position and without shorts is kept: it fills nothing.
    """
    row, bar = np.nonzero(signals[:, :-1] != 0)  # a signal on the last bar has no next open to trade at
    buys = signals[row, bar] > 0
    keep = _starts(row)
    keep[1:] |= buys[1:] != buys[:-1]
    row, bar, buys = row[keep], bar[keep] + 1, buys[keep]
    return row, bar, buys, _starts(row)


def _starts(row: Ints) -> NDArray[np.bool_]:
    first = np.ones(len(row), dtype=bool)
    np.not_equal(row[1:], row[:-1], out=first[1:])
    return first


def _fill_price(price: Floats, buys: NDArray[np.bool_], terms: Terms) -> Floats:
    return np.where(buys, price * (1 + terms.slippage_rate), price * (1 - terms.slippage_rate))


def _growth(price: Floats, buys: NDArray[np.bool_], first: NDArray[np.bool_], terms: Terms) -> Floats:
    """What each fill makes of the wealth before the position it closes: 1 where it closes none, shape (m,).

    Sides alternate within a row, so a sale closes a long and a buy closes a short.
    """
    growth = np.ones(len(price))
    cost = (1 - terms.commission_rate) / (1 + terms.commission_rate)
    relative = price[1:] / price[:-1]
    short = 1 + cost - relative if terms.allow_short else 1.0
    growth[1:] = np.where(buys[1:], short, relative * cost)
    growth[first] = 1.0
    return growth


def _compound(growth: Floats, first: NDArray[np.bool_], initial: float) -> Floats:
    """`initial` times the running product of `growth` within each row; rows begin where `first` is set."""
    start = np.flatnonzero(first)
    rank = np.cumsum(first) - 1
    column = np.arange(len(growth)) - start[rank]
    table = np.ones((len(start), int(column.max(initial=-1)) + 2))
    table[:, 0] = initial
    table[rank, column + 1] = growth
    products: Floats = np.multiply.accumulate(table, axis=1)
    return np.asarray(products[rank, column + 1])


def _fills_in_lots(open_: Floats, signals: NDArray[np.int8], terms: Terms) -> Fills:
    """Fills with whole lots: each size depends on the rest of the last, so this walks from trade to trade."""
    columns = [_row_in_lots(open_, row, terms) for row in signals]
    row = np.repeat(np.arange(len(columns)), [len(column) for column in columns])
    table = np.array([fill for column in columns for fill in column], dtype=float).reshape(-1, 6)
    bar, buys = table[:, 0].astype(np.int64), table[:, 1].astype(bool)
    return Fills(row, bar, buys, *(np.ascontiguousarray(table[:, i]) for i in range(2, 6)))


def _row_in_lots(open_: Floats, signals: NDArray[np.int8], terms: Terms) -> list[tuple[float, ...]]:
    """(bar, buys, price, wealth, cash, held) of each fill of one run."""
    bars = np.flatnonzero(signals[:-1]) + 1
    buys = signals[bars - 1] > 0
    price = _fill_price(open_[bars], buys, terms)
    turn = np.append(np.flatnonzero(buys[1:] != buys[:-1]) + 1, len(bars))  # where the side changes
    fills: list[tuple[float, ...]] = []
    cash, held, at = terms.initial_capital, 0.0, 0
    while True:
        at = int(turn[np.searchsorted(turn, at, side="right")]) if held else _affordable(at, cash, price, buys, terms)
        if at >= len(bars):
            return fills
        wealth = cash + held * price[at] * (1 - np.sign(held) * terms.commission_rate)
        cash, held = _open_in_lots(wealth, float(price[at]), bool(buys[at]), terms)
        fills.append((bars[at], buys[at], price[at], wealth, cash, held))


def _lots(cash: float, price: Floats, terms: Terms) -> Floats:
    """Whole lots that `cash` pays for, commission included; never one too many by rounding, none for a debt."""
    unit = price * (1 + terms.commission_rate)
    lots = np.floor(cash / unit / terms.lot_size)
    return np.asarray(np.maximum(lots - (lots * terms.lot_size * unit > cash), 0.0))


def _affordable(at: int, cash: float, price: Floats, buys: NDArray[np.bool_], terms: Terms) -> int:
    """The first signal from `at` on that opens a position, or the number of signals."""
    step = 1
    while at < len(price):  # a growing window: usually the very next signal does
        can = (_lots(cash, price[at : at + step], terms) >= 1) & (buys[at : at + step] | terms.allow_short)
        if can.any():
            return at + int(can.argmax())
        at, step = at + step, step * 4
    return len(price)


def _open_in_lots(wealth: float, price: float, buys: bool, terms: Terms) -> tuple[float, float]:
    """Cash and shares after opening what the side asks for."""
    if not (buys or terms.allow_short):
        return wealth, 0.0
    size = float(_lots(wealth, np.array([price]), terms)[0]) * terms.lot_size
    if buys:
        return wealth - size * price * (1 + terms.commission_rate), size
    return wealth + size * price * (1 - terms.commission_rate), -size


def _mark(fills: Fills, close: Floats, k: int, initial: float) -> tuple[Floats, Floats]:
    """Equity and shares at every close, (k, n): cash and shares stay as the last fill left them."""
    n = len(close)
    at = np.concatenate([np.arange(k) * n, fills.row * n + fills.bar])
    order = np.argsort(at)
    lengths = np.diff(at[order], append=k * n)
    cash = np.concatenate([np.full(k, initial), fills.cash])[order]
    held = np.concatenate([np.zeros(k), fills.held])[order]
    shares = np.repeat(held, lengths).reshape(k, n)
    equity = shares * close
    equity += np.repeat(cash, lengths).reshape(k, n)
    return equity, shares


def _settle_ruin(
    row: int, fills: Fills, equity: Floats, shares: Floats, shortfall: Floats, close: Floats, terms: Terms
) -> Fills:
    """Close a ruined short where its equity first was 0 or less; the run owns nothing from then on."""
    bar = int((equity[row] <= 0).argmax())
    last = int(np.flatnonzero((fills.row == row) & (fills.bar <= bar))[-1])
    if fills.wealth[last] > 0:  # ruined at the close; else closing at the open already left nothing
        price = close[bar] * (1 + terms.slippage_rate)
        wealth = fills.cash[last] + fills.held[last] * price * (1 + terms.commission_rate)
        last += 1
    else:
        price, wealth = fills.price[last], fills.wealth[last]
    equity[row, bar:] = 0.0
    shares[row, bar:] = 0.0
    shortfall[row] = 0.0 - wealth  # never -0.0
    return _end_row(fills, row, last, bar, price, wealth)


def _end_row(fills: Fills, row: int, last: int, bar: int, price: float, wealth: float) -> Fills:
    """Replace the row's fills from index `last` on by one purchase that leaves neither cash nor shares."""
    after = int(np.searchsorted(fills.row, row, side="right"))

    def spliced(values: NDArray[np.generic], value: object) -> NDArray[np.generic]:
        return np.concatenate([values[:last], np.array([value], dtype=values.dtype), values[after:]])

    old = (fills.row, fills.bar, fills.buys, fills.price, fills.wealth, fills.cash, fills.held)
    new = (row, bar, True, price, wealth, 0.0, 0.0)
    return Fills(*(spliced(values, value) for values, value in zip(old, new, strict=True)))  # type: ignore[arg-type]
