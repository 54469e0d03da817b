"""The web as a browser and as curl see it: every route, every refusal, nothing lost."""

from __future__ import annotations

import html
import json
import logging
import re
from functools import partial
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from rules.registry import BUILT_IN
from service.contract.documents import checker
from service.contract.request import parse_request
from service.store.migrate import schema_problem
from service.usecases.runs import Runs
from service.web.factory import create_app
from service.worker.run import RunWorker
from tests.conftest import REQUEST, RUN_ID

BROWSER = {"Accept": "text/html,application/xhtml+xml"}
FORM = {
    "ticker": "GOOG", "start_date": "2013-01-02", "end_date": "2020-02-07", "initial_capital": "100000",
    "commission_rate": "0.001", "slippage_rate": "0", "lot_size": "0",
    "rule": "MA_CROSS", "MA_CROSS.fast": "10", "MA_CROSS.slow": "30",
}  # fmt: skip


def completed(client: FlaskClient, runs: Runs, **change: Any) -> str:
    """A run that has been performed; its run_id."""
    run_id: str = client.post("/backtest", json={**REQUEST, **change}).json["run_id"]  # type: ignore[index]
    request = parse_request(json.loads(runs.run(run_id).request))
    assert RunWorker(runs.run_store, runs.price_store).work(request) == 0
    return run_id


def page(client: FlaskClient, address: str, status: int = 200, **headers: str) -> str:
    answer = client.get(address, headers={**BROWSER, **headers})
    assert answer.status_code == status, answer.text[:500]
    assert answer.mimetype == "text/html"
    return html.unescape(answer.text)


# curl


def test_submitting_json(client: FlaskClient) -> None:
    answer = client.post("/backtest?force=true", json=REQUEST)
    assert answer.status_code == 202
    body = answer.json
    assert body is not None
    assert set(body) == {"run_id", "status", "reused_from", "status_url", "result_url"}
    assert body["status"] == "pending"
    assert answer.headers["Location"] == body["status_url"] == f"/status/{body['run_id']}"
    status = client.get(body["status_url"])
    assert checker("status.v1")(status.json) is None
    assert status.json["queue_position"] == 0  # type: ignore[index]
    unfinished = client.get(body["result_url"])
    assert unfinished.status_code == 202
    assert unfinished.json == status.json


def test_the_same_id_twice(client: FlaskClient) -> None:
    body = {"run_id": RUN_ID, **REQUEST}
    assert client.post("/backtest", json=body).json == client.post("/backtest", json=body).json
    other = client.post("/backtest", json={**body, "ticker": "SPY"})
    assert other.status_code == 409
    assert other.json == {
        "error": f"Run {RUN_ID} exists with another request; send a new run_id or none.", "code": "Conflict", "run_id": RUN_ID
    }  # fmt: skip


def test_the_result_as_json(client: FlaskClient, runs: Runs) -> None:
    run_id = completed(client, runs)
    answer = client.get(f"/result/{run_id}")
    assert checker("result.v1")(answer.json) is None
    assert answer.data == client.get(f"/result/{run_id}").data
    assert answer.json["total_return_pct"] == pytest.approx(162.94554248685, rel=1e-9)  # type: ignore[index]
    assert client.get(f"/status/{run_id}").json["status"] == "completed"  # type: ignore[index]


def test_the_tables_as_csv(client: FlaskClient, runs: Runs) -> None:
    run_id = completed(client, runs)
    equity = client.get(f"/result/{run_id}/equity.csv")
    assert equity.mimetype == "text/csv"
    assert equity.text.splitlines()[0] == "date,equity,drawdown,position,buy_and_hold"
    assert len(equity.text.splitlines()) == 1789
    trades = client.get(f"/result/{run_id}/trades.csv").text.splitlines()
    assert (
        trades[0]
        == "entry_date,entry_price,exit_date,exit_price,shares,direction,pnl,return_pct,holding_days"
    )
    assert len(trades) == 35


