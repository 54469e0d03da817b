"""Is the process alive, and can it serve?"""

from __future__ import annotations

from collections.abc import Callable

from flask import Blueprint, Response, current_app, jsonify
from sqlalchemy.exc import DBAPIError

bp = Blueprint("health", __name__)


@bp.get("/health")
def health() -> Response:
    """The process lives; never touches the database."""
    return jsonify(status="ok")


@bp.get("/ready")
def ready() -> Response:
    """200, or 503 with what is missing: the database, or its current schema."""
    missing = _missing(current_app.extensions["schema_is_current"])
    response = jsonify(status="unavailable" if missing else "ok", missing=missing)
    response.status_code = 503 if missing else 200
    return response


def _missing(schema_is_current: Callable[[], bool]) -> list[str]:
    try:
        return [] if schema_is_current() else ["the database schema is not current: python -m service.store.migrate"]
    except DBAPIError:
        return ["the database cannot be reached"]
