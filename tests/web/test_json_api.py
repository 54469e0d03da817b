"""The web as programs see it: every route answers JSON or CSV."""

from __future__ import annotations

import json
import logging

import pytest
from flask.testing import FlaskClient
from sqlalchemy.exc import OperationalError

from rules.registry import BUILT_IN
from service.contract.documents import checker
from service.usecases.runs import Runs
from service.web.factory import create_app
from tests.support.requests import REQUEST, RUN_ID
from tests.support.web import completed, page, refused


def test_json_is_answered_with_the_addresses_of_status_and_result(client: FlaskClient) -> None:
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


def test_the_same_run_id_twice_is_one_run(client: FlaskClient) -> None:
    body = {"run_id": RUN_ID, **REQUEST}
    assert client.post("/backtest", json=body).json == client.post("/backtest", json=body).json
    other = client.post("/backtest", json={**body, "ticker": "SPY"})
    assert other.status_code == 409
    assert other.json == {
        "error": f"Run {RUN_ID} exists with another request; send a new run_id or none.",
        "code": "Conflict",
        "run_id": RUN_ID,
    }


def test_the_result_is_answered_as_json(client: FlaskClient, runs: Runs) -> None:
    run_id = completed(client, runs)
    answer = client.get(f"/result/{run_id}")
    assert checker("result.v1")(answer.json) is None
    assert answer.data == client.get(f"/result/{run_id}").data
    assert answer.json["total_return_pct"] == pytest.approx(162.94554248685, rel=1e-9)
    assert client.get(f"/status/{run_id}").json["status"] == "completed"  # type: ignore[index]


def test_the_tables_are_answered_as_csv(client: FlaskClient, runs: Runs) -> None:
    run_id = completed(client, runs)
    equity = client.get(f"/result/{run_id}/equity.csv")
    assert equity.mimetype == "text/csv"
    assert equity.text.splitlines()[0] == "date,equity,drawdown,position,buy_and_hold"
    assert len(equity.text.splitlines()) == 1789
    trades = client.get(f"/result/{run_id}/trades.csv").text.splitlines()
    assert (
        trades[0] == "entry_date,entry_price,exit_date,exit_price,shares,"
        "direction,pnl,return_pct,holding_days"
    )
    assert len(trades) == 35


def test_an_unfinished_run_has_no_tables(client: FlaskClient) -> None:
    run_id = client.post("/backtest", json=REQUEST).json["run_id"]  # type: ignore[index]
    for table in ("equity", "trades"):
        answer = client.get(f"/result/{run_id}/{table}.csv")
        refused(answer, 404, "NotFound", f"Run {run_id} has no result: it is pending.")


def test_a_failed_run_says_why(client: FlaskClient, runs: Runs) -> None:
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
    evidence = {
        "exit_code": 0,
        "events": ["Job bt-1: BackoffLimitExceeded"],
        "log": ["one", "<script>alert(1)</script>"],
    }
    runs.run_store.fail(run, "OutOfMemory", "Killed.", json.dumps(evidence))
    page = client.get(f"/result/{run.run_id}", headers={"Accept": "text/html"}).text
    assert "Exit code: <code>0</code>" in page
    assert "Job bt-1: BackoffLimitExceeded" in page
    assert "one\n&lt;script&gt;alert(1)&lt;/script&gt;" in page
    document = client.get(f"/result/{run.run_id}").get_json()
    assert document["provenance"]["evidence"] == evidence
    other = runs.submit(dict(REQUEST), force=True)[0]
    runs.run_store.fail(other, "NoData", "None.", None)
    page = client.get(f"/result/{other.run_id}", headers={"Accept": "text/html"}).text
    assert "What was seen" not in page


