"""Prices in the browser and by programs: looked at, checked, stored, refused."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Sequence
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine

from service.store.prices import PriceStore
from service.usecases.runs import Runs
from service.web.factory import create_app
from service.web.middleware.auth import Login
from tests.support.logins import BASIC, TOKEN, bearer
from tests.support.prices import prices, series
from tests.support.requests import REQUEST
from tests.support.web import BROWSER, FORM, page, refused

CSV = prices("GOOG", 60).to_csv()
SEMICOLONS = prices("GOOG", 60).iloc[::-1].to_csv(sep=";", decimal=",")
BAD = "Date,Open,High,Low,close,Volume,Close\n"
JSON = {"Accept": "application/json"}

File = tuple[str, str]


def send(
    client: FlaskClient,
    files: Sequence[File],
    action: str = "store",
    ticker: str = "",
    name: str = "",
    headers: dict[str, str] | None = None,
) -> Any:
    parts = [(io.BytesIO(text.encode()), file_name) for file_name, text in files]
    data = {"files": parts, "action": action, "ticker": ticker, "name": name}
    return client.post("/prices", data=data, headers=headers or BROWSER)


def stored(engine: Engine) -> list[str]:
    return [each.ticker for each in PriceStore(engine).tickers()]


def test_the_list_leads_to_each_ticker(client: FlaskClient) -> None:
    text = page(client, "/prices")
    assert '<a href="/prices/GOOG">GOOG</a>' in text
    assert "2,699" in text
    assert client.get("/prices", headers=JSON).json == client.get("/tickers").json


def test_the_page_of_a_ticker(client: FlaskClient) -> None:
    text = page(client, "/prices/GOOG")
    assert "2,699 bars: 2013-01-02 – 2023-09-21" in text
    assert series("GOOG").fingerprint in text
    assert "<polyline points=" in text
    assert 'href="/?ticker=GOOG"' in text
    document = client.get("/prices/GOOG", headers=JSON).json
    assert document is not None
    assert document["prices_fingerprint"] == series("GOOG").fingerprint
    assert len(document["findings"]) == 5
    for finding in document["findings"]:
        assert finding["message"] in text
        assert finding["code"] in text


def test_a_ticker_without_prices_has_no_page(client: FlaskClient) -> None:
    answer = client.get("/prices/NONE", headers=JSON)
    refused(answer, 404, "NotFound", 'There are no prices of "NONE".')
    assert 'There are no prices of "NONE".' in page(client, "/prices/NONE", 404)


def test_checking_says_what_it_is_and_stores_nothing(client: FlaskClient, engine: Engine) -> None:
    answer = send(client, [("semi.csv", SEMICOLONS)], "check")
    assert answer.status_code == 200
    for words in (
        "SEMI",
        "It can be stored; nothing is stored yet.",
        "Columns are separated by semicolons.",
        "Decimals stand after a comma.",
        "The newest bar came first: turned around.",
        "60 bars",
        "2013-01-02",
    ):
        assert words in answer.text
    assert stored(engine) == ["GOOG", "SPY"]


def test_storing_and_then_backtesting(
    client: FlaskClient, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        answer = send(client, [("mine.csv", CSV)])
    assert answer.status_code == 200
    assert "Stored." in answer.text
    assert 'href="/prices/MINE"' in answer.text
    assert "Prices stored: ticker=MINE, bars=60, fingerprint=" in caplog.text
    kept = PriceStore(engine).ticker("MINE")
    assert kept is not None
    data = PriceStore(engine).series(kept.fingerprint).data
    assert data.to_numpy().tolist() == prices("GOOG", 60).to_numpy().tolist()
    dates = {"start_date": "2013-01-02", "end_date": "2013-03-28"}
    run = client.post("/backtest", json={**REQUEST, "ticker": "MINE", **dates})
    assert run.status_code == 202


def test_a_ticker_that_is_typed(client: FlaskClient, engine: Engine) -> None:
    assert send(client, [("anything at all.csv", CSV)], ticker="own").status_code == 200
    assert "OWN" in stored(engine)
    answer = send(client, [("anything at all.csv", CSV)])
    assert answer.status_code == 400
    assert "ANYTHING AT ALL is no ticker" in answer.text


def test_one_bad_file_keeps_no_other_from_being_stored(client: FlaskClient, engine: Engine) -> None:
    answer = send(client, [("a.csv", CSV), ("b.csv", BAD), ("c.csv", CSV)])
    assert answer.status_code == 200
    assert "Two columns are its close" in answer.text
    assert stored(engine) == ["A", "C", "GOOG", "SPY"]
    reports = send(client, [("d.csv", CSV), ("e.csv", BAD)], headers=JSON).json["files"]
    assert [(each["ticker"], each["stored"], each["code"]) for each in reports] == [
        ("D", True, None),
        ("E", False, "UnreadablePrices"),
    ]
    assert (reports[0]["bars"], reports[0]["first_day"]) == (60, "2013-01-02")


def test_what_the_gate_refuses_is_said_in_the_readers_language(client: FlaskClient) -> None:
    lines = CSV.splitlines(keepends=True)
    twice = "".join([*lines[:3], lines[2], *lines[3:]])
    answer = send(client, [("x.csv", twice)])
    assert answer.status_code == 400
    assert "DuplicateDate at 2013-01-03: the date stands there twice" in answer.text
    korean = send(client, [("x.csv", twice)], headers={**BROWSER, "Accept-Language": "ko"})
    assert "2013-01-03에 DuplicateDate: 같은 날짜가 두 번 있습니다" in korean.text


def test_the_source_of_prices_fits_into_its_column(client: FlaskClient, engine: Engine) -> None:
    """A file name is a stranger's text: it is shown on other pages, too."""
    for name in ("x" * 5000 + ".csv", "a\x1b[31m\u202eb.csv", "../../etc/c.csv"):
        assert send(client, [(name, CSV)], ticker="ODD").status_code == 200
        kept = PriceStore(engine).ticker("ODD")
        assert kept is not None
        assert 0 < len(kept.source) <= 200
        assert kept.source.isprintable()
        assert "/" not in kept.source


