"""What a search keeps of its rows for the ledger of all trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backtest.kernel import Terms
from backtest.metrics import Floats
from rules.base_rule import BaseRule, number_text
from rules.optimizer import Columns, Grid
from service.trials.records import SKETCH_NUMBERS, Ints, Sketching, keys_of


@dataclass(frozen=True)
class TrialSampling:
    """The keys of rows, and the sketches of those whose key is at most `last_key`.

    `plugin_digest` is explained at `keys_of`.
    """

    rule: type[BaseRule]
    terms: Terms
    plugin_digest: str
    last_key: int
    sketching: Sketching

    def keys(self, params: Columns) -> Ints:
        """Those of k rows, (k,)."""
        return keys_of(rule_ids(self.rule, params), self.terms, self.plugin_digest)

    def sketches(self, keys: Ints, returns: Floats) -> NDArray[np.int8]:
        """Of k rows with these keys and returns (k, n), (k, 32), zeros where not taken."""
        sketches = np.zeros((len(keys), SKETCH_NUMBERS), np.int8)
        is_taken = keys <= self.last_key
        if is_taken.any():
            taken = returns if is_taken.all() else returns[is_taken]
            sketches[is_taken] = self.sketching.sketches(taken)
        return sketches


def rule_ids(rule: type[BaseRule], params: Columns) -> Sequence[str]:
    """The names of k rules with these parameters, as each would say it of itself."""
    if rule.rule_id is not BaseRule.rule_id:
        part = Grid(rule, params, skipped=0)
        return [part.rule_at(row).rule_id for row in range(len(part))]
    columns = [_texts(values) for values in params.values()]
    return ["_".join([rule.metadata.name, *numbers]) for numbers in zip(*columns, strict=True)]


def _texts(values: NDArray[Any]) -> list[str]:
    """The numbers of a parameter as rules write them: each value once, as there are few."""
    distinct, places = np.unique(values, return_inverse=True)
    texts = [number_text(value) for value in distinct.tolist()]
    return [texts[place] for place in places.tolist()]
