"""What all submissions have in common: the body, the Idempotency-Key, `force`, and the answer."""

from __future__ import annotations

import hashlib
import logging
import re
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from flask import Response, g, jsonify, request, url_for
from werkzeug.exceptions import BadRequest, UnsupportedMediaType

from rules.base_rule import BaseRule
from scripts.logger_config import run_context
from service.contract.documents import parse_json, schema
from service.contract.errors import InvalidRequest, UnknownTicker, UserError
from service.contract.request import SCHEMA
from service.store.rows import Run
from service.web.addresses import run_url
from service.web.middleware.auth import client_name
from service.web.openapi.document import Content, query
from service.web.openapi.document import schema as openapi_schema

logger = logging.getLogger(__name__)

# Submits a document for a client, by force or not: `Runs.submit` or `Sweeps.submit`.
Submit = Callable[[object, str, bool], tuple[Run, bool]]

MAX_QUOTED_CHARACTERS = 40
JSON_OBJECT = re.compile(r"\s*\{\s*([\"}]|$)")  # as it begins
IDEMPOTENCY_KEY = "[!-~]{1,200}"
RUN_ID = schema(SCHEMA)["properties"]["run_id"]["pattern"]
FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
FORCE = query(
    "force",
    "compute again even if an identical run was computed before",
    enum=["true", "false"],
    default="false",
)
KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "a key of your choice in place of a run_id; the same key gives the same run",
    "schema": {"type": "string", "pattern": f"^{IDEMPOTENCY_KEY}$"},
}
LOCATION = {"Location": {"required": True, "schema": {"type": "string", "format": "uri-reference"}}}


def form_content(name: str) -> Content:
    """A body that is a form with the fields of the OpenAPI schema `name`."""
    return {media_type: {"schema": openapi_schema(name)} for media_type in FORMS}


def has_form() -> bool:
    """Whether the body is a form; False where it is JSON, HTTPException where it is neither."""
    request.get_data(parse_form_data=True)
    # Raises RequestEntityTooLarge where there is more: Werkzeug would cut a chunked body silently.
    request.stream.read(1)
    if request.mimetype == "application/json":
        return False
    if None in request.form:
        # A part of a multipart form that has no name.
        raise BadRequest
    if request.mimetype not in FORMS or _has_json_in_form():
        raise UnsupportedMediaType
    return True


def _has_json_in_form() -> bool:
    """Whether the body is JSON that is declared as a form, as curl does by default."""
    first = next(iter(request.form), "")
    return JSON_OBJECT.match(first) is not None


def read_json() -> Any:
    """The document in the body; the log has its run_id from here on. Raises InvalidRequest."""
    document = parse_json(request.get_data())
    if isinstance(document, dict) and re.fullmatch(RUN_ID, str(document.get("run_id"))):
        g.run_id = document["run_id"]
    return document


def submit_document(submit: Submit, document: object) -> Run:
    """Submits the document in the name of the client, and logs a new run."""
    force = is_forced()
    client = client_name()
    run, is_new = submit(with_id_of_key(document, client, "run_id"), client, force)
    g.run_id = run.run_id
    if is_new:
        with run_context(run.run_id):
            template = "Run accepted: ticker=%s, rule=%s, client=%s%s"
            forced = ", forced" if force else ""
            logger.info(template, run.ticker, run.rule_id, client, forced)
    return run


def accepted_response(run: Run) -> Response:
    """The answer 202 with the addresses of status and result."""
    status_url = url_for("api.status", run_id=run.run_id)
    response = jsonify(
        run_id=run.run_id,
        status=run.status,
        reused_from=run.reused_from,
        status_url=status_url,
        result_url=run_url(run),
    )
    response.status_code = 202
    response.headers["Location"] = status_url
    return response


def quoted(text: str) -> str:
    """A value from the query or a form, for a sentence."""
    return text[:MAX_QUOTED_CHARACTERS] or '""'


def is_forced() -> bool:
    """Whether the request asks to compute again; raises InvalidRequest."""
    text = request.args.get("force", request.form.get("force", "false"))
    if text not in ("true", "false"):
        raise InvalidRequest("force must be true or false; got {value}.", value=quoted(text))
    return text == "true"


def with_id_of_key(document: object, client: str, name: str) -> object:
    """The document with an id, the field `name`, made of client and Idempotency-Key.

    It stays as it is where it has its own, or where there is no key. Raises InvalidRequest.
    """
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return document
    if not re.fullmatch(IDEMPOTENCY_KEY, key):
        template = "{field} must be 1 to 200 visible ASCII characters."
        raise InvalidRequest(template, field="Idempotency-Key")
    if not isinstance(document, dict):
        return document
    digest = hashlib.sha256(f"{client}\n{key}".encode()).digest()
    return {name: str(uuid.UUID(bytes=digest[:16], version=4)), **document}


# The fields of requests that have another name in the pages' forms.
FORM_NAMES = {"rule_id": "rule"}
# The fields of requests that have a field in the form for each parameter.
PARAMETERS = ("params", "grid")


def faulty_field(error: UserError, form: Mapping[str, str], fields: Collection[str]) -> str:
    """The one of the page's `fields` that the error is about, "" where it is about none of them."""
    name = _faulty_name(error, form)
    name = FORM_NAMES.get(name, name)
    if name == "ticker" and "ticker" not in fields:
        name = "tickers"
    part, dot, parameter = name.partition(".")
    if dot and part in PARAMETERS:
        name = f"{form.get('rule', '')}.{parameter}"
    return name if name in fields else ""


def fields_of_parameters(rules: Iterable[type[BaseRule]]) -> list[str]:
    """The names of the fields of all parameters."""
    return [
        f"{rule.metadata.name}.{parameter.name}"
        for rule in rules
        for parameter in rule.metadata.parameters
    ]


def _faulty_name(error: UserError, form: Mapping[str, str]) -> str:
    values = error.values
    if isinstance(error, UnknownTicker):
        is_benchmark = form.get("benchmark", "").strip().upper() == error.ticker
        return "benchmark" if is_benchmark else "ticker"
    for part in ("name", "smaller"):
        if part in values and "rule" in values:
            return f"{values['rule']}.{values[part]}"
    if "field" in values:
        return str(values["field"])
    return "start_date" if "start" in values else ""
