"""Backtest request v1: what a user asks for, checked, with its defaults filled in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

from service.contract.checks import checked
from service.contract.documents import canonical_json, parse_json, schema
from service.contract.errors import InvalidRequest

SCHEMA = "request.v1"
FIELDS = tuple(schema(SCHEMA)["properties"])


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
    return BacktestRequest(**checked(document, SCHEMA))


def request_from_text(fields: Mapping[str, str]) -> BacktestRequest:
    """The same from texts, as a form or an environment has them; an empty or missing field takes its default."""
    return parse_request(document_from_text(fields))


def document_from_text(fields: Mapping[str, str], name: str = SCHEMA) -> dict[str, Any]:
    """Texts turned into the types of the schema where they can be, left as they are (and refused later) where not."""
    kinds = schema(name)["properties"]
    given = {field: text.strip() for field, text in fields.items() if text.strip()}
    return {field: _typed(text, kinds.get(field, {}).get("type")) for field, text in given.items()}


def text_from_request(request: BacktestRequest) -> dict[str, str]:
    """The environment of a job: every field in capitals, `request_from_text` reads it back."""
    texts = {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in request.document().items()
    }
    return {name.upper(): text for name, text in texts.items()}


def _typed(text: str, kind: str | None) -> Any:
    if kind in ("number", "integer"):
        try:
            return int(text) if kind == "integer" else float(text)
        except ValueError:
            return text
    if kind == "boolean":
        return {"true": True, "on": True, "1": True, "false": False, "off": False, "0": False}.get(
            text.lower(), text
        )
    if kind in ("object", "array"):
        try:
            return parse_json(text)
        except InvalidRequest:
            return text
    return text
