"""A parameter search on one price series: all rows, the best one, and how much of it is luck."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from backtest.kernel import Terms
from backtest.metrics import Floats, annual_growth, bar_returns, bars_per_year, total_return
from backtest.prices import checked_prices
from rules.optimizer import Grid, ParameterOptimizer, SearchTable
from service.contract.errors import InvalidRequest, NoData
from service.search.chunk_metrics import SEARCH_METRICS
from service.search.evaluator import DEFAULT_METRICS, SearchEvaluator, engine_on
from service.search.folds import (
    PARTS_OF_VALIDATION_FOLD,
    ValidationFold,
    WalkForwardFold,
    blocks_of,
    split_for_validation,
    split_for_walk_forward,
)
from service.search.luck import (
    RealityCheck,
    deflated_sharpe_ratio,
    overfitting_probability,
    p_value,
    skill_probability,
    verdict_sentence,
)
from service.search.numbers import OVERFITTING_BLOCKS, SearchNumbers

ALL_ROWS = slice(None)


@dataclass(frozen=True)
class JudgedSearch:
    """The table of a search, and what is known of its best row; NaN where it is undefined.

    `buy_and_hold_pct` is the total return of buy and hold on the same terms. `too_short` counts the
    rows that need more bars than there are, `undefined` those that were tried and lack the metric.
    `probabilistic_sharpe` is the probability of skill as if only the best row had been tried,
    `deflated_sharpe` that after all tries, `overfitting` a probability too, `reality_check` the
    p-value against buy and hold, NaN where no reality check was made.
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
        return verdict_sentence(self.deflated_sharpe, self.overfitting)


