"""The numbers of a shard: the same after they were stored, and however rows are cut and joined."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rules.optimizer import grid
from rules.registry import BUILT_IN
from service.search.numbers import (
    OVERFITTING_BLOCKS,
    SearchNumbers,
    joined_numbers,
    numbers_per_row,
)
from service.search.plan import BYTES_PER_NUMBER
from service.search.search import Search
from tests.support.prices import prices
from tests.support.searches import PLAIN


def search(folds: int) -> Search:
    """11 rows."""
    asked = {"fast": "5:25:5", "slow": [10, 30, 60]}
    return Search(prices(bars=900), grid(BUILT_IN["MA_CROSS"], asked), PLAIN, "cagr_pct", folds)


def same(one: SearchNumbers, other: SearchNumbers) -> bool:
    first = one.row_arrays()
    second = other.row_arrays()
    assert list(first) == list(second)
    return all(
        values.shape == second[name].shape and values.tobytes() == second[name].tobytes()
        for name, values in first.items()
    )


@pytest.mark.parametrize("folds", [0, 4])
def test_names_and_shapes(folds: int) -> None:
    numbers = search(folds).numbers(slice(2, 9))
    assert list(numbers.metrics) == [
        "total_return_pct",
        "sharpe_ratio",
        "max_drawdown_pct",
        "num_trades",
        "cagr_pct",
    ]
    assert all(values.shape == (7,) for values in numbers.metrics.values())
    assert numbers.overfitting_sums.shape == (7, OVERFITTING_BLOCKS)
    assert numbers.validation_squares.shape == (7, folds, 3)
    assert numbers.training_scores.shape == numbers.training_growths.shape == (7, folds)
    assert numbers_per_row(5, folds) == sum(
        values.nbytes / 7 / BYTES_PER_NUMBER for values in numbers.row_arrays().values()
    )


@pytest.mark.parametrize("folds", [0, 4])
def test_stored_and_read_again(folds: int) -> None:
    numbers = replace(search(folds).numbers(), reality_checks={"BRK-B": np.array([1.0, 2.0])})
    again = SearchNumbers.from_bytes(numbers.to_bytes())
    assert same(again, numbers)
    assert again.reality_checks.keys() == {"BRK-B"}
    assert again.reality_checks["BRK-B"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize("folds", [0, 4])
def test_parts_are_joined_to_the_whole(folds: int) -> None:
    whole = search(folds).numbers()
    parts = {
        start: search(folds).numbers(slice(start, end)) for start, end in ((7, 11), (0, 3), (3, 7))
    }
    assert same(joined_numbers(parts, 11), whole)
    assert same(whole.rows(slice(3, 7)), parts[3])


def test_missing_rows_were_not_tried() -> None:
    part = search(4).numbers(slice(3, 7))
    joined = joined_numbers({3: part}, 11)
    assert same(joined.rows(slice(3, 7)), part)
    missing = joined.rows(slice(7, 11))
    assert np.isnan(missing.metrics["num_trades"]).all()
    assert np.isnan(missing.training_scores).all()
    assert not missing.overfitting_sums.any()
    assert not missing.validation_squares.any()


def test_reality_checks_of_a_ticker_are_joined_by_their_largest() -> None:
    part = search(0).numbers(slice(0, 1))
    first = replace(part, reality_checks={"A": np.array([1.0, 5.0]), "B": np.array([0.0, 0.0])})
    second = replace(part, reality_checks={"A": np.array([2.0, 3.0])})
    joined = joined_numbers({0: first, 1: second}, 2).reality_checks
    assert {ticker: largest.tolist() for ticker, largest in joined.items()} == {
        "A": [2.0, 5.0],
        "B": [0.0, 0.0],
    }
