"""How good the best of many tries looks by luck alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backtest.metrics import Floats
from service.doubt.luck import expected_maximum_sharpe
from service.trials.records import Ints

ALIKE = 0.8  # the correlation from which on two trials are of one group


@dataclass(frozen=True)
class Groups:
    """Alike trials of a sample, in groups.

    `labels` (m,) are the numbers of their groups, from 0 on; `weights` (m,) say for how many of all
    trials each of the sample stands.
    """

    labels: Ints
    weights: Floats

    @property
    def in_sample(self) -> int:
        """How many groups the sample has."""
        return int(self.labels.max(initial=-1)) + 1

    @property
    def count(self) -> float:
        """How many groups all trials have.

        Each trial outside of the sample is of a new group as often as one in it is alone, which is
        rather too many than too few. Source: Good (1953), The Population Frequencies of Species.
        """
        is_alone = np.bincount(self.labels)[self.labels] == 1
        return self.in_sample + float(np.add.reduce(self.weights[is_alone] - 1))

    @property
    def largest(self) -> float:
        """How many trials the largest group has."""
        return float(np.bincount(self.labels, self.weights).max(initial=0.0))


def labels_of(sketches: NDArray[np.int8]) -> Ints:
    """Puts m trials in groups, whose numbers it answers, (m,).

    Each joins the first, in their order, that is alike enough and in no group before it. All
    products are whole numbers, which no processor rounds: the groups are the same everywhere. A
    trial without a sketch is alone.
    """
    vectors = sketches.astype(np.float64)
    squares = np.add.reduce(vectors * vectors, axis=1)
    labels = np.full(len(vectors), -1, np.int64)
    label = 0
    for first in range(len(vectors)):
        if labels[first] >= 0:
            continue
        products = vectors @ vectors[first]
        enough = ALIKE * ALIKE * squares * squares[first]
        alike = (labels < 0) & (products > 0) & (products * products >= enough)
        alike[first] = True
        labels[alike] = label
        label += 1
    return labels


def expected_best(ratios: Floats, groups: Groups, spread_of_one: float) -> float:
    """The best Sharpe ratio that trials without skill are expected to show.

    That is the best of all groups, and in it the best of its trials: a group counts once, however
    many trials it has. `ratios` (m,) are those of the sample, NaN where unknown, `spread_of_one` is
    the standard deviation of the ratio of one trial without skill, which counts where fewer than
    two groups are known.
    """
    known = ~np.isnan(ratios)
    labels = groups.labels[known]
    sizes = np.bincount(labels, minlength=groups.in_sample)
    sums = np.bincount(labels, ratios[known], minlength=groups.in_sample)
    means = sums / np.maximum(sizes, 1)
    group_means = means[sizes > 0]
    spread = float(np.std(group_means, ddof=1)) if len(group_means) > 1 else spread_of_one
    apart = ratios[known] - means[labels]
    freedom = len(apart) - len(group_means)
    within = math.sqrt(float(np.add.reduce(apart * apart)) / freedom) if freedom else 0.0
    best_group = expected_maximum_sharpe(groups.count, spread)
    return best_group + expected_maximum_sharpe(groups.largest, within)
