"""The routes that answer with JSON only."""

from __future__ import annotations

from flask import Blueprint, Response, g, jsonify

from rules.base_rule import CompositeRule
from service.usecases.rules import accepted_rules
from service.web.middleware.conditional import conditional
from service.web.openapi.document import answer, cached, describe, json_of
from service.web.presentation import rule_document
from service.web.services import runs_service

bp = Blueprint("api", __name__)


@bp.get("/status/<run_id>")
@describe(
    {200: answer("The state of the run, why, and what to do about it.", json_of("Status"))},
    errors=(404,),
)
def status(run_id: str) -> Response:
    """The state of a run (status v1), as the database has it."""
    g.run_id = run_id
    return jsonify(runs_service().status(runs_service().run(run_id)).document())


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
@describe(cached("Tickers, their dates and where the prices come from.", json_of("Tickers")))
def tickers() -> Response:
    """The catalogue of tickers with prices."""
    known = [
        {
            "ticker": ticker.ticker,
            "first_day": ticker.first_day.isoformat(),
            "last_day": ticker.last_day.isoformat(),
            "bars": ticker.bars,
            "source": ticker.source,
            "prices_fingerprint": ticker.fingerprint,
        }
        for ticker in runs_service().price_store.tickers()
    ]
    return conditional(jsonify(tickers=known))