@dataclass(frozen=True)
class Search:
    """Every combination of a grid on the bars of `data`, on the same terms, the best by `metric`.

    With `folds` there is a walk forward, `anchored` or not, and a cross-validation. Raises
    InvalidRequest or NoData with a sentence that says how to mend it.
    """

    data: pd.DataFrame
    grid: Grid
    terms: Terms
    metric: str
    folds: int = 0
    anchored: bool = False

    def __post_init__(self) -> None:
        engine_on(self.terms)
        if self.metric not in SEARCH_METRICS:
            template = "There is no metric {name}; choose one of {names}."
            names = ", ".join(SEARCH_METRICS)
            raise InvalidRequest(template, name=self.metric[:40], names=names)
        bars = len(self.data)
        if bars < 2:
            template = "There are {bars} bars in these dates; a search needs at least 2."
            raise NoData(template, bars=bars)
        needed = int(self.grid.needed.min()) + 1
        if needed > bars:
            template = (
                "None of the {count} combinations can be tried: {rule} needs {needed} bars, "
                "there are {bars}."
            )
            rule = self.grid.rule_at(int(self.grid.needed.argmin())).rule_id
            raise NoData(template, count=len(self.grid), rule=rule, needed=needed, bars=bars)
        if self.folds:
            self._check_folds(needed)

    def _check_folds(self, needed: int) -> None:
        """Raises InvalidRequest where the bars are too few for so many folds."""
        train = self.walk_forward_folds[0].train
        bars = train.stop - train.start
        if bars < needed:
            template = (
                "With {folds} folds a training has {bars} bars, and the rule needs {needed}; "
                "ask for fewer."
            )
            raise InvalidRequest(template, folds=self.folds, bars=bars, needed=needed)
        split_for_validation(self.grid, len(self.data), self.folds)

    @cached_property
    def walk_forward_folds(self) -> Sequence[WalkForwardFold]:
        """Those of the walk forward; none without folds."""
        if not self.folds:
            return []
        return split_for_walk_forward(len(self.data), self.folds, self.anchored)

    @cached_property
    def validation_folds(self) -> Sequence[ValidationFold]:
        """Those of the cross-validation; none without folds."""
        if not self.folds:
            return []
        return split_for_validation(self.grid, len(self.data), self.folds)

    @property
    def too_short(self) -> NDArray[np.bool_]:
        """Which rows need more bars than there are, (m,)."""
        return self.grid.needed + 1 > len(self.data)

    def numbers(self, rows: slice = ALL_ROWS) -> SearchNumbers:
        """What those rows of the grid come to, without a reality check."""
        part = self._part(rows)
        columns = ParameterOptimizer(self._evaluator(), self.metric).run(part).metrics
        validation_shape = (len(part), len(self.validation_folds), PARTS_OF_VALIDATION_FOLD)
        scores, growths = self._trainings(part)
        return SearchNumbers(
            metrics={name: columns[name] for name in self._metrics},
            overfitting_sums=columns["overfitting_sums"],
            overfitting_squares=columns["overfitting_squares"],
            validation_sums=columns["validation_sums"].reshape(validation_shape),
            validation_squares=columns["validation_squares"].reshape(validation_shape),
            training_scores=scores,
            training_growths=growths,
            reality_checks={},
        )

    def _part(self, rows: slice) -> Grid:
        params = {name: values[rows] for name, values in self.grid.params.items()}
        return Grid(self.grid.rule, params, skipped=0)

    @property
    def _metrics(self) -> Sequence[str]:
        return list(dict.fromkeys([*DEFAULT_METRICS, self.metric]))

    def _evaluator(self) -> SearchEvaluator:
        """It keeps what it computed of the prices, 64 MiB and more: nobody should keep many."""
        blocks = {
            "overfitting": blocks_of(len(self.data), OVERFITTING_BLOCKS),
            "validation": [part for fold in self.validation_folds for part in fold.parts],
        }
        return SearchEvaluator(self.data, self.grid.rule, self.terms, self._metrics, blocks)

    def _trainings(self, part: Grid) -> tuple[Floats, Floats]:
        """The scores of k rows in each training, and their growths, percent a year, (k, folds)."""
        scores = np.empty((len(part), len(self.walk_forward_folds)))
        growths = np.empty_like(scores)
        for column, fold in enumerate(self.walk_forward_folds):
            scores[:, column], growths[:, column] = self._training(part, fold.train)
        return scores, growths

    def _training(self, part: Grid, train: slice) -> tuple[Floats, Floats]:
        """The metric in one training, NaN where nothing was traded, and the growth, (k,) each.

        The growth counts the bars that a row could trade on. Rules look at the bars before the
        training, and start it in the position where they stand.
        """
        wanted = list(dict.fromkeys([self.metric, "total_return_pct", "num_trades"]))
        seen = self.data.iloc[: train.stop]
        evaluator = SearchEvaluator(seen, part.rule, self.terms, wanted, warm=train.start)
        metrics = ParameterOptimizer(evaluator, self.metric).run(part).metrics
        bars = np.maximum(train.stop - np.maximum(part.needed, train.start), 1)
        growth = annual_growth(1 + metrics["total_return_pct"] / 100, bars, evaluator.periods)
        scores = np.where(metrics["num_trades"] > 0, metrics[self.metric], np.nan)
        return scores, 100 * growth

    def reality_check(self, rows: slice = ALL_ROWS) -> Floats:
        """`RealityCheck.largest` against buy and hold, of those rows that have bars enough."""
        enough = ~self.too_short[rows]
        params = {name: values[rows][enough] for name, values in self.grid.params.items()}
        benchmark = bar_returns(self._buy_and_hold.to_numpy())
        check = RealityCheck(len(benchmark))
        for returns in self._evaluator().returns(params):
            check.add(returns - benchmark)
        return check.largest

    @cached_property
    def _buy_and_hold(self) -> pd.Series:
        """Equity of buy and hold, on the same terms."""
        engine = engine_on(self.terms)
        return engine.run(self.data, lambda data: np.zeros(len(data), np.int8)).benchmark

    def table(self, numbers: SearchNumbers) -> SearchTable:
        """The table of all rows."""
        return SearchTable(self.grid, numbers.metrics, self.metric)

    def judge(self, numbers: SearchNumbers, reality_check: Floats | None = None) -> JudgedSearch:
        """The best of all rows, and how much of it is luck.

        Rows without numbers were not tried: too short, or lost with their worker. `reality_check`
        is that of all rows. Raises InvalidRule where no row has the metric.
        """
        table = self.table(numbers)
        metrics = numbers.metrics
        best_rule = self.grid.rule_at(table.best)
        equity = engine_on(self.terms).run(self.data, best_rule.generate_signals).equity
        returns = bar_returns(equity.to_numpy())
        tried = ~np.isnan(metrics["num_trades"])
        year = np.sqrt(bars_per_year(checked_prices(self.data).index))
        return JudgedSearch(
            table=table,
            bars=len(self.data),
            buy_and_hold_pct=100 * float(total_return(self._buy_and_hold.to_numpy())),
            too_short=int(np.count_nonzero(self.too_short)),
            undefined=int(np.count_nonzero(np.isnan(metrics[self.metric][tried]))),
            probabilistic_sharpe=skill_probability(returns),
            deflated_sharpe=deflated_sharpe_ratio(returns, metrics["sharpe_ratio"][tried] / year),
            overfitting=overfitting_probability(
                numbers.overfitting_sums[tried],
                numbers.overfitting_squares[tried],
                len(self.data) // OVERFITTING_BLOCKS,
            ),
            reality_check=np.nan if reality_check is None else p_value(reality_check),
        )


@dataclass(frozen=True)
class AcrossTickers:
    """How each of the same m combinations did on several price series, (m,) each.

    `median_ranks` are the medians of their ranks: 1 is the best, equal combinations share a rank.
    `shares_above_buy_and_hold` says on which share of the series they end above buy and hold.
    """

    median_ranks: Floats
    shares_above_buy_and_hold: Floats


def compare_across_tickers(searches: Sequence[JudgedSearch]) -> AcrossTickers:
    """The same combinations on several price series."""
    ranks = [search.table.ranks() for search in searches]
    above = [
        search.table.metrics["total_return_pct"] > search.buy_and_hold_pct for search in searches
    ]
    return AcrossTickers(np.median(ranks, axis=0), np.mean(above, axis=0))
