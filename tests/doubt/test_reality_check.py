"""White's reality check: the bootstrap is that of its paper, its size is right, it finds skill."""

from __future__ import annotations

import numpy as np
import pytest

from service.doubt.bootstrap import stationary_bootstrap
from service.doubt.reality_check import RealityCheck, p_value


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