def test_tables_of_an_unfinished_run(client: FlaskClient) -> None:
    run_id = client.post("/backtest", json=REQUEST).json["run_id"]  # type: ignore[index]
    for table in ("equity", "trades"):
        answer = client.get(f"/result/{run_id}/{table}.csv")
        refused(answer, 404, "NotFound", f"Run {run_id} has no result: it is pending.")


def test_a_failed_run(client: FlaskClient, runs: Runs) -> None:
    run_id = client.post("/backtest", json=REQUEST).json["run_id"]  # type: ignore[index]
    runs.run_store.fail(runs.run(run_id), "EngineError", "The engine failed.")
    answer = client.get(f"/result/{run_id}")
    assert answer.status_code == 200
    assert checker("result.v1")(answer.json) is None
    assert answer.json["error_code"] == "EngineError"  # type: ignore[index]
    text = page(client, f"/result/{run_id}")
    assert "EngineError" in text
    assert "an operator finds the trace" in text


def test_what_was_seen_of_a_worker_stands_at_its_run(client: FlaskClient, runs: Runs) -> None:
    run = runs.submit(dict(REQUEST))[0]
    seen = {
        "exit_code": 0,
        "events": ["Job bt-1: BackoffLimitExceeded"],
        "log": ["one", "<script>alert(1)</script>"],
    }
    runs.run_store.fail(run, "OutOfMemory", "Killed.", json.dumps(seen))
    page = client.get(f"/result/{run.run_id}", headers={"Accept": "text/html"}).text
    assert "Exit code: <code>0</code>" in page
    assert "Job bt-1: BackoffLimitExceeded" in page
    assert "one\n&lt;script&gt;alert(1)&lt;/script&gt;" in page
    document = client.get(f"/result/{run.run_id}").get_json()
    assert document["provenance"]["evidence"] == seen
    runs.run_store.fail(other := runs.submit(dict(REQUEST), force=True)[0], "NoData", "None.", None)
    assert (
        "What was seen"
        not in client.get(f"/result/{other.run_id}", headers={"Accept": "text/html"}).text
    )


def test_history(client: FlaskClient) -> None:
    for i in range(5):
        client.post("/backtest", json={**REQUEST, "initial_capital": 1000 + i})
    first = client.get("/runs?limit=2").json
    assert first is not None
    assert len(first["runs"]) == 2
    second = client.get(first["next"]).json
    third = client.get(second["next"]).json  # type: ignore[index]
    assert third["next"] is None  # type: ignore[index]
    ids = [run["run_id"] for body in (first, second, third) for run in body["runs"]]  # type: ignore[index]
    assert len(set(ids)) == 5
    assert client.get("/runs?ticker=SPY").json == {"runs": [], "next": None}
    assert len(client.get("/runs?ticker=goog").json["runs"]) == 5  # type: ignore[index]
    assert len(client.get("/runs?status=pending&ticker=GOOG").json["runs"]) == 5  # type: ignore[index]


def test_catalogues(client: FlaskClient) -> None:
    rules = client.get("/rules").json["rules"]  # type: ignore[index]
    assert [rule["name"] for rule in rules] == list(BUILT_IN)
    combinations = client.get("/rules").json["combinations"]  # type: ignore[index]
    assert combinations == {
        "modes": ["ALL", "ANY", "MAJORITY"],
        "most_rules": 8,
        "example": "ALL(MA_CROSS,RSI)",
    }
    assert rules[0]["parameters"][0] == {
        "name": "fast", "type": "integer", "default": 10, "low": 1, "high": 1000, "meaning": "Bars in the fast average"
    }  # fmt: skip
    tickers = client.get("/tickers").json["tickers"]  # type: ignore[index]
    assert [ticker["ticker"] for ticker in tickers] == ["GOOG", "SPY"]
    assert (tickers[1]["first_day"], tickers[1]["bars"]) == ("2000-05-01", 5033)


def test_health_and_ready(client: FlaskClient) -> None:
    assert client.get("/health").json == {"status": "ok"}
    assert client.get("/ready").json == {"status": "ok", "missing": [], "warnings": []}


