"""What a sweep asks for, made concrete: its rule, its grid, the bars of each ticker, and how they make shards."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from backtest.kernel import Terms
from rules.base_rule import BaseRule, CompositeRule, InvalidRule
from rules.optimizer import MOST_COMBINATIONS, Grid, SearchTable, grid, joined
from service.contract.errors import InvalidRequest
from service.contract.sweep import SweepRequest
from service.engine.adapter import refuse_errors, rule_of, window
from service.prices.checks import check_prices
from service.prices.series import PriceSeries
from service.search.cross_validation import validation_blocks
from service.search.evaluator import AT_ONCE
from service.search.search import BLOCKS, Search
from service.search.walk_forward import splits, trained

SHARD_CELLS = 60_000_000  # bars times rows: a few seconds on one core
SHARD_ROWS, MOST_SHARDS = 20_000, 100
SHARD_BYTES = (
    15 << 20
)  # of numbers, which hardly get smaller by compression; MEDIUMBLOB takes 16 MiB
ONE_BY_ONE_COSTS = 20  # times what a metric of AT_ONCE does
REALITY_CHECK_COSTS = 6  # times what a row does
LUCK = "luck "  # and the ticker: the one array of a shard that has no rows

Arrays = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class SweepPlan:
    """`series_of` gives the prices of a ticker. Rows are numbered through all tickers, in the order asked for.

    Raises InvalidRequest or NoData.
    """

    request: SweepRequest
    series_of: Callable[[str], PriceSeries]
    validate: bool = False
    _searches: dict[str, Search] = field(default_factory=dict, repr=False)

    @cached_property
    def rule(self) -> BaseRule:
        """Numbers in its name stand where the grid says nothing."""
        rule = rule_of(self.request.rule_id, {}, validate=self.validate)
        if isinstance(rule, CompositeRule):
            raise InvalidRequest("A search takes one rule by its name, such as MA_CROSS.")
        return rule

    @cached_property
    def grid(self) -> Grid:
        try:
            most = MOST_COMBINATIONS // len(self.request.tickers)
            return grid(type(self.rule), {**self.rule.params, **self.request.grid}, most)
        except InvalidRule as error:
            raise InvalidRequest(error.template, **error.values) from None

    def search(self, ticker: str) -> Search:
        """The grid on the bars of one ticker."""
        if ticker not in self._searches:
            self._searches[ticker] = self._search(ticker)
        return self._searches[ticker]

    def _search(self, ticker: str) -> Search:
        series = self.series_of(ticker)
        refuse_errors(check_prices(series.data), series)
        data = window(series, self.request.start_date, self.request.end_date)
        search = Search(data, self.grid, self.terms, self.request.metric)
        return (
            replace(search, more_blocks=self._fold_blocks(len(data)))
            if self.request.folds
            else search
        )

    def _fold_blocks(self, bars: int) -> list[slice]:
        """Those of the cross-validation; raises InvalidRequest where there can be none, or no walk forward."""
        folds, needed = self.request.folds, int(self.grid.needed.min()) + 1
        train = splits(bars, folds)[0][0]
        if train.stop - train.start < needed:
            template = "With {folds} folds a training has {bars} bars, and the rule needs {needed}; ask for fewer."
            raise InvalidRequest(
                template, folds=folds, bars=train.stop - train.start, needed=needed
            )
        return validation_blocks(self.grid, bars, folds)

    def trainings(self, bars: int) -> list[slice]:
        """Those of the walk forward, if there is one."""
        request = self.request
        return (
            [train for train, _ in splits(bars, request.folds, request.anchored)]
            if request.folds
            else []
        )

    @property
    def terms(self) -> Terms:
        request = self.request
        costs = request.commission_rate, request.slippage_rate
        return Terms(request.initial_capital, *costs, request.lot_size, request.allow_short)

    def check(self) -> None:
        """Raises InvalidRequest or NoData where the sweep could come to nothing, before anything is computed."""
        for ticker in self.request.tickers:
            self.search(ticker)

    @property
    def rows(self) -> int:
        """Of all tickers."""
        return len(self.grid) * len(self.request.tickers)

    def shards(self) -> list[slice]:
        """Rows of each: as many as a few seconds suffice for, and a field of the database."""
        cells = max(self._cells(len(self.search(ticker).data)) for ticker in self.request.tickers)
        numbers = 7 + 2 * (BLOCKS + 3 * self.request.folds) + 2 * self.request.folds
        length = min(SHARD_ROWS, SHARD_CELLS // cells, SHARD_BYTES // (8 * numbers))
        length = max(1, length, -(-self.rows // MOST_SHARDS))
        return [slice(at, min(at + length, self.rows)) for at in range(0, self.rows, length)]

    def _cells(self, bars: int) -> int:
        """What a row costs, in bars."""
        every: int = bars + sum(train.stop - train.start for train in self.trainings(bars))
        if self.request.metric not in AT_ONCE:
            every *= ONE_BY_ONE_COSTS
        return every + REALITY_CHECK_COSTS * bars if self.request.reality_check else every

    def pieces(self, rows: slice) -> Iterator[tuple[str, slice]]:
        """Which rows of the grid those are, ticker by ticker."""
        m = len(self.grid)
        for number in range(rows.start // m, -(-rows.stop // m)):
            start, stop = rows.start - number * m, rows.stop - number * m
            yield self.request.tickers[number], slice(max(0, start), min(m, stop))

    def computed(self, rows: slice) -> bytes:
        """The metrics of those rows, as NumPy's npz."""
        pieces = list(self.pieces(rows))
        found = joined([self._numbers(ticker, piece) for ticker, piece in pieces])
        if self.request.reality_check:
            found |= {LUCK + ticker: self.search(ticker).luck(piece) for ticker, piece in pieces}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **found)  # type: ignore[arg-type]
        return buffer.getvalue()

    def _numbers(self, ticker: str, piece: slice) -> Arrays:
        """Of some rows of one ticker, what they come to in the trainings of the walk forward among them."""
        search, params = (
            self.search(ticker),
            {name: values[piece] for name, values in self.grid.params.items()},
        )
        numbers, trains = joined(list(search.evaluator()(params))), self.trainings(len(search.data))
        if not trains:
            return numbers
        return {
            **numbers,
            **trained(search.data, self.grid.rule, self.terms, self.request.metric, trains, params),
        }

    def tables(self, parts: Mapping[int, bytes]) -> dict[str, SearchTable]:
        """The table of each ticker, from what shards came to by their first row; NaN in the rows that are missing."""
        loaded = {first: _arrays(part, luck=False) for first, part in parts.items()}
        shapes = {name: values.shape[1:] for name, values in next(iter(loaded.values())).items()}
        m = len(self.grid)
        lost = {name: 0.0 if name.startswith("block_") else np.nan for name in shapes}
        whole = {name: np.full((self.rows, *shape), lost[name]) for name, shape in shapes.items()}
        for first, arrays in loaded.items():
            for name, values in arrays.items():
                whole[name][first : first + len(values)] = values
        return {
            ticker: SearchTable(
                self.grid,
                {name: values[number * m : (number + 1) * m] for name, values in whole.items()},
                self.request.metric,
            )
            for number, ticker in enumerate(self.request.tickers)
        }


def lucks(parts: Iterable[bytes]) -> Arrays:
    """`Search.luck` of each ticker, from what shards came to."""
    found: dict[str, NDArray[np.float64]] = {}
    for part in parts:
        for name, largest in _arrays(part, luck=True).items():
            ticker = name.removeprefix(LUCK)
            found[ticker] = np.maximum(found.get(ticker, largest), largest)
    return found


def _arrays(content: bytes, luck: bool) -> Arrays:
    with np.load(io.BytesIO(content), allow_pickle=False) as loaded:
        return {name: loaded[name] for name in loaded.files if name.startswith(LUCK) == luck}
