"""JSON as the contracts mean it: one text for one document, checked against the frozen schemas."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import ValidationError

from service.contract.errors import InvalidRequest

HERE = Path(__file__).parent


def canonical_json(document: object) -> str:
    """Sorted keys, no spaces, shortest numbers; raises ValueError on NaN and infinity."""
    return json.dumps(
        document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def parse_json(text: str | bytes) -> Any:
    """Strict JSON: no NaN, no infinity, no key twice, no half of a character; raises InvalidRequest."""
    try:
        document = json.loads(
            text, parse_constant=_refuse_constant, object_pairs_hook=_refuse_twins
        )
        json.dumps(document, ensure_ascii=False).encode()
        return document
    except (ValueError, RecursionError) as error:
        why = str(error).partition(":")[0] or "nested too deeply"
        raise InvalidRequest("The body is not valid JSON: {why}.", why=why) from None


@cache
def schema(name: str) -> Mapping[str, Any]:
    """The frozen schema in `<name>.json`."""
    document: Mapping[str, Any] = json.loads((HERE / f"{name}.json").read_text())
    return document


@cache
def checker(name: str) -> Callable[[object], ValidationError | None]:
    """A function from a document to its first fault, None when it keeps the schema `name`."""
    whole = _Validator(schema(name))
    return lambda document: next(
        iter(sorted(whole.iter_errors(document), key=lambda error: list(map(str, error.path)))),
        None,
    )


def _whole_pattern(
    validator: Any, pattern: str, value: object, _: object
) -> Iterator[ValidationError]:
    """As in JSON Schema, but the whole text must match: Python's `$` also matches before a last line break."""
    if validator.is_type(value, "string") and not re.fullmatch(pattern, str(value)):
        yield ValidationError(f"does not match {pattern}")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _refuse_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a key stands there twice")
    return document


_Validator = validators.extend(Draft202012Validator, {"pattern": _whole_pattern})  # type: ignore[no-untyped-call]
