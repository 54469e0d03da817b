"""The dashboard's form: from its fields to a request document, and from a request to its fields."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from rules.base_rule import BaseRule, CompositeRule, number_text
from service.contract.request import BacktestRequest, document_from_text, in_capitals
from service.store.prices import Ticker
from service.store.rows import Run
from service.web.forms.tickers import names_in

# The choice in the list of rules that combines several of them; MEMBERS are the fields of those.
COMPOSITE = "COMPOSITE"
MEMBERS = tuple(f"member{number}" for number in range(1, CompositeRule.MAX_MEMBERS + 1))
# The fields of the form that are fields of the request too, by the same names.
REQUEST_FIELDS = (
    "ticker",
    "start_date",
    "end_date",
    "initial_capital",
    "commission_rate",
    "slippage_rate",
    "lot_size",
    "risk_free_rate",
    "benchmark",
)
DEFAULTS = {
    "initial_capital": "100000",
    "commission_rate": "0.001",
    "slippage_rate": "0",
    "lot_size": "0",
    "risk_free_rate": "0",
    "benchmark": "",
}
# Fields that must not be left empty on the page: an empty one is a mistake and no default.
NUMBERS = ("initial_capital", "commission_rate", "slippage_rate", "lot_size", "risk_free_rate")
# The fields that come back with the values of the client's latest run.
COSTS = ("commission_rate", "slippage_rate", "lot_size")
FAVOURITE_TICKER = "GOOG"
WHOLE_NUMBER = "[+-]?[0-9]{1,15}"


def has_request_fields(form: Mapping[str, str]) -> bool:
    """Whether a program sent the request's own fields, and not those of the page."""
    return "rule" not in form and "rule_id" in form


def request_from_form(form: Mapping[str, str]) -> dict[str, Any]:
    """The request document of the form; wrong values stay in it and are refused by the contract."""
    if has_request_fields(form):
        return document_from_text(form)
    tickers = names_in(form.get("ticker", ""))
    return {**_shared_fields(form), "ticker": " ".join(tickers), **rule_fields(form)}


def is_batch(form: Mapping[str, str]) -> bool:
    """Whether the page's form asks for several runs."""
    if has_request_fields(form):
        return False
    return len(names_in(form.get("ticker", ""))) > 1 or bool(_more_rules(form))


def batch_from_form(form: Mapping[str, str]) -> dict[str, Any]:
    """The batch document of the form; wrong values stay in it and are refused by the contract."""
    rules: list[object] = [rule_fields(form)]
    for rule_id in _more_rules(form):
        if rule_id not in rules:
            rules.append(rule_id)
    tickers = list(dict.fromkeys(names_in(form.get("ticker", ""))))
    return {**_shared_fields(form), "tickers": tickers, "rules": rules}


def first_of(tickers: Sequence[Ticker], text: str) -> Ticker | None:
    """The entry of the first ticker that a user wrote; None where there are no such prices."""
    names = names_in(text)
    return next((each for each in tickers if each.ticker in names[:1]), None)


def _more_rules(form: Mapping[str, str]) -> list[str]:
    """The rules beside the first one; those of a combination stand in parentheses."""
    return re.findall(r"[^\s,;()]+(?:\([^)]*\)?)?", form.get("more_rules", "").upper())


def _shared_fields(form: Mapping[str, str]) -> dict[str, Any]:
    """The fields of the request beside its ticker and its rule."""
    fields = {name: form.get(name, "") for name in REQUEST_FIELDS if name != "ticker"}
    fields["benchmark"] = in_capitals(fields["benchmark"].strip())
    if "allow_short" in form:
        fields["allow_short"] = form["allow_short"]
    return {**document_from_text(fields), **empty_numbers(form)}


def empty_numbers(form: Mapping[str, str]) -> dict[str, str]:
    """The numbers that the page has a field for and that were left empty."""
    return {name: "" for name in NUMBERS if name in form and not form[name].strip()}


def rule_fields(form: Mapping[str, str]) -> dict[str, Any]:
    """`rule_id`, and for a single rule `params`."""
    rule = form.get("rule", "")
    if rule == COMPOSITE:
        texts = [form.get(name, "").strip() for name in MEMBERS]
        members = ",".join(text for text in texts if text)
        return {"rule_id": f"{form.get('mode', '')}({members})"}
    params = {name: _number(text) for name, text in parameter_texts(form, rule).items()}
    return {"rule_id": rule, "params": params}


def parameter_texts(form: Mapping[str, str], rule: str) -> dict[str, str]:
    """The texts of the rule's own fields, by the names of its parameters."""
    prefix = f"{rule}."
    return {
        name.removeprefix(prefix): text.strip()
        for name, text in form.items()
        if name.startswith(prefix)
    }


def _number(text: str) -> int | float | str:
    """The number of a text; the text itself where it is none."""
    if re.fullmatch(WHOLE_NUMBER, text):
        return int(text)
    try:
        return float(text)
    except ValueError:
        return text


def costs_of(run: Run | None) -> dict[str, str]:
    """The form's values of the costs that a run was asked for with; none without a run."""
    if run is None:
        return {}
    asked = json.loads(run.request)
    return {name: _field_text(asked[name]) for name in COSTS if name in asked}


def values_of_empty_form(tickers: Sequence[Ticker]) -> dict[str, str]:
    """The values that the form shows at first: a ticker with all its dates, and the defaults."""
    values = {**DEFAULTS, "ticker": "", "rule": "MA_CROSS"}
    if not tickers:
        return values
    favourites = [ticker for ticker in tickers if ticker.ticker == FAVOURITE_TICKER]
    chosen = favourites[0] if favourites else tickers[0]
    return {
        **values,
        "ticker": chosen.ticker,
        "start_date": chosen.first_day.isoformat(),
        "end_date": chosen.last_day.isoformat(),
    }


def values_of_request(request: BacktestRequest, rule: BaseRule) -> dict[str, str]:
    """The form's values with which it submits `request` again."""
    document = request.document()
    values = {name: _field_text(document[name]) for name in REQUEST_FIELDS}
    if request.allow_short:
        values["allow_short"] = "on"
    if isinstance(rule, CompositeRule):
        return {**values, **values_of_combination(rule)}
    name = rule.metadata.name
    params = {f"{name}.{key}": number_text(value) for key, value in rule.params.items()}
    return {**values, "rule": name, **params}


def values_of_combination(rule: CompositeRule) -> dict[str, str]:
    """The form's values with which it names the rule."""
    rule_ids = [member.rule_id for member in rule.members]
    return {"rule": COMPOSITE, "mode": rule.mode, **dict(zip(MEMBERS, rule_ids, strict=False))}


def _field_text(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return number_text(int(value) if value.is_integer() else value)
