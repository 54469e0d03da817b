"""Is the process alive, and can it serve?"""

from __future__ import annotations

import logging

from flask import Blueprint, Response, current_app, jsonify

from service.store.database import DatabaseError
from service.store.leases import CONTROLLER
from service.usecases.runs import Runs
from service.web.errors import RETRY_DATABASE_S, retry_after
from service.web.openapi.document import RETRY, answer, describe, json_of

logger = logging.getLogger(__name__)

bp = Blueprint("health", __name__)


@bp.get("/health")
@describe({200: answer("It lives.", json_of("Health"))}, needs_database=False)
def health() -> Response:
    """The process lives; never touches the database."""
    return jsonify(status="ok")


@bp.get("/ready")
@describe(
    {
        200: answer("It can serve.", json_of("Ready")),
        503: answer("What is missing.", json_of("Ready"), RETRY),
    }
)
def ready() -> Response:
    """200, or 503 with what is missing: the database, or its current schema. `warnings` keep nobody from asking."""
    try:
        missing = [problem for problem in [current_app.extensions["schema_problem"]()] if problem]
        warnings = [] if missing else _warnings(current_app.extensions["runs"])
    except DatabaseError as error:
        logger.warning("Not ready: %s", error.orig)
        warnings, missing = (
            [],
            [f"{current_app.extensions.get('database', 'the database')} cannot be reached"],
        )
    response = jsonify(
        status="unavailable" if missing else "ok", missing=missing, warnings=warnings
    )
    response.status_code = 503 if missing else 200
    return retry_after(response, RETRY_DATABASE_S if missing else None)


def _warnings(runs: Runs) -> list[str]:
    """Somebody should look, but the pages work."""
    warnings = []
    if runs.leases is not None and not runs.leases.is_held(CONTROLLER):
        warnings.append("no controller is running: runs wait")
    if not current_app.extensions.get(
        "has_prices"
    ):  # prices never leave, so they are looked for until there are some
        current_app.extensions["has_prices"] = bool(runs.price_store.tickers())
        if not current_app.extensions["has_prices"]:
            warnings.append(f"there are no prices yet: {runs.prices_command}")
    return warnings