def test_not_ready(runs: Runs) -> None:
    def away() -> bool:
        raise OperationalError("select", {}, Exception("gone"))

    for check, missing in (
        (away, "cannot be reached"),
        (lambda: "Run python -m service.store.migrate.", "service.store.migrate"),
    ):
        answer = create_app(runs, check).test_client().get("/ready")
        assert answer.status_code == 503
        assert missing in answer.json["missing"][0]  # type: ignore[index]


# bad input over JSON


def refused(answer: Any, status: int, code: str, sentence: str) -> None:
    assert answer.status_code == status, answer.text
    assert set(answer.json) == {"error", "code", "run_id"}
    assert answer.json["code"] == code
    assert sentence in answer.json["error"]
    assert "Traceback" not in answer.text
    assert 'File "' not in answer.text


@pytest.mark.parametrize(
    ("change", "code", "sentence"),
    [
        ({"ticker": "NOPE"}, "BadInput", 'There are no prices of "NOPE"'),
        ({"ticker": "<script>alert(1)</script>"}, "BadInput", "ticker must be"),
        ({"ticker": "' OR 1=1 --"}, "BadInput", "ticker must be"),
        ({"rule_id": "RSX"}, "BadInput", "Did you mean RSI_14_30_70?"),
        ({"rule_id": "'; DROP TABLE runs; --"}, "BadInput", "There is no rule"),
        ({"rule_id": "<img src=x onerror=alert(1)>"}, "BadInput", "A combination is written"),
        ({"rule_id": "ALL(RSI"}, "BadInput", "A combination is written ALL(A,B), ANY(A,B) or MAJORITY(A,B,C); got ALL(RSI."),
        ({"rule_id": "ALL(RSI,)"}, "BadInput", "ALL(...) has an empty place between its commas."),
        ({"params": {"self": 1}}, "BadInput", 'MA_CROSS has no parameter "self"'),
        ({"lot_size": 1e-310}, "BadInput", "lot_size must be"),
        ({"params": {"fast": 99}}, "BadInput", "fast must be below slow"),
        ({"params": {"fast": 5000}}, "BadInput", "fast must be between 1 and 1000, got 5000."),
        ({"params": {"<b>": 1}}, "BadInput", 'MA_CROSS has no parameter "<b>"'),
        ({"params": {"fast": 10**400}}, "BadInput", "params.fast must be a finite number"),
        ({"start_date": "2020-02-07", "end_date": "2013-01-02"}, "BadInput", "must be before end_date"),
        ({"start_date": "2030-01-01", "end_date": "2031-01-01"}, "NoData", "GOOG has 0 bars"),
        ({"start_date": "1990-01-01", "end_date": "1991-01-01"}, "NoData", "its prices are from 2013-01-02 to 2023-09-21."),
        ({"start_date": "soon"}, "BadInput", "start_date must be a date"),
        ({"end_date": "2013-01-02", "start_date": "2013-01-01"}, "NoData", "GOOG has 1 bars"),
        ({"initial_capital": 0}, "BadInput", "initial_capital must be"),
        ({"initial_capital": -1}, "BadInput", "initial_capital must be"),
        ({"initial_capital": "much"}, "BadInput", "initial_capital must be"),
        ({"run_id": "7"}, "BadInput", "run_id must be a lower-case UUID4"),
        ({"unknown": 1}, "BadInput", 'There is no field "unknown"'),
    ],
)  # fmt: skip
def test_bad_requests_are_named_and_store_nothing(
    client: FlaskClient, runs: Runs, change: dict[str, Any], code: str, sentence: str
) -> None:
    refused(client.post("/backtest", json={**REQUEST, **change}), 400, code, sentence)
    assert runs.run_store.latest(1) == []


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "not valid JSON"), (b"{", "not valid JSON"), (b"null", "must be a JSON object"), (b"[]", "must be a JSON object"),
        (json.dumps(REQUEST)[:-1].encode() + b', "initial_capital": NaN}', "NaN is no number"),
        (json.dumps(REQUEST)[:-1].encode() + b', "initial_capital": 1e999}', "initial_capital must be"),
        (json.dumps(REQUEST)[:-1].encode() + b', "params": {"fast": 1e999}}', "params.fast must be a finite number"),
        (json.dumps(REQUEST)[:-1].encode() + b', "ticker": "SPY"}', "a key stands there twice"),
        (b"[" * 50_000, "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
    ],
)  # fmt: skip
def test_malformed_json(client: FlaskClient, body: bytes, sentence: str) -> None:
    refused(
        client.post("/backtest", data=body, content_type="application/json"),
        400,
        "BadInput",
        sentence,
    )


