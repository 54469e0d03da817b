"""Every error as JSON of one shape, or as a page for browsers; traces go to the log only."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

from flask import (
    Flask,
    Response,
    current_app,
    g,
    jsonify,
    make_response,
    render_template,
    request,
)
from flask.globals import request_ctx
from werkzeug.exceptions import HTTPException

from service.contract.errors import (
    BadRow,
    BatchConflict,
    BatchRefused,
    NoResult,
    NotAWriter,
    NoteChanged,
    RunConflict,
    RunEnded,
    RunNotFound,
    UnknownPrices,
    UnknownTicker,
    UserError,
)
from service.contract.status import Reason
from service.store.database import DatabaseError, NoConnectionFree, refuses_login
from service.web.middleware.texts import text, translated
from service.web.services import services_of

logger = logging.getLogger(__name__)

STATUS: dict[type[UserError], int] = {
    NotAWriter: 403,
    UnknownPrices: 404,
    RunNotFound: 404,
    NoResult: 404,
    RunConflict: 409,
    BatchConflict: 409,
    RunEnded: 409,
    NoteChanged: 409,
}
SENTENCES = {
    401: ("LoginNeeded", "Log in first: with your name and password, or with a token."),
    403: (
        "CrossOrigin",
        "This was sent by a page of another site; send it from a page of this one.",
    ),
    404: ("NotFound", "There is no such page."),
    405: ("MethodNotAllowed", "This address does not take that method."),
    413: ("TooLarge", "The request is too large; what was sent has to be shorter."),
    415: ("WrongType", "Send the request as application/json or as a form."),
}
RETRY_DATABASE_SECONDS = 5
BUSY = "Too many large answers are on their way to slow clients; try again in a moment."
UNAVAILABLE = "The database cannot be reached; try again in a moment."
LOGIN_REFUSED = "The database refuses this program's login; an operator has to mend its password."
BAD_ROW = "What is stored of this cannot be read; an operator finds the reason in the log."
INTERNAL = "Internal server error; an operator finds the reason in the log by the run_id."


def wants_json() -> bool:
    """Whether the answer is JSON: with `?format=json`, and for all but browsers.

    Browsers are those whose Accept header names text/html.
    """
    if request.args.get("format") == "json":
        return True
    return "text/html" not in request.accept_mimetypes.values()


def install(app: Flask) -> None:
    """Registers a handler for each kind of error."""
    app.register_error_handler(UserError, _answer_user_error)
    app.register_error_handler(HTTPException, _answer_http_error)
    app.register_error_handler(DatabaseError, _answer_database_away)
    app.register_error_handler(NoConnectionFree, _answer_database_away)
    app.register_error_handler(BadRow, _answer_bad_row)
    app.register_error_handler(Exception, _answer_crash)


def sentence(error: UserError, labels: Mapping[str, str] | None = None) -> str:
    """The sentence of an error in the reader's language; several errors have a line each.

    `labels` are what a page calls the fields that the error may be about.
    """
    if isinstance(error, UnknownTicker):
        return services_of(current_app).price_import.sentence(error)
    if isinstance(error, BatchRefused):
        lines = [sentence(each, labels) for each in error.errors]
        return "\n".join([translated(error), *dict.fromkeys(lines)])
    return translated(error, labels)


def status_of(error: UserError) -> int:
    """The HTTP status; 429 for every error that says when to try again."""
    if error.retry_after_s is not None:
        return 429
    return STATUS.get(type(error), 400)


def retry_after(response: Response, seconds: float | None) -> Response:
    """The answer with the header Retry-After in whole seconds, unless `seconds` is None."""
    if seconds is not None:
        response.headers["Retry-After"] = str(max(1, math.ceil(seconds)))
    return response


def _answer_user_error(error: UserError) -> Response:
    response = error_response(status_of(error), error.code, sentence(error))
    return retry_after(response, error.retry_after_s)


def _answer_http_error(error: HTTPException) -> Response:
    status = error.code or 500
    if status in SENTENCES:
        code, message = SENTENCES[status]
    else:
        code = "BadInput" if status < 500 else "InternalError"
        message = f"{error.name}."
    response = error_response(status, code, text(message))
    # Headers such as Allow stay.
    for name, value in error.get_headers():
        if name != "Content-Type":
            response.headers.add(name, value)
    return response


def _answer_database_away(error: DatabaseError | NoConnectionFree) -> Response:
    is_refused = isinstance(error, DatabaseError) and refuses_login(error)
    problem = LOGIN_REFUSED if is_refused else UNAVAILABLE
    logger.exception(problem)
    response = error_response(503, "DatabaseAway", text(problem))
    return retry_after(response, RETRY_DATABASE_SECONDS)


def _answer_bad_row(error: BadRow) -> Response:
    logger.exception("Something stored cannot be read")
    return error_response(500, Reason.BAD_ROW, text(BAD_ROW))


def _answer_crash(error: Exception) -> Response:
    logger.exception("Unhandled error")
    return error_response(500, "InternalError", text(INTERNAL))


def error_response(status: int, code: str, message: str) -> Response:
    """An error as JSON with error, code and run_id, or as a page for browsers."""
    run_id = g.get("run_id")
    # Where the Host header makes no sense, a page could not link to anything.
    has_addresses = request_ctx.url_adapter is not None
    if wants_json() or not has_addresses:
        response = jsonify(error=message, code=code, run_id=run_id)
    else:
        page = render_template("error.html", status=status, message=message, run_id=run_id)
        response = make_response(page)
    response.status_code = status
    return response
