"""The pages and the routes that serve people and programs alike."""

from __future__ import annotations

import json
import logging
from typing import Any

from flask import (
    Blueprint,
    Response,
    g,
    jsonify,
    make_response,
    redirect,
    render_template,
    request,
    url_for,
)
from werkzeug.wrappers import Response as AnyResponse

from rules.base_rule import CompositeRule
from rules.plugins import installed_rules
from service.contract.errors import InvalidRequest, UserError
from service.contract.status import SWEEP, Status
from service.web.errors import retry_after, status_of, wants_json
from service.web.forms import run as form
from service.web.forms.submission import (
    FORCE,
    KEY,
    LOCATION,
    accept,
    accepted,
    form_of,
    json_document,
    runs,
    sent_as_form,
)
from service.web.middleware.auth import client
from service.web.middleware.conditional import conditional
from service.web.middleware.texts import sentence
from service.web.openapi.document import ETAG, RETRY, answer, describe, json_of, query, text_of
from service.web.presentation import metric_rows, run_document, shown, utc

logger = logging.getLogger(__name__)

bp = Blueprint("pages", __name__)

LATEST, PAGE, MOST, MOST_ID = 10, 50, 200, 2**62
TRADES_SHOWN = 500
PAGE_OR_JSON = query("format", "`json` answers JSON whatever Accept says")
RESULT = {**json_of("Result"), **text_of("text/html")}
OF_JSON = {**ETAG["ETag"], "required": False, "description": "of the JSON"}
OF_A_RUN = ("api.status", "pages.result", "pages.cancel")
EXAMPLE = {
    "ticker": "GOOG",
    "rule_id": "MA_CROSS_10_30",
    "start_date": "2013-01-02",
    "end_date": "2020-02-07",
}


@bp.get("/")
@describe(
    {200: answer("The page.", text_of("text/html"))},
    query("run", "a run_id whose request fills the form"),
    errors=(404,),
)
def dashboard() -> Response:
    """The form, prefilled from `?run=<run_id>` where given, and the latest runs."""
    return _dashboard(_values_of_run(request.args["run"]) if "run" in request.args else None)


def _values_of_run(run_id: str) -> dict[str, str]:
    return form.values_of(*runs().request_and_rule(runs().backtest(run_id)))


def _dashboard(values: dict[str, str] | None, message: str = "", status: int = 200) -> Response:
    tickers = runs().price_store.tickers()
    if values is None:
        values = {**form.first_values(tickers), **request.args.to_dict()}
    page = render_template(
        "dashboard.html",
        values=values,
        message=message,
        rules=[rule for _, rule in sorted(installed_rules(True).items())],
        tickers=tickers,
        latest=runs().run_store.latest(LATEST),
        composite=form.COMPOSITE,
        modes=CompositeRule.MODES,
        members=form.MEMBERS,
        shown=shown,
        utc=utc,
    )
    return make_response(page, status)


@bp.post("/backtest")
@describe(
    {
        202: answer("The run is recorded, or known.", json_of("Accepted"), LOCATION, OF_A_RUN),
        303: answer("A form leads to the result page.", text_of("text/html"), LOCATION),
    },
    FORCE,
    KEY,
    errors=(400, 409, 413, 415, 429),
    body={**json_of("Request", cross=EXAMPLE), **form_of("Form")},
)
def submit() -> AnyResponse:
    """Asks for a backtest: JSON is answered with 202, a form leads to the result page (or back, as it was typed)."""
    if not sent_as_form():
        return _submit_json()
    try:
        run = accept(runs().submit, form.document(request.form))
    except UserError as error:
        if wants_json():
            raise
        page = _dashboard(request.form.to_dict(), sentence(error), status_of(error))
        return retry_after(page, error.retry_after_s)
    return redirect(url_for("pages.result", run_id=run.run_id), 303)


def _submit_json() -> Response:
    run = accept(runs().submit, json_document())
    return accepted(run, url_for("pages.result", run_id=run.run_id))


