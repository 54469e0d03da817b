"""Backtest request v1: what a user asks for, checked, with its defaults filled in."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

from service.contract.checks import checked
from service.contract.documents import canonical_json, parse_json, schema
from service.contract.errors import InvalidRequest

SCHEMA = "request.v1"
FIELDS = tuple(schema(SCHEMA)["properties"])
_TICKER = schema(SCHEMA)["properties"]["ticker"]
MAX_TICKER = int(_TICKER["maxLength"])
_SHAPE = re.compile(_TICKER["pattern"])
# Fields that the contract got after its first release, with their defaults.
ADDED: Mapping[str, Any] = {"risk_free_rate": 0.0, "benchmark": ""}


def is_ticker(text: str) -> bool:
    """Whether it is written as tickers are."""
    return len(text) <= MAX_TICKER and _SHAPE.fullmatch(text) is not None


def in_capitals(text: str) -> str:
    """As tickers are written; what has other letters is the name of one and stays.

    Some letters of other alphabets become one of A to Z, or two, when they are made large.
    """
    return text.upper() if text.isascii() else text


def file_stem(ticker: str) -> str:
    """What files with prices of the ticker are called: a slash would be a folder."""
    return ticker.replace("/", "_")


@dataclass(frozen=True)
class BacktestRequest:
    """One backtest: both dates are included, rates are fractions, the capital is an amount."""

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
    risk_free_rate: float = 0.0
    benchmark: str = ""

    def document(self) -> dict[str, Any]:
        """The JSON document, with every default filled in."""
        dates = {"start_date": self.start_date.isoformat(), "end_date": self.end_date.isoformat()}
        return {**asdict(self), "params": dict(self.params), **dates}

    def canonical(self) -> str:
        """The canonical JSON text, as it is stored.

        Fields that are younger than the contract are left out where they have their defaults:
        the same request is the same text in every release, and the one before can read it.
        """
        return canonical_json(without_defaults_of_added(self.document()))


def without_defaults_of_added(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document without fields of ADDED that have their defaults."""
    return {
        name: value for name, value in document.items() if name not in ADDED or value != ADDED[name]
    }


def parse_request(document: object) -> BacktestRequest:
    """Raises InvalidRequest with one sentence on the first field that is wrong."""
    return BacktestRequest(**checked(document, SCHEMA))


def request_from_text(fields: Mapping[str, str]) -> BacktestRequest:
    """The request of texts from a form or an environment; an empty field takes its default."""
    return parse_request(document_from_text(fields))


def document_from_text(fields: Mapping[str, str], name: str = SCHEMA) -> dict[str, Any]:
    """The texts that are not empty, converted to the types of the schema `name`.

    A text that cannot be converted stays as it is; the check of the contract refuses it later.
    """
    properties = schema(name)["properties"]
    document = {}
    for key, text in fields.items():
        value = text.strip()
        if value:
            document[key] = _typed(value, properties.get(key, {}).get("type"))
    return document


def text_from_request(request: BacktestRequest) -> dict[str, str]:
    """The request as environment variables of a job; `request_from_text` reads them back."""
    texts = {}
    for name, value in request.document().items():
        texts[name.upper()] = value if isinstance(value, str) else json.dumps(value)
    return texts


def _typed(text: str, json_type: str | None) -> Any:
    convert = CONVERSIONS.get(json_type or "string")
    if convert is None:
        return text
    try:
        return convert(text)
    except (ValueError, KeyError, InvalidRequest):
        return text


TRUTH = {"true": True, "on": True, "1": True, "false": False, "off": False, "0": False}
CONVERSIONS: Mapping[str, Callable[[str], Any]] = {
    "number": float,
    "integer": int,
    "boolean": lambda text: TRUTH[text.lower()],
    "object": parse_json,
    "array": parse_json,
}
