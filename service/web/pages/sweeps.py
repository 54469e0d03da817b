"""Sweeps: the form, a sweep's page or JSON, its table, and the single run of a combination."""

from __future__ import annotations

import logging

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

from rules.base_rule import InvalidRule
from rules.plugins import installed_rules
from rules.registry import rule_from_id
from service.contract.errors import InvalidRequest, UserError
from service.contract.status import SWEEP, Status
from service.contract.sweep_result import SweepResult
from service.search.evaluator import AT_ONCE, ONE_BY_ONE
from service.search.luck import percent
from service.store.rows import Run
from service.usecases.sweeps import asked_of
from service.web.errors import retry_after, status_of, wants_json
from service.web.forms import sweep as sweep_form
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
    sweeps,
)
from service.web.forms.sweep_table import best_first, page_of, row_at, table_of
from service.web.middleware.conditional import conditional
from service.web.middleware.texts import sentence
from service.web.openapi.document import (
    ETAG,
    RETRY,
    answer,
    cached,
    describe,
    json_of,
    query,
    text_of,
)
from service.web.pages.files import csv_file
from service.web.pages.runs import PAGE_OR_JSON, whole_number
from service.web.presentation import METRICS, luck, run_document, shown, utc

logger = logging.getLogger(__name__)

bp = Blueprint("sweeps", __name__)

LATEST, MOST_PAGES = 20, 10_000
EXAMPLE = {
    "tickers": ["GOOG"], "rule_id": "MA_CROSS", "grid": {"fast": "5:50:5", "slow": "20:200:10"},
    "start_date": "2013-01-02", "end_date": "2020-02-07",
}  # fmt: skip


@bp.get("/sweeps")
@describe(
    {200: answer("The page, or the latest sweeps.", {**json_of("Sweeps"), **text_of("text/html")})},
    query("sweep", "a run_id whose request fills the form"),
    PAGE_OR_JSON,
    errors=(404,),
)
def latest() -> Response:
    """The form of a parameter sweep, prefilled from `?sweep=<run_id>` where given, and the latest ones."""
    if wants_json():
        return jsonify(runs=[run_document(run) for run in _latest()])
    return _form(_values_of(request.args["sweep"]) if "sweep" in request.args else None)


def _latest() -> list[Run]:
    return runs().run_store.latest(LATEST, kind=SWEEP)


def _values_of(run_id: str) -> dict[str, str]:
    asked = asked_of(sweeps().sweep(run_id))
    try:
        return sweep_form.values_of(asked, rule_from_id(asked.rule_id, rules=installed_rules(True)))
    except InvalidRule:  # no longer installed
        return {}


def _form(values: dict[str, str] | None, message: str = "", status: int = 200) -> Response:
    tickers = runs().price_store.tickers()
    rules = [rule for _, rule in sorted(installed_rules(True).items()) if rule.metadata.parameters]
    page = render_template(
        "sweeps.html",
        values=values or {**sweep_form.first_values(tickers), **request.args.to_dict()},
        message=message,
        rules=rules,
        suggested={
            rule.metadata.name: sweep_form.suggested(rule.metadata.parameters) for rule in rules
        },
        metrics=[metric for metric in METRICS if metric.name in (*AT_ONCE, *ONE_BY_ONE)],
        tickers=tickers,
        latest=_latest(),
        shown=shown,
        utc=utc,
    )
    return make_response(page, status)


@bp.post("/sweeps")
@describe(
    {
        202: answer(
            "The sweep is recorded, or known.",
            json_of("Accepted"),
            LOCATION,
            ("api.status", "sweeps.sweep"),
        ),
        303: answer("A form leads to the sweep's page.", text_of("text/html"), LOCATION),
    },
    FORCE,
    KEY,
    errors=(400, 409, 413, 415, 429),
    body={**json_of("SweepRequest", cross=EXAMPLE), **form_of("Form")},
)
def submit() -> AnyResponse:
    """Asks for a parameter sweep: JSON is answered with 202, a form leads to its page (or back, as it was typed)."""
    if not sent_as_form():
        run = accept(sweeps().submit, json_document())
        return accepted(run, url_for("sweeps.sweep", run_id=run.run_id))
    try:
        run = accept(sweeps().submit, sweep_form.document(request.form))
    except UserError as error:
        if wants_json():
            raise
        page = _form(request.form.to_dict(), sentence(error), status_of(error))
        return retry_after(page, error.retry_after_s)
    return redirect(url_for("sweeps.sweep", run_id=run.run_id), 303)


