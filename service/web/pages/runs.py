"""The dashboard, the result of a run, and the history, as pages and as JSON."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence

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

from rules.base_rule import CompositeRule
from service.contract.errors import UserError
from service.contract.status import BACKTEST, Status
from service.store.prices import Ticker
from service.store.rows import Run
from service.usecases.rules import accepted_rules
from service.usecases.tries import tries_of_run
from service.usecases.views import view_of
from service.web.addresses import run_url
from service.web.errors import retry_after, sentence, status_of, wants_json
from service.web.forms import run as run_form
from service.web.forms.run import first_of
from service.web.forms.submission import (
    FORCE,
    KEY,
    LOCATION,
    accepted_response,
    faulty_field,
    fields_of_parameters,
    form_content,
    has_form,
    read_json,
    submit_document,
)
from service.web.forms.tickers import form_with_tickers
from service.web.forward_page import since_of
from service.web.middleware.auth import client_name
from service.web.middleware.conditional import conditional
from service.web.missing_prices import missing_ticker
from service.web.openapi.document import (
    RETRY,
    answer,
    describe,
    json_of,
    not_modified,
    query,
    text_of,
)
from service.web.pages.batches import batch_url, submit_batch
from service.web.pages.common import (
    ETAG_OF_JSON,
    PAGE_OR_JSON,
    unfinished_response,
)
from service.web.presentation import (
    FIELD_LABELS,
    elapsed,
    period_of,
    price_text,
    rule_choice,
    shown,
    utc,
)
from service.web.result_page import (
    MAX_PAGE,
    OUTCOMES,
    SIDES,
    SORTS,
    TradeQuery,
    page_values,
    trade_query,
    trade_table,
)
from service.web.server.event_loop import run_in_native_thread
from service.web.services import runs_service, services_of, wait_for_news
from service.web.tries_page import tries_page_of
from service.web.warnings import said, told

logger = logging.getLogger(__name__)

bp = Blueprint("pages", __name__)

MAX_LATEST_RUNS = 10
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
    """The form, filled with the request of `?run=<run_id>` where given, and the latest runs."""
    if "run" not in request.args:
        return _dashboard()
    run = runs_service().backtest(request.args["run"])
    run_request, rule = runs_service().request_and_rule(run)
    return _dashboard(run_form.values_of_request(run_request, rule))


def _dashboard(values: dict[str, str] | None = None, error: UserError | None = None) -> Response:
    """The page; without `values` the form shows those of the query, else its first values."""
    tickers = runs_service().price_store.tickers()
    if values is None:
        values = {**_first_values(tickers), **request.args.to_dict()}
    latest = runs_service().run_store.latest(MAX_LATEST_RUNS)
    rules = [rule for _, rule in sorted(accepted_rules().items())]
    fields = [*run_form.REQUEST_FIELDS, "rule", *fields_of_parameters(rules)]
    page = render_template(
        "dashboard.html",
        values=values,
        message="" if error is None else sentence(error, FIELD_LABELS),
        missing=missing_ticker(error),
        faulty="" if error is None else faulty_field(error, values, fields),
        rules=rules,
        rule_choices=[rule_choice(rule) for rule in rules],
        tickers=tickers,
        range=first_of(tickers, values.get("ticker", "")),
        price_command=services_of(current_app).price_import.command,
        latest=latest,
        troubles=[said(each) for each in services_of(current_app).troubles.now()],
        marks=runs_service().run_store.marks_of([run.id for run in latest]),
        composite=run_form.COMPOSITE,
        modes=CompositeRule.MODES,
        members=run_form.MEMBERS,
        shown=shown,
        utc=utc,
        period_of=period_of,
    )
    return make_response(page, 200 if error is None else status_of(error))


def _first_values(tickers: Sequence[Ticker]) -> dict[str, str]:
    """Those of an empty form, with the costs that the client used last."""
    latest = runs_service().run_store.latest_of(client_name())
    return {**run_form.values_of_empty_form(tickers), **run_form.costs_of(latest)}


@bp.post("/backtest")
@describe(
    {
        202: answer(
            "The run is recorded now, or was before.",
            json_of("Accepted"),
            LOCATION,
            leads_to=("api.status", "pages.result", "pages.cancel"),
        ),
        303: answer("A form leads to the result page.", text_of("text/html"), LOCATION),
    },
    FORCE,
    KEY,
    errors=(400, 409, 413, 415, 429),
    body={**json_of("Request", cross=EXAMPLE), **form_content("Form")},
)
def submit() -> AnyResponse:
    """Submits a backtest: JSON is answered with 202, a form leads to the result page.

    A form that asks for several tickers or rules is a batch, and leads to its page. One that is
    refused leads back to the form with what was typed.
    """
    if not has_form():
        return accepted_response(submit_document(runs_service().submit, read_json()))
    try:
        form = form_with_tickers(request.form, runs_service().price_store)
        if run_form.is_batch(form):
            return redirect(batch_url(submit_batch(run_form.batch_from_form(form))), 303)
        run = submit_document(runs_service().submit, run_form.request_from_form(form))
    except UserError as error:
        if wants_json():
            raise
        page = _dashboard(request.form.to_dict(), error)
        return retry_after(page, error.retry_after_s)
    return redirect(run_url(run), 303)


@bp.get("/result/<run_id>")
@describe(
    {
        200: answer(
            "The result of a run that has ended, or the page of any run.",
            {**json_of("Result"), **text_of("text/html")},
            ETAG_OF_JSON,
        ),
        202: answer("The state of the unfinished run.", json_of("Status"), RETRY),
        303: answer(
            "The run is a sweep, which has an address of its own.", text_of("text/html"), LOCATION
        ),
        304: not_modified(),
    },
    PAGE_OR_JSON,
    query("sort", "what the page's trades are sorted by", enum=["", *SORTS]),
    query("side", "only trades of this side", enum=["", *SIDES]),
    query("outcome", "only trades that ended so", enum=["", *OUTCOMES]),
    query("page", "which page of the trades", type="integer", minimum=1, maximum=MAX_PAGE),
    errors=(400, 404, 412),
)
def result(run_id: str) -> AnyResponse:
    """The result as a page, or as result v1 in JSON (202 and the status while it is unfinished)."""
    g.run_id = run_id
    run = runs_service().run(run_id)
    if run.kind != BACKTEST:
        return redirect(run_url(run, format=request.args.get("format")), 303)
    asked = trade_query()
    if not wants_json():
        return _result_page(_awaited(run), asked)
    if not run.status.final:
        return unfinished_response(run)
    return conditional(
        Response(runs_service().result(run).canonical(), mimetype="application/json")
    )


def _awaited(run: Run) -> Run:
    """The run after a short wait for its end, where it was submitted a moment ago."""
    seconds = services_of(current_app).first_wait_seconds
    if run.status.final or elapsed(run.created_at) > seconds:
        return run
    wait_for_news(run.run_id, seconds)
    return runs_service().run(run.run_id)


def _result_page(run: Run, asked: TradeQuery) -> Response:
    """Of a run in any state; a completed one has its numbers, its chart and its trades."""
    values: dict[str, object] = {}
    run_store = runs_service().run_store
    marks = run_store.marks_of([run.id])[run.id]
    if run.status == Status.COMPLETED:
        view = view_of(runs_service(), run, run_in_native_thread)
        values = {
            "result": view.result,
            "page": page_values(view),
            "tries": tries_page_of(
                tries_of_run(run_store, run, run.ticker, run_in_native_thread).get(run.ticker)
            ),
            "trades": trade_table(view, asked),
            "price": price_text,
            "told": told,
            "since": since_of(run, marks.is_starred, run_store.forward_of(run.id)),
        }
    elif run.status.final:
        values = {"result": runs_service().result(run)}
    page = render_template(
        "result.html",
        run=run,
        marks=marks,
        status=runs_service().status(run),
        run_request=json.loads(run.request),
        shown=shown,
        utc=utc,
        elapsed=elapsed,
        **values,
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
    """Cancels a run that has not ended; a second time changes nothing."""
    g.run_id = run_id
    run = runs_service().cancel(run_id)
    logger.info("Cancelled by a user: now %s, client=%s", run.status, client_name())
    if not wants_json():
        return redirect(url_for("pages.result", run_id=run_id), 303)
    return make_response(jsonify(runs_service().status(run).document()), 202)
