"""What is left of a Sharpe ratio after many tries, beside the numbers of its paper."""

from __future__ import annotations

import numpy as np
import pytest

from service.trials.haircut import (
    benjamini_hochberg_yekutieli,
    bonferroni,
    haircut,
    harmonic_number,
    holm,
    t_of,
    two_sided_p,
)

# Harvey and Liu (2015): 120 months with a ratio of 1 a year and an autocorrelation of 0.1, which
# leaves 0.912 of it, after 100 tests.
SHARPE = 0.9122454608
MONTHS, PERIODS, TESTS = 120, 12, 100
P_VALUE = 0.00465123


def random(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


@pytest.mark.parametrize(
    ("freedom", "t", "expected"),
    [
        # SciPy 1.17.1: 2 * scipy.stats.t.sf(t, freedom)
        (1, 2.0, 0.2951672353008666),
        (2, 2.0, 0.18350341907227397),
        (3, 2.0, 0.13932596855884197),
        (4, 0.5, 0.6433299631818633),
        (7, 3.0, 0.019942126131992536),
        (119, 2.8847734414, 0.004651230001623707),
        (2519, 1.96, 0.05010588592082361),
    ],
)
def test_students_t(freedom: int, t: float, expected: float) -> None:
    assert two_sided_p(np.array([t]), freedom)[0] == pytest.approx(expected, rel=1e-8)
    assert two_sided_p(np.array([-t]), freedom)[0] == pytest.approx(expected, rel=1e-8)
    assert t_of(np.array([expected]), freedom)[0] == pytest.approx(t, rel=1e-7)


def test_the_example_of_the_paper() -> None:
    t = SHARPE * np.sqrt(MONTHS / PERIODS)
    assert t == pytest.approx(2.8847734414, rel=1e-9)
    p_value = float(two_sided_p(np.array([t]), MONTHS - 1)[0])
    assert p_value == pytest.approx(P_VALUE, rel=1e-6)
    others = np.ones(TESTS - 1)
    assert bonferroni(p_value, others) == pytest.approx(0.4651230016, rel=1e-8)
    left = haircut(SHARPE, PERIODS, MONTHS, np.zeros(TESTS - 1), others)
    assert left.bonferroni == pytest.approx(0.2317308863, rel=1e-8)
    assert 1 - left.bonferroni / SHARPE == pytest.approx(0.7459774850, rel=1e-8)
    # Tries without any return leave Holm nothing to be milder by.
    assert left.holm == left.bonferroni


def test_holm_and_bhy_in_the_world_of_the_paper() -> None:
    """Its medians, 0.409 and 0.174, over worlds of tries as it draws them (correlation 0.4)."""
    drawn = random(1)
    adjusted = []
    for _ in range(1500):
        common = np.sqrt(0.4) * drawn.normal()
        noise = common + np.sqrt(0.6) * drawn.normal(size=1476)
        has_skill = drawn.uniform(size=1476) > 0.48604
        monthly = np.where(has_skill, drawn.exponential(0.0055413, size=1476), 0.0)
        t = noise + monthly / (0.15 / np.sqrt(12)) * np.sqrt(240)
        others = two_sided_p(t[:TESTS], MONTHS - 1)
        weights = np.ones(TESTS)
        adjusted.append(
            (holm(P_VALUE, others, weights), benjamini_hochberg_yekutieli(P_VALUE, others, weights))
        )
    of_holm, of_bhy = np.median(adjusted, axis=0)
    assert of_holm == pytest.approx(0.409, abs=0.01)
    assert of_bhy == pytest.approx(0.174, abs=0.01)


def test_every_try_in_turn() -> None:
    """Against the plain definitions, which adjust all p-values at once."""
    values = random(2).uniform(size=40) ** 2
    ordered = np.sort(values)
    ranks = np.arange(1, 41)
    by_holm = np.minimum(1, np.maximum.accumulate((41 - ranks) * ordered))
    total = np.sum(1 / ranks)
    by_bhy = np.minimum(1, np.minimum.accumulate((40 * total / ranks * ordered)[::-1])[::-1])
    weights = np.ones(39)
    for rank, value in enumerate(ordered):
        others = np.delete(ordered, rank)
        assert holm(value, others, weights) == pytest.approx(by_holm[rank], rel=1e-12)
        found = benjamini_hochberg_yekutieli(value, others, weights)
        assert found == pytest.approx(by_bhy[rank], rel=1e-6)


def test_a_try_that_stands_for_ten_counts_as_ten() -> None:
    others = random(3).uniform(size=20)
    ten_times = np.repeat(others, 10)
    weights, ones = np.full(20, 10.0), np.ones(200)
    assert bonferroni(1e-4, weights) == pytest.approx(bonferroni(1e-4, ones))
    assert holm(1e-4, others, weights) == pytest.approx(holm(1e-4, ten_times, ones))
    assert benjamini_hochberg_yekutieli(1e-4, others, weights) == pytest.approx(
        benjamini_hochberg_yekutieli(1e-4, ten_times, ones), rel=1e-6
    )


def test_a_ratio_alone_stays_and_one_below_0_too() -> None:
    nobody = np.empty(0)
    left = haircut(0.7, 252, 2520, nobody, nobody)
    assert left.bonferroni == pytest.approx(0.7)
    assert left.holm == pytest.approx(0.7)
    below = haircut(-0.3, 252, 2520, np.array([0.5]), np.ones(1))
    assert (below.bonferroni, below.holm, below.bhy) == (-0.3, -0.3, -0.3)


def test_harmonic_numbers() -> None:
    for count in (1, 2, 999, 1000, 1001, 50_000):
        exact = float(np.sum(1 / np.arange(1, count + 1)))
        assert harmonic_number(count) == pytest.approx(exact, rel=1e-6)