@bp.get("/result/<run_id>")
@describe(
    {
        200: answer(
            "The result of a run that has ended, or the page of any run.", RESULT, {"ETag": OF_JSON}
        ),
        202: answer("Where the unfinished run stands.", json_of("Status"), RETRY),
        303: answer(
            "It is a sweep, which has an address of its own.", text_of("text/html"), LOCATION
        ),
        304: answer("As If-None-Match has it.", {}, ETAG),
    },
    PAGE_OR_JSON,
    errors=(404, 412),
)
def result(run_id: str) -> AnyResponse:
    """The result as a page, or as result v1 in JSON (202 and the status while it is unfinished)."""
    g.run_id = run_id
    run = runs().run(run_id)
    if run.kind == SWEEP:
        return redirect(
            url_for("sweeps.sweep", run_id=run_id, format=request.args.get("format")), 303
        )
    if wants_json():
        if not run.status.final:
            status = runs().status(run)
            return retry_after(
                make_response(jsonify(status.document()), 202), status.poll_after_s or 1
            )
        return conditional(Response(runs().result(run).canonical(), mimetype="application/json"))
    done = runs().result(run) if run.status.final else None
    page = render_template(
        "result.html",
        run=run,
        status=runs().status(run),
        result=done,
        metrics=list(metric_rows(done)) if done and run.status == Status.COMPLETED else [],
        asked=json.loads(run.request),
        shown=shown,
        utc=utc,
        trades_shown=TRADES_SHOWN,
    )
    return make_response(page)


@bp.post("/runs/<run_id>/cancel")
@describe(
    {
        202: answer("It is cancelled, or will be as soon as its job is gone.", json_of("Status")),
        303: answer("A form leads back to the result page.", text_of("text/html"), LOCATION),
    },
    PAGE_OR_JSON,
    errors=(404, 409),
)
def cancel(run_id: str) -> AnyResponse:
    """Ends a run that has not ended; doing it twice changes nothing."""
    g.run_id = run_id
    run = runs().cancel(run_id)
    logger.info("Cancelled by a user: now %s, client=%s", run.status, client())
    if not wants_json():
        return redirect(url_for("pages.result", run_id=run_id), 303)
    return make_response(jsonify(runs().status(run).document()), 202)


@bp.get("/runs")
@describe(
    {200: answer("A page of the history.", {**json_of("Runs"), **text_of("text/html")})},
    query("ticker", "only its runs"),
    query("status", "only runs in this state", enum=["", *map(str, Status)]),
    query("limit", "runs on a page", type="integer", minimum=1, maximum=MOST, default=PAGE),
    query(
        "before",
        "an id of the page before; `next` has it",
        type="integer",
        minimum=1,
        maximum=MOST_ID,
    ),
    PAGE_OR_JSON,
    errors=(400,),
)
def history() -> Response:
    """The newest runs first; `ticker`, `status`, `limit` (at most 200) and `before`, an id of the page before."""
    limit, before = whole_number("limit", PAGE, MOST), whole_number("before", MOST_ID, MOST_ID)
    filters = {"ticker": request.args.get("ticker", "").upper(), "status": _status()}
    page = runs().run_store.latest(limit + 1, before, **filters)
    older = None
    if len(page) > limit:
        kept: dict[str, Any] = {name: value for name, value in filters.items() if value}
        older = url_for("pages.history", before=page[limit - 1].id, limit=limit, **kept)
    page = page[:limit]
    if wants_json():
        return jsonify(runs=[run_document(run) for run in page], next=older)
    return make_response(
        render_template("runs.html", runs=page, older=older, filters=filters, shown=shown, utc=utc)
    )


def whole_number(name: str, default: int, most: int) -> int:
    """From the query; raises InvalidRequest."""
    text = request.args.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 20 and 0 < int(text) <= most):
        template = "{field} must be a whole number from 1 to {most}; got {value}."
        raise InvalidRequest(template, field=name, most=most, value=text[:40] or '""')
    return int(text)


def _status() -> str:
    text = request.args.get("status", "")
    if text and text not in list(Status):
        template = "There is no status {value}; there are {names}."
        raise InvalidRequest(template, value=text[:40], names=", ".join(Status))
    return text
