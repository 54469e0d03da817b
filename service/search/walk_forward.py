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
from rules.base_rule import BaseRule, Signal
from rules.optimizer import SearchTable
from service.engine.metrics import metrics_of
from service.search.evaluator import engine_on
from service.search.folds import WalkForwardFold
from service.search.numbers import SearchNumbers
from service.search.search import Search


@dataclass(frozen=True)
class WalkForwardStep:
    """The best rule of a fold's training, traded in its test; without a rule it stays in cash.

    There is none where no combination has the metric in the training, as when none traded.
    `growth_pct` is the rule's growth in the training, percent a year.
    """

    fold: WalkForwardFold
    rule: BaseRule | None
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
        """Growth a year in the tests over the mean of that in the trainings that chose a rule.

        NaN where either is undefined, or the trainings did not grow.
        """
        growths = [step.growth_pct for step in self.steps if step.rule is not None]
        if not growths:
            return float("nan")
        trained_pct = float(np.mean(growths))
        tested_pct = metrics_of(self.result)["cagr_pct"]
        if tested_pct is None or not trained_pct > 0:
            return float("nan")
        return tested_pct / trained_pct


def walk_forward(search: Search, numbers: SearchNumbers) -> WalkForward:
    """Chooses the best of the grid in each training and trades it in the test after it.

    `numbers` are those of all rows of a search with folds.
    """
    folds = enumerate(search.walk_forward_folds)
    steps = [_step(search, numbers, number, fold) for number, fold in folds]
    signals = np.concatenate([_signals(step, search.data, search.terms) for step in steps])
    tested = search.data.iloc[steps[0].fold.test.start :]
    return WalkForward(steps, engine_on(search.terms).run(tested, lambda _: signals))


def _step(
    search: Search, numbers: SearchNumbers, number: int, fold: WalkForwardFold
) -> WalkForwardStep:
    scores = numbers.training_scores[:, number]
    if np.isnan(scores).all():
        return WalkForwardStep(fold, None, growth_pct=float("nan"))
    best = SearchTable(search.grid, {search.metric: scores}, search.metric).best
    growth = float(numbers.training_growths[best, number])
    growth_pct = search.growth_pct(growth, best, fold.train)
    return WalkForwardStep(fold, search.grid.rule_at(best), growth_pct)


def _signals(step: WalkForwardStep, data: pd.DataFrame, terms: Terms) -> NDArray[np.int8]:
    """On each bar of the test the last BUY or SELL up to it.

    So the first bar of a test takes the position in which the rule stands. It stands in one, since
    it was chosen for what it traded before. Without a rule all is sold. Where a SELL would sell
    short, the engine has no signal for that: the position of the test before is kept.
    """
    test = step.fold.test
    if step.rule is None:
        without_rule = Signal.HOLD if terms.allow_short else Signal.SELL
        return np.full(test.stop - test.start, without_rule, dtype=np.int8)
    signals = step.rule.generate_signals(data.iloc[: test.stop]).to_numpy()
    bars = np.arange(len(signals))
    last_spoken = np.maximum.accumulate(np.where(signals != 0, bars, 0))
    return np.asarray(signals[last_spoken][test], dtype=np.int8)
