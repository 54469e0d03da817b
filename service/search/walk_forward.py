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
from rules.base_rule import BaseRule
from rules.optimizer import SearchTable
from service.engine.enhanced_engine import metrics_of
from service.search.evaluator import engine_on
from service.search.folds import WalkForwardFold
from service.search.numbers import SearchNumbers
from service.search.search import Search


@dataclass(frozen=True)
class WalkForwardStep:
    """The best rule of a fold's training, traded in its test.

    `growth_pct` is the growth in the training, percent a year.
    """

    fold: WalkForwardFold
    rule: BaseRule
    growth_pct: float


@dataclass(frozen=True)
class WalkForward:
    """`result` is one run over all tests, each traded with the rule of its step.

    No bar of it is one that its rule was chosen on.
    """

    steps: Sequence[WalkForwardStep]
    result: BacktestResult

    @property
    def efficiency(self) -> float:
        """Growth a year in the tests over the mean of that in the trainings.

        NaN where either is undefined, or the trainings did not grow.
        """
        trained_pct = float(np.mean([step.growth_pct for step in self.steps]))
        tested_pct = metrics_of(self.result)["cagr_pct"]
        if tested_pct is None or not trained_pct > 0:
            return float("nan")
        return tested_pct / trained_pct


def walk_forward(search: Search, numbers: SearchNumbers) -> WalkForward:
    """Chooses the best of the grid in each training and trades it in the test after it.

    `numbers` are those of all rows of a search with folds. Raises InvalidRule where a training has
    no best.
    """
    steps = []
    for number, fold in enumerate(search.walk_forward_folds):
        scores = {search.metric: numbers.training_scores[:, number]}
        best = SearchTable(search.grid, scores, search.metric).best
        growth_pct = float(numbers.training_growths[best, number])
        steps.append(WalkForwardStep(fold, search.grid.rule_at(best), growth_pct))
    signals = np.concatenate([_signals(step, search.data) for step in steps])
    tested = search.data.iloc[steps[0].fold.test.start :]
    return WalkForward(steps, engine_on(search.terms).run(tested, lambda _: signals))


def _signals(step: WalkForwardStep, data: pd.DataFrame) -> NDArray[np.int8]:
    """On each bar of the test the last BUY or SELL up to it.

    So the first bar of a test takes the position in which the rule stands. It stands in one, since
    it was chosen for what it traded before.
    """
    signals = step.rule.generate_signals(data.iloc[: step.fold.test.stop]).to_numpy()
    bars = np.arange(len(signals))
    last_spoken = np.maximum.accumulate(np.where(signals != 0, bars, 0))
    return np.asarray(signals[last_spoken][step.fold.test], dtype=np.int8)
