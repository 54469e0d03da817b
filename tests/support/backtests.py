"""Backtests performed without a database, for tests of results and figures."""

from __future__ import annotations

from typing import Any

from rules.registry import rule_from_id
from service.contract.request import parse_request
from service.engine.adapter import Performed, run_backtest
from service.prices.series import PriceSeries
from tests.support.prices import series
from tests.support.requests import REQUEST, RUN_ID


def perform(ticker: str = "GOOG", prices: PriceSeries | None = None, **change: Any) -> Performed:
    """Performs REQUEST with these changes, on the bundled prices of the ticker or on others."""
    request = parse_request({"run_id": RUN_ID, **REQUEST, "ticker": ticker, **change})
    rule = rule_from_id(request.rule_id, request.params)
    return run_backtest(request, prices or series(ticker), rule, "digest")
