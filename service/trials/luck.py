"""How good the best of many tries looks by luck alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from backtest.metrics import Floats
from service.doubt.luck import expected_maximum_sharpe
from service.trials.records import Ints

ALIKE = 0.8  # the correlation from which on two trials are of one group
# Where the distribution of the largest of many normal numbers is looked at.
STEP = 0.05
STEPS = np.arange(-8.0, 8.0 + STEP / 2, STEP)
LEAST_SPREAD = 1e-6  # of ratios of a year, which are kept to seven digits
HALVINGS = 40  # of the range in which the effective number of trials is looked for


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
    def all_sizes(self) -> dict[float, float]:
        """How many groups all trials have of each size."""
        in_sample = np.bincount(self.labels)
        weights = np.bincount(self.labels, self.weights)
        alone = float(self.count - np.count_nonzero(in_sample > 1))
        sizes = {1.0: alone}
        for size in np.round(weights[in_sample > 1]).tolist():
            sizes[size] = sizes.get(size, 0.0) + 1
        return {size: count for size, count in sizes.items() if count}


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


@dataclass(frozen=True)
class Luck:
    """What trials without skill are expected to show.

    `best` is the largest of their Sharpe ratios, `effective` the number of independent trials whose
    largest is as large.
    """

    best: float
    effective: float


NO_LUCK = Luck(0.0, 1.0)


def luck_of(ratios: Floats, groups: Groups, spread_of_one: float) -> Luck:
    """That of the trials that a sample (m,) of ratios stands for; NaN where a ratio is unknown.

    Each ratio is taken for the sum of what its group has in common and of something of its own. The
    spreads of both are those of the sample, each group counted once: a thousand copies of one rule
    hide no other try. `spread_of_one`, the standard deviation of the ratio of one trial without
    skill, counts where fewer than two groups are known.
    """
    known = ~np.isnan(ratios)
    labels = groups.labels[known]
    sizes = np.bincount(labels, minlength=groups.in_sample)
    sums = np.bincount(labels, ratios[known], minlength=groups.in_sample)
    means = sums / np.maximum(sizes, 1)
    group_means = means[sizes > 0]
    apart = ratios[known] - means[labels]
    freedom = len(apart) - len(group_means)
    within = math.sqrt(float(np.add.reduce(apart * apart)) / freedom) if freedom else 0.0
    between = _spread_between(group_means, sizes[sizes > 0], within)
    if groups.count > 1 and len(group_means) < 2:
        between = spread_of_one
    spread = math.hypot(between, within)
    if not spread > LEAST_SPREAD:
        return NO_LUCK
    effective = effective_trials(groups.all_sizes, within / spread)
    return Luck(expected_maximum_sharpe(effective, spread), effective)


def _spread_between(means: Floats, sizes: Ints, within: float) -> float:
    """Of what groups have in common: their means differ by what their members differ by, too."""
    if len(means) < 2:
        return 0.0
    own = within * within * float(np.mean(1 / sizes))
    return math.sqrt(max(0.0, float(np.var(means, ddof=1)) - own))


def effective_trials(sizes: Mapping[float, float], within: float) -> float:
    """How many independent trials have as large a maximum as trials in groups.

    `sizes` says how many groups there are of each size. Ratios have a spread of 1, of which
    `within`, 0 to 1, is the spread in a group.
    """
    reached = _probabilities_below(sizes, within)
    wanted = _mean_of(reached)
    fewest, most = 1.0, max(1.0, sum(size * count for size, count in sizes.items()))
    alone = _normal_probabilities(STEPS)
    for _ in range(HALVINGS):
        middle = math.sqrt(fewest * most)
        if _mean_of(alone**middle) < wanted:
            fewest = middle
        else:
            most = middle
    return fewest


def _probabilities_below(sizes: Mapping[float, float], within: float) -> Floats:
    """How likely all ratios are at most each of STEPS, (n,)."""
    if not within > 0:
        return np.asarray(_normal_probabilities(STEPS) ** sum(sizes.values()))
    common = math.sqrt(max(0.0, 1 - within * within))
    own = _normal_probabilities((STEPS[:, np.newaxis] - common * STEPS) / within)
    weights = np.exp(-STEPS * STEPS / 2)
    weights /= np.add.reduce(weights)
    below = np.ones_like(STEPS)
    for size, count in sizes.items():
        below *= (own**size @ weights) ** count
    return below


def _mean_of(reached: Floats) -> float:
    """The mean of what is at most each of STEPS with these probabilities, (n,)."""
    return float(STEPS[-1] - np.add.reduce(reached[:-1] + reached[1:]) / 2 * STEP)


def _normal_probabilities(values: Floats) -> Floats:
    """The standard normal distribution function, to six digits."""
    places, probabilities = _table_of_normal()
    return np.asarray(np.interp(values, places, probabilities))


@cache
def _table_of_normal() -> tuple[Floats, Floats]:
    places = np.linspace(-9.0, 9.0, 18_001)
    probabilities = [NormalDist().cdf(place) for place in places.tolist()]
    return places, np.array(probabilities)
