"""Answers that need not be sent twice: a strong ETag over the bytes, 304 for whoever has them."""

from __future__ import annotations

from flask import Flask, Response, current_app, request
from werkzeug.exceptions import PreconditionFailed


def conditional(response: Response) -> Response:
    """The same answer, or 304; browsers keep it and ask each time."""
    response.headers["Cache-Control"] = "private, no-cache"
    response.add_etag()
    response.make_conditional(request)
    return response


def _refuse_in_one_shape(response: Response) -> Response:
    """Werkzeug's 412, of static files too, has the body of a 200."""
    if response.status_code != PreconditionFailed.code:
        return response
    response.close()
    return current_app.make_response(current_app.handle_user_exception(PreconditionFailed()))


def install(app: Flask) -> None:
    """Nobody keeps any other answer."""
    app.after_request(_keep_nothing)
    app.after_request(_refuse_in_one_shape)  # the last one is called first


def _keep_nothing(response: Response) -> Response:
    response.headers.setdefault("Cache-Control", "no-store")
    return response
