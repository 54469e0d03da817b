"""The best of many tries by luck: groups of alike ones count once."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

from service.doubt.luck import expected_maximum_sharpe
from service.trials.luck import NO_LUCK, Groups, effective_trials, labels_of, luck_of


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
    assert groups([0, 0, 1], 10.0).all_sizes == {20.0: 1.0, 1.0: 10.0}


def test_trials_that_are_all_different_are_as_in_the_paper() -> None:
    ratios = random(4).normal(0.0, 0.4, 100)
    luck = luck_of(ratios, groups(list(range(100))), 1.0)
    spread = float(np.std(ratios, ddof=1))
    assert luck.effective == pytest.approx(100, rel=1e-3)
    assert luck.best == pytest.approx(expected_maximum_sharpe(100, spread), rel=1e-3)


@pytest.mark.parametrize(
    ("sizes", "within"),
    [
        ({1.0: 10.0}, 0.0),
        ({1.0: 100.0}, 0.3),
        ({100.0: 10.0}, 0.316),
        ({400.0: 1.0}, 1.0),
        ({300.0: 1.0, 1.0: 10.0}, 0.05),
        ({5.0: 20.0, 1.0: 30.0}, 0.4),
    ],
)
def test_the_effective_number_has_the_same_largest_on_average(
    sizes: dict[float, float], within: float
) -> None:
    """Against numbers drawn by lot, in groups and without."""
    drawn = random(5)
    worlds = 4000
    largest = np.full(worlds, -np.inf)
    for size, count in sizes.items():
        for _ in range(int(count)):
            own = drawn.normal(size=(worlds, int(size))).max(axis=1)
            common = drawn.normal(size=worlds)
            largest = np.maximum(largest, np.sqrt(1 - within**2) * common + within * own)
    effective = effective_trials(sizes, within)
    steps = np.linspace(-8.0, 8.0, 3201)
    below = np.array([NormalDist().cdf(step) for step in steps]) ** effective
    assert 8 - np.trapezoid(below, steps) == pytest.approx(largest.mean(), abs=0.04)


def test_a_thousand_copies_hide_no_other_try() -> None:
    """Among copies of one rule the spread of all is small, and the few others are the luck."""
    ratios = np.concatenate([np.full(990, 0.1), random(5).normal(0.0, 0.4, 10)])
    luck = luck_of(ratios, groups([0] * 990 + list(range(1, 11))), 1.0)
    without_copies = luck_of(ratios[989:], groups(list(range(11))), 1.0)
    assert luck.best == pytest.approx(without_copies.best, rel=0.01)
    assert luck.effective == pytest.approx(11, rel=0.01)
    plain = expected_maximum_sharpe(1000, float(np.std(ratios, ddof=1)))
    assert luck.best > 2 * plain


def test_within_a_group_the_best_is_luck_too() -> None:
    ratios = 1.0 + random(6).normal(0.0, 0.1, 400)
    luck = luck_of(ratios, groups([0] * 400), spread_of_one=0.4)
    assert luck.best == pytest.approx(expected_maximum_sharpe(400, 0.1), rel=0.1)
    assert luck.effective == pytest.approx(400, rel=0.01)


def test_what_members_differ_by_is_no_difference_of_groups() -> None:
    """100 alone and 20 pairs whose members have a correlation of 0.8."""
    drawn = random(10)
    labels = groups([*range(100), *np.repeat(np.arange(100, 120), 2).tolist()])
    luck, largest = [], []
    for _ in range(300):
        pairs = np.sqrt(0.8) * drawn.normal(size=(20, 1)) + np.sqrt(0.2) * drawn.normal(
            size=(20, 2)
        )
        ratios = np.concatenate([drawn.normal(size=100), pairs.ravel()])
        luck.append(luck_of(ratios, labels, 1.0).best)
        largest.append(ratios.max())
    assert np.mean(luck) == pytest.approx(np.mean(largest), rel=0.04)


def test_copies_alone_are_one_try() -> None:
    assert luck_of(np.full(50, 0.7), groups([0] * 50), 0.4) == NO_LUCK


def test_unknown_ratios_are_as_different_as_those_of_luck() -> None:
    luck = luck_of(np.full(50, np.nan), groups(list(range(50))), 0.4)
    assert luck.best == pytest.approx(expected_maximum_sharpe(50, 0.4), rel=0.01)


def test_trials_outside_of_the_sample_count() -> None:
    ratios = random(8).normal(0.0, 0.4, 200)
    alone = list(range(200))
    sampled = luck_of(ratios, groups(alone, 50.0), 1.0)
    assert sampled.effective == pytest.approx(10_000, rel=0.01)
    copies = luck_of(ratios, groups([each // 2 for each in alone], 50.0), 1.0)
    assert copies.effective < sampled.effective


@pytest.mark.parametrize("size", [1, 30, 1000])
def test_of_a_house_without_skill_the_best_is_rarely_above(size: int) -> None:
    """The probability that is asked for is 95 %: at most 5 of 100 houses reach it."""
    above = 0
    for house in range(300):
        ratios = random(1000 * size + house).normal(0.0, 1.0, size)
        alone = groups(list(range(size)))
        hurdle = luck_of(ratios, alone, 1.0).best if size > 1 else 0.0
        above += ratios.max() > hurdle + 1.645
    assert above / 300 < 0.08