@bp.get("/sweeps/<run_id>")
@describe(
    {
        200: answer(
            "The result of a sweep that has ended, or the page of any.",
            {**json_of("SweepResult"), **text_of("text/html")},
            {"ETag": {**ETAG["ETag"], "required": False, "description": "of the JSON"}},
        ),
        202: answer("Where the unfinished sweep stands.", json_of("Status"), RETRY),
        304: answer("As If-None-Match has it.", {}, ETAG),
    },
    query("ticker", "of the table on the page"),
    query("where", "conditions on the rows of the table, such as `fast>=10 sharpe_ratio>0.5`"),
    query("sort", "a column of the table; a minus before it for the largest first"),
    query("page", "of the table", type="integer", minimum=1, maximum=MOST_PAGES, default=1),
    PAGE_OR_JSON,
    errors=(400, 404, 412),
)
def sweep(run_id: str) -> Response:
    """The sweep as a page, or as sweep result v1 in JSON (202 and the status while it is unfinished)."""
    g.run_id = run_id
    run, number = sweeps().sweep(run_id), whole_number("page", 1, MOST_PAGES)
    if not wants_json():
        return _page(run, number)
    if not run.status.final:
        status = runs().status(run)
        return retry_after(make_response(jsonify(status.document()), 202), status.poll_after_s or 1)
    return conditional(Response(sweeps().result(run).canonical(), mimetype="application/json"))


def _page(run: Run, number: int) -> Response:
    done, table = None, dict[str, object]()
    if run.status == Status.COMPLETED:
        done, content = sweeps().found(run)
        table = {**_table(run, content, number), "other_prices": _other_prices(done)}
    elif run.status.final:
        done = sweeps().result(run)
    ended, every = (0, 0) if run.status.final else sweeps().progress(run)
    page = render_template(
        "sweep.html",
        run=run,
        status=runs().status(run),
        result=done,
        asked=asked_of(run),
        ended=ended,
        every=every,
        shown=shown,
        luck=luck,
        percent=percent,
        utc=utc,
        **table,
    )
    return make_response(page)


def _other_prices(done: SweepResult) -> list[str]:
    """Tickers whose prices are others now than those of the sweep."""
    now = {ticker.ticker: ticker.fingerprint for ticker in runs().price_store.tickers()}
    return [
        name
        for name, then in done.provenance["prices_fingerprints"].items()
        if now.get(name) != then
    ]


def _table(run: Run, content: str, page: int) -> dict[str, object]:
    """What the page shows of the table; what is wrong in its filter is said above it, and nothing is filtered."""
    asked, table = asked_of(run), table_of(content)
    wanted = request.args.get("ticker", asked.tickers[0])
    ticker = wanted if wanted in asked.tickers else asked.tickers[0]
    by_default, problem = best_first(asked.metric), ""
    where, sort = request.args.get("where", ""), request.args.get("sort", by_default)
    try:
        rows = page_of(table, ticker, where, sort, page)
    except InvalidRequest as error:
        sort, problem = by_default, sentence(error)
        rows = page_of(table, ticker, "", sort, 1)
    return {"table": rows, "ticker": ticker, "where": where, "sort": sort, "problem": problem}


@bp.get("/sweeps/<run_id>/table.csv")
@describe(cached("A line per combination and ticker.", text_of("text/csv")), errors=(404,))
def table_csv(run_id: str) -> Response:
    """The whole table: ticker, parameters, metrics, and a note where a combination has none."""
    g.run_id = run_id
    return csv_file(sweeps().table_csv(sweeps().sweep(run_id)), f"sweep-{run_id}.csv")


@bp.post("/sweeps/<run_id>/run")
@describe(
    {303: answer("Leads to the result page of the run.", text_of("text/html"), LOCATION)},
    FORCE,
    errors=(400, 404, 413, 415, 429),
    body=form_of("Cell"),
)
def run_one(run_id: str) -> AnyResponse:
    """Runs one combination: that of the `row` of the table, or of the point (`at.x`, `at.y`) of the figure."""
    if not sent_as_form():
        raise InvalidRequest("Send row, or at.x and at.y, as a form.")
    g.run_id = run_id
    run = sweeps().sweep(run_id)
    result, content = sweeps().found(run)
    table = table_of(content)
    by_row = "row" in request.form
    point = [
        _whole(name, 100_000) for name in ("at.x", "at.y") if name in request.form or not by_row
    ]
    number = (
        _whole("row", len(table) - 1)
        if by_row
        else row_at(table, result.panels, result.metric, *point)
    )
    row = table.loc[number]
    params = {name: row[name].item() for name in result.tickers[0]["best"]["params"]}
    single = accept(runs().submit, sweeps().single(run, str(row["ticker"]), params).document())
    return redirect(url_for("pages.result", run_id=single.run_id), 303)


def _whole(name: str, most: int) -> int:
    text = request.form.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) <= most):
        template = "{field} must be a whole number from 0 to {most}; got {value}."
        raise InvalidRequest(template, field=name, most=most, value=text[:40] or '""')
    return int(text)
