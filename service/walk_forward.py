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
from rules.base_rule import BaseRule
from rules.optimizer import Grid, ParameterOptimizer, SearchTable
from service.contract.errors import InvalidRequest
from service.grid import GridEvaluator, engine_on

TRAINING = 4  # times the bars of a test


@dataclass(frozen=True)
class Fold:
    """The best rule of the bars in `train`, traded in `test`, the bars right after."""

    train: slice
    test: slice
    rule: BaseRule
    cagr_pct: float  # in training


@dataclass(frozen=True)
class WalkForward:
    """`result` is one run over all tests, with the rule of each: never a bar that its parameters were chosen on."""

    folds: Sequence[Fold]
    result: BacktestResult

    @property
    def efficiency(self) -> float:
        """Growth a year in the tests over the mean of that in training; NaN where training did not grow."""
        trained = float(np.mean([fold.cagr_pct for fold in self.folds]))
        return self.result["metrics"]["cagr_pct"] / trained if trained > 0 else float("nan")


def splits(bars: int, folds: int, anchored: bool = False) -> list[tuple[slice, slice]]:
    """(train, test) of each fold, the last test ending with the last bar; a training is TRAINING tests long, or, where
    `anchored`, begins with the first bar that any begins with. Raises InvalidRequest where the bars are too few."""
    length = bars // (folds + TRAINING) if folds > 0 else 0
    if length < 2:
        template = "A walk forward of {folds} folds needs {needed} bars, there are {bars}."
        raise InvalidRequest(template, folds=folds, needed=2 * (max(folds, 1) + TRAINING), bars=bars)
    starts = [bars - (folds - i) * length for i in range(folds)]
    first = starts[0] - TRAINING * length
    return [
        (slice(first if anchored else start - TRAINING * length, start), slice(start, start + length))
        for start in starts
    ]


def walk_forward(
    data: pd.DataFrame,
    searched: Grid,
    terms: Terms,
    metric: str = "sharpe_ratio",
    folds: int = 5,
    anchored: bool = False,
) -> WalkForward:
    """Chooses the best of the grid in each training and trades it in the test after it.

    Raises InvalidRequest, and InvalidRule where a training has no best.
    """
    chosen = [_fold(data, searched, terms, metric, *split) for split in splits(len(data), folds, anchored)]
    traded = np.concatenate([_directions(fold.rule, data.iloc[: fold.test.stop])[fold.test] for fold in chosen])
    tested = data.iloc[chosen[0].test.start :]
    return WalkForward(chosen, engine_on(terms).run(tested, lambda _: traded))


def _fold(data: pd.DataFrame, searched: Grid, terms: Terms, metric: str, train: slice, test: slice) -> Fold:
    evaluate = GridEvaluator(data.iloc[train], searched.rule, terms, list(dict.fromkeys([metric, "cagr_pct"])))
    table: SearchTable = ParameterOptimizer(evaluate, metric).run(searched)
    return Fold(train, test, searched.rule_at(table.best), float(table.metrics["cagr_pct"][table.best]))


def _directions(rule: BaseRule, data: pd.DataFrame) -> NDArray[np.int8]:
    """The last BUY or SELL up to each bar: a fold that begins says at once where it stands."""
    values = rule.generate_signals(data).to_numpy()
    last = np.maximum.accumulate(np.where(values != 0, np.arange(len(values)), 0))
    return np.asarray(values[last], dtype=np.int8)
