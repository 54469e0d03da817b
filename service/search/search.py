"""A parameter search on one price series: all rows, the best one, and how much of it is luck."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from backtest.kernel import Terms
from backtest.metrics import Floats, bar_returns, total_return
from backtest.prices import checked_prices
from rules.base_rule import BaseRule
from rules.optimizer import Grid, ParameterOptimizer, SearchTable
from service.contract.errors import InvalidRequest, NoData
from service.doubt.luck import (
    deflated_sharpe_ratio,
    overfitting_probability,
    skill_probability,
    timing_returns,
)
from service.doubt.reality_check import RealityCheck, p_value
from service.engine.look_ahead import checked_for_look_ahead
from service.engine.metrics import (
    ANNUAL_METRICS,
    LEAST_BARS,
    PLAIN,
    Reference,
    annual_growth,
    risk_free_per_bar,
)
from service.prices.periods import bars_a_year
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
from service.search.numbers import OVERFITTING_BLOCKS, SearchNumbers
from service.search.sampling import TrialSampling
from service.search.verdict import Evidence
from service.trials.records import Sketching, Tried, days_of, records_of, share_of_keys, tried_on
from service.trials.skill import Judged, judged_of

ALL_ROWS = slice(None)


@dataclass(frozen=True)
class Trials:
    """The Sharpe ratios, of one bar each, of all combinations among which a best one is chosen.

    `sharpe` (m,) are those of the returns, `timing` (m,) those of `luck.timing_returns`; of
    `tickers` price series. Combinations that were not tried, or never traded, are none of them.
    """

    sharpe: Floats
    timing: Floats
    tickers: int = 1

    def __len__(self) -> int:
        return len(self.sharpe)


def joined_trials(parts: Sequence[Trials]) -> Trials:
    """Those of several price series: who takes the best of all has tried all of them."""
    return Trials(
        np.concatenate([part.sharpe for part in parts]),
        np.concatenate([part.timing for part in parts]),
        sum(part.tickers for part in parts),
    )


@dataclass(frozen=True)
class JudgedSearch:
    """The table of a search, and what is known of its best row; NaN where it is undefined.

    `buy_and_hold_pct` is the total return of buy and hold on the same terms. `too_short` counts the
    rows that need more bars than there are, `undefined` those that were tried and lack the metric,
    `untraded` those that were tried and never traded. `tries` is the number of trials that count.
    `probabilistic_sharpe` is the probability of skill as if only the best row had been tried,
    `deflated_sharpe` that after all tries, `timing` the same of its `luck.timing_returns`.
    `overfitting` is a probability too, `reality_check` the p-value against buy and hold, NaN where
    no reality check was made. `judged` is the best row as the ledger of all trials judges it.
    """

    table: SearchTable
    bars: int
    buy_and_hold_pct: float
    too_short: int
    undefined: int
    untraded: int
    tries: int
    probabilistic_sharpe: float
    deflated_sharpe: float
    timing: float
    overfitting: float
    reality_check: float
    judged: Judged | None

    @property
    def evidence(self) -> Evidence:
        """What the verdict is made of."""
        metrics = self.table.metrics
        best = self.table.best
        return Evidence(
            trades=int(metrics["num_trades"][best]),
            tries=self.tries,
            best_pct=float(metrics["total_return_pct"][best]),
            holding_pct=self.buy_and_hold_pct,
            timing=self.timing,
            overfitting=self.overfitting,
            reality_check=self.reality_check,
        )

    @property
    def sentence(self) -> str:
        """What the statistics mean for this search."""
        return self.evidence.sentence()


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
    reference: Reference = PLAIN
    plugin_digest: str = ""

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
        if self.metric in ANNUAL_METRICS and bars < LEAST_BARS:
            template = (
                "There are {bars} bars in these dates, and {metric} needs {needed}; choose a "
                "longer range or another metric."
            )
            raise NoData(template, bars=bars, metric=self.metric, needed=LEAST_BARS)
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
        if self.metric in ANNUAL_METRICS and bars < LEAST_BARS:
            template = (
                "With {folds} folds a training has {bars} bars, and {metric} needs {needed}; "
                "ask for fewer."
            )
            values = {"folds": self.folds, "bars": bars, "metric": self.metric}
            raise InvalidRequest(template, **values, needed=LEAST_BARS)
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
            timing_ratios=columns["timing_ratios"],
            keys=columns["keys"],
            sketches=columns["sketches"],
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
        return SearchEvaluator(
            self.data,
            self.grid.rule,
            self.terms,
            self._metrics,
            blocks,
            self._held_returns,
            reference=self.reference,
            sampling=self._sampling,
        )

    @cached_property
    def _sampling(self) -> TrialSampling:
        return TrialSampling(
            self.grid.rule,
            self.terms,
            self.plugin_digest,
            share_of_keys(len(self.grid)),
            Sketching(self._held_returns, days_of(checked_prices(self.data).index)),
        )

    def _trainings(self, part: Grid) -> tuple[Floats, Floats]:
        """The scores of k rows in each training, and their growths, end / start, (k, folds)."""
        scores = np.empty((len(part), len(self.walk_forward_folds)))
        growths = np.empty_like(scores)
        for column, fold in enumerate(self.walk_forward_folds):
            scores[:, column], growths[:, column] = self._training(part, fold.train)
        return scores, growths

    def _training(self, part: Grid, train: slice) -> tuple[Floats, Floats]:
        """The metric in one training, NaN where nothing was traded, and the growth, (k,) each.

        Rules look at the bars before the training, and start it in the position where they stand.
        """
        wanted = list(dict.fromkeys([self.metric, "total_return_pct", "num_trades"]))
        evaluator = SearchEvaluator(
            self.data.iloc[: train.stop],
            part.rule,
            self.terms,
            wanted,
            warm=train.start,
            reference=self.reference.of_bars(train),
        )
        metrics = ParameterOptimizer(evaluator, self.metric).run(part).metrics
        scores = np.where(metrics["num_trades"] > 0, metrics[self.metric], np.nan)
        return scores, 1 + metrics["total_return_pct"] / 100

    def growth_pct(self, growth: float, row: int, train: slice) -> float:
        """`growth`, end / start of one combination in a training, as percent a year.

        It counts the bars that the combination could trade on.
        """
        start = max(int(self.grid.needed[row]), train.start)
        bars = max(train.stop - start, 1)
        return 100 * float(annual_growth(np.array([growth]), bars, self._bars_per_year)[0])

    def reality_check(self, rows: slice = ALL_ROWS) -> RealityCheck:
        """That against buy and hold, of those rows that traded."""
        numbers = np.arange(len(self.grid))[rows][~self.too_short[rows]]
        params = {name: values[numbers] for name, values in self.grid.params.items()}
        check = RealityCheck(len(self._held_returns))
        done = 0
        for returns in self._evaluator().returns(params):
            has_traded = returns.any(axis=1)
            of_chunk = numbers[done : done + len(returns)]
            check.add(returns[has_traded] - self._held_returns, of_chunk[has_traded])
            done += len(returns)
        return check

    @cached_property
    def _held_returns(self) -> Floats:
        """Returns of buy and hold, (n,)."""
        return bar_returns(self._buy_and_hold.to_numpy())

    @cached_property
    def _buy_and_hold(self) -> pd.Series:
        """Equity of buy and hold, on the same terms."""
        engine = engine_on(self.terms)
        return engine.run(self.data, lambda data: np.zeros(len(data), np.int8)).benchmark

    @property
    def _bars_per_year(self) -> float:
        return bars_a_year(checked_prices(self.data).index)

    def table(self, numbers: SearchNumbers) -> SearchTable:
        """The table of all rows."""
        return SearchTable(self.grid, numbers.metrics, self.metric)

    def trials(self, numbers: SearchNumbers) -> Trials:
        """What of all rows counts as tried."""
        annual = numbers.metrics["sharpe_ratio"][numbers.has_traded]
        timing = numbers.timing_ratios[numbers.has_traded]
        return Trials(annual / math.sqrt(self._bars_per_year), timing)

    def judge(
        self,
        numbers: SearchNumbers,
        trials: Trials | None = None,
        reality_check: Floats | None = None,
    ) -> JudgedSearch:
        """The best of all rows, and how much of it is luck.

        Rows without numbers were not tried: too short, or lost with their worker. `trials` are
        those of all price series among which the best is chosen, None where it is this one alone.
        `reality_check` is that of all rows. Raises InvalidRule where no row has the metric, and
        LookAhead where the best one's signals depend on later prices.
        """
        table = self.table(numbers)
        metrics = numbers.metrics
        among = trials or self.trials(numbers)
        best_rule = self.grid.rule_at(table.best)
        checked_for_look_ahead(best_rule, self.data)
        returns = self.returns_of(best_rule)
        yearly_rate = self.reference.risk_free_rate
        excess = returns - risk_free_per_bar(yearly_rate, self._bars_per_year)
        tried = ~np.isnan(metrics["num_trades"])
        has_traded = numbers.has_traded
        return JudgedSearch(
            table=table,
            bars=len(self.data),
            buy_and_hold_pct=100 * float(total_return(self._buy_and_hold.to_numpy())),
            too_short=int(np.count_nonzero(self.too_short)),
            undefined=int(np.count_nonzero(np.isnan(metrics[self.metric][tried]))),
            untraded=int(np.count_nonzero(metrics["num_trades"] == 0)),
            tries=len(among),
            probabilistic_sharpe=skill_probability(excess),
            deflated_sharpe=deflated_sharpe_ratio(excess, among.sharpe),
            timing=deflated_sharpe_ratio(timing_returns(returns, self._held_returns), among.timing),
            overfitting=overfitting_probability(
                numbers.overfitting_sums[has_traded],
                numbers.overfitting_squares[has_traded],
                len(self.data) // OVERFITTING_BLOCKS,
            ),
            reality_check=_p_value_among(reality_check, among.tickers),
            judged=judged_of(
                int(numbers.keys[table.best]),
                returns,
                risk_free_per_bar(yearly_rate, self._bars_per_year),
                self._held_returns,
                self._bars_per_year,
            ),
        )

    def tried(self, numbers: SearchNumbers) -> Tried:
        """What all rows that traded add to the ledger of all trials."""
        is_kept = numbers.has_traded & (numbers.keys <= self._sampling.last_key)
        timing = numbers.timing_ratios[is_kept] * math.sqrt(self._bars_per_year)
        index = checked_prices(self.data).index
        return tried_on(
            (str(index[0].date()), str(index[-1].date())),
            records_of(
                numbers.keys[is_kept],
                numbers.metrics["sharpe_ratio"][is_kept],
                timing,
                numbers.sketches[is_kept],
            ),
            count=int(np.count_nonzero(numbers.has_traded)),
            complete_to=self._sampling.last_key,
        )

    def returns_of(self, rule: BaseRule) -> Floats:
        """Returns of one combination, (n,)."""
        equity = engine_on(self.terms).run(self.data, rule.generate_signals).equity
        return bar_returns(equity.to_numpy())


def _p_value_among(reality_check: Floats | None, tickers: int) -> float:
    """The p-value, times the number of price series that the best is chosen from (Bonferroni).

    NaN without a reality check, and where no row traded.
    """
    if reality_check is None or np.isneginf(reality_check[0]):
        return math.nan
    return min(1.0, tickers * p_value(reality_check))


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
    above = [_beats_holding(search) for search in searches]
    return AcrossTickers(np.median(ranks, axis=0), np.mean(above, axis=0))


def _beats_holding(search: JudgedSearch) -> NDArray[np.bool_]:
    """Which combinations traded, and ended above buy and hold, (m,)."""
    metrics = search.table.metrics
    is_above = metrics["total_return_pct"] > search.buy_and_hold_pct
    return is_above & (metrics["num_trades"] > 0)
