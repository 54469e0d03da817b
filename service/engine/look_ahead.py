"""Whether a rule knows the future of the very prices that it is asked for.

The validator asks rules on made-up prices, before a run is accepted. What shows on real prices
alone is found here, before a result counts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from backtest.prices import checked_prices, checked_signals
from rules.base_rule import BaseRule
from rules.rule_validator import (
    ends_at_large_moves,
    first_difference,
    fresh,
    signals_of_prefixes,
)
from service.contract.errors import LookAhead

Signals = NDArray[np.int8]

SPREAD_ENDS = 8  # prefixes that are asked before all bars are
MOVE_ENDS = 8  # prefixes that end before or after a large move, asked as early
SIGNAL_ENDS = 12  # prefixes that end with a bar on which the rule speaks
# Bars of the longest series with that many prefixes: a longer one has fewer, for the same time.
FULL_BARS = 20_000


def checked_for_look_ahead(rule: BaseRule, data: pd.DataFrame, known: int = 0) -> Signals:
    """The signals of a rule on all bars, (n,); raises LookAhead where a prefix has other ones.

    Prefixes that a run could have are asked of a new instance, some of them first of all. A run on
    the first `known` bars was checked before: those that end later, or there, are asked.
    """
    bars = len(data)
    shortest = min(max(rule.warm_up + 1, known), bars)
    spread = _some(range(shortest, bars), _fewer(SPREAD_ENDS, bars))
    at_moves = ends_at_large_moves(data, shortest, _fewer(MOVE_ENDS, bars))
    prefixes = signals_of_prefixes(fresh(rule), data, sorted({*spread, *at_moves}))
    final = checked_signals(rule.generate_signals(data), checked_prices(data).index)
    speaks = np.flatnonzero(np.diff(final, prepend=np.int8(0)) * final) + 1
    ends = _some(speaks[(speaks >= shortest) & (speaks < bars)], _fewer(SIGNAL_ENDS, bars))
    prefixes += signals_of_prefixes(fresh(rule), data, ends)
    bar = first_difference(prefixes, final)
    if bar is not None:
        raise LookAhead(rule.rule_id, data.index[bar].date())
    return final


def _fewer(count: int, bars: int) -> int:
    return max(2, min(count, count * FULL_BARS // bars))


def _some(values: Sequence[int] | NDArray[np.int64], count: int) -> list[int]:
    """At most `count` of the values, evenly spread over them, the first and the last one too."""
    if len(values) <= count:
        return [int(value) for value in values]
    places = np.linspace(0, len(values) - 1, count).astype(np.int64)
    return [int(values[place]) for place in places]