def test_missing_fields(client: FlaskClient) -> None:
    refused(client.post("/backtest", json={}), 400, "BadInput", "ticker is missing.")


def test_other_cousins_of_400(client: FlaskClient) -> None:
    refused(
        client.post("/backtest", data="x", content_type="text/plain"),
        415,
        "WrongType",
        "application/json or as a form",
    )
    refused(
        client.post("/backtest", data="x" * 1_000_000, content_type="application/json"),
        413,
        "TooLarge",
        "too large",
    )
    refused(client.get("/backtest"), 405, "MethodNotAllowed", "does not take that method")
    refused(client.get("/nothing"), 404, "NotFound", "no such page")
    refused(client.get(f"/status/{RUN_ID}"), 404, "NotFound", f"There is no run {RUN_ID}.")
    refused(client.get("/result/x"), 404, "NotFound", "There is no run x.")
    for query in (
        "limit=0x",
        "limit=-1",
        "limit=0",
        "limit=",
        "limit=201",
        "before=" + "9" * 30,
        "limit=\u0661",
    ):
        refused(client.get(f"/runs?{query}"), 400, "BadInput", "must be a whole number from 1 to")
    refused(
        client.get("/runs?status=done"),
        400,
        "BadInput",
        "There is no status done; there are pending, running",
    )
    refused(
        client.post("/backtest", data=json.dumps(REQUEST)), 415, "WrongType", "application/json"
    )
    curl = "application/x-www-form-urlencoded"
    refused(
        client.post("/backtest", data=json.dumps(REQUEST), content_type=curl),
        415,
        "WrongType",
        "application/json",
    )


def test_a_big_form_is_too_large(client: FlaskClient) -> None:
    refused(
        client.post("/backtest", data={"ticker": "x" * 1_000_000}), 413, "TooLarge", "too large"
    )


def test_a_full_queue(client: FlaskClient) -> None:
    for i in range(20):
        assert (
            client.post("/backtest", json={**REQUEST, "initial_capital": 1000 + i}).status_code
            == 202
        )
    answer = client.post("/backtest", json=REQUEST)
    refused(answer, 429, "QueueFull", "20 runs are waiting already")
    assert answer.headers["Retry-After"] == "10"
    form = client.post("/backtest", data=FORM, headers=BROWSER)
    assert form.status_code == 429
    assert "20 runs are waiting already" in form.text


