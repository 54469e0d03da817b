"""The description of the API, for programs and for people."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, current_app, jsonify, make_response, render_template, request

from service.contract.status import Status
from service.web.middleware.conditional import conditional
from service.web.openapi.document import answer, cached, describe, openapi_document, text_of
from service.web.services import services_of

bp = Blueprint("docs", __name__)

# Variables of static/style.css
COLOURS = (
    *("paper", "raised", "ink", "faint", "line", "accent", "button", "good", "bad"),
    *("bad-paper", "warn-paper", "grid", "holding", "bad-fill"),
    *("line-1", "line-2", "line-3", "line-4", "line-5", "line-6"),
    *("gain-1", "gain-2", "gain-3", "gain-4", "loss-1", "loss-2", "loss-3", "loss-4"),
)


@bp.get("/openapi.json")
@describe(
    cached("OpenAPI 3.1.", {"application/json": {"schema": {"type": "object"}}}),
    needs_database=False,
)
def openapi() -> Response:
    """This document."""
    return conditional(jsonify(_document()))


@bp.get("/docs")
@describe({200: answer("The page.", text_of("text/html"))}, needs_database=False)
def page() -> Response:
    """This description as a page."""
    return make_response(render_template("docs.html", api=_document()))


@bp.get("/docs/style")
@describe({200: answer("The page.", text_of("text/html"))}, needs_database=False)
def style() -> Response:
    """The parts that all pages are made of: colours, letters, spaces, buttons, states."""
    return make_response(render_template("style.html", colours=COLOURS, states=list(Status)))


def _document() -> dict[str, Any]:
    login = services_of(current_app).login
    return openapi_document(current_app, login, request.root_path)