def test_the_history_comes_in_pages(client: FlaskClient) -> None:
    for i in range(5):
        client.post("/backtest", json={**REQUEST, "initial_capital": 1000 + i})
    first = client.get("/runs?limit=2").json
    assert first is not None
    assert len(first["runs"]) == 2
    second = client.get(first["next"]).json
    third = client.get(second["next"]).json  # type: ignore[index]
    assert third["next"] is None  # type: ignore[index]
    ids = [run["run_id"] for body in (first, second, third) for run in body["runs"]]
    assert len(set(ids)) == 5
    assert client.get(third["previous"]).json["runs"] == second["runs"]  # type: ignore[index]
    nothing = {"runs": [], "count": 0, "previous": None, "next": None}
    assert client.get("/runs?ticker=SPY").json == nothing
    assert len(client.get("/runs?ticker=goog").json["runs"]) == 5  # type: ignore[index]
    assert len(client.get("/runs?status=pending&ticker=GOOG").json["runs"]) == 5


def test_rules_and_tickers_are_listed(client: FlaskClient) -> None:
    rules = client.get("/rules").json["rules"]  # type: ignore[index]
    assert [rule["name"] for rule in rules] == list(BUILT_IN)
    combinations = client.get("/rules").json["combinations"]  # type: ignore[index]
    assert combinations == {
        "modes": ["ALL", "ANY", "MAJORITY"],
        "most_rules": 8,
        "example": "ALL(MA_CROSS,RSI)",
    }
    assert rules[0]["parameters"][0] == {
        "name": "fast",
        "type": "integer",
        "default": 10,
        "low": 1,
        "high": 1000,
        "meaning": "Bars in the fast average",
    }
    tickers = client.get("/tickers").json["tickers"]  # type: ignore[index]
    assert [ticker["ticker"] for ticker in tickers] == ["GOOG", "SPY"]
    assert (tickers[1]["first_day"], tickers[1]["bars"]) == ("2000-05-01", 5033)


def test_health_and_ready_are_ok(client: FlaskClient) -> None:
    assert client.get("/health").json == {"status": "ok"}
    assert client.get("/ready").json == {"status": "ok", "missing": [], "warnings": []}


def test_ready_says_what_is_missing(runs: Runs) -> None:
    def away() -> bool:
        raise OperationalError("select", {}, Exception("gone"))

    for check, missing in (
        (away, "cannot be reached"),
        (lambda: "Run python -m service.store.migrate.", "service.store.migrate"),
    ):
        answer = create_app(runs, check).test_client().get("/ready")
        assert answer.status_code == 503
        assert missing in answer.json["missing"][0]  # type: ignore[index]


def test_a_reused_result_says_whose_it_is(client: FlaskClient, runs: Runs) -> None:
    first, second = (client.post("/backtest", json=REQUEST).json for _ in range(2))
    assert first is not None
    assert second is not None
    assert (first["reused_from"], second["reused_from"]) == (None, first["run_id"])
    page = client.get(f"/result/{second['run_id']}", headers={"Accept": "text/html"}).text
    assert f'href="/result/{first["run_id"]}"' in page
    assert "the two will share one result." in page


def test_lines_of_a_request_carry_its_run_id(
    client: FlaskClient, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scripts.logger_config import current_run_id

    logged: list[str] = []
    real = Runs.run
    monkeypatch.setattr(
        Runs, "run", lambda self, run_id: logged.append(current_run_id()) or real(self, run_id)
    )
    client.get(f"/status/{RUN_ID}")
    client.get("/health")
    assert logged == [RUN_ID]
    assert current_run_id() == "-"


def test_an_accepted_run_is_logged(client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        client.post("/backtest", json=REQUEST)
    assert "Run accepted: ticker=GOOG, rule=MA_CROSS_10_30" in caplog.text


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
        warnings = client.get(f"/result/{run_id}").json["provenance"]["warnings"]
        assert [warning["code"] for warning in warnings][:2] == ["Clipped", "Clipped"]
    for first, last in (("0001-01-01", "0002-01-01"), ("9000-01-01", "9999-12-31")):
        answer = client.post("/backtest", json={**REQUEST, "start_date": first, "end_date": last})
        refused(answer, 400, "NoData", "GOOG has 0 bars")
