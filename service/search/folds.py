"""How the bars of a search are cut: into blocks, into trainings and tests. Every slice is of bars.

Sources: Pardo (2008), The Evaluation and Optimization of Trading Strategies, chapter 11; Lopez de
Prado (2018), Advances in Financial Machine Learning, chapter 7.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from rules.optimizer import Grid
from service.contract.errors import InvalidRequest

TESTS_PER_TRAINING = 4  # a training has the bars of so many tests
EMBARGO = 0.01  # of all bars
PARTS_OF_VALIDATION_FOLD = 3
TEST_PART = 0  # of the parts of a ValidationFold


@dataclass(frozen=True)
class WalkForwardFold:
    """A rule is chosen on the bars in `train` and traded in `test`, the bars right after."""

    train: slice
    test: slice


@dataclass(frozen=True)
class ValidationFold:
    """`test` is left out of the choice, and so are purged bars, whose returns know some of it."""

    test: slice
    purged_before: slice
    purged_after: slice

    @property
    def parts(self) -> tuple[slice, slice, slice]:
        """All bars that are left out of the choice; the part TEST_PART is the test."""
        return self.test, self.purged_before, self.purged_after


def blocks_of(bars: int, count: int) -> Sequence[slice]:
    """`count` blocks of equal length, one after the other; what is left over belongs to none."""
    length = bars // count
    return [slice(number * length, (number + 1) * length) for number in range(count)]


def split_for_walk_forward(bars: int, folds: int, anchored: bool = False) -> list[WalkForwardFold]:
    """Folds whose tests follow each other, the last one ending with the last bar.

    A training is TESTS_PER_TRAINING tests long; where `anchored`, it starts with the first bar that
    any training starts with. Raises InvalidRequest where the bars are too few.
    """
    length = bars // (folds + TESTS_PER_TRAINING) if folds > 0 else 0
    if length < 2:
        template = "A walk forward of {folds} folds needs {needed} bars, there are {bars}."
        needed = 2 * (max(folds, 1) + TESTS_PER_TRAINING)
        raise InvalidRequest(template, folds=folds, needed=needed, bars=bars)
    test_starts = range(bars - folds * length, bars, length)
    first_bar = test_starts[0] - TESTS_PER_TRAINING * length
    result = []
    for start in test_starts:
        train_start = first_bar if anchored else start - TESTS_PER_TRAINING * length
        fold = WalkForwardFold(train=slice(train_start, start), test=slice(start, start + length))
        result.append(fold)
    return result


def purged_folds(bars: int, folds: int, purge: int, embargo: int) -> list[ValidationFold]:
    """`folds` tests of equal length, the last one with what is left over.

    `purge` bars before each test, and `purge` + `embargo` bars after it, are not learned from.
    Raises InvalidRequest where too little is left to learn from.
    """
    length = bars // folds if folds > 1 else 0
    longest_test = length + bars % folds if folds > 1 else 0
    learned = bars - longest_test - 2 * purge - embargo
    if length < 2 or learned < length:
        template = "{bars} bars are too few for {folds} folds with {purge} bars purged around each."
        raise InvalidRequest(template, bars=bars, folds=folds, purge=purge)
    result = []
    for start, end in pairwise([*range(0, length * folds, length), bars]):
        before = slice(max(0, start - purge), start)
        after = slice(end, min(bars, end + purge + embargo))
        result.append(ValidationFold(slice(start, end), before, after))
    return result


def split_for_validation(grid: Grid, bars: int, folds: int) -> list[ValidationFold]:
    """The folds of a cross-validation of the whole grid.

    Rules may look back into a test for as long as they need to warm up, so that many bars are
    purged. Rules that need more bars than there are do not count: they are never chosen. Raises
    InvalidRequest where the bars are too few.
    """
    longest = int(np.where(grid.needed + 1 > bars, 0, grid.needed).argmax())
    try:
        return purged_folds(bars, folds, int(grid.needed[longest]), math.ceil(EMBARGO * bars))
    except InvalidRequest as error:
        template = (
            "{bars} bars are too few for {folds} folds with {purge} bars purged around each, "
            "for so long {rule} looks back; ask for fewer folds or shorter values."
        )
        raise InvalidRequest(template, rule=grid.rule_at(longest).rule_id, **error.values) from None