@pytest.mark.parametrize("ticker", ["ß", "ﬁ", "ı", "삼성전자", "A B", "X" * 33])
def test_no_ticker_becomes_another_one(client: FlaskClient, engine: Engine, ticker: str) -> None:
    answer = client.post(f"/prices/{ticker}", data=CSV, headers=JSON)
    reason = "is no ticker" if ticker.isascii() else "No ticker has the name"
    refused(answer, 400, "RefusedPrices", reason)
    assert stored(engine) == ["GOOG", "SPY"]


def test_a_ticker_is_stored_once_in_a_request(client: FlaskClient, engine: Engine) -> None:
    reports = send(client, [("DUP.csv", CSV), ("dup.csv", SEMICOLONS)], headers=JSON).json["files"]
    assert [each["stored"] for each in reports] == [True, False]
    assert reports[1]["error"] == "DUP stands there twice: send one file for each ticker."


def test_thousands_of_faulty_bars_are_counted_and_not_all_listed(client: FlaskClient) -> None:
    table = prices("GOOG", 2600)
    table.iloc[:, :4] *= -1
    (report,) = send(client, [("x.csv", table.to_csv())], headers=JSON).json["files"]
    assert len(report["findings"]) == 1000
    assert "errors besides: " in report["error"]


@pytest.mark.parametrize(
    ("files", "ticker", "sentence"),
    [
        ([], "", "No file has come: choose at least one; its name must be UTF-8."),
        ([("a.csv", CSV), ("b.csv", CSV)], "X", "A ticker and a name go with one file"),
    ],
)
def test_refused_forms(
    client: FlaskClient, engine: Engine, files: list[File], ticker: str, sentence: str
) -> None:
    answer = send(client, files, ticker=ticker)
    assert answer.status_code == 400
    assert sentence in answer.text
    refused(send(client, files, ticker=ticker, headers=JSON), 400, "BadInput", sentence)
    assert stored(engine) == ["GOOG", "SPY"]


def test_an_unknown_action(client: FlaskClient) -> None:
    answer = send(client, [("a.csv", CSV)], "delete", headers=JSON)
    refused(answer, 400, "BadInput", "action must be one of store, check; got delete.")


def test_a_file_whose_name_was_lost(client: FlaskClient, engine: Engine) -> None:
    """As where a program sends a name that is no UTF-8."""
    body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="\xbb\xef.csv"\r\n\r\n'
    tail = b'\r\n--x\r\nContent-Disposition: form-data; name="ticker"\r\n\r\nOWN\r\n--x--\r\n'
    headers = {**JSON, "Content-Type": "multipart/form-data; boundary=x"}
    answer = client.post("/prices", data=body + CSV.encode() + tail, headers=headers)
    refused(answer, 400, "BadInput", "its name must be UTF-8")
    assert stored(engine) == ["GOOG", "SPY"]


