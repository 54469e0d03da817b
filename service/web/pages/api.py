"""The routes that answer in JSON only."""

from __future__ import annotations

from flask import Blueprint, Response, g, jsonify

from rules.base_rule import CompositeRule
from rules.plugins import installed_rules
from service.web.forms.submission import runs
from service.web.middleware.conditional import conditional
from service.web.openapi.document import answer, cached, describe, json_of
from service.web.presentation import rule_document

bp = Blueprint("api", __name__)


@bp.get("/status/<run_id>")
@describe(
    {200: answer("Where the run stands, why, and what to do about it.", json_of("Status"))},
    errors=(404,),
)
def status(run_id: str) -> Response:
    """Status v1: one indexed row, never a look at the jobs."""
    g.run_id = run_id
    return jsonify(runs().status(runs().run(run_id)).document())


@bp.get("/rules")
@describe(cached("Rules, their parameters and limits.", json_of("Rules")), needs_database=False)
def rules() -> Response:
    """The catalogue of rules with their parameters."""
    combinations = {
        "modes": CompositeRule.MODES,
        "most_rules": CompositeRule.MAX_MEMBERS,
        "example": "ALL(MA_CROSS,RSI)",
    }
    known = [rule_document(rule) for rule in installed_rules(True).values()]
    return conditional(jsonify(rules=known, combinations=combinations))


@bp.get("/tickers")
@describe(cached("Tickers, their dates and where the prices come from.", json_of("Tickers")))
def tickers() -> Response:
    """The catalogue of price series."""
    known = [
        {
            "ticker": ticker.ticker,
            "first_day": ticker.first_day.isoformat(),
            "last_day": ticker.last_day.isoformat(),
            "bars": ticker.bars,
            "source": ticker.source,
            "prices_fingerprint": ticker.fingerprint,
        }
        for ticker in runs().price_store.tickers()
    ]
    return conditional(jsonify(tickers=known))
