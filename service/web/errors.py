"""Every error as one JSON shape or one page; traces go to the log only."""

from __future__ import annotations

import logging
import math

from flask import Flask, Response, g, jsonify, make_response, render_template, request
from flask.globals import request_ctx
from werkzeug.exceptions import HTTPException

from service.contract.errors import NoResult, RunConflict, RunEnded, RunNotFound, UserError
from service.store.database import DatabaseError, NoConnectionFree
from service.web.middleware.texts import sentence, text

logger = logging.getLogger(__name__)

STATUS: dict[type[UserError], int] = {
    RunNotFound: 404,
    NoResult: 404,
    RunConflict: 409,
    RunEnded: 409,
}
SENTENCES = {
    401: ("LoginNeeded", "Log in first: with your name and password, or with a token."),
    403: (
        "CrossOrigin",
        "This was sent by a page of another site; send it from a page of this one.",
    ),
    404: ("NotFound", "There is no such page."),
    405: ("MethodNotAllowed", "This address does not take that method."),
    413: ("TooLarge", "The request is too large; a backtest request has a few hundred bytes."),
    415: ("WrongType", "Send the request as application/json or as a form."),
}
RETRY_DATABASE_S = 5
UNAVAILABLE = "The database is away; try again in a moment."
INTERNAL = "Internal server error; an operator finds the reason in the log by the run_id."


def wants_json() -> bool:
    """Browsers ask for text/html; everybody else gets JSON, and so does a link with `?format=json`."""
    return (
        request.args.get("format") == "json" or "text/html" not in request.accept_mimetypes.values()
    )


def install(app: Flask) -> None:
    """Registers one handler per kind of error."""
    app.register_error_handler(UserError, _user_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(DatabaseError, _database_away)
    app.register_error_handler(NoConnectionFree, _database_away)
    app.register_error_handler(Exception, _crash)


def status_of(error: UserError) -> int:
    """The HTTP status; 429 for every error that says when to try again."""
    return 429 if error.retry_after_s is not None else STATUS.get(type(error), 400)


def retry_after(response: Response, seconds: float | None) -> Response:
    """The answer with Retry-After, in whole seconds; as it is when there is nothing to wait for."""
    if seconds is not None:
        response.headers["Retry-After"] = str(max(1, math.ceil(seconds)))
    return response


def _user_error(error: UserError) -> Response:
    return retry_after(answer(status_of(error), error.code, sentence(error)), error.retry_after_s)


def _http_error(error: HTTPException) -> Response:
    status = error.code or 500
    code, message = SENTENCES.get(
        status, ("BadInput" if status < 500 else "InternalError", error.name + ".")
    )
    response = answer(status, code, text(message))
    response.headers.extend(
        [header for header in error.get_headers() if header[0] != "Content-Type"]
    )  # e.g. Allow
    return response


def _database_away(error: DatabaseError | NoConnectionFree) -> Response:
    logger.exception("The database is away")
    return retry_after(answer(503, "DatabaseAway", text(UNAVAILABLE)), RETRY_DATABASE_S)


def _crash(error: Exception) -> Response:
    logger.exception("Unhandled error")
    return answer(500, "InternalError", text(INTERNAL))


def answer(status: int, code: str, message: str) -> Response:
    """The one shape: error, code, run_id; a page for browsers."""
    run_id = g.get("run_id")
    no_addresses = (
        request_ctx.url_adapter is None
    )  # Host was nonsense: a page could link to nothing
    if wants_json() or no_addresses:
        response = jsonify(error=message, code=code, run_id=run_id)
    else:
        response = make_response(
            render_template("error.html", status=status, message=message, run_id=run_id)
        )
    response.status_code = status
    return response
