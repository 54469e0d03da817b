"""What the pages of runs and those of sweeps have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flask import Response, jsonify, make_response, request

from service.contract.errors import InvalidRequest
from service.store.rows import Run
from service.web.errors import retry_after
from service.web.forms.submission import quoted
from service.web.openapi.document import ETAG, query
from service.web.services import runs_service

PAGE_OR_JSON = query("format", "`json` answers JSON whatever Accept says")
ETAG_OF_JSON = {"ETag": {**ETAG["ETag"], "required": False, "description": "of the JSON"}}
POLL_SECONDS = 1.0
# What each field of a body must be: a check, and its words.
Kinds = Mapping[str, tuple[Callable[[Any], bool], str]]
MAX_DIGITS = 19


def unfinished_response(run: Run) -> Response:
    """202 with the status of a run that has not ended, and when to ask again."""
    status = runs_service().status(run)
    response = make_response(jsonify(status.document()), 202)
    return retry_after(response, status.poll_after_s or POLL_SECONDS)


def whole_number(field: str, text: str, least: int, most: int) -> int:
    """The number of a field of the query or of a form; raises InvalidRequest."""
    has_digits = text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS
    if not has_digits or not least <= int(text) <= most:
        template = "{field} must be a whole number from {least} to {most}; got {value}."
        raise InvalidRequest(template, field=field, least=least, most=most, value=quoted(text))
    return int(text)


def choice_in_query(name: str, choices: Sequence[str]) -> str:
    """The value of a field of the query, "" without one; raises InvalidRequest for another."""
    value = request.args.get(name, "")
    return checked_choice(name, value, choices) if value else ""


def checked_choice(field: str, value: str, choices: Sequence[str]) -> str:
    """The value, which is one of these; raises InvalidRequest."""
    if value not in choices:
        template = "{field} must be one of {names}; got {value}."
        raise InvalidRequest(template, field=field, names=", ".join(choices), value=quoted(value))
    return value


def are_texts(value: Any) -> bool:
    """Whether it is a list of texts."""
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def is_text(value: Any) -> bool:
    """Whether it is a text."""
    return isinstance(value, str)


def checked_fields(fields: Any, kinds: Kinds) -> dict[str, Any]:
    """The fields of a body, each of its kind; raises InvalidRequest."""
    if not isinstance(fields, dict):
        raise InvalidRequest("The request must be a JSON object.")
    template = "{field} must be {what}; got {value}."
    for name, value in fields.items():
        if name not in kinds:
            names = ", ".join(kinds)
            unknown = 'There is no field "{field}". The fields are {names}.'
            raise InvalidRequest(unknown, field=quoted(name), names=names)
        is_right, what = kinds[name]
        if not is_right(value):
            raise InvalidRequest(template, field=name, what=what, value=quoted(str(value)))
    return fields
