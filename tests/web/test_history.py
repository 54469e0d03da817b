"""The list of runs: searched, sorted, marked, cancelled and deleted from its page."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest
from flask.testing import FlaskClient

from service.contract.status import Status
from service.usecases.runs import Runs
from tests.support.requests import REQUEST
from tests.support.web import BROWSER, completed, page, refused, swept


def asked(client: FlaskClient, **change: Any) -> str:
    """A run that waits."""
    return str(client.post("/backtest", json={**REQUEST, **change}).json["run_id"])  # type: ignore[index]


def listed(client: FlaskClient, address: str) -> list[str]:
    return [run["run_id"] for run in client.get(address).json["runs"]]  # type: ignore[index]


def test_the_list_has_period_costs_holding_and_excess(client: FlaskClient, runs: Runs) -> None:
    run_id = completed(client, runs)
    (run,) = client.get("/runs").json["runs"]  # type: ignore[index]
    metrics = client.get(f"/result/{run_id}").json["metrics"]  # type: ignore[index]
    assert (run["start_date"], run["end_date"]) == (REQUEST["start_date"], REQUEST["end_date"])
    assert run["costs_pct"] == 0.1
    assert run["buy_and_hold_return_pct"] == metrics["buy_and_hold_return_pct"]
    difference = run["total_return_pct"] - run["buy_and_hold_return_pct"]
    assert run["excess_pct"] == difference
    text = page(client, "/runs")
    for value in (
        f"{REQUEST['start_date']} – {REQUEST['end_date']}",
        "0.1 %",
        f"{difference:,.2f}",
    ):
        assert value in text
    again = asked(client)
    assert client.get("/runs?q=rule=RSI").json["runs"] == []  # type: ignore[index]
    assert listed(client, "/runs?q=excess_pct<0") == [again, run_id], "an answered one has them too"


def test_the_address_has_the_whole_state(client: FlaskClient) -> None:
    for number in range(5):
        asked(client, initial_capital=1000 + number)
    text = page(client, "/runs?q=ticker%3DGOOG+status%3Dpending&sort=-costs_pct&limit=2")
    assert 'value="ticker=GOOG status=pending"' in text
    assert 'aria-sort="descending"' in text
    assert "5 runs" in text
    (following,) = re.findall(r'rel="next" href="([^"]+)"', text)
    second = page(client, following)
    assert 'value="ticker=GOOG status=pending"' in second
    (previous,) = re.findall(r'rel="prev" href="([^"]+)"', second)
    first_rows, second_rows = (re.findall('id="run-([^"]+)"', each) for each in (text, second))
    assert not set(first_rows) & set(second_rows)
    assert re.findall('id="run-([^"]+)"', page(client, previous)) == first_rows


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("q=sharp>1", 'There is no field "sharp". Did you mean sharpe_ratio?'),
        ("q=<script>", "<script> is no condition"),
        ("sort=colour", "sort must be one of asked, ticker"),
        ("before=x", "before must be a whole number"),
        ("before=5:x&sort=sharpe_ratio", "before must be the place that another page"),
        ("after=5:nan&sort=sharpe_ratio", "after must be the place that another page"),
        ("status=done", "There is no status done; there are pending"),
        ("limit=0", "limit must be a whole number from 1 to 200"),
    ],
)
def test_a_wrong_search_says_so_beside_what_was_typed(
    client: FlaskClient, query: str, sentence: str
) -> None:
    refused(client.get(f"/runs?{query}"), 400, "BadInput", sentence)
    text = page(client, f"/runs?{query}", 400)
    assert sentence in text
    assert 'role="alert"' in text
    assert "<script>&" not in client.get(f"/runs?{query}", headers=BROWSER).text


def test_stars_and_tags_of_many_runs_at_once(client: FlaskClient) -> None:
    ids = [asked(client, initial_capital=1000 + number) for number in range(3)]
    chosen = {"run": ids[:2]}
    answer = client.post(
        "/runs/bulk?q=status%3Dpending&sort=ticker", data={**chosen, "action": "star"}
    )
    assert answer.status_code == 303
    assert answer.headers["Location"] == "/runs?q=status%3Dpending&sort=ticker&did=star&count=2"
    assert "2 runs have a star now." in page(client, answer.headers["Location"])
    client.post("/runs/bulk", data={**chosen, "action": "tag", "tag": "idea, 좋음"})
    assert re.search(r'href="/runs\?q=tag%3Didea">idea 2</a>', page(client, "/runs"))
    assert set(listed(client, "/runs?q=star")) == set(ids[:2])
    assert set(listed(client, "/runs?q=tag=좋음 tag=idea")) == set(ids[:2])
    client.post("/runs/bulk", data={"run": ids[0], "action": "untag", "tag": "idea"})
    assert listed(client, "/runs?q=tag=idea") == [ids[1]]
    one = client.post(f"/runs/bulk?only={ids[1]}&q=star", data={**chosen, "action": "unstar"})
    assert one.headers["Location"] == f"/runs?q=star#run-{ids[1]}"
    assert listed(client, "/runs?q=star") == [ids[0]]
    assert client.post("/runs/bulk", json={"runs": ids, "action": "star"}).json == {"changed": 3}


def test_deleting_asks_first_and_says_what_goes(client: FlaskClient, runs: Runs) -> None:
    done, waiting = completed(client, runs), asked(client, initial_capital=7)
    form = {"run": [done, waiting], "action": "delete"}
    answer = client.post("/runs/bulk?sort=ticker", data=form, headers=BROWSER)
    assert answer.status_code == 200
    assert "1 run goes for good" in answer.text
    assert "1 run has not ended and stays" in answer.text
    assert listed(client, "/runs") == [waiting, done]
    confirmed = client.post("/runs/bulk?sort=ticker", data={**form, "confirmed": "yes"})
    assert confirmed.headers["Location"] == "/runs?sort=ticker&did=delete&count=1"
    assert listed(client, "/runs") == [waiting]
    assert client.get(f"/result/{done}").status_code == 404
    assert client.post("/runs/bulk", json={"runs": [waiting], "action": "delete"}).json == {
        "changed": 0
    }


def test_cancelling_many_leaves_those_that_have_ended(client: FlaskClient, runs: Runs) -> None:
    ids = [
        completed(client, runs),
        asked(client, initial_capital=7),
        asked(client, initial_capital=8),
    ]
    body = {"runs": ids, "action": "cancel"}
    assert client.post("/runs/bulk", json=body).json == {"changed": 2}
    statuses = [runs.run(run_id).status for run_id in ids]
    assert statuses == [Status.COMPLETED, Status.CANCELLED, Status.CANCELLED]
    assert client.post("/runs/bulk", json=body).json == {"changed": 0}


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        ({"runs": [], "action": "star"}, 400, "Choose 1 to 500 runs; got 0."),
        ({"runs": ["x"] * 501, "action": "star"}, 400, "Choose 1 to 500 runs; got 501."),
        ({"runs": ["nobody"], "action": "star"}, 404, "There is no run nobody."),
        ({"runs": "x", "action": "star"}, 400, "runs must be a list of run_ids; got x."),
        ({"runs": ["x"], "action": "burn"}, 400, "action must be one of star, unstar"),
        ({"runs": ["x"], "action": "tag"}, 400, "tag is missing."),
        ({"runs": ["x"], "action": "star", "tag": 5}, 400, "tag must be a text; got 5."),
        ({"runs": ["x"], "action": 5}, 400, "action must be a text; got 5."),
        ({"action": "star"}, 400, "runs is missing."),
        ({"runs": ["x"], "action": "star", "all": 1}, 400, 'There is no field "all".'),
        ([], 400, "The request must be a JSON object."),
    ],
)
def test_what_cannot_be_done_to_many(
    client: FlaskClient, body: Any, status: int, sentence: str
) -> None:
    refused(
        client.post("/runs/bulk", json=body),
        status,
        "NotFound" if status == 404 else "BadInput",
        sentence,
    )


def test_a_run_gets_star_tags_and_a_note_on_its_page(client: FlaskClient, runs: Runs) -> None:
    run_id = completed(client, runs)
    form = {"tags": "idea  later,x", "note": "Look again.\r\n<b>bold</b>", "version": "0"}
    answer = client.post(f"/runs/{run_id}/marks", data=form, headers=BROWSER)
    assert answer.headers["Location"] == f"/result/{run_id}#marks"
    client.post(f"/runs/{run_id}/marks", data={"star": "yes"}, headers=BROWSER)
    assert client.get(f"/runs/{run_id}/marks").json == {
        "star": True,
        "tags": ["idea", "later", "x"],
        "note": "Look again.\n<b>bold</b>",
        "version": 1,
    }
    answer = client.get(f"/result/{run_id}", headers=BROWSER)
    assert "&lt;b&gt;bold" in answer.text
    assert "<b>bold" not in answer.text
    assert listed(client, "/runs?q=note~again") == [run_id]
    client.post(f"/runs/{run_id}/marks", json={"tags": ["x"], "star": False})
    assert client.get(f"/runs/{run_id}/marks").json["tags"] == ["x"]  # type: ignore[index]


def test_the_later_of_two_editors_is_told_and_loses_nothing(
    client: FlaskClient, runs: Runs
) -> None:
    run_id = completed(client, runs)
    address = f"/runs/{run_id}/marks"
    client.post(address, json={"note": "of the first", "version": 0})
    late = {"note": "of the second", "tags": "mine", "version": "0"}
    answer = client.post(address, data=late, headers=BROWSER)
    assert answer.status_code == 409
    assert "Somebody changed this note while you were writing." in answer.text
    assert "of the first" in answer.text
    assert ">of the second</textarea>" in answer.text
    assert 'value="mine"' in answer.text
    assert client.get(address).json["tags"] == []  # type: ignore[index]
    (version,) = re.findall(r'name="version" value="(\d+)"', answer.text)
    both = {**late, "note": "of both", "version": version}
    assert client.post(address, data=both, headers=BROWSER).status_code == 303
    assert client.get(address).json["note"] == "of both"  # type: ignore[index]
    refused(client.post(address, json={"note": "x", "version": 1}), 409, "Conflict", "Somebody")
    # Whoever writes what stands there already changes nothing.
    assert client.post(address, json={"note": "of both"}).status_code == 200


def test_a_tag_that_somebody_adds_while_the_page_is_open_stays(client: FlaskClient) -> None:
    run_id = asked(client)
    address = f"/runs/{run_id}/marks"
    client.post(address, json={"tags": ["old", "shown"]})
    client.post("/runs/bulk", json={"runs": [run_id], "action": "tag", "tag": "of-another"})
    form = {"shown_tags": "old shown", "tags": "shown mine"}
    client.post(address, data=form, headers=BROWSER)
    assert client.get(address).json["tags"] == ["mine", "of-another", "shown"]  # type: ignore[index]


def test_a_refused_action_keeps_the_choice(client: FlaskClient) -> None:
    run_id = asked(client)
    form = {"run": run_id, "action": "tag", "tag": "x" * 41}
    answer = client.post("/runs/bulk?q=star", data=form, headers=BROWSER)
    assert answer.status_code == 400
    assert "tag must be a word of 1 to 40 characters" in answer.text
    assert f'name="run" value="{run_id}"' in answer.text
    assert f'value="{"x" * 41}"' in answer.text
    assert 'href="/runs?q=star"' in answer.text


@pytest.mark.parametrize("path", ["/backtest", "/sweeps"])
@pytest.mark.parametrize("field", ["rule", "rule_id"])
def test_a_form_without_a_ticker_is_refused(client: FlaskClient, path: str, field: str) -> None:
    answer = client.post(path, data={field: "RSI"}, headers=BROWSER)
    assert answer.status_code == 400
    assert "New backtest" in answer.text


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"tags": ["x" * 500]}, "tag must be a word of 1 to 40 characters"),
        ({"tags": ["two words"]}, "tag must be a word of 1 to 40 characters"),
        (
            {"tags": [f"t{number}" for number in range(21)]},
            "A run has at most 20 tags; this would be 21.",
        ),
        ({"tags": "idea"}, "tags must be a list of texts; got idea."),
        ({"note": "x" * 4001}, "A note has at most 4000 characters, got 4001."),
        ({"note": 5}, "note must be a text; got 5."),
        ({"note": "x", "version": True}, "version must be a whole number; got True."),
        ({"star": "yes"}, "star must be true or false; got yes."),
        ({"stars": True}, 'There is no field "stars". The fields are star, tags, note, version.'),
    ],
)
def test_marks_that_are_none_change_nothing(
    client: FlaskClient, body: dict[str, Any], sentence: str
) -> None:
    run_id = asked(client)
    address = f"/runs/{run_id}/marks"
    refused(client.post(address, json={"note": "kept", **body}), 400, "BadInput", sentence)
    assert client.get(address).json == {"star": False, "tags": [], "note": "", "version": 0}


def test_a_note_of_a_megabyte_and_a_tag_of_500_characters(client: FlaskClient) -> None:
    run_id = asked(client)
    address = f"/runs/{run_id}/marks"
    huge = client.post(address, data={"note": "x" * 2**20}, headers=BROWSER)
    assert huge.status_code == 413
    form = {"tags": "x" * 500, "note": "not lost", "version": "0"}
    answer = client.post(address, data=form, headers=BROWSER)
    assert answer.status_code == 400
    assert "tag must be a word of 1 to 40 characters" in answer.text
    assert ">not lost</textarea>" in answer.text
    refused(client.get(f"/runs/{uuid.uuid4()}/marks"), 404, "NotFound", "There is no run")


def test_searches_are_in_the_same_list_and_have_marks_too(client: FlaskClient, runs: Runs) -> None:
    search, run_id = swept(client, runs), completed(client, runs)
    assert listed(client, "/runs?q=kind=sweep") == [search]
    assert listed(client, "/runs?q=kind!=sweep") == [run_id]
    client.post(f"/runs/{search}/marks", data={"star": "yes"}, headers=BROWSER)
    text = page(client, f"/sweeps/{search}")
    assert 'aria-pressed="true"' in text


def test_the_costs_of_the_last_run_come_back(client: FlaskClient) -> None:
    asked(client, commission_rate=0.0025, slippage_rate=0.0005, lot_size=10)
    used = {"commission_rate": "0.0025", "slippage_rate": "0.0005", "lot_size": "10"}
    for path in ("/", "/sweeps"):
        text = page(client, path)
        for name, value in used.items():
            assert re.search(rf'name="{name}"[^>]*value="{value}"', text), (path, name)
    other = client.get("/", headers=BROWSER, environ_base={"REMOTE_ADDR": "203.0.113.9"})
    assert re.search(r'name="commission_rate"[^>]*value="0.001"', other.text)


def test_tickers_are_listed_by_what_was_typed(client: FlaskClient) -> None:
    names = [ticker["ticker"] for ticker in client.get("/tickers").json["tickers"]]  # type: ignore[index]
    assert names == ["GOOG", "SPY"]
    assert [t["ticker"] for t in client.get("/tickers?prefix=go").json["tickers"]] == ["GOOG"]  # type: ignore[index]
    assert len(client.get("/tickers?limit=1").json["tickers"]) == 1  # type: ignore[index]
    refused(client.get("/tickers?limit=0"), 400, "BadInput", "limit must be a whole number")
