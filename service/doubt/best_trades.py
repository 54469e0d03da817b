"""What a run's money would have done without its best trades."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backtest.metrics import Floats, bar_returns


@dataclass(frozen=True)
class Stretch:
    """The bars of a trade, from its entry up to `end`, not included, and what it made of the money.

    `growth` is that of the whole trade. `entered` is the part of the entry's bar after the fill,
    `left` that of the bar `end` before the fill; a reversal shares a bar between two trades.
    """

    start: int
    end: int
    growth: float
    entered: float
    left: float


def without_best_trades(
    equity: Floats, position: Floats, trades: Sequence[Mapping[str, Any]], count: int
) -> Floats | None:
    """Equity (n,) had the money been out of the market while the best trades lasted.

    `position` are shares at the closes, (n,). None where a trade ended on the bar of its entry, or
    the money: then the bars do not tell what was whose.
    """
    growth = 1 + bar_returns(equity)
    starts = np.flatnonzero(_begins(position))
    if len(starts) != len(trades) or not equity.min() > 0:
        return None
    stretches = list(_stretches(equity, position, growth, starts.tolist(), trades))
    for trade in sorted(stretches, key=lambda each: -each.growth)[:count]:
        growth[trade.start] /= trade.entered
        growth[trade.start + 1 : trade.end] = 1.0
        if trade.end < len(growth):
            growth[trade.end] /= trade.left
    return np.asarray(equity[0] * np.multiply.accumulate(growth))


def _begins(position: Floats) -> NDArray[np.bool_]:
    """Whether a trade begins on each bar: shares are held, and none on that side before."""
    side = np.sign(position)
    return np.asarray((side != 0) & (side != np.concatenate([[0.0], side[:-1]])))


def _stretches(
    equity: Floats,
    position: Floats,
    growth: Floats,
    starts: Sequence[int],
    trades: Sequence[Mapping[str, Any]],
) -> Iterator[Stretch]:
    money = float(equity[0])
    left = 1.0
    for start, trade in zip(starts, trades, strict=True):
        side = np.sign(position[start])
        others = np.flatnonzero(np.sign(position[start:]) != side)
        end = start + int(others[0]) if len(others) else len(position)
        is_reversal = start > 0 and position[start - 1] != 0
        entered = float(growth[start]) / (left if is_reversal else 1.0)
        whole = 1 + trade["pnl"] / money
        held = entered * float(np.multiply.reduce(growth[start + 1 : end]))
        left = whole / held if end < len(position) else 1.0
        yield Stretch(start, end, whole, entered, left)
        money *= whole
