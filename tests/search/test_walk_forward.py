"""Walking forward: no fold sees its future, and the tests join to one run."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest.engine import BacktestEngine, BacktestResult
from backtest.kernel import Terms
from rules.optimizer import Grid, grid
from rules.registry import BUILT_IN, rule_from_id
from service.contract.errors import InvalidRequest
from service.search.folds import TESTS_PER_TRAINING, split_for_walk_forward
from service.search.search import Search
from service.search.walk_forward import WalkForward, walk_forward
from tests.support.prices import prices
from tests.support.searches import PLAIN

MA_CROSS = BUILT_IN["MA_CROSS"]
ASKED = {"fast": [5, 10, 20], "slow": [30, 60]}


@given(st.integers(20, 5000), st.integers(1, 20), st.booleans())
def test_tests_follow_each_other_to_the_end_each_after_its_training(
    bars: int, folds: int, anchored: bool
) -> None:
    if bars < 2 * (folds + TESTS_PER_TRAINING):
        with pytest.raises(
            InvalidRequest, match=f"needs {2 * (folds + TESTS_PER_TRAINING)} bars, there are {bars}"
        ):
            split_for_walk_forward(bars, folds, anchored)
        return
    all_folds = split_for_walk_forward(bars, folds, anchored)
    assert len(all_folds) == folds
    assert all_folds[-1].test.stop == bars
    assert all(fold.train.stop == fold.test.start and fold.train.start >= 0 for fold in all_folds)
    assert all(all_folds[i].test.stop == all_folds[i + 1].test.start for i in range(folds - 1))
    lengths = {fold.train.stop - fold.train.start for fold in all_folds}
    assert len(lengths) == (folds if anchored else 1)


def walked(
    data: pd.DataFrame,
    searched: Grid,
    terms: Terms = PLAIN,
    metric: str = "sharpe_ratio",
    folds: int = 5,
    anchored: bool = False,
) -> WalkForward:
    search = Search(data, searched, terms, metric, folds, anchored)
    return walk_forward(search, search.numbers())


def traded(rule_id: str, data: pd.DataFrame, bars: slice) -> BacktestResult:
    """A run on some bars of a rule that has seen all before them, and stands where it stood."""
    signals = rule_from_id(rule_id).generate_signals(data.iloc[: bars.stop]).to_numpy()
    standing = next((signal for signal in signals[bars.start :: -1] if signal), 0)
    mine = np.concatenate([[standing], signals[bars.start + 1 : bars.stop]]).astype(np.int8)
    return BacktestEngine().run(data.iloc[bars], lambda _: mine)


@pytest.mark.parametrize("anchored", [False, True])
def test_each_fold_takes_the_best_of_its_training_alone(anchored: bool) -> None:
    data = prices()
    walk = walked(data, grid(MA_CROSS, ASKED), PLAIN, folds=4, anchored=anchored)
    for step in walk.steps:
        every = {
            rule: traded(rule, data, step.fold.train)["sharpe_ratio"]
            for rule in (
                f"MA_CROSS_{fast}_{slow}" for fast in ASKED["fast"] for slow in ASKED["slow"]
            )
        }
        assert step.rule.rule_id == max(every, key=lambda rule: every[rule])
    assert len(walk.result.equity) == len(data) - walk.steps[0].fold.test.start
    assert np.isfinite(walk.efficiency)


def test_the_future_changes_no_choice() -> None:
    data = prices()
    whole = walked(data, grid(MA_CROSS, ASKED), PLAIN, folds=4)
    changed = data.copy()
    changed.iloc[whole.steps[-1].fold.test] = data.iloc[whole.steps[-1].fold.test] * 0.5
    again = walked(changed, grid(MA_CROSS, ASKED), PLAIN, folds=4)
    assert [step.rule.rule_id for step in again.steps] == [
        step.rule.rule_id for step in whole.steps
    ]
    before = slice(0, -(whole.steps[-1].fold.test.stop - whole.steps[-1].fold.test.start))
    assert whole.result.equity.iloc[before].equals(again.result.equity.iloc[before])


def test_one_combination_is_one_run_that_was_warm_before() -> None:
    """Every fold has the same rule: the joined run is that rule's on the tested bars."""
    data = prices()
    walk = walked(data, grid(MA_CROSS, {"fast": [10], "slow": [30]}), PLAIN, folds=3)
    start = walk.steps[0].fold.test.start
    state = rule_from_id("MA_CROSS_10_30").generate_signals(data).iloc[start:]
    alone = BacktestEngine().run(data.iloc[start:], lambda _: state)
    assert walk.result["total_return_pct"] == alone["total_return_pct"]
    assert walk.result["num_trades"] == alone["num_trades"]


