"""Sweeps: the form, a sweep's page or JSON, its table, and the run of one combination."""

from __future__ import annotations

import logging

import pandas as pd
from flask import (
    Blueprint,
    Response,
    g,
    jsonify,
    make_response,
    redirect,
    render_template,
    request,
)
from werkzeug.wrappers import Response as AnyResponse

from rules.base_rule import InvalidRule
from rules.registry import rule_from_id
from service.contract.errors import InvalidRequest, UserError
from service.contract.status import SWEEP, Status
from service.contract.sweep_result import SweepResult
from service.search.chunk_metrics import SEARCH_METRICS
from service.search.verdict import percent
from service.store.rows import Run
from service.usecases.rules import accepted_rules
from service.usecases.sweeps import asked_of
from service.usecases.tries import tries_of_run
from service.web.addresses import run_url
from service.web.errors import error_response, retry_after, sentence, status_of, wants_json
from service.web.forms import sweep as sweep_form
from service.web.forms.run import COMPOSITE, MEMBERS, costs_of, first_of
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
from service.web.forms.sweep_table import best_first, page_of, read_table, row_at
from service.web.forms.tickers import form_with_tickers
from service.web.middleware.auth import client_name
from service.web.middleware.conditional import conditional
from service.web.missing_prices import missing_ticker
from service.web.openapi.document import (
    RETRY,
    answer,
    cached,
    describe,
    json_of,
    not_modified,
    query,
    text_of,
)
from service.web.pages.common import (
    ETAG_OF_JSON,
    PAGE_OR_JSON,
    unfinished_response,
    whole_number,
)
from service.web.pages.files import csv_file
from service.web.presentation import (
    FIELD_LABELS,
    METRICS,
    elapsed,
    estimate_text,
    label_of,
    period_of,
    rule_choice,
    run_document,
    shown,
    shown_metric,
    utc,
)
from service.web.server.event_loop import run_in_native_thread
from service.web.services import runs_service, sweeps_service
from service.web.sweep_page import (
    cells_document,
    checks_of,
    luck,
    metrics_of_cells,
    walk_lines,
)
from service.web.tries_page import tries_page_of

logger = logging.getLogger(__name__)

bp = Blueprint("sweeps", __name__)

MAX_LATEST_SWEEPS = 20
MAX_PAGES = 10_000
MAX_PIXELS = 100_000
POINT = ("at.x", "at.y")
EXAMPLE = {
    "tickers": ["GOOG"],
    "rule_id": "MA_CROSS",
    "grid": {"fast": "5:50:5", "slow": "20:200:10"},
    "start_date": "2013-01-02",
    "end_date": "2020-02-07",
}


@bp.get("/sweeps")
@describe(
    {200: answer("The page, or the latest sweeps.", {**json_of("Sweeps"), **text_of("text/html")})},
    query("sweep", "a run_id whose request fills the form"),
    PAGE_OR_JSON,
    errors=(404,),
)
def latest() -> Response:
    """The form of a sweep, filled with the request of `?sweep=<run_id>`, and the latest sweeps."""
    if wants_json():
        sweeps = _latest_sweeps()
        marks = runs_service().run_store.marks_of([run.id for run in sweeps])
        return jsonify(runs=[run_document(run, marks[run.id]) for run in sweeps])
    values = None
    if "sweep" in request.args:
        values = _values_of_sweep(request.args["sweep"])
    return _form_page(values)


def _latest_sweeps() -> list[Run]:
    return runs_service().run_store.latest(MAX_LATEST_SWEEPS, kind=SWEEP)


def _values_of_sweep(run_id: str) -> dict[str, str] | None:
    """The form's values of a sweep, None where its rule is not installed any more."""
    sweep_request = asked_of(sweeps_service().sweep(run_id))
    try:
        rule = rule_from_id(sweep_request.rule_id, rules=accepted_rules())
    except InvalidRule:
        return None
    return sweep_form.values_of_request(sweep_request, rule)


def _form_page(
    values: dict[str, str] | None, error: UserError | None = None, estimated: str = ""
) -> Response:
    """The page; without `values` the form shows those of the query, else its first values."""
    tickers = runs_service().price_store.tickers()
    if values is None:
        costs = costs_of(runs_service().run_store.latest_of(client_name()))
        first = {**sweep_form.values_of_empty_form(tickers), **costs}
        values = {**first, **request.args.to_dict()}
    sweeps = _latest_sweeps()
    installed = sorted(accepted_rules().items())
    rules = {name: rule for name, rule in installed if rule.metadata.parameters}
    names = fields_of_parameters(rules.values())
    fields = [*sweep_form.REQUEST_FIELDS, "tickers", "rule", *names]
    page = render_template(
        "sweeps.html",
        values=values,
        composite=COMPOSITE,
        members=MEMBERS,
        rule_choices=[rule_choice(rule) for rule in rules.values()],
        estimated=estimated,
        message="" if error is None else sentence(error, FIELD_LABELS),
        missing=missing_ticker(error),
        faulty="" if error is None else faulty_field(error, values, fields),
        rules=list(rules.values()),
        suggested={
            name: sweep_form.suggested_grid(rule.metadata.parameters)
            for name, rule in rules.items()
        },
        metrics=[metric for metric in METRICS if metric.name in SEARCH_METRICS],
        tickers=tickers,
        range=first_of(tickers, values.get("tickers", "")),
        latest=sweeps,
        marks=runs_service().run_store.marks_of([run.id for run in sweeps]),
        shown=shown,
        utc=utc,
        period_of=period_of,
    )
    return make_response(page, 200 if error is None else status_of(error))


