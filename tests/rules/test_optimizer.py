"""Which combinations a search has, which it refuses and why, and which it calls the best."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.base_rule import BaseRule, InvalidRule
from rules.optimizer import Columns, Grid, ParameterOptimizer, SearchTable, grid
from rules.registry import BUILT_IN
from tests.support.rules import Fancy

MA_CROSS, RSI, MOMENTUM, BB = (BUILT_IN[name] for name in ("MA_CROSS", "RSI", "MOMENTUM", "BB"))


def pairs(searched: Grid) -> list[tuple[float, ...]]:
    return list(zip(*(values.tolist() for values in searched.params.values()), strict=True))


def test_every_combination_once_the_last_parameter_fastest() -> None:
    searched = grid(MA_CROSS, {"fast": [5, 30], "slow": "20:40:10"})
    assert pairs(searched) == [(5, 20), (5, 30), (5, 40), (30, 40)]
    assert (len(searched), searched.skipped) == (4, 2)
    assert searched.rule_at(3).rule_id == "MA_CROSS_30_40"


@pytest.mark.parametrize(
    ("rule", "asked"), [(MA_CROSS, {"slow": [50, 90, 20]}), (Fancy, {"days": [3, 7, 1]})]
)
def test_the_bars_that_each_combination_needs(
    rule: type[BaseRule], asked: dict[str, object]
) -> None:
    searched = grid(rule, asked)
    assert searched.needed.tolist() == [searched.rule_at(row).warm_up for row in range(3)]


def test_what_is_not_asked_for_is_as_by_default() -> None:
    assert pairs(grid(RSI, {"period": [7, 14, 7]})) == [(7, 30, 70), (14, 30, 70)]
    assert pairs(grid(RSI, {"oversold": 20})) == [(14, 20, 70)]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("20", [20]),
        ("5,10, 20", [5, 10, 20]),
        ("5:8", [5, 6, 7, 8]),
        ("5:50:20", [5, 25, 45]),
        ("50:5:-20", [50, 30, 10]),
        ("5:320:x2", [5, 10, 20, 40, 80, 160, 320]),
        ("10:40:x1.5", [10, 15, 22, 34]),
        ("1:2:x1.0001", [1, 2]),
        ("5:7.5:x1.5", [5]),
    ],
)
def test_ranges(text: str, values: list[int]) -> None:
    assert grid(MOMENTUM, {"lookback": text}).params["lookback"].tolist() == values


def test_tenths_stay_tenths() -> None:
    assert grid(BB, {"width": "0.1:1:0.1"}).params["width"].tolist() == [
        i / 10 for i in range(1, 11)
    ]
    assert grid(BB, {"width": "0.5:4:x2"}).params["width"].tolist() == [0.5, 1.0, 2.0, 4.0]


@given(st.integers(1, 300), st.integers(0, 200), st.integers(1, 60))
def test_a_range_is_that_of_python_with_its_end(start: int, more: int, step: int) -> None:
    values = grid(MOMENTUM, {"lookback": f"{start}:{start + more}:{step}"}).params["lookback"]
    assert values.tolist() == list(range(start, start + more + 1, step))


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({}, "A search needs values for at least one of fast, slow."),
        ({"fats": [1]}, 'MA_CROSS has no parameter "fats". Did you mean fast?'),
        ({"fast": []}, "fast: the list of values is empty."),
        ({"fast": "5:50:0"}, "fast: a step of 0 never leads from 5 to 50."),
        ({"fast": "5:50:-5"}, "fast: a step of -5 never leads from 5 to 50."),
        ({"fast": "50:5:5"}, "fast: a step of 5 never leads from 50 to 5."),
        ({"fast": "5:50:x1"}, "fast: 5:50:x1 needs a factor above 1"),
        ({"fast": "0:50:x2"}, "needs a factor above 1 and a start above 0"),
        ({"fast": ""}, "fast: values are written 5,10,20 or start:stop:step"),
        ({"fast": "5:"}, "fast: values are written"),
        ({"fast": "5:50:5:5"}, "fast: values are written"),
        ({"fast": "nan:50"}, "fast: values are written"),
        ({"fast": "1:1e999999:1"}, "fast: values are written"),
        ({"fast": "1:1e9999999999999999999:1"}, "fast: values are written"),
        ({"fast": "1:1e14:1"}, "fast has over 100000 values; use a larger step."),
        ({"fast": "1:9:0.00001"}, "fast has over 100000 values; use a larger step."),
        ({"fast": "1:9:x1.000001"}, "fast has over 100000 values; use a larger factor."),
        ({"fast": "1:9:0.5"}, "MA_CROSS: fast must be a whole number, got 1.5."),
        ({"fast": [0]}, "MA_CROSS: fast must be between 1 and 1000, got 0."),
        ({"fast": "990:1010"}, "MA_CROSS: fast must be between 1 and 1000, got 1001."),
        ({"fast": ["5"]}, "MA_CROSS: fast must be a number, got '5'."),
        ({"fast": [[5]]}, "MA_CROSS: fast must be a number, got [5]."),
        ({"fast": None}, "MA_CROSS: fast must be a number, got None."),
        ({"fast": {"5": 1}}, "MA_CROSS: fast must be a number"),
        (
            {"fast": "1:400", "slow": "2:400"},
            "The grid has 159600 combinations, at most 100000 are allowed.",
        ),
        (
            {"fast": [50, 60], "slow": [20]},
            "None of the 2 combinations is a rule: MA_CROSS: fast must be below slow, got",
        ),
    ],
)
def test_refusals(asked: dict[str, object], sentence: str) -> None:
    with pytest.raises(InvalidRule) as refused:
        grid(MA_CROSS, asked)
    assert sentence in str(refused.value)


def test_a_rule_may_refuse_more_than_its_metadata_says() -> None:
    searched = grid(Fancy, {"days": "1:6"})
    assert searched.params["days"].tolist() == [1, 3, 5]
    assert searched.skipped == 3


def evaluated(*parts: list[float]) -> ParameterOptimizer:
    def evaluate(params: Columns) -> Iterator[Columns]:
        for part in parts:
            yield {"sharpe_ratio": np.array(part), "max_drawdown_pct": np.array(part)}

    return ParameterOptimizer(evaluate)


def table(metric: str = "sharpe_ratio", *scores: float) -> SearchTable:
    searched = grid(MOMENTUM, {"lookback": list(range(1, len(scores) + 1))})
    return SearchTable(searched, {metric: np.array(scores)}, metric)


def test_best_first_ties_by_parameters_undefined_last() -> None:
    assert table("sharpe_ratio", 1.0, np.nan, 2.0, -np.inf, 2.0).order().tolist() == [2, 4, 0, 3, 1]
    assert table("max_drawdown_pct", 3.0, np.nan, 2.0, 2.0).order().tolist() == [2, 3, 0, 1]
    assert table("sharpe_ratio", np.nan, 0.5).best == 1


def test_neighbours_of_the_best_differ_by_one_step() -> None:
    searched = grid(MA_CROSS, {"fast": [5, 10, 20, 25], "slow": [15, 25, 50, 90]})
    scores = np.zeros(len(searched))
    scores[pairs(searched).index((20, 25))] = 1.0
    table = SearchTable(searched, {"sharpe_ratio": scores}, "sharpe_ratio")
    assert [pairs(searched)[row] for row in table.neighbours()] == [
        (10, 15),
        (10, 25),
        (10, 50),
        (20, 50),
        (25, 50),
    ]


def test_a_metric_that_is_undefined_everywhere_has_no_best() -> None:
    with pytest.raises(InvalidRule, match="sharpe_ratio is undefined for every combination"):
        _ = table("sharpe_ratio", np.nan, np.nan).best


def test_progress_after_each_chunk_and_an_end_by_raising() -> None:
    searched = grid(MOMENTUM, {"lookback": "1:5"})
    seen = []
    table = evaluated([1, 2], [3, 4], [5]).run(
        searched, lambda done, every: seen.append((done, every))
    )
    assert seen == [(2, 5), (4, 5), (5, 5)]
    assert table.metrics["sharpe_ratio"].tolist() == [1, 2, 3, 4, 5]

    def cancel(done: int, every: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluated([1, 2], [3, 4], [5]).run(searched, cancel)


def test_decimals_are_not_lost() -> None:
    (value,) = grid(BB, {"width": "0.123456789012"}).params["width"]
    assert Decimal(repr(value.item())) == Decimal("0.123456789012")
