"""Purged cross-validation: training never overlaps with testing, and sums are those of the bars."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest.engine import BacktestEngine
from backtest.metrics import bar_returns, deviation, mean
from rules.optimizer import Grid, grid
from rules.registry import BUILT_IN
from service.contract.errors import InvalidRequest
from service.search.cross_validation import CrossValidation, cross_validate
from service.search.folds import purged_folds
from service.search.search import Search
from tests.support.prices import prices
from tests.support.searches import PLAIN


def validated(data: pd.DataFrame, searched: Grid, folds: int = 5) -> CrossValidation:
    search = Search(data, searched, PLAIN, "sharpe_ratio", folds)
    return cross_validate(search, search.numbers())


@given(st.integers(1, 3000), st.integers(1, 12), st.integers(0, 200), st.integers(0, 30))
def test_folds(bars: int, folds: int, purge: int, embargo: int) -> None:
    try:
        all_folds = purged_folds(bars, folds, purge, embargo)
    except InvalidRequest as error:
        assert f"{bars} bars are too few for {folds} folds with {purge} bars purged" in str(error)
        return
    assert [bar for fold in all_folds for bar in range(bars)[fold.test]] == list(range(bars)), (
        "each bar is tested once"
    )
    for fold in all_folds:
        before = fold.purged_before
        after = fold.purged_after
        assert before.stop == fold.test.start
        assert after.start == fold.test.stop
        assert before.stop - before.start in (purge, fold.test.start)
        assert after.stop - after.start in (purge + embargo, bars - fold.test.stop)
        assert bars - sum(part.stop - part.start for part in (before, fold.test, after)) > 1


def test_as_bar_by_bar() -> None:
    data = prices(bars=1500)
    searched = grid(BUILT_IN["MA_CROSS"], {"fast": "5:20:5", "slow": "30:60:10"})
    validation = validated(data, searched, folds=4)
    runs = [
        BacktestEngine().run(data, searched.rule_at(row).generate_signals)
        for row in range(len(searched))
    ]
    returns = np.array([bar_returns(run.equity.to_numpy()) for run in runs])
    inside = []
    outside = []
    for number, fold in enumerate(purged_folds(1500, 4, 60, 15)):
        learned = np.ones(1500, dtype=bool)
        for part in fold.parts:
            learned[part] = False
        scores = mean(returns[:, learned]) / deviation(returns[:, learned])
        assert validation.rules[number].rule_id == searched.rule_at(int(scores.argmax())).rule_id
        tested = returns[scores.argmax(), fold.test]
        inside.append(scores.max())
        outside.append(mean(tested) / deviation(tested))
    assert validation.in_sample == pytest.approx(np.mean(inside) * math.sqrt(252), rel=1e-9)
    assert validation.out_of_sample == pytest.approx(np.mean(outside) * math.sqrt(252), rel=1e-9)


def test_too_few_bars() -> None:
    searched = grid(BUILT_IN["MA_CROSS"], {"fast": [5], "slow": [200]})
    sentence = (
        "500 bars are too few for 5 folds with 200 bars purged around each, "
        "for so long MA_CROSS_5_200 looks back; ask"
    )
    with pytest.raises(InvalidRequest, match=sentence):
        validated(prices(bars=500), searched)


def test_what_needs_more_bars_than_there_are_purges_none() -> None:
    """It is never chosen."""
    data = prices(bars=500)
    short = grid(BUILT_IN["MA_CROSS"], {"fast": [5, 10], "slow": [50]})
    short_and_long = grid(BUILT_IN["MA_CROSS"], {"fast": [5, 10], "slow": [50, 1000]})
    alone = validated(data, short)
    among_longer = validated(data, short_and_long)
    assert [rule.rule_id for rule in alone.rules] == [rule.rule_id for rule in among_longer.rules]
    assert (alone.in_sample, alone.out_of_sample) == (
        among_longer.in_sample,
        among_longer.out_of_sample,
    )
