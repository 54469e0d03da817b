"""What runs of releases without a ledger had tried, from what is stored of them.

Their returns are not at hand, so that nothing tells which of them are alike: each counts as a kind
of its own, which is rather too much than too little.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import pandas as pd

from backtest.kernel import Terms
from rules.base_rule import InvalidRule, number_text
from rules.registry import rule_from_id
from service.trials.records import (
    SKETCH_NUMBERS,
    Ints,
    Tried,
    keys_of,
    records_of,
    share_of_keys,
    tried_on,
)

# Columns of a sweep's table that are no parameters begin with its first metric.
FIRST_METRIC = "total_return_pct"


def tried_by_earlier_run(
    request: Mapping[str, Any], rule_id: str, rules_digest: str, sharpe: float | None
) -> Tried:
    """That of one run; `request` is its document."""
    keys = keys_of([rule_id], _terms_of(request), _plugin_digest(rule_id, rules_digest))
    return _tried(request, keys, np.array([math.nan if sharpe is None else sharpe]))


def tried_by_earlier_sweep(
    request: Mapping[str, Any], rule_id: str, rules_digest: str, table_csv: str
) -> dict[str, Tried]:
    """Those of all rows that traded, by ticker; `rule_id` is the name of the rule."""
    table = pd.read_csv(io.StringIO(table_csv))
    traded = table[table["num_trades"] > 0]
    parameters = list(table.columns[1 : list(table.columns).index(FIRST_METRIC)])
    digest = _plugin_digest(rule_id, rules_digest)
    found = {}
    for ticker, rows in traded.groupby("ticker"):
        columns = [map(number_text, rows[name].tolist()) for name in parameters]
        rule_ids = ["_".join([rule_id, *numbers]) for numbers in zip(*columns, strict=True)]
        keys = keys_of(rule_ids, _terms_of(request), digest)
        found[str(ticker)] = _tried(request, keys, rows["sharpe_ratio"].to_numpy(np.float64))
    return found


def _tried(request: Mapping[str, Any], keys: Ints, sharpe: np.ndarray[Any, Any]) -> Tried:
    last_key = share_of_keys(len(keys))
    is_kept = keys <= last_key
    kept = keys[is_kept]
    return tried_on(
        (request["start_date"], request["end_date"]),
        records_of(
            kept,
            sharpe[is_kept],
            np.full(len(kept), np.nan),
            np.zeros((len(kept), SKETCH_NUMBERS), np.int8),
        ),
        count=len(keys),
        complete_to=last_key,
    )


def _terms_of(request: Mapping[str, Any]) -> Terms:
    return Terms(**{each.name: request[each.name] for each in fields(Terms)})


def _plugin_digest(rule_id: str, rules_digest: str) -> str:
    """As `records.digest_of_plugins`: rules that are not ours cannot be made of their name."""
    try:
        rule_from_id(rule_id, {})
    except InvalidRule:
        return rules_digest
    return ""
