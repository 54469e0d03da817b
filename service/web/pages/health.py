"""Is the process alive, and can it serve requests?"""

from __future__ import annotations

import logging

from flask import Blueprint, Response, current_app, jsonify

from service.store.database import DatabaseError, refuses_login
from service.web.errors import RETRY_DATABASE_SECONDS, retry_after
from service.web.openapi.document import RETRY, answer, describe, json_of
from service.web.services import Services, services_of

logger = logging.getLogger(__name__)

bp = Blueprint("health", __name__)

LOGIN_REFUSED = (
    "refuses this program's login: its user or password is another one, and is read anew from the "
    "Secret at each connection"
)


@bp.get("/health")
@describe({200: answer("The process is alive.", json_of("Health"))}, needs_database=False)
def health() -> Response:
    """Whether the process is alive; does not use the database."""
    return jsonify(status="ok")


@bp.get("/ready")
@describe(
    {
        200: answer("Requests can be served.", json_of("Ready")),
        503: answer("What is missing.", json_of("Ready"), RETRY),
    }
)
def ready() -> Response:
    """Whether requests can be served: 503 names what is missing, `warnings` do not prevent it.

    What is missing is the database, or its current schema.
    """
    services = services_of(current_app)
    warnings: list[str] = []
    try:
        problem = services.schema_problem()
        missing = [problem] if problem else []
        if not missing:
            warnings = _warnings(services)
    except DatabaseError as error:
        logger.warning("Not ready: %s", error.orig)
        trouble = LOGIN_REFUSED if refuses_login(error) else "cannot be reached"
        missing = [f"{services.database_name} {trouble}"]
    status = "unavailable" if missing else "ok"
    response = jsonify(status=status, missing=missing, warnings=warnings)
    if not missing:
        return response
    response.status_code = 503
    return retry_after(response, RETRY_DATABASE_SECONDS)


def _warnings(services: Services) -> list[str]:
    """Problems that an operator should look at, while the pages work."""
    warnings = [str(trouble) for trouble in services.troubles.now()]
    if not _has_prices(services):
        warnings.append(f"There are no prices yet: {services.price_import.command}")
    return warnings


def _has_prices(services: Services) -> bool:
    if services.prices_seen.is_set():
        return True
    if not services.runs.price_store.tickers():
        return False
    services.prices_seen.set()
    return True
