"""What is wrong with a document, in one sentence that names the field and says what it must be."""

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

MAKES: Mapping[str, Callable[[Any], float]] = {
    "number": float,
    "integer": int,
}  # to JSON Schema 5.0 is a whole number


def checked(document: object, name: str) -> dict[str, Any]:
    """A request that keeps the schema `name`, whose numbers are finite; its dates are dates, its rates floats.

    Raises InvalidRequest with one sentence on the first field that is wrong.
    """
    if not isinstance(document, dict):
        raise InvalidRequest("The request must be a JSON object.")
    fault = checker(name)(document)
    if fault is not None:
        raise _sentence(fault, document, name)
    for path, value in _numbers(document):
        if not math.isfinite(value):
            raise _wrong(name, path, value)
    start, end = (_date(document, field, name) for field in ("start_date", "end_date"))
    if start >= end:
        raise InvalidRequest(
            "start_date must be before end_date, got {start} and {end}.", start=start, end=end
        )
    kinds = schema(name)["properties"]
    makes = {
        field: MAKES[kinds[field]["type"]]
        for field in document
        if kinds[field].get("type") in MAKES
    }
    numbers = {field: make(document[field]) for field, make in makes.items()}
    return {**document, "start_date": start, "end_date": end, **numbers}


def _numbers(document: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], float]]:
    """Every float in it, one object deep, with its path."""
    for name, value in document.items():
        if isinstance(value, float):
            yield (name,), value
        elif isinstance(value, dict):
            for key, inner in value.items():
                for each in inner if isinstance(inner, list) else [inner]:
                    if isinstance(each, float):
                        yield (name, key), each


def _sentence(fault: ValidationError, document: Mapping[str, Any], name: str) -> InvalidRequest:
    fields = tuple(schema(name)["properties"])
    if fault.validator == "required":
        missing = next(field for field in schema(name)["required"] if field not in document)
        return InvalidRequest("{field} is missing.", field=missing)
    if fault.validator == "additionalProperties" and not fault.path:
        unknown = next(field for field in document if field not in fields)
        meant = get_close_matches(unknown.lower(), fields, n=1)
        if meant:
            template = 'There is no field "{field}". Did you mean {meant}?'
            return InvalidRequest(template, field=short(unknown), meant=meant[0])
        template = 'There is no field "{field}". The fields are {names}.'
        return InvalidRequest(template, field=short(unknown), names=", ".join(fields))
    return _wrong(name, tuple(map(str, fault.path)), fault.instance)


def _wrong(name: str, path: tuple[str, ...], value: object) -> InvalidRequest:
    field = schema(name)["properties"][path[0]]
    what = field["description"] if len(path) == 1 else field.get("each", "a finite number")
    return InvalidRequest(
        "{field} must be {what}; got {value}.",
        field=short(".".join(path)),
        what=what,
        value=short(json.dumps(value, ensure_ascii=False)),
    )


def _date(document: Mapping[str, Any], field: str, name: str) -> date:
    try:
        return date.fromisoformat(document[field])
    except ValueError:
        raise _wrong(name, (field,), document[field]) from None


def short(text: str) -> str:
    """What a user typed, for a sentence."""
    return text if len(text) <= 60 else text[:57] + "..."
