"""Fetches: prices that a vendor is asked for, by a job of its own."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from flask import (
    Blueprint,
    Response,
    current_app,
    g,
    jsonify,
    make_response,
    redirect,
    render_template,
    request,
    url_for,
)
from werkzeug.wrappers import Response as AnyResponse

from service.contract.errors import InvalidRequest, NotAWriter, UserError
from service.contract.fetch import VENDORS
from service.contract.sentence import Sentence
from service.contract.status import Status
from service.store.rows import Run
from service.web.addresses import run_url
from service.web.errors import wants_json
from service.web.forms.submission import (
    KEY,
    LOCATION,
    accepted_response,
    form_content,
    has_form,
    read_json,
    submit_document,
)
from service.web.forms.tickers import form_with_tickers, names_in
from service.web.middleware.auth import client_name
from service.web.middleware.conditional import conditional
from service.web.openapi.document import RETRY, answer, describe, json_of, not_modified, text_of
from service.web.pages.common import ETAG_OF_JSON, PAGE_OR_JSON, unfinished_response
from service.web.pages.prices import may_store, page_of_refusal
from service.web.presentation import elapsed, utc
from service.web.services import fetches_service, runs_service, services_of
from service.web.warnings import said, told

logger = logging.getLogger(__name__)

bp = Blueprint("fetches", __name__)

EXAMPLE = {"ticker": "GOOG", "start_date": "2015-01-01", "end_date": "2020-12-31"}
MAX_AT_ONCE = 200
FIELDS = ("vendor", "start_date", "end_date")


@bp.post("/fetches")
@describe(
    {
        202: answer(
            "The fetch is recorded now, or was before.",
            json_of("Accepted"),
            LOCATION,
            leads_to=("api.status", "fetches.fetch"),
        ),
        303: answer("A form leads to the page of the fetch.", text_of("text/html"), LOCATION),
    },
    KEY,
    errors=(400, 403, 409, 413, 415, 429),
    body={**json_of("FetchRequest", cross=EXAMPLE), **form_content("FetchForm")},
)
def submit() -> AnyResponse:
    """Has a vendor asked for the prices of a ticker; a form may have several tickers.

    Without dates it is all that the vendor has since 2000.
    """
    is_form = has_form()
    _check_allowed()
    if not is_form:
        document = read_json()
        _check_vendor(document.get("vendor") if isinstance(document, dict) else None)
        return accepted_response(submit_document(fetches_service().submit, document))
    try:
        runs = _submit_form(form_with_tickers(request.form, runs_service().price_store))
    except UserError as error:
        if wants_json():
            raise
        return page_of_refusal(error, "", request.form)
    return redirect(_page_of(runs), 303)


def _submit_form(form: Mapping[str, str]) -> list[Run]:
    tickers = list(dict.fromkeys(names_in(form.get("tickers", ""))))
    if not 0 < len(tickers) <= MAX_AT_ONCE:
        template = "Name 1 to {most} tickers; {count} are named."
        raise InvalidRequest(template, most=MAX_AT_ONCE, count=len(tickers), field="tickers")
    fields = {name: form.get(name, "") for name in FIELDS}
    _check_vendor(fields["vendor"])
    runs = fetches_service().submit_all(tickers, fields, client_name())
    for run in runs:
        logger.info("Fetch accepted: ticker=%s, client=%s", run.ticker, client_name())
    return runs


def _page_of(runs: list[Run]) -> str:
    if len(runs) == 1:
        return run_url(runs[0])
    return url_for("history.runs", q="kind=prices")


def _check_vendor(name: object) -> None:
    """Raises InvalidRequest where the vendor is known and may not be asked here."""
    vendors = services_of(current_app).price_vendors
    if isinstance(name, str) and name in VENDORS and name not in vendors:
        template = "{vendor} is not asked for prices here; there are {names}."
        names = ", ".join(vendors)
        raise InvalidRequest(template, vendor=name, names=names, field="vendor")


def _check_allowed() -> None:
    """Raises NotAWriter or InvalidRequest."""
    if not services_of(current_app).price_vendors:
        raise InvalidRequest("Prices are not fetched from vendors here; store them from files.")
    if not may_store():
        raise NotAWriter


@bp.get("/fetches/<run_id>")
@describe(
    {
        200: answer(
            "What came of the fetch.",
            {**json_of("FetchResult"), **text_of("text/html")},
            ETAG_OF_JSON,
        ),
        202: answer("The state of the unfinished fetch.", json_of("Status"), RETRY),
        304: not_modified(),
    },
    PAGE_OR_JSON,
    errors=(404, 412),
)
def fetch(run_id: str) -> Response:
    """What came of a fetch, or where it stands."""
    g.run_id = run_id
    run = fetches_service().fetch(run_id)
    if wants_json():
        if not run.status.final:
            return unfinished_response(run)
        return conditional(jsonify(fetches_service().result(run).document()))
    values: dict[str, Any] = {}
    if run.status.final:
        result = fetches_service().result(run)
        values = {
            "result": result,
            "notes": [Sentence(note["template"], note["values"]) for note in result.notes],
        }
    page = render_template(
        "fetch.html",
        run=run,
        vendor=VENDORS.get(run.rule_id, run.rule_id),
        status=runs_service().status(run),
        completed=Status.COMPLETED,
        utc=utc,
        elapsed=elapsed,
        said=said,
        told=told,
        **values,
    )
    return make_response(page)
