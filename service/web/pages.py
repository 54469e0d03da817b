"""The pages and the routes that serve people and programs alike."""

from __future__ import annotations

import csv
import io
import json
import logging
import re
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
from werkzeug.exceptions import UnsupportedMediaType
from werkzeug.wrappers import Response as AnyResponse

from rules.base_rule import CompositeRule
from rules.plugins import installed_rules
from scripts.logger_config import run_context
from service.contract.documents import parse_json, schema
from service.contract.errors import InvalidRequest, NoData, NoResult, QueueFull
from service.contract.request import SCHEMA, parse_request
from service.contract.result import TRADE_FIELDS
from service.contract.status import Status
from service.runs import Runs, rule_of
from service.store.run_store import Run
from service.web import form
from service.web.errors import STATUS, wants_json
from service.web.presentation import metric_rows, run_document, shown, utc
from service.web.texts import sentence

logger = logging.getLogger(__name__)

bp = Blueprint("pages", __name__)

RUN_ID = schema(SCHEMA)["properties"]["run_id"]["pattern"]
LATEST, PAGE, MOST = 10, 50, 200
TRADES_SHOWN = 500


def runs() -> Runs:
    """The service that the factory handed in."""
    service: Runs = current_app.extensions["runs"]
    return service


@bp.get("/")
def dashboard() -> Response:
    """The form, prefilled from `?run=<run_id>` where given, and the latest runs."""
    values = _values_of_run(request.args["run"]) if "run" in request.args else {}
    return _dashboard(values or {**form.first_values(runs().price_store.tickers()), **request.args.to_dict()})


def _values_of_run(run_id: str) -> dict[str, str]:
    asked = parse_request(json.loads(runs().run(run_id).request))
    return form.values_of(asked, rule_of(asked.rule_id, asked.params, validated=True))


def _dashboard(values: dict[str, str], message: str = "", status: int = 200) -> Response:
    page = render_template(
        "dashboard.html",
        values=values,
        message=message,
        rules=[rule for _, rule in sorted(installed_rules(True).items())],
        tickers=runs().price_store.tickers(),
        latest=runs().run_store.latest(LATEST),
        composite=form.COMPOSITE,
        modes=CompositeRule.MODES,
        members=form.MEMBERS,
        shown=shown,
        utc=utc,
    )
    return make_response(page, status)


@bp.post("/backtest")
def submit() -> AnyResponse:
    """A form leads to the result page (or back to the form, as it was typed); JSON is answered with 202."""
    if request.mimetype == "application/json":
        return _submit_json()
    is_form = request.mimetype in ("application/x-www-form-urlencoded", "multipart/form-data")
    if not is_form or next(iter(request.form), "").lstrip().startswith("{"):  # JSON that curl calls a form
        raise UnsupportedMediaType
    try:
        run = _accept(form.document(request.form))
    except (InvalidRequest, NoData, QueueFull) as error:
        if wants_json():
            raise
        return _dashboard(request.form.to_dict(), sentence(error), STATUS.get(type(error), 400))
    return redirect(url_for("pages.result", run_id=run.run_id), 303)


def _accept(document: object) -> Run:
    run, new = runs().submit(document)
    g.run_id = run.run_id
    if new:
        with run_context(run.run_id):
            logger.info("Run accepted: ticker=%s, rule=%s", run.ticker, run.rule_id)
    return run


def _submit_json() -> Response:
    document = parse_json(request.get_data())
    if isinstance(document, dict) and re.fullmatch(RUN_ID, str(document.get("run_id"))):
        g.run_id = document["run_id"]
    run = _accept(document)
    urls = {
        "status_url": url_for("api.status", run_id=run.run_id),
        "result_url": url_for("pages.result", run_id=run.run_id),
    }
    response = jsonify(run_id=run.run_id, status=run.status, reused_from=None, **urls)
    response.status_code = 202
    response.headers["Location"] = urls["status_url"]
    return response


@bp.get("/result/<run_id>")
def result(run_id: str) -> Response:
    """The result as a page, or as result v1 in JSON (202 and the status while it is unfinished)."""
    g.run_id = run_id
    run = runs().run(run_id)
    if wants_json():
        if not run.status.final:
            return make_response(jsonify(runs().status(run_id).document()), 202)
        return Response(runs().result(run).canonical(), mimetype="application/json")
    done = runs().result(run) if run.status.final else None
    page = render_template(
        "result.html",
        run=run,
        status=runs().status(run_id),
        result=done,
        metrics=list(metric_rows(done)) if done and run.status == Status.COMPLETED else [],
        asked=json.loads(run.request),
        shown=shown,
        utc=utc,
        trades_shown=TRADES_SHOWN,
    )
    return make_response(page)


@bp.post("/runs/<run_id>/cancel")
def cancel(run_id: str) -> AnyResponse:
    """202 and the status; a form leads back to the result page. 409 when the run has ended."""
    g.run_id = run_id
    run = runs().cancel(run_id)
    logger.info("Cancelled by a user: now %s", run.status)
    if not wants_json():
        return redirect(url_for("pages.result", run_id=run_id), 303)
    return make_response(jsonify(runs().status(run_id).document()), 202)


@bp.get("/result/<run_id>/equity.csv")
def equity_csv(run_id: str) -> Response:
    """date, equity, drawdown, position, buy and hold."""
    g.run_id = run_id
    return _csv(runs().equity_csv(runs().run(run_id)), f"equity-{run_id}.csv")


@bp.get("/result/<run_id>/trades.csv")
def trades_csv(run_id: str) -> Response:
    """The trades of the result, a line each."""
    g.run_id = run_id
    run = runs().run(run_id)
    if run.status != Status.COMPLETED:
        raise NoResult(run_id, run.status)
    table = io.StringIO()
    writer = csv.DictWriter(table, TRADE_FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(runs().result(run).trades)
    return _csv(table.getvalue(), f"trades-{run_id}.csv")


def _csv(content: str, name: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(content, mimetype="text/csv", headers=headers)


@bp.get("/runs")
def history() -> Response:
    """The newest runs first; `ticker`, `status`, `limit` (at most 200) and `before`, an id of the page before."""
    limit, before = _whole("limit", PAGE, MOST), _whole("before", 2**62, 2**62)
    filters = {"ticker": request.args.get("ticker", "").upper(), "status": _status()}
    page = runs().run_store.latest(limit + 1, before, **filters)
    older = None
    if len(page) > limit:
        kept: dict[str, Any] = {name: value for name, value in filters.items() if value}
        older = url_for("pages.history", before=page[limit - 1].id, limit=limit, **kept)
    page = page[:limit]
    if wants_json():
        return jsonify(runs=[run_document(run) for run in page], next=older)
    return make_response(render_template("runs.html", runs=page, older=older, filters=filters, shown=shown, utc=utc))


def _whole(name: str, default: int, most: int) -> int:
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