def test_a_program_sends_one_file(client: FlaskClient, engine: Engine) -> None:
    headers = {**JSON, "Content-Type": "text/csv"}
    dry = client.post("/prices/OWN?dry_run=true", data=SEMICOLONS, headers=headers)
    assert dry.json is not None
    assert (dry.json["stored"], dry.json["bars"]) == (False, 60)
    assert "OWN" not in stored(engine)
    answer = client.post("/prices/own", data=SEMICOLONS, headers=headers)
    assert answer.json is not None
    assert (answer.json["ticker"], answer.json["stored"]) == ("OWN", True)
    assert answer.json["prices_fingerprint"] == PriceStore(engine).tickers()[1].fingerprint
    refused(
        client.post("/prices/OWN", data=BAD, headers=headers),
        400,
        "UnreadablePrices",
        "Two columns",
    )
    refused(
        client.post("/prices/OWN?dry_run=x", data=CSV, headers=headers), 400, "BadInput", "dry_run"
    )


def test_files_may_be_larger_than_other_bodies_and_have_a_limit(runs: Runs, engine: Engine) -> None:
    client = create_app(runs, str, max_body_bytes=1000, max_upload_bytes=20_000).test_client()
    assert send(client, [("a.csv", CSV)], headers=JSON).status_code == 200
    large = [("a.csv", CSV), ("b.csv", CSV * 9)]
    refused(send(client, large, headers=JSON), 413, "TooLarge", "too large")
    refused(client.post("/prices/A", data=CSV * 9), 413, "TooLarge", "too large")


def test_only_those_that_are_named_may_store(runs: Runs, engine: Engine) -> None:
    def client_of(login: Login, *writers: str) -> FlaskClient:
        return create_app(runs, str, login=login, price_writers=writers).test_client()

    headers = {**JSON, **bearer(TOKEN)}
    refused(
        send(client_of(BASIC, "somebody"), [("a.csv", CSV)], headers=headers), 403, "NotAWriter", ""
    )
    refused(
        client_of(BASIC, "somebody").post("/prices/A", data=CSV, headers=headers),
        403,
        "NotAWriter",
        "You may not store prices here",
    )
    refused(
        send(client_of(Login(), "somebody"), [("a.csv", CSV)], headers=JSON), 403, "NotAWriter", ""
    )
    looked = send(client_of(BASIC, "somebody"), [("a.csv", CSV)], "check", headers=headers)
    assert looked.status_code == 200, "whoever may not store may look"
    assert stored(engine) == ["GOOG", "SPY"]
    assert send(client_of(Login()), [("a.csv", CSV)], headers=JSON).status_code == 200
    assert "You may not store prices here" in page(client_of(Login(), "somebody"), "/prices")


@pytest.mark.parametrize("address", ["/backtest", "/sweeps"])
def test_a_missing_ticker_leads_to_the_page(client: FlaskClient, address: str) -> None:
    form = {**FORM, "ticker": "NONE", "tickers": "NONE", "metric": "sharpe_ratio"}
    answer = client.post(address, data=form, headers=BROWSER)
    assert answer.status_code == 400
    assert 'href="/prices?ticker=NONE"' in answer.text
    assert 'value="NONE"' in page(client, "/prices?ticker=NONE")


def test_a_page_of_another_site_stores_nothing(client: FlaskClient, engine: Engine) -> None:
    headers = {**JSON, "Sec-Fetch-Site": "cross-site"}
    assert send(client, [("a.csv", CSV)], headers=headers).status_code == 403
    assert stored(engine) == ["GOOG", "SPY"]


def test_a_name_finds_the_ticker_everywhere(client: FlaskClient, engine: Engine) -> None:
    answer = send(client, [("data.csv", CSV)], ticker="005930", name="삼성전자")
    assert answer.status_code == 200
    assert stored(engine) == ["005930", "GOOG", "SPY"]
    assert "삼성전자" in page(client, "/prices/005930")
    assert "Prices of 005930" in page(client, "/prices/삼성전자")
    document = client.get("/prices/삼성전자", headers=JSON).json
    assert document is not None
    assert (document["ticker"], document["names"]) == ("005930", ["삼성전자"])
    found = client.get("/tickers?prefix=삼성").json
    assert found is not None
    assert [each["ticker"] for each in found["tickers"]] == ["005930"]
    listed = page(client, "/prices?q=전자")
    assert 'href="/prices/005930"' in listed
    assert 'href="/prices/GOOG"' not in listed
    assert "No ticker begins so" in page(client, "/prices?q=zzz")
    # New prices come by the name alone.
    assert send(client, [("삼성전자.csv", CSV)]).status_code == 200
    assert stored(engine) == ["005930", "GOOG", "SPY"]


