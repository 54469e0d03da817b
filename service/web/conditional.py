"""Answers that need not be sent twice: a strong ETag over the bytes, 304 for whoever has them."""

from __future__ import annotations

from flask import Flask, Response, request


def conditional(response: Response) -> Response:
    """The same answer, or 304; browsers keep it and ask each time."""
    response.headers["Cache-Control"] = "private, no-cache"
    response.add_etag()
    response.make_conditional(request)
    return response


def install(app: Flask) -> None:
    """Nobody keeps any other answer."""
    app.after_request(_keep_nothing)


def _keep_nothing(response: Response) -> Response:
    response.headers.setdefault("Cache-Control", "no-store")
    return response
