"""What every request for a run has in common, whatever the run does: bodies, keys, `force`, the answer."""

from __future__ import annotations

import hashlib
import logging
import re
import uuid
from collections.abc import Callable
from typing import Any

from flask import Response, current_app, g, jsonify, request, url_for
from werkzeug.exceptions import BadRequest, UnsupportedMediaType

from scripts.logger_config import run_context
from service.contract.documents import parse_json, schema
from service.contract.errors import InvalidRequest
from service.contract.request import SCHEMA
from service.store.rows import Run
from service.usecases.runs import Runs
from service.usecases.sweeps import Sweeps
from service.web.middleware.auth import client
from service.web.openapi.document import Content, query
from service.web.openapi.document import schema as openapi_schema

logger = logging.getLogger(__name__)

Submit = Callable[[object, str, bool], tuple[Run, bool]]

IDEMPOTENCY_KEY = "[!-~]{1,200}"
RUN_ID = schema(SCHEMA)["properties"]["run_id"]["pattern"]
FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
FORCE = query(
    "force", "compute anew what has been computed", enum=["true", "false"], default="false"
)
KEY = {
    "name": "Idempotency-Key", "in": "header", "description": "the same key gives the same run; in place of a run_id",
    "schema": {"type": "string", "pattern": f"^{IDEMPOTENCY_KEY}$"},
}  # fmt: skip
LOCATION = {"Location": {"required": True, "schema": {"type": "string", "format": "uri-reference"}}}


def runs() -> Runs:
    """The service that the factory handed in."""
    service: Runs = current_app.extensions["runs"]
    return service


def sweeps() -> Sweeps:
    """The same for sweeps."""
    return Sweeps(runs())


def form_of(name: str) -> Content:
    """A body that is a form, its fields those of one of openapi's SCHEMAS."""
    return {kind: {"schema": openapi_schema(name)} for kind in FORMS}


def sent_as_form() -> bool:
    """Whether the body is a form, and not JSON; raises HTTPException where it is neither."""
    request.get_data(parse_form_data=True)
    request.stream.read(
        1
    )  # raises RequestEntityTooLarge; a chunked body would be cut at the limit without a word
    if request.mimetype == "application/json":
        return False
    if None in request.form:  # a part without a name
        raise BadRequest
    first = next(iter(request.form), "")
    if request.mimetype not in FORMS or first.lstrip().startswith(
        "{"
    ):  # JSON that curl calls a form
        raise UnsupportedMediaType
    return True


def json_document() -> Any:
    """The body; its run_id stands in the log from here on. Raises InvalidRequest."""
    document = parse_json(request.get_data())
    if isinstance(document, dict) and re.fullmatch(RUN_ID, str(document.get("run_id"))):
        g.run_id = document["run_id"]
    return document


def accept(submit: Submit, document: object) -> Run:
    """Submits in the name of whoever asks."""
    force, asker = _force(), client()
    run, new = submit(_with_key(document, asker), asker, force)
    g.run_id = run.run_id
    if new:
        with run_context(run.run_id):
            template = "Run accepted: ticker=%s, rule=%s, client=%s%s"
            logger.info(template, run.ticker, run.rule_id, asker, ", forced" if force else "")
    return run


def accepted(run: Run, result_url: str) -> Response:
    """202, and where to look."""
    urls = {"status_url": url_for("api.status", run_id=run.run_id), "result_url": result_url}
    response = jsonify(run_id=run.run_id, status=run.status, reused_from=run.reused_from, **urls)
    response.status_code = 202
    response.headers["Location"] = urls["status_url"]
    return response


def _force() -> bool:
    text = request.args.get("force", request.form.get("force", "false"))
    if text not in ("true", "false"):
        raise InvalidRequest("force must be true or false; got {value}.", value=text[:40] or '""')
    return text == "true"


def _with_key(document: object, asker: str) -> object:
    """The document with a run_id made from Idempotency-Key, where there is one and no run_id of its own."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return document
    if not re.fullmatch(IDEMPOTENCY_KEY, key):
        raise InvalidRequest(
            "{field} must be 1 to 200 visible ASCII characters.", field="Idempotency-Key"
        )
    if not isinstance(document, dict):
        return document
    digest = hashlib.sha256(f"{asker}\n{key}".encode()).digest()
    return {"run_id": str(uuid.UUID(bytes=digest[:16], version=4)), **document}
