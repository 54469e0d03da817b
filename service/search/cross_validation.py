"""Purged and embargoed cross-validation: choose outside of a fold, look at the choice inside.

Source: Lopez de Prado (2018), Advances in Financial Machine Learning, chapter 7.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backtest.metrics import Floats
from backtest.prices import checked_prices
from rules.base_rule import BaseRule
from service.doubt.luck import sharpe_of_sums
from service.prices.periods import bars_a_year
from service.search.folds import TEST_PART
from service.search.numbers import SearchNumbers
from service.search.search import Search


@dataclass(frozen=True)
class CrossValidation:
    """The rule that each fold chose, and how the chosen rules did, the mean over all folds.

    Both numbers are annual Sharpe ratios: `in_sample` of the bars that a rule was chosen on,
    `out_of_sample` of the test that was left out; NaN where no combination traded.
    """

    rules: Sequence[BaseRule]
    in_sample: float
    out_of_sample: float


def cross_validate(search: Search, numbers: SearchNumbers) -> CrossValidation:
    """The combination with the best Sharpe ratio outside each fold, and how it did in its test.

    `numbers` are those of all rows of a search with folds.
    """
    has_traded = numbers.has_traded
    if not has_traded.any():
        return CrossValidation([], math.nan, math.nan)
    in_sample = []
    out_of_sample = []
    rules = []
    for number, fold in enumerate(search.validation_folds):
        left_out = sum(part.stop - part.start for part in fold.parts)
        learned_sharpe = sharpe_of_sums(
            _outside(numbers.validation_sums, number),
            _outside(numbers.validation_squares, number),
            len(search.data) - left_out,
        )
        learned_sharpe[~has_traded] = -np.inf
        best = int(learned_sharpe.argmax())
        tested_sharpe = sharpe_of_sums(
            numbers.validation_sums[[best], number, TEST_PART],
            numbers.validation_squares[[best], number, TEST_PART],
            fold.test.stop - fold.test.start,
        )
        rules.append(search.grid.rule_at(best))
        in_sample.append(learned_sharpe[best])
        out_of_sample.append(tested_sharpe[0])
    year = math.sqrt(bars_a_year(checked_prices(search.data).index))
    return CrossValidation(
        rules, float(np.mean(in_sample)) * year, float(np.mean(out_of_sample)) * year
    )


def _outside(sums: Floats, fold: int) -> Floats:
    """Sums of all bars but those that the fold leaves out, (k,); `sums` is (k, folds, parts)."""
    return np.asarray(sums[:, :, TEST_PART].sum(axis=1) - sums[:, fold].sum(axis=1))
