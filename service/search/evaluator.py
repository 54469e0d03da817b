"""Thousands of parameters of one rule on one price series: the engine's kernel on chunks of runs, each row with the
bits of a single run.

The indicators of a chunk are computed once per distinct parameter; a chunk is small enough for the caches of a
processor, so that memory does not grow with the grid.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from backtest import metrics
from backtest.engine import BacktestEngine, BacktestResult
from backtest.kernel import Ledger, Terms, simulate
from backtest.prices import Prices, checked_prices, checked_signals
from backtest.trades import fills_of
from rules.base_rule import BaseRule, ConditionRule
from rules.features import Features
from rules.optimizer import Columns
from service.contract.errors import InvalidRequest
from service.engine.enhanced_engine import metrics_of

Floats = NDArray[np.float64]
Signals = NDArray[np.int8]

CHUNK = 1 << 18  # bars times rows: two megabytes of floats
SPAN = 100  # bars of a block in which a drawdown is looked for
THREADS = 1  # beside the one that makes signals: what two cores can use
LARGEST_KEPT = 31 << 20  # bytes; 32 MiB is the largest that glibc learns from
DEFAULT_METRICS = ("total_return_pct", "sharpe_ratio", "max_drawdown_pct", "num_trades", "cagr_pct")


@dataclass(frozen=True)
class Books:
    """What a chunk of k runs came to, and the numbers that several metrics share."""

    prices: Prices
    terms: Terms
    periods: float  # bars per year
    ledger: Ledger

    @cached_property
    def returns(self) -> Floats:
        """As `metrics.bar_returns`, which asks of each bar whether anything is left."""
        equity = self.ledger.equity
        if not equity.min() > 0:
            return metrics.bar_returns(equity)
        returns = np.empty_like(equity)
        returns[:, 0] = 1.0
        np.divide(equity[:, 1:], equity[:, :-1], out=returns[:, 1:])
        returns -= 1.0  # of one piece of memory: twice as fast as without the first bar
        return returns

    @cached_property
    def drawdown(self) -> Floats:
        """As the largest of `metrics.drawdowns`: rounding keeps the order, so that one subtraction a row is enough."""
        return np.asarray(1 - lowest_below_peak(self.ledger.equity))

    @cached_property
    def cagr(self) -> Floats:
        equity = self.ledger.equity
        return metrics.annual_growth(equity[:, -1] / equity[:, 0], equity.shape[1], self.periods)

    def trades(self) -> Floats:
        """Round trips begun, the open one included."""
        fills = self.ledger.fills
        return np.bincount(fills.row[fills.held != 0], minlength=len(self.ledger.equity)).astype(
            np.float64
        )

    def result(self, row: int) -> BacktestResult:
        """One run's own result, with every metric there is."""
        one, ledger = slice(row, row + 1), self.ledger
        fills = fills_of(ledger, row)
        fills = replace(fills, row=np.zeros_like(fills.row))
        mine = Ledger(ledger.equity[one], ledger.shares[one], fills, ledger.shortfall[one])
        return BacktestResult("", self.prices, mine, self.terms)


AT_ONCE: Mapping[str, Callable[[Books], Floats]] = {
    "total_return_pct": lambda books: 100 * metrics.total_return(books.ledger.equity),
    "sharpe_ratio": lambda books: metrics.sharpe_ratio(books.returns, books.periods),
    "max_drawdown_pct": lambda books: 100 * books.drawdown,
    "num_trades": Books.trades,
    "cagr_pct": lambda books: 100 * books.cagr,
    "volatility_pct": lambda books: (
        100 * metrics.deviation(books.returns) * math.sqrt(books.periods)
    ),
    "sortino_ratio": lambda books: metrics.sortino_ratio(books.returns, books.periods),
    "calmar_ratio": lambda books: metrics.ratio(books.cagr, books.drawdown),
    "exposure_pct": lambda books: (
        100 * np.count_nonzero(books.ledger.shares, axis=-1) / books.ledger.shares.shape[1]
    ),
}

