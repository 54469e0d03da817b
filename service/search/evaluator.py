"""Thousands of parameters of one rule on one price series, each row with the bits of a single run.

The engine's kernel simulates chunks of runs. The indicators of a chunk are computed once per
distinct parameter. A chunk fits the caches of a processor, and memory does not grow with the
number of rows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from functools import cache
from typing import Any, TypeGuard

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from backtest.engine import BacktestEngine
from backtest.kernel import Terms, simulate
from backtest.metrics import Floats
from backtest.prices import checked_prices, checked_signals
from rules.base_rule import BaseRule, ConditionRule
from rules.features import Features
from rules.optimizer import Columns, Grid
from service.contract.errors import InvalidRequest
from service.doubt.luck import timing_ratios
from service.engine.metrics import PLAIN, Reference
from service.prices.periods import bars_a_year
from service.search.chunk_metrics import Chunk, metrics_of_chunk
from service.search.sampling import TrialSampling

Signals = NDArray[np.int8]
Ints = NDArray[np.int64]

CELLS_PER_CHUNK = 1 << 18  # bars times rows: two megabytes of floats
THREADS = 1  # beside the one that makes signals: what two cores can use
KEPT_BYTES = 31 << 20  # 32 MiB is the largest block that glibc learns from
DEFAULT_METRICS = ("total_return_pct", "sharpe_ratio", "max_drawdown_pct", "num_trades", "cagr_pct")


class SearchEvaluator:
    """`evaluate` of a ParameterOptimizer: one rule, one price series, one set of terms.

    `wanted` are names of SEARCH_METRICS. For s blocks of bars under NAME in `blocks` there are also
    NAME_sums and NAME_squares, the sums of the returns in each block and of their squares, (k, s).
    With `held_returns` (n,), those of buy and hold, there are `luck.timing_ratios` against them
    under "timing_ratios". Metrics of rows whose rule needs more bars than there are, are NaN. The
    first `warm` bars are seen by the rule and not traded: the first traded bar has the rule's last
    BUY or SELL up to it. `periods` is the number of bars in a year, `reference` what the traded
    bars are measured against. With `sampling` there are also the keys of the trials, under "keys",
    and under "sketches" the sketches of those that it takes.
    """

    def __init__(
        self,
        data: pd.DataFrame,
        rule: type[BaseRule],
        terms: Terms,
        wanted: Sequence[str] = DEFAULT_METRICS,
        blocks: Mapping[str, Sequence[slice]] | None = None,
        held_returns: Floats | None = None,
        cells_per_chunk: int = CELLS_PER_CHUNK,
        threads: int = THREADS,
        warm: int = 0,
        reference: Reference = PLAIN,
        sampling: TrialSampling | None = None,
    ) -> None:
        self._data = data
        self._rule = rule
        self._terms = terms
        self._wanted = wanted
        self._blocks = blocks or {}
        self._held_returns = held_returns
        self._threads = threads
        self._warm = warm
        self._reference = reference
        self._sampling = sampling
        self._index = checked_prices(data).index
        self._features = Features(data)
        self._prices = checked_prices(data.iloc[warm:])
        self._rows_per_chunk = max(1, cells_per_chunk // len(data))
        self.periods = bars_a_year(self._prices.index)
        keep_freed_memory()

    def __call__(self, params: Columns) -> Iterator[dict[str, NDArray[Any]]]:
        """The numbers of the next k rows, a chunk at a time; the bits do not depend on `threads`.

        Signals are made here while other threads simulate: NumPy lets them run.
        """
        waiting = deque[Future[dict[str, NDArray[Any]]]]()
        with ThreadPoolExecutor(self._threads) as pool:
            for part in self._parts(params):
                signals, needed = self._traded_signals(part)
                keys = None if self._sampling is None else self._sampling.keys(part)
                waiting.append(pool.submit(self._numbers, signals, needed, keys))
                if len(waiting) > self._threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def returns(self, params: Columns) -> Iterator[Floats]:
        """The returns per bar of the next k rows, (k, n), a chunk at a time."""
        for part in self._parts(params):
            signals, _ = self._traded_signals(part)
            yield self._simulated(signals).returns

    def _parts(self, params: Columns) -> Iterator[Columns]:
        for start in range(0, _row_count(params), self._rows_per_chunk):
            end = start + self._rows_per_chunk
            yield {name: values[start:end] for name, values in params.items()}

    def _numbers(
        self, signals: Signals, needed: Ints, keys: Ints | None
    ) -> dict[str, NDArray[Any]]:
        chunk = self._simulated(signals)
        too_short = needed + 1 > len(self._data)
        numbers: dict[str, NDArray[Any]] = {
            name: np.where(too_short, np.nan, values)
            for name, values in metrics_of_chunk(chunk, self._wanted).items()
        }
        for name, blocks in self._blocks.items():
            sums, squares = _block_sums(chunk.returns, blocks)
            numbers[f"{name}_sums"] = sums
            numbers[f"{name}_squares"] = squares
        if self._held_returns is not None:
            numbers["timing_ratios"] = timing_ratios(chunk.returns, self._held_returns)
        if self._sampling is not None and keys is not None:
            numbers["keys"] = keys
            numbers["sketches"] = self._sampling.sketches(keys, chunk.returns)
        return numbers

    def _traded_signals(self, params: Columns) -> tuple[Signals, Ints]:
        """As `_signals`, without the warm bars."""
        signals, needed = self._signals(params)
        if self._warm:
            latest_first = signals[:, self._warm :: -1]
            bars_ago = (latest_first != 0).argmax(axis=1)
            standing = latest_first[np.arange(len(latest_first)), bars_ago]
            signals = signals[:, self._warm :]
            signals[:, 0] = standing
        return signals, needed

    def _signals(self, params: Columns) -> tuple[Signals, Ints]:
        """The signals of k rows on every bar, (k, n), and the bars that each row needs, (k,)."""
        rule = self._rule
        if has_only_conditions(rule):
            return self._signals_of_conditions(rule, params)
        part = Grid(rule, params, skipped=0)
        signals = [
            checked_signals(part.rule_at(row).generate_signals(self._data), self._index)
            for row in range(len(part))
        ]
        return np.stack(signals), part.needed

    def _signals_of_conditions(
        self, rule: type[ConditionRule], params: Columns
    ) -> tuple[Signals, Ints]:
        """All rows at once, with the values of `rules.base_rule.signals`: SELL where both hold."""
        count = _row_count(params)
        columns = {name: values[:, np.newaxis] for name, values in params.items()}
        buy, sell = rule.conditions(self._features, columns)
        signals: Signals = (buy > sell).view(np.int8) - sell.view(np.int8)
        if len(signals) < count:
            # No parameter made a difference: one row stands for all.
            signals = np.repeat(signals, count, axis=0)
        needed = np.broadcast_to(rule.bars_needed(columns), (count, 1))[:, 0]
        return signals, needed

    def _simulated(self, signals: Signals) -> Chunk:
        """Runs the kernel; without lots it is faster when repeated signals are left out."""
        if not self._terms.lot_size:
            signals[:, 1:] *= signals[:, 1:] != signals[:, :-1]
        ledger = simulate(self._prices.open, self._prices.close, signals, self._terms)
        return Chunk(self._prices, self._terms, self.periods, ledger, self._reference)


def _row_count(params: Columns) -> int:
    return len(next(iter(params.values())))


def has_only_conditions(rule: type[BaseRule]) -> TypeGuard[type[ConditionRule]]:
    """Whether the rule's signals are its conditions, so that they can be made for many rows."""
    if not issubclass(rule, ConditionRule):
        return False
    return rule.generate_signals is ConditionRule.generate_signals


def _block_sums(returns: Floats, blocks: Sequence[slice]) -> tuple[Floats, Floats]:
    """The sums of returns (k, n) in each of s blocks of bars, and of their squares, (k, s) each."""
    sums = np.empty((len(returns), len(blocks)))
    squares = np.empty_like(sums)
    for column, block in enumerate(blocks):
        in_block = returns[:, block]
        sums[:, column] = in_block.sum(axis=1)
        squares[:, column] = (in_block * in_block).sum(axis=1)
    return sums, squares


@cache
def keep_freed_memory() -> None:
    """Has glibc keep the memory of a chunk for the next one instead of returning it to the system.

    The system clears returned pages, which took half of a search's time. Once an array of that size
    was freed, glibc keeps as much for itself (mallopt(3), M_MMAP_THRESHOLD).
    """
    np.empty(KEPT_BYTES, np.uint8)


def engine_on(terms: Terms) -> BacktestEngine:
    """The engine for single runs on these terms; raises InvalidRequest where they are invalid."""
    try:
        return BacktestEngine(**asdict(terms))
    except ValueError as error:
        raise InvalidRequest("{why}.", why=error) from None
