"""The dashboard's form: from its fields to a request document, and from a request back to its fields."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rules.base_rule import BaseRule, CompositeRule, number_text
from service.contract.request import BacktestRequest, document_from_text
from service.store.prices import Ticker

COMPOSITE = "COMPOSITE"
MEMBERS = tuple(f"member{number}" for number in range(1, CompositeRule.MAX_MEMBERS + 1))
PLAIN = (
    "ticker",
    "start_date",
    "end_date",
    "initial_capital",
    "commission_rate",
    "slippage_rate",
    "lot_size",
)
DEFAULTS = {
    "initial_capital": "100000",
    "commission_rate": "0.001",
    "slippage_rate": "0",
    "lot_size": "0",
}
FAVOURITE = "GOOG"


def document(form: Mapping[str, str]) -> dict[str, Any]:
    """The request that the form asks for; whatever is wrong in it stays, and is refused by the contract."""
    if "rule" not in form and "rule_id" in form:  # a program that sends the request's own fields
        return document_from_text(form)
    plain = {name: form.get(name, "") for name in PLAIN}
    checked = {"allow_short": form["allow_short"]} if "allow_short" in form else {}
    return {**document_from_text({**plain, **checked}), **_rule(form)}


def _rule(form: Mapping[str, str]) -> dict[str, Any]:
    rule = form.get("rule", "")
    if rule == COMPOSITE:
        members = [form[name].strip() for name in MEMBERS if form.get(name, "").strip()]
        return {"rule_id": f"{form.get('mode', '')}({','.join(members)})"}
    prefix = f"{rule}."
    numbers = {
        name.removeprefix(prefix): _number(text)
        for name, text in form.items()
        if name.startswith(prefix)
    }
    return {
        "rule_id": rule,
        "params": {name: value for name, value in numbers.items() if value != ""},
    }


def _number(text: str) -> int | float | str:
    text = text.strip()
    try:
        return int(text) if re.fullmatch(r"[+-]?[0-9]{1,15}", text) else float(text)
    except ValueError:
        return text


def first_values(tickers: Sequence[Ticker]) -> dict[str, str]:
    """What the empty form shows: a ticker with all its dates."""
    chosen = next(
        (ticker for ticker in tickers if ticker.ticker == FAVOURITE),
        tickers[0] if tickers else None,
    )
    dates = (
        {}
        if chosen is None
        else {"start_date": chosen.first_day.isoformat(), "end_date": chosen.last_day.isoformat()}
    )
    return {**DEFAULTS, **dates, "ticker": chosen.ticker if chosen else "", "rule": "MA_CROSS"}


def values_of(request: BacktestRequest, rule: BaseRule) -> dict[str, str]:
    """The form's fields that ask for `request` again."""
    values = {name: _shown(request.document()[name]) for name in PLAIN}
    if request.allow_short:
        values["allow_short"] = "on"
    if isinstance(rule, CompositeRule):
        members = {
            name: member.rule_id for name, member in zip(MEMBERS, rule.members, strict=False)
        }
        return {**values, "rule": COMPOSITE, "mode": rule.mode, **members}
    name = rule.metadata.name
    return {
        **values,
        "rule": name,
        **{f"{name}.{key}": number_text(value) for key, value in rule.params.items()},
    }


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return number_text(int(value) if value.is_integer() else value)
    return str(value)