# Every other metric of a result is computed one by one.
ONE_BY_ONE = (
    "max_drawdown_days", "turnover", "total_costs", "value_at_risk_pct", "expected_shortfall_pct",
    "omega_ratio", "skew", "kurtosis", "buy_and_hold_return_pct", "beta", "alpha", "information_ratio",
    "win_rate_pct", "profit_factor", "avg_trade_pct", "best_trade_pct", "worst_trade_pct", "avg_holding_days",
    "expectancy",
)  # fmt: skip


class GridEvaluator:
    """`evaluate` of a ParameterOptimizer: one rule, one price series, one set of terms.

    `wanted` are names of AT_ONCE, computed for a chunk at once, or of ONE_BY_ONE (a thousand rows take two seconds).
    For s `blocks` of bars there are also `block_sums` and `block_squares` of the returns in each, (k, s).
    Rows whose rule needs more bars than there are have NaN. The first `warm` bars are looked at and not traded: on the
    bar after them a rule stands where its last BUY or SELL left it. `periods` is bars per year.
    """

    def __init__(
        self,
        data: pd.DataFrame,
        rule: type[BaseRule],
        terms: Terms,
        wanted: Sequence[str] = DEFAULT_METRICS,
        blocks: Sequence[slice] = (),
        chunk: int = CHUNK,
        threads: int = THREADS,
        warm: int = 0,
    ) -> None:
        self._data, self._rule, self._terms, self._wanted = data, rule, terms, wanted
        self._index, self._features = checked_prices(data).index, Features(data)
        self._prices = checked_prices(data.iloc[warm:])
        self._blocks, self._threads, self._warm = blocks, threads, warm
        self.periods = metrics.bars_per_year(self._prices.index)
        self._rows = max(1, chunk // len(data))
        keep_freed_memory()

    def __call__(self, params: Columns) -> Iterator[dict[str, Floats]]:
        """The metrics of the next rows, (k,) each, a chunk at a time; the bits are those of any number of threads."""
        waiting = deque[Future[dict[str, Floats]]]()
        with ThreadPoolExecutor(self._threads) as pool:  # NumPy lets others run while it computes
            for part in self._parts(params):
                waiting.append(pool.submit(self._numbers, *self._traded(part)))
                if len(waiting) > self._threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _numbers(self, signals: Signals, needed: NDArray[np.int64]) -> dict[str, Floats]:
        books = self._books(signals)
        found = {name: AT_ONCE[name](books) for name in self._wanted if name in AT_ONCE}
        others = [name for name in self._wanted if name not in AT_ONCE]
        if others:
            found |= self._one_by_one(books, others)
        early = needed + 1 > len(self._data)
        return {
            name: np.where(early, np.nan, found[name]) for name in self._wanted
        } | self._in_blocks(books)

    def returns(self, params: Columns) -> Iterator[Floats]:
        """The returns per bar of the next rows, (k, n), a chunk at a time."""
        return (self._books(self._traded(part)[0]).returns for part in self._parts(params))

    def _parts(self, params: Columns) -> Iterator[Columns]:
        for at in range(0, len(next(iter(params.values()))), self._rows):
            yield {name: values[at : at + self._rows] for name, values in params.items()}

    def _books(self, signals: Signals) -> Books:
        return Books(self._prices, self._terms, self.periods, self._simulated(signals))

    def _traded(self, params: Columns) -> tuple[Signals, NDArray[np.int64]]:
        """As `_signals`, from the end of the warm bars on."""
        signals, needed = self._signals(params)
        if self._warm:
            latest = signals[:, self._warm :: -1]
            stands = latest[np.arange(len(latest)), (latest != 0).argmax(axis=1)]
            signals = signals[:, self._warm :]
            signals[:, 0] = stands
        return signals, needed

    def _signals(self, params: Columns) -> tuple[Signals, NDArray[np.int64]]:
        """Signals (k, n), and the bars that each row needs, (k,)."""
        rule = self._rule
        if (
            issubclass(rule, ConditionRule)
            and rule.generate_signals is ConditionRule.generate_signals
        ):
            columns = {name: values[:, np.newaxis] for name, values in params.items()}
            return self._at_once(rule, columns, len(next(iter(params.values()))))
        rules = [rule(**dict(zip(params, row, strict=True))) for row in _rows(params)]
        signals = [
            checked_signals(rule.generate_signals(self._data), self._index) for rule in rules
        ]
        return np.stack(signals), np.array([rule.warm_up for rule in rules])

    def _at_once(
        self, rule: type[ConditionRule], columns: Columns, k: int
    ) -> tuple[Signals, NDArray[np.int64]]:
        """As `rules.base_rule.signals`: SELL where both conditions hold."""
        buy, sell = rule.conditions(self._features, columns)
        joined: Signals = (buy > sell).view(np.int8) - sell.view(np.int8)
        if len(joined) < k:  # no parameter made a difference
            joined = np.repeat(joined, k, axis=0)
        return joined, np.broadcast_to(rule.bars_needed(columns), (k, 1))[:, 0]

    def _simulated(self, signals: Signals) -> Ledger:
        """Without lots a repeated signal does nothing, and the kernel is faster without it."""
        if not self._terms.lot_size:
            signals[:, 1:] *= signals[:, 1:] != signals[:, :-1]
        return simulate(self._prices.open, self._prices.close, signals, self._terms)

    def _in_blocks(self, books: Books) -> dict[str, Floats]:
        if not self._blocks:
            return {}
        parts = [books.returns[:, block] for block in self._blocks]
        sums, squares = zip(
            *((part.sum(axis=1), (part * part).sum(axis=1)) for part in parts), strict=True
        )
        return {"block_sums": np.stack(sums, axis=1), "block_squares": np.stack(squares, axis=1)}

    def _one_by_one(self, books: Books, names: Sequence[str]) -> dict[str, Floats]:
        rows = [metrics_of(books.result(row)) for row in range(len(books.ledger.equity))]
        return {
            name: np.array([np.nan if row[name] is None else row[name] for row in rows], float)
            for name in names
        }


def lowest_below_peak(equity: Floats) -> Floats:
    """The least of equity / running maximum in each row, (k,); `equity` is (k, n), never negative.

    `maximum.accumulate` over all bars takes longer than anything else and lets no other thread run. So it goes over
    blocks of bars: where a block makes no new peak its lowest bar decides, and of the others only those are looked
    into whose lowest bar against their highest would be a deeper fall than all that.
    """
    starts = np.arange(0, equity.shape[1], SPAN)
    lowest = np.minimum.reduceat(equity, starts, axis=-1)
    highest = np.maximum.reduceat(equity, starts, axis=-1)
    peak = np.maximum.accumulate(
        np.concatenate([equity[:, :1], highest], axis=1), axis=-1
    )  # before and after each
    found = (lowest / peak[:, :-1]).min(axis=-1)
    row, block = np.nonzero(lowest / peak[:, 1:] < found[:, np.newaxis])
    bars = np.minimum(starts[block, np.newaxis] + np.arange(SPAN), equity.shape[1] - 1)
    part = equity[row[:, np.newaxis], bars]
    peaks = np.maximum(np.maximum.accumulate(part, axis=-1), peak[row, block, np.newaxis])
    np.minimum.at(found, row, (part / peaks).min(axis=-1))
    return np.asarray(found)


@cache
def keep_freed_memory() -> None:
    """glibc gives the arrays of each chunk back to the system, which clears their pages for the next one: half of a
    search's time. Once a large array was freed it keeps as much as that for itself (mallopt(3), M_MMAP_THRESHOLD)."""
    np.empty(LARGEST_KEPT, np.uint8)


def _rows(params: Columns) -> Iterator[tuple[Any, ...]]:
    return zip(*(values.tolist() for values in params.values()), strict=True)


def engine_on(terms: Terms) -> BacktestEngine:
    """The engine for single runs on these terms, which it checks; raises InvalidRequest."""
    try:
        return BacktestEngine(
            terms.initial_capital,
            terms.commission_rate,
            terms.slippage_rate,
            terms.lot_size,
            terms.allow_short,
        )
    except ValueError as error:
        raise InvalidRequest("{why}.", why=error) from None
