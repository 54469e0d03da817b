"""White's reality check: the bootstrap is that of its paper, its size is right, it finds skill."""

from __future__ import annotations

import numpy as np
import pytest

from service.doubt.bootstrap import stationary_bootstrap
from service.doubt.reality_check import (
    CONTENDERS,
    RESAMPLES,
    RealityCheck,
    Superior,
    p_value,
    superior_trials,
)


def random(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def indices(bars: int, resamples: int, mean_block: float, seed: int) -> np.ndarray:
    """Which bar stands where, (resamples, bars)."""
    starts, lengths, firsts = stationary_bootstrap(bars, resamples, mean_block, seed)
    blocks = [
        (start + np.arange(length)) % bars for start, length in zip(starts, lengths, strict=True)
    ]
    return np.array(
        [np.concatenate(blocks[a:b]) for a, b in zip(firsts, [*firsts[1:], None], strict=True)]
    )


@pytest.mark.parametrize("mean_block", [1.0, 7.0, 20.0])
def test_every_resample_has_as_many_bars_in_blocks_of_that_length(mean_block: float) -> None:
    drawn = indices(300, 200, mean_block, 3)
    assert drawn.shape == (200, 300)
    ends = np.count_nonzero((np.diff(drawn, axis=1) - 1) % 300, axis=1) + 1
    assert 300 / ends.mean() == pytest.approx(mean_block, rel=0.15)
    assert np.bincount(drawn.ravel(), minlength=300).std() / 200 < 0.6, (
        "each bar as likely as any other"
    )


def test_the_sums_are_those_of_the_bars() -> None:
    excess = random(4).normal(0.0, 0.01, (5, 120))
    check = RealityCheck(120, 40, 8.0, seed=9)
    check.add(excess[:2])
    check.add(excess[2:])
    drawn = indices(120, 40, 8.0, 9)
    by_luck = np.array([excess[:, bars].mean(axis=1) - excess.mean(axis=1) for bars in drawn]).max(
        axis=1
    )
    best = excess.mean(axis=1).max()
    assert p_value(check.largest) == (np.count_nonzero(by_luck >= best) + 1) / 41


def test_two_parts_of_a_search_are_joined_by_their_largest() -> None:
    excess = random(5).normal(0.0, 0.01, (9, 100))
    parts = [RealityCheck(100, 50) for _ in range(3)]
    for check, some in zip(parts, (excess[:4], excess[4:], excess), strict=True):
        check.add(some)
    assert np.maximum(parts[0].largest, parts[1].largest).tobytes() == parts[2].largest.tobytes()


def chance(excess: np.ndarray) -> float:
    check = RealityCheck(excess.shape[1], 199)
    check.add(excess)
    return p_value(check.largest)


def test_luck_is_called_luck() -> None:
    """At 5 %, no more than some 5 % of searches among trials without skill."""
    chances = [chance(random(seed).normal(0.0, 0.01, (30, 250))) for seed in range(100)]
    assert np.mean(np.array(chances) <= 0.05) <= 0.1
    assert 0.35 < np.mean(chances) < 0.65


def test_skill_is_found() -> None:
    excess = random(1).normal(0.0, 0.01, (30, 1000))
    excess[7] += 0.002
    assert chance(excess) <= 0.01


def test_nobody_better_than_the_benchmark() -> None:
    assert chance(random(2).normal(-0.002, 0.01, (20, 500))) > 0.9
    assert chance(np.zeros((3, 100))) == 1.0


def tried(excess: np.ndarray, mean_block: float = 10.0, resamples: int = 1000) -> Superior:
    """What is superior of excess returns (n, k), columns as the numbers."""
    check = RealityCheck(len(excess), resamples, mean_block)
    check.add(np.ascontiguousarray(excess.T))
    return superior_trials(check.contenders)


def test_the_two_columns_with_skill_are_found_as_by_arch() -> None:
    """arch 8.0.0: StepM of the same returns, block 10, 1,000 resamples, seed 1, names [3, 77]."""
    excess = np.random.default_rng(7).normal(0.0, 0.01, (2520, 200))
    excess[:, 3] += 0.0012
    excess[:, 77] += 0.0011
    assert tried(excess) == Superior([3, 77], is_all=True)


# arch 8.0.0 names these of `drawn_case`, its columns divided by their deviations, as above.
NAMED_BY_ARCH = {
    0: [19, 20, 26, 29, 36],
    1: [12, 18],
    2: [15, 38],
    3: [4, 8, 21],
    4: [2, 6, 18, 29],
    5: [4, 5, 17],
    6: [16],
    7: [15, 18, 21],
    9: [],
    11: [],
}


def drawn_case(number: int) -> np.ndarray:
    """Excess returns (1000, 40), of which up to 7 columns have skill."""
    drawn = np.random.default_rng([99, number])
    count = drawn.integers(0, 8)
    skilled = {}
    for column in drawn.choice(40, count, replace=False):
        skilled[int(column)] = float(drawn.uniform(0.0003, 0.0016))
    excess = np.random.default_rng([98, number]).normal(0.0, 0.01, (1000, 40))
    for column, drift in skilled.items():
        excess[:, column] += drift
    return excess * np.where(np.arange(40) % 3 == 0, 0.3, 1.0)


@pytest.mark.parametrize("number", NAMED_BY_ARCH)
def test_what_arch_names_is_named(number: int) -> None:
    assert list(tried(drawn_case(number)).numbers) == NAMED_BY_ARCH[number]


def test_without_skill_something_is_named_in_few_searches() -> None:
    named = sum(
        len(tried(random(number).normal(0.0, 0.01, (300, 30)), 5.0, 199).numbers) > 0
        for number in range(200)
    )
    assert named <= 20


def test_parts_of_a_search_name_what_the_whole_does() -> None:
    excess = random(6).normal(0.0, 0.01, (90, 1000))
    excess[[5, 50, 85]] += 0.002
    parts = []
    for rows in (slice(0, 40), slice(40, 90)):
        check = RealityCheck(1000)
        check.add(excess[rows], np.arange(90)[rows])
        parts.append(check.contenders)
    whole = RealityCheck(1000)
    whole.add(excess)
    named = superior_trials(whole.contenders)
    assert named == Superior([5, 50, 85], is_all=True)
    assert superior_trials(np.concatenate(parts)) == named


def test_more_skill_than_is_kept_is_said() -> None:
    excess = random(7).normal(0.002, 0.01, (CONTENDERS + 5, 1000))
    check = RealityCheck(1000)
    check.add(excess)
    assert check.contenders.shape == (CONTENDERS + 1, RESAMPLES + 2)
    found = superior_trials(check.contenders)
    assert (len(found.numbers), found.is_all) == (CONTENDERS, False)


def test_trials_that_never_move_are_nobody() -> None:
    check = RealityCheck(100)
    check.add(np.zeros((3, 100)))
    assert superior_trials(check.contenders) == Superior([], is_all=True)
    assert superior_trials(RealityCheck(100).contenders) == Superior([], is_all=True)
