"""What a sweep asks for, made concrete: rule, grid, a search for each ticker, shards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd

from backtest.kernel import Terms
from rules.base_rule import BaseRule, CompositeRule, InvalidRule
from rules.optimizer import MOST_COMBINATIONS, Grid, grid
from rules.plugins import refuse_faulty, rules_digest
from service.contract.errors import InvalidRequest
from service.contract.sweep import SweepRequest
from service.engine.adapter import held_benchmark, refuse_errors, rule_of, terms_of, window
from service.engine.metrics import Reference
from service.prices.checks import check_prices
from service.prices.series import PriceSeries
from service.search.chunk_metrics import CHUNK_METRICS
from service.search.combined import as_asked, combined
from service.search.evaluator import DEFAULT_METRICS, engine_on, has_only_conditions
from service.search.numbers import SearchNumbers, joined_numbers, numbers_per_row
from service.search.search import Search
from service.trials.records import digest_of_plugins

SHARD_CELLS = 60_000_000  # bars times rows: a few seconds on one core
# Of one core of a server of 2020; measured with MA_CROSS and RSI: 44 to 57 millions.
CELLS_PER_SECOND = 50_000_000
SHARD_ROWS = 20_000
MAX_SHARDS = 100
# Of numbers, which hardly get smaller by compression; a MEDIUMBLOB takes 16 MiB.
SHARD_BYTES = 14 << 20
BYTES_PER_NUMBER = 8
MAX_METRICS = len(DEFAULT_METRICS) + 2  # the metric of the search, and one more
SINGLE_RUN_COST = 20  # times that of a metric of CHUNK_METRICS
# Of the signals of one row that are made by themselves, in bars: a millisecond or more.
SIGNALS_COST = 50_000
REALITY_CHECK_COST = 6  # times that of a row
# Combinations of a plug-in's rule that the validator is asked about before a sweep is accepted.
MAX_CORNERS = 16
SAMPLED_ROWS = 8
SAMPLE_SEED = 8128


@dataclass(frozen=True)
class SweepPlan:
    """The search of each ticker of a sweep, and how their rows are cut into shards.

    Rows are numbered through all tickers, in the order asked for. `series_of` gives the prices of a
    ticker; `validate` says whether a plug-in's rule is checked first. Methods and properties raise
    InvalidRequest or NoData.
    """

    request: SweepRequest
    series_of: Callable[[str], PriceSeries]
    validate: bool = False
    _searches: dict[str, Search] = field(default_factory=dict, repr=False)

    @cached_property
    def asked_rule(self) -> BaseRule:
        """The rule asked for; numbers in its name stand where the grid says nothing."""
        return rule_of(self.request.rule_id, {}, validate=self.validate)

    @cached_property
    def rule(self) -> BaseRule:
        """The same with parameters of its own, where it is a combination of rules."""
        rule = self.asked_rule
        return combined(rule) if isinstance(rule, CompositeRule) else rule

    @cached_property
    def grid(self) -> Grid:
        """The combinations, the same ones for each ticker."""
        most = MOST_COMBINATIONS // len(self.request.tickers)
        values = {**self.rule.params, **self.request.grid}
        try:
            return grid(type(self.rule), values, most)
        except InvalidRule as error:
            raise InvalidRequest(error.template, **error.values) from None

    @property
    def terms(self) -> Terms:
        """Capital and costs."""
        return terms_of(self.request)

    def search(self, ticker: str) -> Search:
        """The search on the bars of one ticker, kept."""
        if ticker not in self._searches:
            self._searches[ticker] = self._new_search(ticker)
        return self._searches[ticker]

    def _new_search(self, ticker: str) -> Search:
        request = self.request
        series = self.series_of(ticker)
        refuse_errors(check_prices(series.data), series)
        data = window(series, request.start_date, request.end_date)
        return Search(
            data=data,
            grid=self.grid,
            terms=self.terms,
            metric=request.metric,
            folds=request.folds,
            anchored=request.anchored,
            reference=self._reference(ticker, data.index),
            plugin_digest=digest_of_plugins(self.asked_rule, rules_digest(self.asked_rule)),
        )

    def _reference(self, ticker: str, index: pd.Index) -> Reference:
        """What the rows of a ticker are measured against."""
        request = self.request
        if request.benchmark in ("", ticker) or len(index) == 0:
            return Reference(request.risk_free_rate)
        benchmark = self.series_of(request.benchmark)
        equity = held_benchmark(engine_on(self.terms), benchmark, index)
        return Reference(request.risk_free_rate, equity)

    def check(self) -> None:
        """Raises InvalidRequest or NoData where the sweep cannot be computed, before it is."""
        for ticker in self.request.tickers:
            self.search(ticker)
        if self.validate:
            self._refuse_faulty_rules()

    def _refuse_faulty_rules(self) -> None:
        """Asks the validator about the corners of the grid, and a sample of its combinations."""
        try:
            for row in self._validated_rows():
                refuse_faulty(as_asked(self.grid.rule_at(row)))
        except InvalidRule as error:
            raise InvalidRequest(error.template, **error.values) from None

    def _validated_rows(self) -> list[int]:
        """Rows in which every parameter is at an end of its values, and some at random."""
        values = self.grid.params.values()
        at_an_end = [(column == column.min()) | (column == column.max()) for column in values]
        corners = np.flatnonzero(np.logical_and.reduce(at_an_end))[:MAX_CORNERS]
        random = np.random.Generator(np.random.PCG64(SAMPLE_SEED))
        sample = random.integers(0, len(self.grid), SAMPLED_ROWS)
        return sorted({int(row) for row in (*corners, *sample)})

    @property
    def rows(self) -> int:
        """The number of rows of all tickers."""
        return len(self.grid) * len(self.request.tickers)

    def shards(self) -> list[slice]:
        """The rows of each shard: a few seconds of work, and few enough for a database field."""
        costs = [self._cost_of_row(self.search(ticker)) for ticker in self.request.tickers]
        bytes_per_row = BYTES_PER_NUMBER * numbers_per_row(MAX_METRICS, self.request.folds)
        length = min(SHARD_ROWS, SHARD_CELLS // max(costs), SHARD_BYTES // bytes_per_row)
        least_length = -(-self.rows // MAX_SHARDS)
        length = max(1, length, least_length)
        starts = range(0, self.rows, length)
        return [slice(start, min(start + length, self.rows)) for start in starts]

    @property
    def core_seconds(self) -> float:
        """Roughly how long one core computes, without the start of workers and the judgement."""
        costs = sum(self._cost_of_row(self.search(ticker)) for ticker in self.request.tickers)
        return costs * len(self.grid) / CELLS_PER_SECOND

    def _cost_of_row(self, search: Search) -> int:
        """What a row costs, in bars."""
        bars = len(search.data)
        cost = bars
        for fold in search.walk_forward_folds:
            cost += fold.train.stop - fold.train.start
        if not has_only_conditions(type(self.rule)):
            cost += SIGNALS_COST
        if self.request.metric not in CHUNK_METRICS:
            cost *= SINGLE_RUN_COST
        if self.request.reality_check:
            cost += REALITY_CHECK_COST * bars
        return cost

    def pieces(self, rows: slice) -> Iterator[tuple[str, slice]]:
        """The rows of the grid that those are, ticker by ticker."""
        length = len(self.grid)
        for number in range(rows.start // length, -(-rows.stop // length)):
            first_row = number * length
            start = max(0, rows.start - first_row)
            end = min(length, rows.stop - first_row)
            yield self.request.tickers[number], slice(start, end)

    def compute_shard(self, rows: slice) -> bytes:
        """What those rows come to, as `SearchNumbers.to_bytes` has it."""
        parts: dict[int, SearchNumbers] = {}
        done = 0
        for ticker, piece in self.pieces(rows):
            search = self.search(ticker)
            numbers = search.numbers(piece)
            if self.request.reality_check:
                check = search.reality_check(piece)
                numbers = replace(
                    numbers,
                    reality_checks={ticker: check.largest},
                    contenders={ticker: check.contenders},
                )
            parts[done] = numbers
            done += piece.stop - piece.start
        return joined_numbers(parts, done).to_bytes()

    def numbers_by_ticker(self, shards: Mapping[int, bytes]) -> dict[str, SearchNumbers]:
        """What all rows of each ticker came to.

        `shards` has what `compute_shard` gave under the number of the shard's first row. Rows of
        missing shards count as not tried.
        """
        parts = {first: SearchNumbers.from_bytes(content) for first, content in shards.items()}
        numbers = joined_numbers(parts, self.rows)
        length = len(self.grid)
        return {
            ticker: numbers.rows(slice(number * length, (number + 1) * length))
            for number, ticker in enumerate(self.request.tickers)
        }
