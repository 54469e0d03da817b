"""What a search keeps of its rows for the ledger of all trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backtest.kernel import Terms
from backtest.metrics import Floats
from rules.base_rule import BaseRule, number_text
from rules.optimizer import Columns, Grid
from service.doubt.luck import timing_returns
from service.trials.records import SKETCH_NUMBERS, Ints, keys_of, sketches_of


@dataclass(frozen=True)
class TrialSampling:
    """The keys of rows, and the sketches of those whose key is at most `last_key`.

    `held` (n,) are the returns of buy and hold, `days` (n,) the numbers of the bars' days;
    `plugin_digest` is explained at `keys_of`.
    """

    rule: type[BaseRule]
    terms: Terms
    plugin_digest: str
    last_key: int
    held: Floats
    days: Ints

    def keys(self, params: Columns) -> Ints:
        """Those of k rows, (k,)."""
        return keys_of(rule_ids(self.rule, params), self.terms, self.plugin_digest)

    def sketches(self, keys: Ints, returns: Floats) -> NDArray[np.int8]:
        """Of k rows with these keys and returns (k, n), (k, 32); zeros for rows that are not taken.

        What is alike is the timing: a rising price alone makes all returns alike.
        """
        sketches = np.zeros((len(keys), SKETCH_NUMBERS), np.int8)
        is_taken = keys <= self.last_key
        if is_taken.any():
            apart = timing_returns(returns[is_taken], self.held)
            sketches[is_taken] = sketches_of(apart, self.days)
        return sketches


def rule_ids(rule: type[BaseRule], params: Columns) -> Sequence[str]:
    """The names of k rules with these parameters, as each would say it of itself."""
    if rule.rule_id is not BaseRule.rule_id:
        part = Grid(rule, params, skipped=0)
        return [part.rule_at(row).rule_id for row in range(len(part))]
    columns = [[number_text(value) for value in values.tolist()] for values in params.values()]
    return ["_".join([rule.metadata.name, *numbers]) for numbers in zip(*columns, strict=True)]
