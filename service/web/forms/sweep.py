"""The form of a sweep: from its fields to a request document, and from a request to its fields."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rules.base_rule import BaseRule, CompositeRule, Parameter, number_text
from service.contract.request import document_from_text, in_capitals
from service.contract.sweep import SCHEMA, SweepRequest
from service.store.prices import Ticker
from service.web.forms import run as run_form
from service.web.forms.tickers import names_in

# The fields of the form that are fields of the request too, by the same names.
REQUEST_FIELDS = (
    "start_date",
    "end_date",
    "metric",
    "initial_capital",
    "commission_rate",
    "slippage_rate",
    "lot_size",
    "risk_free_rate",
    "benchmark",
    "folds",
)
# The field with the parameters of a combination
GRID = "grid"
CHECKBOXES = ("allow_short", "anchored", "reality_check")
# The number of parameters for which the empty form suggests more than one value.
SEARCHED_PARAMETERS = 2
SUGGESTED_FACTORS = (0.5, 0.75, 1.0, 1.5, 2.0)


def request_from_form(form: Mapping[str, str]) -> dict[str, Any]:
    """The request document of the form; wrong values stay in it and are refused by the contract."""
    if run_form.has_request_fields(form):
        return document_from_text(form, SCHEMA)
    fields = {name: form[name] for name in (*REQUEST_FIELDS, *CHECKBOXES) if name in form}
    fields["benchmark"] = in_capitals(form.get("benchmark", "").strip())
    rule = form.get("rule", "")
    texts = run_form.parameter_texts(form, rule)
    if rule == run_form.COMPOSITE:
        rule = str(run_form.rule_fields(form)["rule_id"])
        texts = grid_in(texts.get(GRID, ""))
    return {
        **document_from_text(fields, SCHEMA),
        **run_form.empty_numbers(form),
        "tickers": names_in(form.get("tickers", "")),
        "rule_id": rule,
        "grid": {name: text for name, text in texts.items() if text},
    }


def grid_in(text: str) -> dict[str, str]:
    """The parameters of a combination as a user writes them: `fast_1=5:20:5 period_2=7,14`."""
    parts = [part.partition("=") for part in text.split()]
    return {name: values for name, _, values in parts}


def values_of_empty_form(tickers: Sequence[Ticker]) -> dict[str, str]:
    """The values that the form shows at first."""
    values = run_form.values_of_empty_form(tickers)
    return {**values, "tickers": values["ticker"], "metric": "sharpe_ratio", "folds": "5"}


def values_of_request(request: SweepRequest, rule: BaseRule) -> dict[str, str]:
    """The form's values with which it submits `request` again.

    `rule` has the values of the parameters that are not searched.
    """
    document = request.document()
    values = {name: _field_text(document[name]) for name in REQUEST_FIELDS}
    values["tickers"] = ", ".join(request.tickers)
    for name in CHECKBOXES:
        if document[name]:
            values[name] = "on"
    if isinstance(rule, CompositeRule):
        grid = [f"{name}={_grid_text(value)}" for name, value in request.grid.items()]
        return {
            **values,
            **run_form.values_of_combination(rule),
            f"{run_form.COMPOSITE}.{GRID}": " ".join(grid),
        }
    values["rule"] = rule.metadata.name
    for name, value in rule.params.items():
        values[f"{rule.metadata.name}.{name}"] = number_text(value)
    for name, value in request.grid.items():
        values[f"{rule.metadata.name}.{name}"] = _grid_text(value)
    return values


def suggested_grid(parameters: Sequence[Parameter]) -> dict[str, str]:
    """Values around the default for the first parameters, the default for the others."""
    grid = {parameter.name: number_text(parameter.default) for parameter in parameters}
    for parameter in parameters[:SEARCHED_PARAMETERS]:
        grid[parameter.name] = _values_around_default(parameter)
    return grid


def _values_around_default(parameter: Parameter) -> str:
    if not parameter.whole:
        values = [round(parameter.default * factor, 6) for factor in SUGGESTED_FACTORS]
        return ",".join(number_text(value) for value in values)
    default = int(parameter.default)
    step = max(1, default // 5)
    low = max(int(parameter.low), default - 3 * step)
    high = min(int(parameter.high), default + 5 * step)
    return f"{low}:{high}:{step}"


def _field_text(value: Any) -> str:
    return number_text(value) if isinstance(value, float) else str(value)


def _grid_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    values = value if isinstance(value, list) else [value]
    return ",".join(json.dumps(number) for number in values)
