"""The description of the API, for programs and for people."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, current_app, jsonify, make_response, render_template, request

from service.web.middleware.conditional import conditional
from service.web.openapi.document import answer, cached, describe, openapi_document, text_of
from service.web.services import services_of

bp = Blueprint("docs", __name__)


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


def _document() -> dict[str, Any]:
    login = services_of(current_app).login
    return openapi_document(current_app, login, request.root_path)
