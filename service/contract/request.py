"""Backtest request v1: what a user asks for, checked, with its defaults filled in."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from difflib import get_close_matches
from typing import Any

from jsonschema.exceptions import ValidationError

from service.contract.documents import canonical_json, checker, parse_json, schema
from service.contract.errors import InvalidRequest

SCHEMA = "request.v1"
FIELDS = tuple(schema(SCHEMA)["properties"])
NUMBERS = tuple(name for name in FIELDS if schema(SCHEMA)["properties"][name]["type"] == "number")


@dataclass(frozen=True)
class BacktestRequest:
    """One backtest, as design and schema have it; dates are inclusive, rates fractions, capital money."""

    run_id: str
    ticker: str
    rule_id: str
    start_date: date
    end_date: date
    params: Mapping[str, Any] = field(default_factory=dict)
    initial_capital: float = 100_000.0
    commission_rate: float = 0.001
    slippage_rate: float = 0.0
    lot_size: float = 0.0
    allow_short: bool = False

    def document(self) -> dict[str, Any]:
        """As JSON has it, every default filled in."""
        dates = {"start_date": self.start_date.isoformat(), "end_date": self.end_date.isoformat()}
        return {**asdict(self), "params": dict(self.params), **dates}

    def canonical(self) -> str:
        """The canonical JSON text."""
        return canonical_json(self.document())


def parse_request(document: object) -> BacktestRequest:
    """Raises InvalidRequest with one sentence on the first field that is wrong."""
    if not isinstance(document, dict):
        raise InvalidRequest("The request must be a JSON object.")
    fault = checker(SCHEMA)(document)
    if fault is not None:
        raise _sentence(fault, document)
    for name in NUMBERS:
        _check_finite(name, name, document.get(name, 0))
    for name, value in document.get("params", {}).items():
        _check_finite("params", f"params.{name}", value)
    start, end = (_date(document, name) for name in ("start_date", "end_date"))
    if start >= end:
        raise InvalidRequest("start_date must be before end_date, got {start} and {end}.", start=start, end=end)
    numbers = {name: float(document[name]) for name in NUMBERS if name in document}
    return BacktestRequest(**{**document, "start_date": start, "end_date": end, **numbers})


def request_from_text(fields: Mapping[str, str]) -> BacktestRequest:
    """The same from texts, as a form or an environment has them; an empty or missing field takes its default."""
    return parse_request(document_from_text(fields))


def document_from_text(fields: Mapping[str, str]) -> dict[str, Any]:
    """Texts turned into the types of the schema where they can be, left as they are (and refused later) where not."""
    kinds = schema(SCHEMA)["properties"]
    given = {name: text.strip() for name, text in fields.items() if text.strip()}
    return {name: _typed(text, kinds.get(name, {}).get("type")) for name, text in given.items()}


def text_from_request(request: BacktestRequest) -> dict[str, str]:
    """The environment of a job: every field in capitals, `request_from_text` reads it back."""
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in request.document().items()}
    return {name.upper(): text for name, text in texts.items()}


def _typed(text: str, kind: str | None) -> Any:
    if kind == "number":
        try:
            return float(text)
        except ValueError:
            return text
    if kind == "boolean":
        return {"true": True, "on": True, "1": True, "false": False, "off": False, "0": False}.get(text.lower(), text)
    if kind == "object":
        try:
            return parse_json(text)
        except InvalidRequest:
            return text
    return text


def _sentence(fault: ValidationError, document: Mapping[str, Any]) -> InvalidRequest:
    if fault.validator == "required":
        missing = next(name for name in schema(SCHEMA)["required"] if name not in document)
        return InvalidRequest("{field} is missing.", field=missing)
    if fault.validator == "additionalProperties" and not fault.path:
        unknown = next(name for name in document if name not in FIELDS)
        meant = get_close_matches(unknown.lower(), FIELDS, n=1)
        if meant:
            template = 'There is no field "{field}". Did you mean {meant}?'
            return InvalidRequest(template, field=_short(unknown), meant=meant[0])
        template = 'There is no field "{field}". The fields are {names}.'
        return InvalidRequest(template, field=_short(unknown), names=", ".join(FIELDS))
    name = str(fault.path[0])
    return _wrong(name, ".".join(map(str, fault.path)), fault.instance)


def _wrong(name: str, path: str, value: object) -> InvalidRequest:
    what = schema(SCHEMA)["properties"][name]["description"] if path == name else "a finite number"
    return InvalidRequest(
        "{field} must be {what}; got {value}.",
        field=_short(path),
        what=what,
        value=_short(json.dumps(value, ensure_ascii=False)),
    )


def _check_finite(name: str, path: str, value: object) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise _wrong(name, path, value)


def _date(document: Mapping[str, Any], name: str) -> date:
    try:
        return date.fromisoformat(document[name])
    except ValueError:
        raise _wrong(name, name, document[name]) from None


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
