"""Checks of a request against its schema: one sentence names the first wrong field and its rule."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from difflib import get_close_matches
from typing import Any

from jsonschema.exceptions import ValidationError

from service.contract.documents import checker, schema
from service.contract.errors import InvalidRequest

# To JSON Schema 5.0 is a whole number, so numbers are converted to the type of their field.
NUMBER_TYPES: Mapping[str, Callable[[Any], float]] = {"number": float, "integer": int}
MAX_QUOTED_CHARACTERS = 60


def checked(document: object, name: str) -> dict[str, Any]:
    """The fields of a request that keeps the schema `name`, with real dates, floats and integers.

    Raises InvalidRequest with one sentence on the first wrong field; numbers must be finite.
    """
    if not isinstance(document, dict):
        raise InvalidRequest("The request must be a JSON object.")
    fault = checker(name)(document)
    if fault is not None:
        raise _refusal(fault, document, name)
    for path, value in _floats(document):
        if not math.isfinite(value):
            raise _wrong_value(name, path, value)
    start = _date(document, "start_date", name)
    end = _date(document, "end_date", name)
    if start >= end:
        template = "{field} must be before {later}, got {start} and {end}."
        names = {"field": "start_date", "later": "end_date"}
        raise InvalidRequest(template, **names, start=start, end=end)
    return {**document, "start_date": start, "end_date": end, **_numbers(document, name)}


def _numbers(document: Mapping[str, Any], name: str) -> dict[str, float]:
    """The numeric fields of the document, each in the type that its schema gives it."""
    properties = schema(name)["properties"]
    numbers = {}
    for field, value in document.items():
        convert = NUMBER_TYPES.get(properties[field].get("type"))
        if convert is not None:
            numbers[field] = convert(value)
    return numbers


def _floats(document: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], float]]:
    """Every float with its path: fields, and the numbers and lists in fields that are objects."""
    for name, value in document.items():
        if isinstance(value, float):
            yield (name,), value
        elif isinstance(value, dict):
            for key, inner in value.items():
                numbers = inner if isinstance(inner, list) else [inner]
                yield from (
                    ((name, key), number) for number in numbers if isinstance(number, float)
                )


def _refusal(fault: ValidationError, document: Mapping[str, Any], name: str) -> InvalidRequest:
    if fault.validator == "required":
        missing = next(field for field in schema(name)["required"] if field not in document)
        return InvalidRequest("{field} is missing.", field=missing)
    if fault.validator == "additionalProperties" and not fault.path:
        return _unknown_field(document, name)
    return _wrong_value(name, tuple(map(str, fault.path)), fault.instance)


def _unknown_field(document: Mapping[str, Any], name: str) -> InvalidRequest:
    fields = tuple(schema(name)["properties"])
    unknown = next(field for field in document if field not in fields)
    meant = get_close_matches(unknown.lower(), fields, n=1)
    if meant:
        template = 'There is no field "{field}". Did you mean {meant}?'
        return InvalidRequest(template, field=shortened(unknown), meant=meant[0])
    template = 'There is no field "{field}". The fields are {names}.'
    return InvalidRequest(template, field=shortened(unknown), names=", ".join(fields))


def _wrong_value(name: str, path: tuple[str, ...], value: object) -> InvalidRequest:
    field = schema(name)["properties"][path[0]]
    what = field["description"] if len(path) == 1 else field.get("each", "a finite number")
    return InvalidRequest(
        "{field} must be {what}; got {value}.",
        field=shortened(".".join(path)),
        what=what,
        value=shortened(json.dumps(value, ensure_ascii=False)),
    )


def _date(document: Mapping[str, Any], field: str, name: str) -> date:
    try:
        return date.fromisoformat(document[field])
    except ValueError:
        raise _wrong_value(name, (field,), document[field]) from None


def shortened(text: str) -> str:
    """The text of a user, cut to a length that fits into a sentence."""
    if len(text) <= MAX_QUOTED_CHARACTERS:
        return text
    return text[: MAX_QUOTED_CHARACTERS - 3] + "..."
