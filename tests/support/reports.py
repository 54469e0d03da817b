"""Performed runs as reports see them."""

from __future__ import annotations

from typing import Any

import pandas as pd

from service.contract.request import parse_request
from service.contract.result import BacktestResult
from service.prices.series import PriceSeries
from service.report.bars import Bars, bars_of_table
from service.worker.run import perform
from service.worker.software import Software
from tests.support.prices import series
from tests.support.requests import REQUEST, RUN_ID


def performed(prices: PriceSeries | None = None, **change: Any) -> tuple[BacktestResult, Bars, str]:
    """The result of a run, its bars and its table as CSV; on the sample prices by default."""
    prices = prices or series("GOOG")
    dates = {"start_date": str(prices.first), "end_date": str(prices.last)}
    fields = {**REQUEST, **dates, "ticker": prices.ticker, "run_id": RUN_ID, **change}
    request = parse_request(fields)
    result, done = perform(request, prices, Software())
    return result, bars_of_table(done.bars, done.prices), done.equity_csv()


def made_up(data: pd.DataFrame) -> PriceSeries:
    """A series of these prices."""
    return PriceSeries("MADE", "made up", data)
