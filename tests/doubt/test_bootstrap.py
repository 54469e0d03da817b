"""Blocks have the lengths of Politis and White; resamples are made of blocks of the values."""

from __future__ import annotations

import numpy as np
import pytest

from service.doubt.bootstrap import block_length, resampled


def shocks() -> np.ndarray:
    return np.random.Generator(np.random.PCG64(9)).standard_normal(2520)


def dependent(share: float, bars: int = 2520) -> np.ndarray:
    """Each value has that share of the one before."""
    values = np.zeros(bars)
    for bar, shock in enumerate(shocks()[1:bars], 1):
        values[bar] = share * values[bar - 1] + shock
    return values


# By arch 8.0.0: optimal_block_length(values)["stationary"].
BY_ARCH = [
    (shocks(), 2.115231009863991),
    (dependent(0.1), 3.407723332330478),
    (dependent(0.5), 16.000710799352635),
    (dependent(0.9), 35.303817364453124),
    (dependent(-0.4), 14.07926358090718),
    (dependent(0.5, 60), 3.325867160346582),
]


@pytest.mark.parametrize(("values", "expected"), BY_ARCH)
def test_blocks_are_as_long_as_those_of_arch(values: np.ndarray, expected: float) -> None:
    assert block_length(values) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("values", [np.ones(500), np.arange(3.0), np.zeros(20)])
def test_what_does_not_move_or_is_too_short_has_blocks_of_one(values: np.ndarray) -> None:
    assert block_length(values) == 1.0


@pytest.mark.parametrize("bars", [4, 5, 7, 12, 30])
def test_short_series_have_blocks_no_longer_than_a_third(bars: int) -> None:
    assert 1.0 <= block_length(dependent(0.9, bars)) <= np.ceil(bars / 3)


def test_resamples_are_made_of_blocks_of_the_values() -> None:
    values = np.arange(300.0)
    parts = list(resampled(values, 1000, 10.0, 3))
    drawn = np.concatenate(parts)
    assert len(parts) > 1
    assert drawn.shape == (1000, 300)
    follows = (np.diff(drawn, axis=1) - 1) % 300 == 0
    assert follows.mean() == pytest.approx(0.9, abs=0.01)
    assert np.bincount(drawn.astype(int).ravel(), minlength=300).min() > 700, "each is drawn"


def test_the_seed_decides() -> None:
    values = shocks()[:200]
    first, again, other = (
        np.concatenate(list(resampled(values, 20, 5.0, seed))) for seed in (1, 1, 2)
    )
    assert (first == again).all()
    assert (first != other).any()