@bp.post("/sweeps")
@describe(
    {
        202: answer(
            "The sweep is recorded now, or was before.",
            json_of("Accepted"),
            LOCATION,
            leads_to=("api.status", "sweeps.sweep"),
        ),
        303: answer("A form leads to the sweep's page.", text_of("text/html"), LOCATION),
    },
    FORCE,
    KEY,
    errors=(400, 409, 413, 415, 429),
    body={**json_of("SweepRequest", cross=EXAMPLE), **form_content("Form")},
)
def submit() -> AnyResponse:
    """Submits a parameter sweep: JSON is answered with 202, a form leads to its page.

    A form that is refused leads back to the form with what was typed.
    """
    if not has_form():
        return accepted_response(submit_document(sweeps_service().submit, read_json()))
    try:
        form = form_with_tickers(request.form, runs_service().price_store)
        run = submit_document(sweeps_service().submit, sweep_form.request_from_form(form))
    except UserError as error:
        if wants_json():
            raise
        page = _form_page(request.form.to_dict(), error)
        return retry_after(page, error.retry_after_s)
    return redirect(run_url(run), 303)


@bp.post("/estimate")
@describe(
    {
        200: answer(
            "How many combinations, and roughly how long.",
            {**json_of("Estimate"), **text_of("text/html")},
        )
    },
    PAGE_OR_JSON,
    errors=(400, 413, 415),
    body={**json_of("SweepRequest", cross=EXAMPLE), **form_content("Form")},
)
def estimate() -> Response:
    """What a search would compute, before it is asked for; a form comes back with the answer."""
    is_form = has_form()
    form = form_with_tickers(request.form, runs_service().price_store)
    document = sweep_form.request_from_form(form) if is_form else read_json()
    try:
        found = sweeps_service().estimate(document)
    except UserError as error:
        if not is_form:
            raise
        if not wants_json():
            return _form_page(request.form.to_dict(), error)
        # In the words of the form, which shows the sentence as it is filled in.
        return error_response(status_of(error), error.code, sentence(error, FIELD_LABELS))
    if is_form and not wants_json():
        return _form_page(request.form.to_dict(), estimated=estimate_text(found))
    return jsonify(
        combinations=found.combinations,
        skipped=found.skipped,
        tickers=found.tickers,
        core_seconds=found.core_seconds,
        sentence=estimate_text(found),
    )


@bp.get("/sweeps/<run_id>")
@describe(
    {
        200: answer(
            "The result of a sweep that has ended, or the page of any.",
            {**json_of("SweepResult"), **text_of("text/html")},
            ETAG_OF_JSON,
        ),
        202: answer("The state of the unfinished sweep.", json_of("Status"), RETRY),
        304: not_modified(),
    },
    query("ticker", "of the table on the page"),
    query("where", "conditions on the rows of the table, such as `fast>=10 sharpe_ratio>0.5`"),
    query("sort", "a column of the table; a minus before it for the largest first"),
    query("page", "of the table", type="integer", minimum=1, maximum=MAX_PAGES, default=1),
    PAGE_OR_JSON,
    errors=(400, 404, 412),
)
def sweep(run_id: str) -> Response:
    """The sweep as a page, or as sweep result v1 in JSON (202 while it is unfinished)."""
    g.run_id = run_id
    run = sweeps_service().sweep(run_id)
    page = whole_number("page", request.args.get("page", "1"), least=1, most=MAX_PAGES)
    if not wants_json():
        return _sweep_page(run, page)
    if not run.status.final:
        return unfinished_response(run)
    return conditional(
        Response(sweeps_service().result(run).canonical(), mimetype="application/json")
    )


def _sweep_page(run: Run, page: int) -> Response:
    if run.status == Status.COMPLETED:
        values = _values_of_completed(run, page)
    elif run.status.final:
        values = {"result": sweeps_service().result(run)}
    else:
        parts_done, parts = sweeps_service().progress(run)
        values = {"parts_done": parts_done, "parts": parts}
    return make_response(
        render_template(
            "sweep.html",
            run=run,
            marks=runs_service().run_store.marks_of([run.id])[run.id],
            status=runs_service().status(run),
            sweep_request=None if run.bad_columns else asked_of(run),
            shown=shown,
            label_of=label_of,
            percent=percent,
            shown_metric=shown_metric,
            utc=utc,
            elapsed=elapsed,
            **values,
        )
    )


