"""Conditional answers: a strong ETag over the bytes, and 304 for a client that has them already."""

from __future__ import annotations

from flask import Flask, Response, current_app, request
from werkzeug.exceptions import PreconditionFailed


def conditional(response: Response) -> Response:
    """The answer with an ETag, or 304; browsers keep it but ask each time whether it changed."""
    response.headers["Cache-Control"] = "private, no-cache"
    response.add_etag()
    response.make_conditional(request)
    return response


def _refuse_in_one_shape(response: Response) -> Response:
    """A 412 in the shape of our errors; Werkzeug's has the body of a 200."""
    if response.status_code != PreconditionFailed.code:
        return response
    response.close()
    return current_app.make_response(current_app.handle_user_exception(PreconditionFailed()))


def install(app: Flask) -> None:
    """Keeps caches from storing any other answer, and gives every 412 the shape of our errors."""
    app.after_request(_forbid_storing)
    # Flask calls the function that is registered last first.
    app.after_request(_refuse_in_one_shape)


def _forbid_storing(response: Response) -> Response:
    response.headers.setdefault("Cache-Control", "no-store")
    return response
