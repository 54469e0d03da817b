"""The best of many tries by luck: groups of alike ones count once."""

from __future__ import annotations

import numpy as np
import pytest

from service.doubt.luck import expected_maximum_sharpe
from service.trials.luck import Groups, expected_best, labels_of


def random(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def groups(labels: list[int], weight: float = 1.0) -> Groups:
    return Groups(np.array(labels), np.full(len(labels), weight))


def test_alike_trials_are_of_one_group() -> None:
    base = random(1).normal(0.0, 60.0, (3, 32))
    near = base[:, np.newaxis] + random(2).normal(0.0, 10.0, (3, 4, 32))
    sketches = np.clip(np.concatenate([near.reshape(12, 32), -base]), -127, 127).astype(np.int8)
    labels = labels_of(sketches)
    assert labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4 + [3, 4, 5]
    assert labels_of(np.zeros((3, 32), np.int8)).tolist() == [0, 1, 2]
    assert labels_of(np.empty((0, 32), np.int8)).tolist() == []


def test_different_trials_are_rarely_taken_for_alike() -> None:
    sketches = random(3).normal(0.0, 40.0, (1000, 32)).astype(np.int8)
    assert labels_of(sketches).max() >= 995


def test_groups_outside_of_the_sample() -> None:
    assert groups([0, 0, 1, 2]).count == 3
    # Two of four are alone: so is every second one outside.
    assert groups([0, 0, 1, 2], 10.0).count == 3 + 2 * 9
    assert groups([0, 0, 0], 10.0).count == 1
    assert groups([0, 0, 1], 10.0).largest == 20


def test_trials_that_are_all_different_are_as_in_the_paper() -> None:
    ratios = random(4).normal(0.0, 0.4, 100)
    spread = float(np.std(ratios, ddof=1))
    expected = expected_maximum_sharpe(100, spread)
    assert expected_best(ratios, groups(list(range(100))), 1.0) == pytest.approx(expected)


def test_a_thousand_copies_hide_no_other_try() -> None:
    """Among copies of one rule the spread of all is small, and the few others are the luck."""
    ratios = np.concatenate([np.full(990, 0.1), random(5).normal(0.0, 0.4, 10)])
    labels = groups([0] * 990 + list(range(1, 11)))
    hurdle = expected_best(ratios, labels, 1.0)
    plain = expected_maximum_sharpe(1000, float(np.std(ratios, ddof=1)))
    assert hurdle == pytest.approx(
        expected_best(ratios[989:], groups(list(range(11))), 1.0), rel=0.01
    )
    assert hurdle > 2 * plain


def test_within_a_group_the_best_is_luck_too() -> None:
    ratios = 1.0 + random(6).normal(0.0, 0.1, 400)
    best = expected_best(ratios, groups([0] * 400), spread_of_one=0.4)
    assert best == pytest.approx(expected_maximum_sharpe(400, 0.1), rel=0.1)


def test_unknown_ratios_are_as_different_as_those_of_luck() -> None:
    unknown = np.full(50, np.nan)
    assert expected_best(unknown, groups(list(range(50))), 0.4) == pytest.approx(
        expected_maximum_sharpe(50, 0.4)
    )


@pytest.mark.parametrize("size", [1, 30, 1000])
def test_of_a_house_without_skill_the_best_is_rarely_above(size: int) -> None:
    """The probability that is asked for is 95 %: at most 5 of 100 houses reach it."""
    above = 0
    for house in range(300):
        ratios = random(1000 * size + house).normal(0.0, 1.0, size)
        hurdle = expected_best(ratios, groups(list(range(size))), 1.0) if size > 1 else 0.0
        above += ratios.max() > hurdle + 1.645
    assert above / 300 < 0.08
