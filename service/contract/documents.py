"""JSON of the contracts: one canonical text for each document, and checks by the frozen schemas."""

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
    """The document of a strict JSON text; raises InvalidRequest.

    Refused are NaN, infinity, duplicate keys and lone surrogates (text that UTF-8 cannot encode).
    """
    try:
        document = json.loads(
            text, parse_constant=_refuse_constant, object_pairs_hook=_refuse_duplicate_keys
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
    """A function that returns the first fault of a document, None when it keeps schema `name`."""
    validator = _Validator(schema(name))

    def first_fault(document: object) -> ValidationError | None:
        faults = sorted(validator.iter_errors(document), key=_path_of)
        return faults[0] if faults else None

    return first_fault


def _path_of(fault: ValidationError) -> list[str]:
    return [str(part) for part in fault.path]


def _whole_pattern(
    validator: Any, pattern: str, value: object, _: object
) -> Iterator[ValidationError]:
    """The keyword `pattern`, but the whole text must match.

    Python's `$` also matches before a line break at the end of the text.
    """
    if validator.is_type(value, "string") and not re.fullmatch(pattern, str(value)):
        yield ValidationError(f"does not match {pattern}")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not allowed")


def _refuse_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a key appears twice")
    return document


_Validator = validators.extend(Draft202012Validator, {"pattern": _whole_pattern})  # type: ignore[no-untyped-call]