def test_a_crash_shows_no_trace(
    client: FlaskClient,
    runs: Runs,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def crash(*_: Any) -> Any:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(type(runs), "run", crash)
    answer = client.get(f"/status/{RUN_ID}")
    refused(answer, 500, "InternalError", "Internal server error")
    assert answer.json["run_id"] == RUN_ID  # type: ignore[index]
    assert "secret detail" not in answer.text
    assert "secret detail" in caplog.text


@pytest.mark.parametrize(
    "error",
    [
        OperationalError("select", {}, Exception("secret host")),
        NoConnectionFree("QueuePool limit, secret host"),
    ],
    ids=["gone", "every connection waits for it"],
)
def test_the_database_is_away(
    client: FlaskClient, runs: Runs, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def away(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(type(runs.run_store), "get", away)
    answer = client.get(f"/status/{RUN_ID}")
    refused(answer, 503, "DatabaseAway", "The database is away")
    assert "secret host" not in answer.text
    assert client.get("/health").status_code == 200
    assert "The database is away" in page(client, f"/result/{RUN_ID}", 503)


# the browser


def test_the_form_leads_to_the_result_page(client: FlaskClient, runs: Runs) -> None:
    answer = client.post("/backtest", data=FORM, headers=BROWSER)
    assert answer.status_code == 303
    (run,) = runs.run_store.latest(1)
    assert answer.headers["Location"] == f"/result/{run.run_id}"
    assert run.rule_id == "MA_CROSS_10_30"
    text = page(client, answer.headers["Location"])
    assert "data-reload" in text
    assert 'http-equiv="refresh"' in text
    assert "runs before this one: 0" in text


def test_the_form_asks_for_what_it_shows(client: FlaskClient, runs: Runs) -> None:
    form = {
        **FORM,
        "rule": "RSI",
        "RSI.period": "7",
        "RSI.oversold": "25.5",
        "RSI.overbought": "",
        "allow_short": "on",
        "lot_size": "1",
    }
    client.post("/backtest", data=form)
    (run,) = runs.run_store.latest(1)
    asked = json.loads(run.request)
    assert run.rule_id == "RSI_7_25.5_70"
    assert (asked["allow_short"], asked["lot_size"], asked["params"]) == (
        True,
        1.0,
        {"oversold": 25.5, "period": 7},
    )


def test_a_program_may_send_the_fields_of_the_request_as_a_form(
    client: FlaskClient, runs: Runs
) -> None:
    answer = client.post(
        "/backtest", data={**REQUEST, "run_id": RUN_ID, "params": '{"fast": 7}', "lot_size": "2"}
    )
    assert answer.status_code == 303
    run = runs.run(RUN_ID)
    assert (run.rule_id, json.loads(run.request)["lot_size"]) == ("MA_CROSS_7_30", 2.0)


def test_a_form_of_a_program_is_as_strict_as_json(client: FlaskClient) -> None:
    refused(
        client.post("/backtest", data={**REQUEST, "initial_captial": "5"}),
        400,
        "BadInput",
        "Did you mean initial_capital?",
    )
    for params in ('{"\\ud800": 1}', '{"fast": 1, "fast": 2}', "{"):
        refused(
            client.post("/backtest", data={**REQUEST, "params": params}),
            400,
            "BadInput",
            "params must be an object",
        )


def test_dates_beyond_any_calendar_are_clipped(client: FlaskClient, runs: Runs) -> None:
    for first, last in (("0001-01-01", "9999-12-31"), ("1600-01-01", "2500-01-01")):
        run_id = completed(client, runs, start_date=first, end_date=last)
        warnings = client.get(f"/result/{run_id}").json["provenance"]["warnings"]  # type: ignore[index]
        assert [warning["code"] for warning in warnings][:2] == ["Clipped", "Clipped"]
    for first, last in (("0001-01-01", "0002-01-01"), ("9000-01-01", "9999-12-31")):
        answer = client.post("/backtest", json={**REQUEST, "start_date": first, "end_date": last})
        refused(answer, 400, "NoData", "GOOG has 0 bars")


@pytest.mark.parametrize("field", ["ticker", "rule_id", "run_id", "note"])
def test_halves_of_characters(client: FlaskClient, field: str) -> None:
    body = json.dumps({**REQUEST, field: "\ud800"})
    refused(
        client.post("/backtest", data=body, content_type="application/json"),
        400,
        "BadInput",
        "not valid JSON",
    )


def test_the_form_builds_a_combination(client: FlaskClient, runs: Runs) -> None:
    form = {
        **FORM,
        "rule": "COMPOSITE",
        "mode": "ANY",
        "member1": " MA_CROSS_10_30 ",
        "member2": "",
        "member5": "RSI",
    }
    client.post("/backtest", data=form)
    (run,) = runs.run_store.latest(1)
    assert run.rule_id == "ANY(MA_CROSS_10_30,RSI_14_30_70)"
    text = page(client, f"/?run={run.run_id}")
    assert 'value="RSI_14_30_70"' in text
    assert re.search(r'<option value="ANY" selected>', text)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"initial_capital": "-5"}, "initial_capital must be"),
        ({"initial_capital": "1e999"}, "initial_capital must be"),
        ({"MA_CROSS.fast": "abc"}, 'params.fast must be a finite number; got "abc".'),
        ({"MA_CROSS.fast": "nan"}, "params.fast must be a finite number"),
        ({"MA_CROSS.fast": "9" * 5000}, "params.fast must be a finite number"),
        ({"MA_CROSS.fast": "40"}, "MA_CROSS: fast must be below slow, got 40 and 30."),
        ({"start_date": ""}, "start_date is missing."),
        ({"start_date": "2020-13-01"}, "start_date must be a date"),
        ({"ticker": "NOPE"}, 'There are no prices of "NOPE"'),
        ({"ticker": '"><script>alert(1)</script>'}, "ticker must be"),
        ({"rule": "<script>"}, "There is no rule"),
        ({"rule": ""}, "rule_id must be a text"),
        ({"rule": "COMPOSITE", "mode": "ALL", "member1": "RSI"}, "ALL(...) joins 2 to 8 rules, got 1."),
        ({"rule": "COMPOSITE", "mode": "ALL", "member1": "RSI", "member2": "<i>"}, 'There is no rule "<i>"'),
        ({"rule": "COMPOSITE"}, "A combination is written"),
        ({"MA_CROSS.self": "1"}, 'MA_CROSS has no parameter "self"'),
        ({"allow_short": "maybe"}, "allow_short must be true or false"),
    ],
)  # fmt: skip
def test_a_refused_form_keeps_what_was_typed(
    client: FlaskClient, runs: Runs, change: dict[str, str], sentence: str
) -> None:
    answer = client.post("/backtest", data={**FORM, **change}, headers=BROWSER)
    assert answer.status_code == 400
    assert sentence in html.unescape(answer.text)
    assert "<script>alert(1)" not in answer.text
    assert runs.run_store.latest(1) == []
    if "initial_capital" in change:
        assert f'value="{change["initial_capital"]}"' in answer.text
    assert 'value="2020-02-07"' in answer.text
    if change.get("MA_CROSS.fast", "").isdigit():
        assert f'value="{change["MA_CROSS.fast"]}"' in answer.text
    if "member2" in change:
        assert 'value="&lt;i&gt;"' in answer.text