def _values_of_completed(run: Run, page: int) -> dict[str, object]:
    """Result and table, and the tickers whose prices have changed since."""
    result, content = sweeps_service().result_and_table(run)
    table = run_in_native_thread(read_table, content)
    ticker = _ticker_in_query(run)
    summary = next((each for each in result.tickers if each["ticker"] == ticker), None)
    walk = summary["walk_forward"] if summary else None
    run_store = runs_service().run_store
    tries = tries_of_run(run_store, run, ticker, run_in_native_thread).get(ticker)
    return {
        "tries": tries_page_of(tries),
        "verdict": luck(summary, tries) if summary else "",
        "result": result,
        "summary": summary,
        "checks": list(checks_of(result, summary, tries)) if summary else [],
        "walk": walk,
        "walk_lines": walk_lines(walk),
        "cell_metrics": metrics_of_cells(table, list(result.tickers[0]["best"]["params"])),
        "other_prices": _tickers_with_other_prices(result),
        **_table_values(run, table, page),
    }


def _tickers_with_other_prices(result: SweepResult) -> list[str]:
    current = {ticker.ticker: ticker.fingerprint for ticker in runs_service().price_store.tickers()}
    used = result.provenance["prices_fingerprints"]
    return [ticker for ticker, fingerprint in used.items() if current.get(ticker) != fingerprint]


def _table_values(run: Run, table: pd.DataFrame, page: int) -> dict[str, object]:
    """The page of the table; with a filter that is wrong all rows, and the problem to show."""
    sweep_request = asked_of(run)
    ticker = _ticker_in_query(run)
    default_sort = best_first(sweep_request.metric)
    where = request.args.get("where", "")
    sort = request.args.get("sort", default_sort)
    problem = ""
    try:
        rows = page_of(table, ticker, where, sort, page)
    except InvalidRequest as error:
        problem = sentence(error)
        sort = default_sort
        rows = page_of(table, ticker, "", sort, 1)
    return {"table": rows, "ticker": ticker, "where": where, "sort": sort, "problem": problem}


@bp.get("/sweeps/<run_id>/cells.json")
@describe(
    cached("The rows of one ticker, column by column.", json_of("Cells")),
    query("ticker", "one of the sweep; the first without it"),
    errors=(404,),
)
def cells(run_id: str) -> Response:
    """Parameters and metrics of every combination, as the heatmap of the page draws them."""
    g.run_id = run_id
    run = sweeps_service().sweep(run_id)
    result, content = sweeps_service().result_and_table(run)
    parameters = list(result.tickers[0]["best"]["params"])
    document = run_in_native_thread(_cells, content, _ticker_in_query(run), parameters)
    return conditional(jsonify(document))


def _cells(content: str, ticker: str, parameters: list[str]) -> dict[str, object]:
    return cells_document(read_table(content), ticker, parameters)


def _ticker_in_query(run: Run) -> str:
    """The ticker that is shown, the first where the query names none of the sweep."""
    known = asked_of(run).tickers
    ticker = request.args.get("ticker", "")
    return ticker if ticker in known else known[0]


@bp.get("/sweeps/<run_id>/table.csv")
@describe(cached("A line per combination and ticker.", text_of("text/csv")), errors=(404,))
def table_csv(run_id: str) -> Response:
    """The whole table: ticker, parameters, metrics, and a note where a combination has none."""
    g.run_id = run_id
    return csv_file(
        sweeps_service().table_csv(sweeps_service().sweep(run_id)), f"sweep-{run_id}.csv"
    )


@bp.post("/sweeps/<run_id>/run")
@describe(
    {303: answer("Leads to the result page of the run.", text_of("text/html"), LOCATION)},
    FORCE,
    errors=(400, 404, 413, 415, 429),
    body=form_content("Cell"),
)
def run_one(run_id: str) -> AnyResponse:
    """Runs one combination: a `row` of the table, or the point (`at.x`, `at.y`) of the figure."""
    if not has_form():
        raise InvalidRequest("Send row, or at.x and at.y, as a form.")
    g.run_id = run_id
    run = sweeps_service().sweep(run_id)
    result, content = sweeps_service().result_and_table(run)
    table = read_table(content)
    row = table.loc[_row_number(table, result)]
    params = {name: row[name].item() for name in result.tickers[0]["best"]["params"]}
    single = sweeps_service().single(run, str(row["ticker"]), params)
    return redirect(run_url(submit_document(runs_service().submit, single.document())), 303)


def _row_number(table: pd.DataFrame, result: SweepResult) -> int:
    """The row of the table that the form names; raises InvalidRequest."""
    form = request.form
    has_row = "row" in form
    point = [
        whole_number(name, form.get(name, ""), least=0, most=MAX_PIXELS)
        for name in POINT
        if name in form or not has_row
    ]
    if has_row:
        return whole_number("row", form["row"], least=0, most=len(table) - 1)
    x, y = point
    return row_at(table, result.panels, result.metric, x, y)