def test_a_form_that_asks_for_a_name_runs_the_ticker(client: FlaskClient, engine: Engine) -> None:
    PriceStore(engine).add_names([("구글", "GOOG")])
    answer = client.post("/backtest", data={**FORM, "ticker": "구글"}, headers=BROWSER)
    assert answer.status_code == 303
    assert "GOOG" in page(client, answer.location)


def test_an_unknown_name_leads_to_the_form_for_it(client: FlaskClient) -> None:
    answer = client.post("/backtest", data={**FORM, "ticker": "없는회사"}, headers=BROWSER)
    assert answer.status_code == 400
    assert "No ticker has the name" in answer.text
    (address,) = re.findall(r'href="(/prices\?ticker=[^"]+)"', answer.text)
    form = page(client, address)
    assert '<input name="name" value="없는회사"' in form
    assert '<input name="ticker" value=""' in form


def test_a_ticker_with_a_slash(client: FlaskClient, engine: Engine) -> None:
    assert send(client, [("x.csv", CSV)], ticker="btc/usd").status_code == 200
    assert stored(engine) == ["BTC/USD", "GOOG", "SPY"]
    assert "Prices of BTC/USD" in page(client, "/prices/BTC/USD")
    assert client.post("/prices/M&M.NS/X", data=CSV, headers=JSON).status_code == 200
    form = {**FORM, "ticker": "BTC/USD", "start_date": "2013-01-02", "end_date": "2013-03-01"}
    assert client.post("/backtest", data=form, headers=BROWSER).status_code == 303


def test_versions_and_their_runs(client: FlaskClient, engine: Engine) -> None:
    client.post("/backtest", data=FORM, headers=BROWSER)
    fingerprint = series("GOOG").fingerprint
    text = page(client, "/prices/GOOG")
    assert f'<a href="/runs?q=prices%3D{fingerprint}">1</a>' in text
    assert "GOOG" in page(client, f"/runs?q=prices%3D{fingerprint[:10]}")
    assert send(client, [("GOOG.csv", CSV)]).status_code == 200
    document = client.get("/prices/GOOG", headers=JSON).json
    assert document is not None
    assert [each["bars"] for each in document["versions"]] == [60, 2699]
    assert [each["runs"] for each in document["versions"]] == [0, 1]
    assert document["versions"][1]["prices_fingerprint"] == fingerprint
    assert document["missing_sessions"] == 0


def test_dividends_and_splits_of_a_file(client: FlaskClient) -> None:
    table = prices("GOOG", 60).assign(Dividends=0.0, **{"Stock Splits": 0.0})
    table.iloc[10, 5] = 0.24
    table.iloc[40, 6] = 4.0
    answer = send(client, [("PAID.csv", table.to_csv())])
    assert "Dividends: 1, splits: 1." in answer.text
    text = page(client, "/prices/PAID")
    assert text.count('<line class="dividend"') == 1
    assert text.count('<line class="split"') == 1
    assert "4 : 1" in text
    document = client.get("/prices/PAID", headers=JSON).json
    assert document is not None
    assert document["actions"] == [
        {"day": str(table.index[10].date()), "dividend": 0.24, "split": 0.0},
        {"day": str(table.index[40].date()), "dividend": 0.0, "split": 4.0},
    ]


def test_bars_with_findings_are_marked_in_the_chart(client: FlaskClient) -> None:
    table = prices("GOOG", 60)
    table.iloc[20, 4] = 0.0
    table = table.drop(table.index[[30, 31]])
    assert send(client, [("ODD.csv", table.to_csv())]).status_code == 200
    text = page(client, "/prices/ODD")
    assert text.count('<line class="finding"') == 2
    assert f"{table.index[20].date()}: the volume is 0</title>" in text
    assert "Sessions of the New York Stock Exchange without a bar: 2" in text