def test_a_refused_form_asked_for_as_json(client: FlaskClient) -> None:
    refused(
        client.post("/backtest", data={**FORM, "ticker": "NOPE"}),
        400,
        "BadInput",
        "There are no prices",
    )


def test_the_dashboard(client: FlaskClient, runs: Runs) -> None:
    text = page(client, "/")
    for rule in BUILT_IN.values():
        assert rule.metadata.summary in text
        for parameter in rule.metadata.parameters:
            assert f'name="{rule.metadata.name}.{parameter.name}"' in text
            assert parameter.meaning in text
    assert "GOOG · 2013-01-02 – 2023-09-21" in text
    assert text.count("<fieldset") == 12
    assert text.count("hidden disabled") == 11
    assert "None yet" in text
    completed(client, runs)
    assert "162.95 %" in page(client, "/")


def test_the_dashboard_without_javascript_shows_another_rule(client: FlaskClient) -> None:
    text = page(client, "/?rule=RSI&ticker=SPY&initial_capital=5")
    assert re.search(r'<fieldset data-rule="RSI" >', text)
    assert re.search(r'<fieldset data-rule="MA_CROSS" hidden disabled>', text)
    assert 'value="5"' in text
    assert re.search(r'value="SPY"[^>]*selected', text)


def test_the_dashboard_without_prices(tmp_path: Any) -> None:
    from scripts.config import Config
    from service.store.database import connect
    from service.store.migrate import migrate
    from service.store.prices import PriceStore
    from tests.support.stores import EveryStore

    empty = connect(Config(sqlite_path=str(tmp_path / "empty.sqlite3")))
    migrate(empty)
    client = create_app(
        Runs(EveryStore(empty), PriceStore(empty)), partial(schema_problem, empty)
    ).test_client()
    assert "There are no prices yet" in page(client, "/")
    empty.dispose()


