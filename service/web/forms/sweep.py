"""The form of a sweep: from its fields to a request document, and from a request back to its fields."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from rules.base_rule import BaseRule, Parameter, number_text
from service.contract.request import document_from_text
from service.contract.sweep import SCHEMA, SweepRequest
from service.store.prices import Ticker
from service.web.forms import run as form

PLAIN = (
    "start_date", "end_date", "metric", "initial_capital", "commission_rate", "slippage_rate", "lot_size", "folds",
)  # fmt: skip
CHECKED = ("allow_short", "anchored", "reality_check")
SEARCHED = 2  # parameters that the empty form searches


def document(fields: Mapping[str, str]) -> dict[str, Any]:
    """The request that the form asks for; whatever is wrong in it stays, and is refused by the contract."""
    if (
        "rule" not in fields and "rule_id" in fields
    ):  # a program that sends the request's own fields
        return document_from_text(fields, SCHEMA)
    plain = {name: fields[name] for name in (*PLAIN, *CHECKED) if name in fields}
    rule = fields.get("rule", "")
    values = {
        name.removeprefix(f"{rule}."): text.strip()
        for name, text in fields.items()
        if name.startswith(f"{rule}.")
    }
    tickers = [name for name in re.split(r"[\s,;]+", fields.get("tickers", "").upper()) if name]
    grid = {name: text for name, text in values.items() if text}
    return {**document_from_text(plain, SCHEMA), "tickers": tickers, "rule_id": rule, "grid": grid}


def first_values(tickers: Sequence[Ticker]) -> dict[str, str]:
    """What the empty form shows."""
    values = form.first_values(tickers)
    return {**values, "tickers": values["ticker"], "metric": "sharpe_ratio", "folds": "5"}


def values_of(request: SweepRequest, rule: BaseRule) -> dict[str, str]:
    """The form's fields that ask for `request` again; `rule` has the values of what it did not search."""
    asked = request.document()
    values = {
        name: number_text(asked[name]) if isinstance(asked[name], float) else str(asked[name])
        for name in PLAIN
    }
    values |= {name: "on" for name in CHECKED if asked[name]}
    texts = {name: number_text(value) for name, value in rule.params.items()}
    texts |= {name: _text(value) for name, value in request.grid.items()}
    fields = {f"{rule.metadata.name}.{name}": each for name, each in texts.items()}
    return {**values, "tickers": ", ".join(request.tickers), "rule": rule.metadata.name, **fields}


def suggested(parameters: Sequence[Parameter]) -> dict[str, str]:
    """Values around the default for the first parameters, for the others their default."""
    return {
        parameter.name: _around(parameter) if number < SEARCHED else number_text(parameter.default)
        for number, parameter in enumerate(parameters)
    }


def _around(parameter: Parameter) -> str:
    default = parameter.default
    if parameter.whole:
        step = max(1, int(default) // 5)
        low, high = (
            max(int(parameter.low), int(default) - 3 * step),
            min(int(parameter.high), int(default) + 5 * step),
        )
        return f"{low}:{high}:{step}"
    return ",".join(
        number_text(round(default * factor, 6)) for factor in (0.5, 0.75, 1.0, 1.5, 2.0)
    )


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return ",".join(json.dumps(each) for each in (value if isinstance(value, list) else [value]))
