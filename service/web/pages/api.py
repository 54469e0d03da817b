"""The routes that answer with JSON only."""

from __future__ import annotations

from flask import Blueprint, Response, g, jsonify, request

from rules.base_rule import CompositeRule
from service.store.rows import Run
from service.usecases.names import found_by
from service.usecases.rules import accepted_rules
from service.usecases.tries import tries_of_run
from service.web.middleware.conditional import conditional
from service.web.openapi.document import cached, describe, json_of, query
from service.web.pages.common import whole_number
from service.web.presentation import rule_document, ticker_document
from service.web.server.event_loop import run_in_native_thread
from service.web.services import runs_service, wait_for_news

bp = Blueprint("api", __name__)

MAX_WAIT_SECONDS = 20
MAX_TICKERS = 1_000_000


@bp.get("/status/<run_id>")
@describe(
    cached("The state of the run, why, and what to do about it.", json_of("Status")),
    query(
        "wait",
        "seconds to wait for another state than that of If-None-Match; without that header, for "
        "the end of the run",
        type="integer",
        minimum=0,
        maximum=MAX_WAIT_SECONDS,
        default=0,
    ),
    errors=(400, 404),
)
def status(run_id: str) -> Response:
    """The state of a run (status v1), as the database has it.

    With `wait` the answer comes as soon as there is news, and after so many seconds without.
    """
    g.run_id = run_id
    seconds = whole_number("wait", request.args.get("wait", "0"), 0, MAX_WAIT_SECONDS)
    wait_for_news(run_id, seconds, _is_news)
    return _status_response(runs_service().run(run_id))


def _is_news(run: Run) -> bool:
    """Whether the client has to hear of it: it ended, or is not as the client knows it."""
    if run.status.final:
        return True
    return bool(request.if_none_match) and _status_response(run).status_code != 304


def _status_response(run: Run) -> Response:
    return conditional(jsonify(runs_service().status(run).document()))


@bp.get("/runs/<run_id>/tries")
@describe(
    cached("The run among all tries on its prices; empty without a result.", json_of("Tries")),
    errors=(404,),
)
def tries(run_id: str) -> Response:
    """How many tries stand behind the result of a run or sweep, and what is left of it.

    It counts what was tried until now, so that the same result gets another answer later.
    """
    g.run_id = run_id
    run = runs_service().run(run_id)
    run_store = runs_service().run_store
    found = tries_of_run(run_store, run, compute=run_in_native_thread)
    return conditional(jsonify(tries=[each.document() for each in found.values()]))


@bp.get("/rules")
@describe(cached("Rules, their parameters and limits.", json_of("Rules")), needs_database=False)
def rules() -> Response:
    """The catalogue of rules with their parameters."""
    combinations = {
        "modes": CompositeRule.MODES,
        "most_rules": CompositeRule.MAX_MEMBERS,
        "example": "ALL(MA_CROSS,RSI)",
    }
    known = [rule_document(rule) for rule in accepted_rules().values()]
    return conditional(jsonify(rules=known, combinations=combinations))


@bp.get("/tickers")
@describe(
    cached("Tickers, their dates and where the prices come from.", json_of("Tickers")),
    query("prefix", "only tickers that begin so, or have a name with this in it"),
    query("limit", "at most so many", type="integer", minimum=1, maximum=MAX_TICKERS),
    errors=(400,),
)
def tickers() -> Response:
    """The catalogue of tickers with prices, by name."""
    prefix = request.args.get("prefix", "")
    limit = whole_number("limit", request.args.get("limit", str(MAX_TICKERS)), 1, MAX_TICKERS)
    found = found_by(prefix, runs_service().price_store.tickers())
    return conditional(jsonify(tickers=[ticker_document(each) for each in found[:limit]]))
