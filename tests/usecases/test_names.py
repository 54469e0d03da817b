"""Requests that call tickers by their names."""

from __future__ import annotations

from typing import Any

import pytest

from service.contract.errors import InvalidRequest, UnknownTicker
from service.usecases.batches import Batches
from service.usecases.names import found_by, with_tickers
from service.usecases.runs import Runs
from service.usecases.sweeps import Sweeps
from tests.support.requests import REQUEST, SWEEP


@pytest.fixture
def named(runs: Runs) -> Runs:
    runs.price_store.add_names([("구글", "GOOG"), ("S&P 500", "SPY"), ("삼성전자", "005930")])
    return runs


def test_a_run_is_that_of_the_ticker(named: Runs) -> None:
    run, _ = named.submit({**REQUEST, "ticker": "구글", "benchmark": "s&p 500"})
    assert run.ticker == "GOOG"
    assert '"benchmark":"SPY"' in run.request
    asked = {**REQUEST, "run_id": run.run_id, "ticker": "GOOG", "benchmark": "SPY"}
    assert named.submit(asked) == (run, False)


def test_a_search_and_a_batch_too(named: Runs) -> None:
    sweep, _ = Sweeps(named).submit({**SWEEP, "tickers": ["구글", "SPY"]})
    assert '"tickers":["GOOG","SPY"]' in sweep.request
    assert Sweeps(named).estimate({**SWEEP, "tickers": ["구글"]}).tickers == 1
    asked = {"tickers": ["S&P 500", "구글"], "rules": ["RSI"]}
    dates = {name: REQUEST[name] for name in ("start_date", "end_date")}
    assert Batches(named).submit({**asked, **dates}).tickers == ["SPY", "GOOG"]


def test_a_name_of_a_ticker_without_prices(named: Runs) -> None:
    with pytest.raises(UnknownTicker) as caught:
        named.submit({**REQUEST, "ticker": "삼성전자"})
    assert caught.value.ticker == "005930"


def test_a_name_that_nobody_has(named: Runs) -> None:
    named.price_store.add_names([("GS", "078930")])
    with pytest.raises(UnknownTicker) as caught:
        named.submit({**REQUEST, "ticker": "GS"})
    assert caught.value.near[0] == "078930 (GS)", "not silently another share"
    with pytest.raises(UnknownTicker) as caught:
        named.submit({**REQUEST, "ticker": "삼성전기"})
    assert caught.value.ticker == "삼성전기"
    assert caught.value.near == ("005930 (삼성전자)",)


@pytest.mark.parametrize("ticker", ["goog", "no such name", "<b>", "ü;", "", "x" * 200, 5, None])
def test_what_is_neither_is_refused_by_the_contract(named: Runs, ticker: Any) -> None:
    with pytest.raises(InvalidRequest, match="ticker must be 1 to 32 of"):
        named.submit({**REQUEST, "ticker": ticker})


@pytest.mark.parametrize("document", [None, [], "x", {"tickers": "GOOG"}, {"tickers": [1, None]}])
def test_documents_of_any_form_pass(runs: Runs, document: Any) -> None:
    assert with_tickers(document, runs.price_store) == document


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ["GOOG", "SPY"]),
        ("g", ["GOOG"]),
        ("글", ["GOOG"]),
        ("s", ["SPY"]),
        ("p 50", ["SPY"]),
        ("zz", []),
    ],
)
def test_finding(named: Runs, text: str, found: list[str]) -> None:
    assert [each.ticker for each in found_by(text, named.price_store.tickers())] == found
