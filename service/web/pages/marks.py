"""Star, tags and note of a run, from its page or by a program."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response, g, jsonify, make_response, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from service.contract.errors import NoteChanged, UserError
from service.store.marks import Marks
from service.store.rows import Run
from service.usecases.marks import tags_in
from service.web.addresses import run_url
from service.web.errors import sentence, status_of, wants_json
from service.web.forms.submission import LOCATION, has_form, read_json
from service.web.openapi.document import answer, describe, json_of, text_of
from service.web.openapi.document import schema as openapi_schema
from service.web.pages.common import (
    PAGE_OR_JSON,
    Kinds,
    are_texts,
    checked_fields,
    is_text,
    whole_number,
)
from service.web.services import marking, runs_service

bp = Blueprint("marks", __name__)

MAX_COUNT = 10**9


@bp.get("/runs/<run_id>/marks")
@describe({200: answer("The marks.", json_of("Marks"))}, errors=(404,))
def marks(run_id: str) -> Response:
    """Star, tags and note of a run or of a sweep."""
    g.run_id = run_id
    return jsonify(marks_document(marking().marks(runs_service().run(run_id))))


def marks_document(known: Marks) -> dict[str, object]:
    """Marks as JSON."""
    return {
        "star": known.is_starred,
        "tags": list(known.tags),
        "note": known.note,
        "version": known.version,
    }


@bp.post("/runs/<run_id>/marks")
@describe(
    {
        200: answer("The marks as they are now.", json_of("Marks")),
        303: answer("A form leads back to the page of the run.", text_of("text/html"), LOCATION),
    },
    PAGE_OR_JSON,
    errors=(400, 404, 409, 413, 415),
    body={
        **json_of("NewMarks"),
        "application/x-www-form-urlencoded": {"schema": openapi_schema("MarksForm")},
    },
)
def mark(run_id: str) -> AnyResponse:
    """Sets star, tags or note of a run; what is not named stays.

    A note is only replaced where `version` is that of the note that the writer saw.
    """
    g.run_id = run_id
    is_form = has_form()
    run = runs_service().run(run_id)
    try:
        fields = _marks_of_form() if is_form else checked_fields(read_json(), MARKS)
        _set_marks(run, fields)
    except UserError as error:
        if not is_form or wants_json():
            raise
        return _refused_marks(run, error)
    if not is_form:
        return jsonify(marks_document(marking().marks(run)))
    return redirect(run_url(run, part="marks"), 303)


def _marks_of_form() -> dict[str, Any]:
    form = request.form
    fields: dict[str, Any] = {}
    if "star" in form:
        fields["star"] = {"yes": True, "no": False}.get(form["star"])
    if "tags" in form:
        fields["tags"] = tags_in(form["tags"])
        fields["shown_tags"] = tags_in(form.get("shown_tags", ""))
    if "note" in form:
        # Browsers send the ends of lines as CR LF.
        fields["note"] = form["note"].replace("\r\n", "\n").strip()
    if "version" in form:
        fields["version"] = whole_number("version", form["version"], 0, MAX_COUNT)
    return checked_fields(fields, FORM_MARKS)


def _is_count(value: Any) -> bool:
    # To JSON 5.0 is a whole number.
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 <= value <= MAX_COUNT and value == int(value)


# What each field of a body must be.
MARKS: Kinds = {
    "star": (lambda value: isinstance(value, bool), "true or false"),
    "tags": (are_texts, "a list of texts"),
    "note": (is_text, "a text"),
    "version": (_is_count, "a whole number"),
}
FORM_MARKS: Kinds = {
    **MARKS,
    "star": (lambda value: isinstance(value, bool), "yes or no"),
    "shown_tags": (are_texts, "a list of texts"),
}


def _set_marks(run: Run, fields: Mapping[str, Any]) -> None:
    """Where anything is refused, nothing has changed."""
    tags = set(fields.get("tags", ()))
    # What others added while the page was open stays; a program replaces all tags.
    shown_tags = set(fields.get("shown_tags", marking().marks(run).tags))
    added, removed = tags - shown_tags, shown_tags - tags
    if "tags" in fields:
        marking().check_tags([run], added, removed)
    if "note" in fields:
        marking().write_note(run, fields["note"], int(fields.get("version", 0)))
    if "tags" in fields:
        marking().tag([run], added, removed)
    if "star" in fields:
        marking().star([run], fields["star"])


def _refused_marks(run: Run, error: UserError) -> Response:
    """The page on which what was typed can be corrected."""
    present = marking().marks(run)
    page = render_template(
        "marks_refused.html",
        run=run,
        present=present,
        is_changed=isinstance(error, NoteChanged),
        message=sentence(error),
        tags=request.form.get("tags", " ".join(present.tags)),
        shown_tags=request.form.get("shown_tags", " ".join(present.tags)),
        note=request.form.get("note", present.note),
        back=run_url(run),
    )
    return make_response(page, status_of(error))
