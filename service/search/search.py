"""A parameter search on one price series: the table of all combinations, the best, and how much of it is luck."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from backtest.kernel import Terms
from backtest.metrics import Floats, bar_returns, bars_per_year, total_return
from backtest.prices import checked_prices
from rules.base_rule import BaseRule
from rules.optimizer import MOST_COMBINATIONS, Grid, ParameterOptimizer, Progress, SearchTable, grid
from service.contract.errors import InvalidRequest, NoData
from service.search.evaluator import AT_ONCE, DEFAULT_METRICS, ONE_BY_ONE, GridEvaluator, engine_on
from service.search.luck import (
    blocks_of,
    deflated_sharpe_ratio,
    overfitting_probability,
    sentence,
    skill_probability,
)
from service.search.reality_check import RealityCheck, p_value

BLOCKS = 10  # of time, for the probability of overfitting: 252 ways to halve them


@dataclass(frozen=True)
class Sweep:
    """The table, and what can be said of its best row; NaN where something is undefined.

    `probabilistic_sharpe` is the probability of skill as if nothing else had been tried, `deflated_sharpe` that after
    all the tries, `overfitting` a probability too, `reality_check` the p-value against buy and hold on the same terms,
    where it was asked for. `too_short` counts the rows that need more bars than there are, `undefined` those that were
    tried and lack the metric; `buy_and_hold_pct` is the total return of buy and hold.
    """

    table: SearchTable
    bars: int
    buy_and_hold_pct: float
    too_short: int
    undefined: int
    probabilistic_sharpe: float
    deflated_sharpe: float
    overfitting: float
    reality_check: float

    @property
    def sentence(self) -> str:
        """What the statistics mean for this search."""
        return sentence(self.deflated_sharpe, self.overfitting)


@dataclass(frozen=True)
class Search:
    """Every combination of a grid on the bars of `data`, on the same terms, the best by `metric`.

    Raises InvalidRequest or NoData with a sentence that says how to mend it.
    """

    data: pd.DataFrame
    grid: Grid
    terms: Terms
    metric: str
    more_blocks: Sequence[
        slice
    ] = ()  # of bars, whose sums the table has beside those of the BLOCKS

    def __post_init__(self) -> None:
        engine_on(self.terms)
        names = (*AT_ONCE, *ONE_BY_ONE)
        if self.metric not in names:
            template = "There is no metric {name}; choose one of {names}."
            raise InvalidRequest(template, name=self.metric[:40], names=", ".join(names))
        if len(self.data) < 2:
            raise NoData(
                "There are {bars} bars in these dates; a search needs at least 2.",
                bars=len(self.data),
            )
        least = int(self.grid.needed.min()) + 1
        if least > len(self.data):
            template = "None of the {count} combinations can be tried: {rule} needs {needed} bars, there are {bars}."
            rule = self.grid.rule_at(int(self.grid.needed.argmin())).rule_id
            raise NoData(
                template, count=len(self.grid), rule=rule, needed=least, bars=len(self.data)
            )

    def evaluator(self) -> GridEvaluator:
        """What a ParameterOptimizer, or one part of the grid, asks for its metrics. It keeps what it computed of the
        prices: 64 MiB and more, so that nobody should keep many."""
        wanted = list(dict.fromkeys([*DEFAULT_METRICS, self.metric]))
        blocks = [*blocks_of(len(self.data), BLOCKS), *self.more_blocks]
        return GridEvaluator(self.data, self.grid.rule, self.terms, wanted, blocks)

    @property
    def too_short(self) -> NDArray[np.bool_]:
        """Which rows need more bars than there are, (m,)."""
        return self.grid.needed + 1 > len(self.data)

    def table(self, progress: Progress = lambda done, every: None) -> SearchTable:
        """All of it."""
        return ParameterOptimizer(self.evaluator(), self.metric).run(self.grid, progress)

    def luck(self, rows: slice = slice(None)) -> Floats:
        """`RealityCheck.largest` of those rows that have bars enough."""
        enough = ~self.too_short[rows]
        params = {name: values[rows][enough] for name, values in self.grid.params.items()}
        held = bar_returns(self._benchmark.to_numpy())
        check = RealityCheck(len(held))
        for returns in self.evaluator().returns(params):
            check.add(returns - held)
        return check.largest

    @cached_property
    def _benchmark(self) -> pd.Series:
        """Equity of buy and hold, on the same terms."""
        return (
            engine_on(self.terms)
            .run(self.data, lambda data: np.zeros(len(data), np.int8))
            .benchmark
        )

    def judged(self, table: SearchTable, luck: Floats | None = None) -> Sweep:
        """The best row of the table, and how much of it is luck; raises InvalidRule where no row has the metric.

        Rows without numbers were not tried: too short, or lost with their worker."""
        best = engine_on(self.terms).run(self.data, self.grid.rule_at(table.best).generate_signals)
        returns = bar_returns(best.equity.to_numpy())
        tried = ~np.isnan(table.metrics["num_trades"])
        sharpe_ratios = table.metrics["sharpe_ratio"][tried] / np.sqrt(
            bars_per_year(checked_prices(self.data).index)
        )
        sums, squares = (
            table.metrics[name][tried, :BLOCKS] for name in ("block_sums", "block_squares")
        )
        return Sweep(
            table,
            len(self.data),
            100 * float(total_return(self._benchmark.to_numpy())),
            int(np.count_nonzero(self.too_short)),
            int(np.count_nonzero(np.isnan(table.metrics[self.metric][tried]))),
            skill_probability(returns),
            deflated_sharpe_ratio(returns, sharpe_ratios),
            overfitting_probability(sums, squares, len(self.data) // BLOCKS),
            np.nan if luck is None else p_value(luck),
        )


def sweep(
    data: pd.DataFrame,
    rule: type[BaseRule],
    asked: Mapping[str, object],
    terms: Terms,
    metric: str = "sharpe_ratio",
    most: int = MOST_COMBINATIONS,
    progress: Progress = lambda done, every: None,
    reality_check: bool = False,
) -> Sweep:
    """Every combination of the values `asked` for (see `rules.optimizer.grid`) on the bars of `data`.

    Raises InvalidRule, InvalidRequest or NoData with a sentence that says how to mend it.
    """
    search = Search(data, grid(rule, asked, most), terms, metric)
    return search.judged(search.table(progress), search.luck() if reality_check else None)


def across(sweeps: Sequence[Sweep]) -> tuple[Floats, Floats]:
    """Of the same combinations on several price series, (m,) each: the median of their ranks (1 is the best, equal ones
    share theirs), and on which share of the series they end above buy and hold."""
    ranks = [found.table.ranks() for found in sweeps]
    beats = [found.table.metrics["total_return_pct"] > found.buy_and_hold_pct for found in sweeps]
    return np.median(ranks, axis=0), np.mean(beats, axis=0)