@pytest.mark.parametrize("metric", ["max_drawdown_pct", "total_return_pct", "exposure_pct"])
def test_who_does_nothing_is_never_chosen(metric: str) -> None:
    """So wide a band is never reached: it has no drawdown and would keep an earlier position."""
    data = prices("NFLX").iloc[-1500:]
    walk = walked(
        data, grid(BUILT_IN["BB"], {"period": [20], "width": [1, 2, 5]}), PLAIN, metric, folds=5
    )
    assert all(
        traded(step.rule.rule_id, data, step.fold.train)["num_trades"] for step in walk.steps
    )


@pytest.mark.parametrize("slow", [30, 100, 300])
@pytest.mark.parametrize("anchored", [False, True])
def test_on_steady_growth_the_efficiency_is_one(slow: int, anchored: bool) -> None:
    """Bars on which a rule cannot trade yet count as no growth, however many there are."""
    data = prices().iloc[:1500].copy()
    for name in ("Open", "High", "Low", "Close"):
        data[name] = 100 * 1.0005 ** np.arange(1500)
    free = Terms(100_000.0, 0.0, 0.0, 0.0, False)
    walk = walked(
        data, grid(MA_CROSS, {"fast": [5], "slow": [slow]}), free, folds=5, anchored=anchored
    )
    assert walk.efficiency == pytest.approx(1, abs=0.02)


def test_without_a_trade_in_any_training_all_tests_stay_in_cash() -> None:
    """RSI never falls to 1."""
    silent = grid(BUILT_IN["RSI"], {"period": [14], "oversold": [1], "overbought": [99]})
    walk = walked(prices(bars=600), silent, folds=3)
    assert [step.rule for step in walk.steps] == [None, None, None]
    assert (walk.result["total_return_pct"], walk.result["num_trades"]) == (0, 0)
    assert math.isnan(walk.efficiency)


def test_a_fold_whose_training_had_no_trade_stays_in_cash() -> None:
    """Here one training of five has none; the folds beside it are traded as ever."""
    data = prices("SPY").loc["2012-01-02":"2018-01-31"]  # type: ignore[misc]
    asked = {"period": [14], "oversold": [20, 22], "overbought": [70, 80]}
    walk = walked(data, grid(BUILT_IN["RSI"], asked), folds=5)
    has_rule = [step.rule is not None for step in walk.steps]
    assert any(has_rule)
    assert not all(has_rule)
    first = walk.steps[0].fold.test.start
    for step in walk.steps:
        if step.rule is None:
            # The first bar's open may still sell what the fold before it held.
            in_cash = walk.result.positions.iloc[step.fold.test.start - first + 1 :]
            assert not in_cash.iloc[: step.fold.test.stop - step.fold.test.start - 1].any()


def test_where_a_sale_sells_short_the_position_before_is_kept() -> None:
    data = prices("SPY").loc["2012-01-02":"2018-01-31"]  # type: ignore[misc]
    asked = {"period": [14], "oversold": [20, 22], "overbought": [70, 80]}
    terms = replace(PLAIN, allow_short=True)
    walk = walked(data, grid(BUILT_IN["RSI"], asked), terms, folds=5)
    first = walk.steps[0].fold.test.start
    for step in walk.steps:
        if step.rule is None:
            test = slice(step.fold.test.start - first + 1, step.fold.test.stop - first)
            assert walk.result.positions.iloc[test].nunique() == 1


def test_a_training_that_is_too_short_for_every_rule_is_refused() -> None:
    searched = grid(BUILT_IN["MOMENTUM"], {"lookback": [80]})
    sentence = "With 3 folds a training has 48 bars, and the rule needs 82; ask for fewer."
    with pytest.raises(InvalidRequest, match=sentence):
        walked(prices(bars=90), searched, folds=3)
