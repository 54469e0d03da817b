"""Purged and embargoed cross-validation: choose on all other times, look at how the choice did in the one left out.

Source: Lopez de Prado (2018), Advances in Financial Machine Learning, chapter 7.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from backtest.kernel import Terms
from backtest.metrics import bars_per_year
from backtest.prices import checked_prices
from rules.base_rule import BaseRule
from rules.optimizer import Columns, Grid, joined
from service.contract.errors import InvalidRequest
from service.search.evaluator import GridEvaluator
from service.search.luck import sharpe_of_sums

EMBARGO = 0.01  # of all bars


@dataclass(frozen=True)
class Fold:
    """`test` is left out of the choice, and so are the bars of `purged`, whose returns know some of it."""

    test: slice
    purged: Sequence[slice]


@dataclass(frozen=True)
class CrossValidation:
    """Annual Sharpe ratios of what was chosen, on average over the folds: where it was chosen, and where it was not."""

    rules: Sequence[BaseRule]
    in_sample: float
    out_of_sample: float


def purged_folds(bars: int, folds: int, purge: int, embargo: int) -> list[Fold]:
    """`folds` tests of equal length, the last with what is left over; `purge` bars before each and, with those of the
    embargo, after each are not learned from. Raises InvalidRequest where nothing would be left to learn from."""
    length = bars // folds if folds > 1 else 0
    if length < 2 or bars - (length + bars % folds) - 2 * purge - embargo < length:
        template = "{bars} bars are too few for {folds} folds with {purge} bars purged around each."
        raise InvalidRequest(template, bars=bars, folds=folds, purge=purge)
    edges = [*range(0, length * folds, length), bars]
    return [
        Fold(slice(a, b), (slice(max(0, a - purge), a), slice(b, min(bars, b + purge + embargo))))
        for a, b in pairwise(edges)
    ]


def validation_blocks(searched: Grid, bars: int, folds: int) -> list[slice]:
    """Each fold's test and what is purged before and after it. Rules may look back into a test for as long as they need
    to warm up, so that many bars are purged; who needs more bars than there are is never chosen. Raises
    InvalidRequest."""
    longest = int(np.where(searched.needed + 1 > bars, 0, searched.needed).argmax())
    try:
        parts = purged_folds(bars, folds, int(searched.needed[longest]), math.ceil(EMBARGO * bars))
    except InvalidRequest as error:
        template = (
            "{bars} bars are too few for {folds} folds with {purge} bars purged around each, for so long {rule} looks "
            "back; ask for fewer folds or shorter values."
        )
        raise InvalidRequest(
            template, rule=searched.rule_at(longest).rule_id, **error.values
        ) from None
    return [part for fold in parts for part in (fold.test, *fold.purged)]


def cross_validate(
    data: pd.DataFrame, searched: Grid, terms: Terms, folds: int = 5, numbers: Columns | None = None
) -> CrossValidation:
    """The combination with the best Sharpe ratio outside each fold, and how it did inside.

    `numbers` are num_trades, block_sums and block_squares of `validation_blocks`, where somebody has them. Raises
    InvalidRequest.
    """
    slices = validation_blocks(searched, len(data), folds)
    if numbers is None:
        numbers = joined(
            list(GridEvaluator(data, searched.rule, terms, ["num_trades"], slices)(searched.params))
        )
    lengths = np.array([part.stop - part.start for part in slices]).reshape(folds, 3)
    sums, squares = (
        numbers[name].reshape(-1, folds, 3) for name in ("block_sums", "block_squares")
    )
    early = np.isnan(numbers["num_trades"])
    inside, outside, rules = [], [], []
    for fold in range(folds):
        other, squared = (
            every[:, :, 0].sum(axis=1) - every[:, fold].sum(axis=1) for every in (sums, squares)
        )
        count = len(data) - int(lengths[fold].sum())
        learned = np.where(early, -np.inf, sharpe_of_sums(other, squared, count))
        best = int(learned.argmax())
        tested = sharpe_of_sums(
            sums[[best], fold, 0], squares[[best], fold, 0], int(lengths[fold, 0])
        )
        rules.append(searched.rule_at(best))
        inside.append(learned[best])
        outside.append(tested[0])
    year = math.sqrt(bars_per_year(checked_prices(data).index))
    return CrossValidation(rules, float(np.mean(inside)) * year, float(np.mean(outside)) * year)
