"""Asking a vendor for prices: from the page, by programs, and what the user sees of it."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine

from service.contract.fetch import AWAY, NOTHING, FetchRequest
from service.prices.files.reading import PriceFile, tidied
from service.prices.series import PriceSeries
from service.store.migrate import schema_problem
from service.store.prices import PriceStore
from service.usecases.runs import Runs
from service.vendors.errors import TryAgain, VendorFailed
from service.web.factory import create_app
from service.worker.fetch import FetchWorker
from tests.support.logins import BASIC, TOKEN, bearer
from tests.support.prices import prices
from tests.support.requests import REQUEST
from tests.support.stores import EveryStore
from tests.support.web import BROWSER, FORM, page, refused

JSON = {"Accept": "application/json"}


def perform(engine: Engine, run_id: str, answer: PriceFile | Exception) -> None:
    """Works on the fetch as a worker whose vendor answers so."""

    def ask(_: FetchRequest) -> PriceFile:
        if isinstance(answer, Exception):
            raise answer
        return answer

    store = EveryStore(engine)
    store.mark_launched(run_id)
    vendors = {"yahoo": ask}
    FetchWorker(store, vendors=vendors, pauses_seconds=()).work(run_id)


def file_of(ticker: str) -> PriceFile:
    return tidied(PriceSeries(ticker, "Yahoo Finance via yfinance", prices("GOOG", 100)))


def ask_for(client: FlaskClient, tickers: str, **fields: str) -> Any:
    return client.post("/fetches", data={"tickers": tickers, **fields}, headers=BROWSER)


def test_from_the_form_to_the_prices(client: FlaskClient, engine: Engine) -> None:
    form = page(client, "/prices?ticker=NEW")
    assert '<input name="tickers" value="NEW"' in form
    answer = ask_for(client, "new", start_date="2013-01-01", end_date="2013-12-31")
    assert answer.status_code == 303
    address = answer.headers["Location"]
    run_id = address.rpartition("/")[2]
    waiting = page(client, address)
    assert "Waiting; runs before this one: 0." in waiting
    assert f'data-status-url="/status/{run_id}"' in waiting
    perform(engine, run_id, file_of("NEW"))
    done = page(client, address)
    assert "These are the prices of the ticker now." in done
    assert "100 bars" in done
    assert 'href="/prices/NEW"' in done
    assert "Yahoo Finance via yfinance" in page(client, "/prices/NEW")
    listed = page(client, "/runs?q=kind%3Dprices")
    assert "NEW" in listed
    assert "<code>yahoo</code> prices" in listed
    again = client.get(f"/result/{run_id}", headers=BROWSER)
    assert (again.status_code, again.headers["Location"]) == (303, address)


def test_by_a_program(client: FlaskClient, engine: Engine) -> None:
    headers = {"Idempotency-Key": "one"}
    answer = client.post("/fetches", json={"ticker": "NEW"}, headers=headers)
    assert answer.status_code == 202
    assert answer.json is not None
    assert client.post("/fetches", json={"ticker": "NEW"}, headers=headers).json == answer.json
    run_id = answer.json["run_id"]
    assert client.get(f"/fetches/{run_id}", headers=JSON).status_code == 202
    perform(engine, run_id, file_of("NEW"))
    result = client.get(answer.json["result_url"], headers=JSON).json
    assert result is not None
    assert (result["status"], result["bars"], result["is_new"]) == ("completed", 100, True)
    kinds = client.get("/runs?q=kind%3Dprices").json
    assert kinds is not None
    assert [run["kind"] for run in kinds["runs"]] == ["prices"]


@pytest.mark.parametrize(
    ("error", "english", "korean"),
    [
        (
            TryAgain(AWAY, vendor="Yahoo Finance", error="DNSError"),
            "Yahoo Finance cannot be reached (DNSError)",
            "Yahoo Finance에 연결할 수 없습니다(DNSError)",
        ),
        (
            VendorFailed(NOTHING, vendor="Yahoo Finance", ticker="NEW", start="a", end="b"),
            "Yahoo Finance has no prices of NEW from a to b",
            "Yahoo Finance에 NEW의 a~b 가격이 없습니다",
        ),
    ],
)
def test_why_no_prices_came(
    client: FlaskClient, engine: Engine, error: VendorFailed, english: str, korean: str
) -> None:
    address = ask_for(client, "NEW").headers["Location"]
    perform(engine, address.rpartition("/")[2], error)
    text = page(client, address)
    assert english in text
    assert "Ask for the prices again later, or store them from a file." in text
    assert 'href="/prices?ticker=NEW"' in text
    assert korean in page(client, f"{address}?lang=ko")
    result = client.get(address, headers=JSON).json
    assert result is not None
    assert (result["error_code"], result["bars"]) == ("VendorFailed", 0)


def test_several_tickers_lead_to_their_list(client: FlaskClient) -> None:
    answer = ask_for(client, "AAPL, MSFT aapl")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/runs?q=kind%3Dprices")
    listed = client.get("/runs?q=kind%3Dprices").json
    assert listed is not None
    assert [run["ticker"] for run in listed["runs"]] == ["MSFT", "AAPL"]


@pytest.mark.parametrize(
    ("tickers", "sentence"),
    [
        (" ", "Name 1 to 200 tickers; 0 are named."),
        (" ".join(f"A{number}" for number in range(201)), "201 are named."),
        ("A <b>", "must be 1 to 32 of"),
        ("없는회사", "No ticker has the name"),
    ],
)
def test_a_form_that_is_refused(client: FlaskClient, tickers: str, sentence: str) -> None:
    answer = ask_for(client, tickers)
    assert answer.status_code == 400
    assert sentence in answer.text
    assert client.get("/runs").json == {"runs": [], "count": 0, "next": None, "previous": None} or (
        client.get("/runs").json["runs"] == []  # type: ignore[index]
    )


def test_a_refused_form_comes_back_as_it_was_typed(client: FlaskClient) -> None:
    text = ask_for(client, "AAPL MSFT @@", start_date="2019-05-05").text
    assert 'name="tickers" value="AAPL MSFT @@"' in text
    assert 'name="start_date" value="2019-05-05"' in text
    assert 'name="name" value=""' in text


def test_a_name_of_several_words(client: FlaskClient, engine: Engine) -> None:
    PriceStore(engine).add_names([("Alphabet Inc", "GOOG"), ("Vakıfbank", "VAKBN.IS")])
    assert ask_for(client, "alphabet inc, Vakıfbank").status_code == 303
    kinds = client.get("/runs?q=kind%3Dprices", headers=JSON).json
    assert kinds is not None
    assert [run["ticker"] for run in kinds["runs"]] == ["VAKBN.IS", "GOOG"]
    answer = client.post("/backtest", data={**FORM, "ticker": "Alphabet Inc"}, headers=BROWSER)
    assert answer.status_code == 303
    found = client.get("/runs?q=ticker%3D%22alphabet%20inc%22", headers=JSON).json
    assert found is not None
    assert {run["ticker"] for run in found["runs"]} == {"GOOG"}


def test_a_fetch_is_compared_with_nothing(client: FlaskClient) -> None:
    run_id = ask_for(client, "NEW").headers["Location"].rpartition("/")[2]
    other = client.post("/backtest", json=REQUEST).json["run_id"]  # type: ignore[index]
    answer = client.get(f"/compare?run={run_id}&run={other}", headers=JSON)
    refused(answer, 400, "BadInput", "is no backtest; only backtests can be compared.")


def test_a_backtest_has_no_page_among_them(client: FlaskClient) -> None:
    run_id = client.post("/backtest", json=REQUEST).json["run_id"]  # type: ignore[index]
    refused(client.get(f"/fetches/{run_id}", headers=JSON), 404, "NotFound", run_id)


def test_it_can_be_cancelled(client: FlaskClient) -> None:
    address = ask_for(client, "NEW").headers["Location"]
    run_id = address.rpartition("/")[2]
    assert client.post(f"/runs/{run_id}/cancel", headers=BROWSER).status_code == 303
    assert "Run it again if it was cancelled by mistake." in page(client, address)


def test_where_no_vendor_is_asked(engine: Engine, runs: Runs) -> None:
    client = create_app(runs, partial(schema_problem, engine)).test_client()
    assert 'action="/fetches"' not in page(client, "/prices")
    answer = client.post("/fetches", json={"ticker": "A"}, headers=JSON)
    refused(answer, 400, "BadInput", "not fetched from vendors here")


def test_two_vendors_are_chosen_from(engine: Engine, runs: Runs) -> None:
    vendors = ["yahoo", "krx"]
    app = create_app(runs, partial(schema_problem, engine), price_vendors=vendors)
    client = app.test_client()
    assert '<option value="krx">Korea Exchange</option>' in page(client, "/prices")
    answer = ask_for(client, "005930", vendor="krx")
    assert answer.status_code == 303
    run = client.get("/runs?q=kind%3Dprices", headers=JSON).json["runs"][0]  # type: ignore[index]
    assert (run["ticker"], run["rule_id"]) == ("005930", "krx")


def test_a_vendor_that_is_not_set_up(client: FlaskClient) -> None:
    sentence = "krx is not asked for prices here; there are yahoo."
    assert sentence in ask_for(client, "005930", vendor="krx").text
    asked = {"ticker": "005930", "vendor": "krx"}
    refused(client.post("/fetches", json=asked, headers=JSON), 400, "BadInput", sentence)


@pytest.mark.parametrize("vendor", [[], {}, 1, None, "bloomberg", True])
def test_what_is_no_vendor(client: FlaskClient, vendor: object) -> None:
    answer = client.post("/fetches", json={"ticker": "A", "vendor": vendor}, headers=JSON)
    refused(answer, 400, "BadInput", "vendor must be yahoo or krx")


def test_only_who_may_store_prices_may_have_them_fetched(engine: Engine, runs: Runs) -> None:
    problem = partial(schema_problem, engine)
    app = create_app(
        runs, problem, login=BASIC, price_writers=["somebody"], price_vendors=["yahoo"]
    )
    client = app.test_client()
    answer = client.post("/fetches", json={"ticker": "A"}, headers=bearer(TOKEN))
    refused(answer, 403, "NotAWriter", "You may not store prices here")
    assert client.get("/runs", headers=bearer(TOKEN)).json["runs"] == []  # type: ignore[index]
