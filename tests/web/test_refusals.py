"""What the web refuses, with one sentence and no trace, and its answers when it fails."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from service.usecases.runs import Runs
from tests.support.requests import REQUEST, RUN_ID
from tests.support.web import BROWSER, FORM, page, refused


@pytest.mark.parametrize(
    ("change", "code", "sentence"),
    [
        ({"ticker": "NOPE"}, "BadInput", 'There are no prices of "NOPE"'),
        ({"ticker": "<script>alert(1)</script>"}, "BadInput", "ticker must be"),
        ({"ticker": "' OR 1=1 --"}, "BadInput", "ticker must be"),
        ({"rule_id": "RSX"}, "BadInput", "Did you mean RSI_14_30_70?"),
        ({"rule_id": "'; DROP TABLE runs; --"}, "BadInput", "There is no rule"),
        ({"rule_id": "<img src=x onerror=alert(1)>"}, "BadInput", "A combination is written"),
        (
            {"rule_id": "ALL(RSI"},
            "BadInput",
            "A combination is written ALL(A,B), ANY(A,B) or MAJORITY(A,B,C); got ALL(RSI.",
        ),
        ({"rule_id": "ALL(RSI,)"}, "BadInput", "ALL(...) has an empty place between its commas."),
        ({"params": {"self": 1}}, "BadInput", 'MA_CROSS has no parameter "self"'),
        ({"lot_size": 1e-310}, "BadInput", "lot_size must be"),
        ({"params": {"fast": 99}}, "BadInput", "fast must be below slow"),
        ({"params": {"fast": 5000}}, "BadInput", "fast must be between 1 and 1000, got 5000."),
        ({"params": {"<b>": 1}}, "BadInput", 'MA_CROSS has no parameter "<b>"'),
        ({"params": {"fast": 10**400}}, "BadInput", "params.fast must be a finite number"),
        (
            {"start_date": "2020-02-07", "end_date": "2013-01-02"},
            "BadInput",
            "must be before end_date",
        ),
        ({"start_date": "2030-01-01", "end_date": "2031-01-01"}, "NoData", "GOOG has 0 bars"),
        (
            {"start_date": "1990-01-01", "end_date": "1991-01-01"},
            "NoData",
            "its prices are from 2013-01-02 to 2023-09-21.",
        ),
        ({"start_date": "soon"}, "BadInput", "start_date must be a date"),
        ({"end_date": "2013-01-02", "start_date": "2013-01-01"}, "NoData", "GOOG has 1 bars"),
        ({"initial_capital": 0}, "BadInput", "initial_capital must be"),
        ({"initial_capital": -1}, "BadInput", "initial_capital must be"),
        ({"initial_capital": "much"}, "BadInput", "initial_capital must be"),
        ({"run_id": "7"}, "BadInput", "run_id must be a lower-case UUID4"),
        ({"unknown": 1}, "BadInput", 'There is no field "unknown"'),
    ],
)
def test_bad_requests_are_named_and_store_nothing(
    client: FlaskClient, runs: Runs, change: dict[str, Any], code: str, sentence: str
) -> None:
    refused(client.post("/backtest", json={**REQUEST, **change}), 400, code, sentence)
    assert runs.run_store.latest(1) == []


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"null", "must be a JSON object"),
        (b"[]", "must be a JSON object"),
        (json.dumps(REQUEST)[:-1].encode() + b', "initial_capital": NaN}', "NaN is not allowed"),
        (
            json.dumps(REQUEST)[:-1].encode() + b', "initial_capital": 1e999}',
            "initial_capital must be",
        ),
        (
            json.dumps(REQUEST)[:-1].encode() + b', "params": {"fast": 1e999}}',
            "params.fast must be a finite number",
        ),
        (json.dumps(REQUEST)[:-1].encode() + b', "ticker": "SPY"}', "a key appears twice"),
        (b"[" * 50_000, "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
    ],
)
def test_malformed_json_is_refused(client: FlaskClient, body: bytes, sentence: str) -> None:
    refused(
        client.post("/backtest", data=body, content_type="application/json"),
        400,
        "BadInput",
        sentence,
    )


def test_a_missing_field_is_named(client: FlaskClient) -> None:
    refused(client.post("/backtest", json={}), 400, "BadInput", "ticker is missing.")


def test_bodies_that_are_neither_json_nor_a_form_are_refused(client: FlaskClient) -> None:
    form = "application/x-www-form-urlencoded"
    answers = [
        client.post("/backtest", data="x", content_type="text/plain"),
        client.post("/backtest", data=json.dumps(REQUEST)),
        client.post("/backtest", data=json.dumps(REQUEST), content_type=form),
    ]
    for answer in answers:
        refused(answer, 415, "WrongType", "application/json or as a form")


def test_a_body_that_is_too_large_is_refused(client: FlaskClient) -> None:
    answer = client.post("/backtest", data="x" * 1_000_000, content_type="application/json")
    refused(answer, 413, "TooLarge", "too large")


def test_methods_and_addresses_that_there_are_not_are_named(client: FlaskClient) -> None:
    refused(client.get("/backtest"), 405, "MethodNotAllowed", "does not take that method")
    refused(client.get("/nothing"), 404, "NotFound", "no such page")
    refused(client.get(f"/status/{RUN_ID}"), 404, "NotFound", f"There is no run {RUN_ID}.")
    refused(client.get("/result/x"), 404, "NotFound", "There is no run x.")


@pytest.mark.parametrize(
    "query",
    [
        "limit=0x",
        "limit=-1",
        "limit=0",
        "limit=",
        "limit=201",
        f"before={'9' * 30}",
        "limit=\u0661",
    ],
)
def test_the_history_takes_whole_numbers_only(client: FlaskClient, query: str) -> None:
    sentence = "must be a whole number from 1 to"
    refused(client.get(f"/runs?{query}"), 400, "BadInput", sentence)


def test_the_history_takes_known_statuses_only(client: FlaskClient) -> None:
    sentence = "There is no status done; there are pending, running"
    refused(client.get("/runs?status=done"), 400, "BadInput", sentence)


def test_a_big_form_is_too_large(client: FlaskClient) -> None:
    refused(
        client.post("/backtest", data={"ticker": "x" * 1_000_000}), 413, "TooLarge", "too large"
    )


def test_a_full_queue_refuses_and_says_when_to_try_again(client: FlaskClient) -> None:
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
def test_a_database_that_cannot_be_reached_is_503(
    client: FlaskClient, runs: Runs, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def away(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(type(runs.run_store), "get", away)
    answer = client.get(f"/status/{RUN_ID}")
    refused(answer, 503, "DatabaseAway", "The database cannot be reached")
    assert "secret host" not in answer.text
    assert client.get("/health").status_code == 200
    assert "The database cannot be reached" in page(client, f"/result/{RUN_ID}", 503)


@pytest.mark.parametrize("field", ["ticker", "rule_id", "run_id", "note"])
def test_halves_of_characters_are_refused(client: FlaskClient, field: str) -> None:
    body = json.dumps({**REQUEST, field: "\ud800"})
    refused(
        client.post("/backtest", data=body, content_type="application/json"),
        400,
        "BadInput",
        "not valid JSON",
    )
