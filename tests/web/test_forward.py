"""What pages and the API say of the forward record."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine, insert

from service.contract.documents import canonical_json
from service.store.forward import Forward
from service.store.tables import forward_records
from service.usecases.runs import Runs
from service.web.forward_page import place_of, since_of
from tests.support.stores import EveryStore
from tests.support.web import BROWSER, completed, page

RECORD = {
    "asked_until": "2020-02-07",
    "bars": 21,
    "is_same_past": True,
    "is_same_rule": True,
    "first_bar": "2020-02-10",
    "last_bar": "2020-03-10",
    "equity_before": 200_000.0,
    "equity_now": 203_000.0,
    "return_pct": 1.5,
    "holding_pct": -3.25,
    "sharpe_ratio": 0.75,
    "low_pct": -7.1,
    "high_pct": 9.3,
    "is_inside": True,
}


def starred(client: FlaskClient, runs: Runs, **changes: Any) -> int:
    """A run with a star; its id."""
    run_id = completed(client, runs, **changes)
    number = runs.run(run_id).id
    runs.run_store.star([number], is_starred=True)
    return number


def keep(engine: Engine, run: int, record: dict[str, Any]) -> None:
    row = {"runs_id": run, "prices_fingerprint": "f" * 64, "record": canonical_json(record)}
    with engine.begin() as connection:
        connection.execute(insert(forward_records).values(row))


def address_of(engine: Engine, run: int) -> str:
    (found,) = (each for each in EveryStore(engine).latest(50) if each.id == run)
    return f"/result/{found.run_id}"


def test_the_page_of_a_run_says_what_it_made_since(
    client: FlaskClient, runs: Runs, engine: Engine
) -> None:
    run_id = completed(client, runs)
    address = f"/result/{run_id}"
    assert "Star this run to see what it makes" in page(client, address)
    run = runs.run(run_id).id
    runs.run_store.star([run], is_starred=True)
    assert "As soon as there are newer prices of GOOG" in page(client, address)
    keep(engine, run, RECORD)
    shown = page(client, address).replace("\N{NO-BREAK SPACE}", " ")
    assert "Since you asked: 21 new bars, 2020-02-10 to 2020-03-10." in shown
    assert "It made 1.50 %, holding -3.25 %." in shown
    assert "as many bars bring -7.10 % to 9.30 %: that is as expected." in shown
    assert "Sharpe ratio 0.75." in shown
    korean = page(client, address, **{"Accept-Language": "ko"})
    assert "요청 이후 새 봉 21개(2020-02-10 ~ 2020-03-10)가" in korean


@pytest.mark.parametrize(
    ("change", "sentence", "tone"),
    [
        ({"return_pct": -8.0, "is_inside": False}, "less than expected", "loss"),
        ({"return_pct": 10.0, "is_inside": False}, "more than expected", "gain"),
        ({"is_inside": None, "low_pct": None, "high_pct": None}, "holding -3.25 %.", ""),
        ({"bars": 1}, "1 new bar,", ""),
        ({"is_same_past": False}, "other ones before that", ""),
        ({"is_same_rule": False}, "The rule has changed", ""),
        ({"bars": 0}, "As soon as there are newer prices", ""),
        (
            {"problem": "Gone.", "template": "{why} gone.", "values": {"why": "It is"}},
            "It could not be extended: It is gone.",
            "",
        ),
        (
            {"problem": "Gone.", "template": "{why:,} gone.", "values": {"why": "It is"}},
            "It could not be extended: Gone.",
            "",
        ),
        ({"sharpe_ratio": None}, "holding -3.25 %.", ""),
        ({"return_pct": None, "is_inside": None}, "It made –, holding", ""),
    ],
)
def test_the_sentence(
    client: FlaskClient, runs: Runs, change: dict[str, Any], sentence: str, tone: str
) -> None:
    run = runs.run(completed(client, runs))
    with client.application.test_request_context():
        since = since_of(run, is_starred=True, forward=Forward("f", {**RECORD, **change}))
    said = " ".join([since.sentence, *since.remarks]).replace("\N{NO-BREAK SPACE}", " ")
    assert sentence in said
    assert since.tone == tone


@pytest.mark.parametrize(
    ("return_pct", "is_inside", "place"),
    [(1.0, True, "inside"), (-9.0, False, "below"), (9.9, False, "above"), (1.0, None, "")],
)
def test_the_place(return_pct: float, is_inside: bool | None, place: str) -> None:
    assert place_of({**RECORD, "return_pct": return_pct, "is_inside": is_inside}) == place


def test_the_list_has_all_starred_runs(client: FlaskClient, runs: Runs, engine: Engine) -> None:
    assert "No run has a star yet." in page(client, "/forward")
    inside = starred(client, runs)
    below = starred(client, runs, rule_id="RSI_14_30_70")
    waiting = starred(client, runs, rule_id="MA_CROSS_20_50")
    gone = starred(client, runs, rule_id="MA_CROSS_21_50")
    unreadable = starred(client, runs, rule_id="MA_CROSS_22_50")
    completed(client, runs, rule_id="MA_CROSS_23_50")
    keep(engine, inside, RECORD)
    keep(engine, below, {**RECORD, "return_pct": -8.0, "is_inside": False})
    template = "There are no prices of {ticker}."
    problem = {"problem": "English.", "template": template, "values": {"ticker": "XYZ"}}
    keep(engine, gone, {"bars": 0, **problem})
    with engine.begin() as connection:
        row = {"runs_id": unreadable, "prices_fingerprint": "f", "record": "{"}
        connection.execute(insert(forward_records).values(row))
    shown = page(client, "/forward")
    assert "1 of 2 are as expected, 1 below, 0 above" in shown
    assert shown.index("MA_CROSS_10_30") < shown.index("MA_CROSS_20_50"), "new bars come first"
    assert shown.count("no newer prices yet") == 2
    assert "There are no prices of XYZ." in shown
    assert "MA_CROSS_23_50" not in shown
    document = client.get("/forward?format=json").json
    assert document is not None
    records = {each["rule_id"]: each["record"] for each in document["records"]}
    assert records["MA_CROSS_10_30"] == RECORD
    assert records["MA_CROSS_20_50"] is None
    assert records["MA_CROSS_22_50"] is None
    assert waiting


def test_the_job_that_extends_leads_to_the_list(
    client: FlaskClient, runs: Runs, engine: Engine
) -> None:
    run = starred(client, runs)
    store = EveryStore(engine)
    assert store.record_forward_runs(20) == [], "the prices are those that it was asked for on"
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE runs SET prices_fingerprint = 'older'")
    assert store.record_forward_runs(20) == ["GOOG"]
    (job,) = (each for each in store.queued(20) if each.kind == "forward")
    answer = client.get(f"/result/{job.run_id}", headers=BROWSER)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/forward")
    listed = page(client, "/runs?q=kind%3Dforward")
    assert "starred runs" in listed
    assert job.run_id in listed
    assert run


@pytest.mark.parametrize(
    "record",
    [
        "[]",
        "{}",
        '{"bars":"many"}',
        '{"bars":5}',
        '{"bars":true}',
        '{"bars":0,"problem":7}',
        canonical_json({**RECORD, "return_pct": "x"}),
        canonical_json({**RECORD, "is_same_rule": 1}),
        canonical_json({name: value for name, value in RECORD.items() if name != "first_bar"}),
    ],
)
def test_a_record_that_is_none_hides_no_page(
    client: FlaskClient, runs: Runs, engine: Engine, record: str
) -> None:
    run_id = completed(client, runs)
    run = runs.run(run_id).id
    runs.run_store.star([run], is_starred=True)
    with engine.begin() as connection:
        row = {"runs_id": run, "prices_fingerprint": "f", "record": record}
        connection.execute(insert(forward_records).values(row))
    assert "As soon as there are newer prices" in page(client, f"/result/{run_id}")
    assert "no newer prices yet" in page(client, "/forward")
    assert client.get("/forward?format=json").status_code == 200


def test_jobs_that_nobody_asked_for_are_listed_only_where_they_are_wanted(
    client: FlaskClient, runs: Runs, engine: Engine
) -> None:
    starred(client, runs)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE runs SET prices_fingerprint = 'older'")
    store = EveryStore(engine)
    assert store.record_forward_runs(20) == ["GOOG"]
    kinds = {run["kind"] for run in client.get("/runs?format=json").json["runs"]}  # type: ignore[index]
    assert kinds == {"backtest"}
    latest = store.latest_of("")
    assert latest is None or latest.kind != "forward"