def test_the_result_page(client: FlaskClient, runs: Runs) -> None:
    run_id = completed(client, runs, params={"fast": 12})
    text = page(client, f"/result/{run_id}")
    assert "data:image/png;base64," in text
    assert "MA_CROSS_12_30" in text
    assert "Sharpe ratio" in text
    assert "Mean return per unit of volatility" in text
    assert "TinyVolume" in text
    assert runs.run(run_id).prices_fingerprint in text
    assert "http-equiv" not in text
    (link,) = re.findall(r'href="([^"]+format=json)"', text)
    assert client.get(link, headers=BROWSER).data == client.get(f"/result/{run_id}").data
    again = page(client, f"/?run={run_id}")
    assert 'name="MA_CROSS.fast" step="1" min="1"' in re.sub(r"\s+", " ", again)
    assert 'value="12"' in again


def test_a_run_that_never_traded(client: FlaskClient, runs: Runs) -> None:
    run_id = completed(client, runs, rule_id="BB_20_10")
    text = page(client, f"/result/{run_id}")
    assert "The rule never traded in this range." in text
    assert "–" in text


def test_history_page(client: FlaskClient, runs: Runs) -> None:
    for i in range(3):
        client.post("/backtest", json={**REQUEST, "initial_capital": 1000 + i})
    text = page(client, "/runs?limit=2&ticker=GOOG")
    assert "Older runs" in text
    assert "before=" in text
    assert "No runs." in page(client, "/runs?ticker=SPY")


def test_error_pages(client: FlaskClient) -> None:
    assert "There is no run nobody." in page(client, "/result/nobody", 404)
    assert "There is no such page." in page(client, "/nothing", 404)
    assert "There is no run nobody." in page(client, "/?run=nobody", 404)
    assert "&lt;b&gt;" in client.get("/result/<b>", headers=BROWSER).text


@pytest.mark.parametrize(
    "address", ["/", "/runs", "/health", "/nothing", "/static/style.css", "/rules"]
)
def test_security_headers(client: FlaskClient, address: str) -> None:
    with client.get(address, headers=BROWSER) as answer:
        headers = answer.headers
    assert "unsafe-inline" not in headers["Content-Security-Policy"]
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_pages_have_no_inline_code(client: FlaskClient, runs: Runs) -> None:
    run_id = completed(client, runs)
    for address in ("/", "/runs", f"/result/{run_id}"):
        text = client.get(address, headers=BROWSER).text
        assert not re.search(r"<script(?![^>]*src=)|<style| style=| on[a-z]+=\"", text)
        assert not re.search(r'(src|href)="(https?:)?//', text)


def test_lines_of_a_request_carry_its_run_id(
    client: FlaskClient, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scripts.logger_config import current_run_id

    seen: list[str] = []
    real = Runs.run
    monkeypatch.setattr(
        Runs, "run", lambda self, run_id: seen.append(current_run_id()) or real(self, run_id)
    )
    client.get(f"/status/{RUN_ID}")
    client.get("/health")
    assert seen == [RUN_ID]
    assert current_run_id() == "-"


def test_an_accepted_run_is_logged(client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        client.post("/backtest", json=REQUEST)
    assert "Run accepted: ticker=GOOG, rule=MA_CROSS_10_30" in caplog.text


def test_the_web_writes_no_files(
    client: FlaskClient, runs: Runs, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = completed(client, runs)
    import builtins

    real = builtins.open

    def reading_only(file: Any, mode: str = "r", *rest: Any, **named: Any) -> Any:
        assert not set(mode) & set("wax+"), file
        return real(file, mode, *rest, **named)

    monkeypatch.setattr(builtins, "open", reading_only)
    for address in ("/", f"/result/{run_id}", "/runs"):
        assert client.get(address, headers=BROWSER).status_code == 200
    assert client.post("/backtest", data=FORM).status_code == 303


def test_a_reused_result_says_whose_it_is(client: FlaskClient, runs: Runs) -> None:
    first, second = (client.post("/backtest", json=REQUEST).json for _ in range(2))
    assert first is not None
    assert second is not None
    assert (first["reused_from"], second["reused_from"]) == (None, first["run_id"])
    page = client.get(f"/result/{second['run_id']}", headers={"Accept": "text/html"}).text
    assert f'href="/result/{first["run_id"]}"' in page
    assert "it is computed once." in page
