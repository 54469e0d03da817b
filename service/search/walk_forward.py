"""Walk-forward analysis: choose on the past, trade the future, move on, and join what was traded.

Source: Pardo (2008), The Evaluation and Optimization of Trading Strategies, chapter 11.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from backtest.engine import BacktestResult
from backtest.kernel import Terms
from backtest.metrics import annual_growth
from rules.base_rule import BaseRule
from rules.optimizer import Columns, Grid, SearchTable, joined
from service.contract.errors import InvalidRequest
from service.engine.enhanced_engine import metrics_of
from service.search.evaluator import Floats, GridEvaluator, engine_on

TRAINING = 4  # times the bars of a test
SCORE, GROWTH = "training_scores", "training_growths"


@dataclass(frozen=True)
class Fold:
    """The best rule of the bars in `train`, traded in `test`, the bars right after."""

    train: slice
    test: slice
    rule: BaseRule
    growth_pct: float  # a year, in training


@dataclass(frozen=True)
class WalkForward:
    """`result` is one run over all tests, with the rule of each: never a bar that its parameters were chosen on."""

    folds: Sequence[Fold]
    result: BacktestResult

    @property
    def efficiency(self) -> float:
        """Growth a year in the tests over the mean of that in training; NaN where either is undefined, or none was."""
        trained = float(np.mean([fold.growth_pct for fold in self.folds]))
        tested = metrics_of(self.result)["cagr_pct"]
        return tested / trained if tested is not None and trained > 0 else float("nan")


def splits(bars: int, folds: int, anchored: bool = False) -> list[tuple[slice, slice]]:
    """(train, test) of each fold, the last test ending with the last bar; a training is TRAINING tests long, or, where
    `anchored`, begins with the first bar that any begins with. Raises InvalidRequest where the bars are too few."""
    length = bars // (folds + TRAINING) if folds > 0 else 0
    if length < 2:
        template = "A walk forward of {folds} folds needs {needed} bars, there are {bars}."
        raise InvalidRequest(
            template, folds=folds, needed=2 * (max(folds, 1) + TRAINING), bars=bars
        )
    starts = [bars - (folds - i) * length for i in range(folds)]
    first = starts[0] - TRAINING * length
    return [
        (
            slice(first if anchored else start - TRAINING * length, start),
            slice(start, start + length),
        )
        for start in starts
    ]


def walk_forward(
    data: pd.DataFrame,
    searched: Grid,
    terms: Terms,
    metric: str = "sharpe_ratio",
    folds: int = 5,
    anchored: bool = False,
    numbers: Columns | None = None,
) -> WalkForward:
    """Chooses the best of the grid in each training and trades it in the test after it.

    `numbers` are those of `trained`, where somebody has them. Raises InvalidRequest, and InvalidRule where a training
    has no best.
    """
    pairs = splits(len(data), folds, anchored)
    found = numbers or trained(
        data, searched.rule, terms, metric, [train for train, _ in pairs], searched.params
    )
    chosen = [_fold(searched, metric, found, number, *pair) for number, pair in enumerate(pairs)]
    traded = np.concatenate(
        [_directions(fold.rule, data.iloc[: fold.test.stop])[fold.test] for fold in chosen]
    )
    tested = data.iloc[chosen[0].test.start :]
    return WalkForward(chosen, engine_on(terms).run(tested, lambda _: traded))


def trained(
    data: pd.DataFrame,
    rule: type[BaseRule],
    terms: Terms,
    metric: str,
    trains: Sequence[slice],
    params: Columns,
) -> dict[str, Floats]:
    """What k rows come to in each of s trainings, (k, s): SCORE by the metric, NaN where nothing was traded, and
    GROWTH, percent a year of the bars that a row could trade on.

    Rules are warm where there are bars before a training, and begin it where they stand.
    """
    needed = Grid(rule, params, 0).needed
    columns = [_trained(data, rule, terms, metric, train, params, needed) for train in trains]
    return {name: np.stack([each[name] for each in columns], axis=1) for name in (SCORE, GROWTH)}


def _trained(
    data: pd.DataFrame,
    rule: type[BaseRule],
    terms: Terms,
    metric: str,
    train: slice,
    params: Columns,
    needed: NDArray[np.int64],
) -> dict[str, Floats]:
    wanted = list(dict.fromkeys([metric, "total_return_pct", "num_trades"]))
    evaluator = GridEvaluator(data.iloc[: train.stop], rule, terms, wanted, warm=train.start)
    found = joined(list(evaluator(params)))
    bars = np.maximum(train.stop - np.maximum(needed, train.start), 1)
    growth = annual_growth(1 + found["total_return_pct"] / 100, bars, evaluator.periods)
    return {SCORE: np.where(found["num_trades"] > 0, found[metric], np.nan), GROWTH: 100 * growth}


def _fold(
    searched: Grid, metric: str, found: Columns, number: int, train: slice, test: slice
) -> Fold:
    best = SearchTable(searched, {metric: found[SCORE][:, number]}, metric).best
    return Fold(train, test, searched.rule_at(best), float(found[GROWTH][best, number]))


def _directions(rule: BaseRule, data: pd.DataFrame) -> NDArray[np.int8]:
    """The last BUY or SELL up to each bar: a fold that begins says at once where it stands. It does stand somewhere,
    since it was chosen for what it traded before."""
    values = rule.generate_signals(data).to_numpy()
    last = np.maximum.accumulate(np.where(values != 0, np.arange(len(values)), 0))
    return np.asarray(values[last], dtype=np.int8)
