"""Batches on the pages: the form of several tickers and rules, and the matrix of their runs."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient

from service.contract.request import parse_request
from service.usecases.batches import Batches
from service.usecases.runs import Runs
from service.worker.run import RunWorker
from tests.support.web import BROWSER, FORM, page, refused

SEVERAL = {
    **FORM,
    "ticker": "goog, SPY;goog",
    "more_rules": "rsi_14_30_70 ALL(RSI,MACD) RSI_14_30_70",
}
DATES = {"start_date": "2013-01-02", "end_date": "2020-02-07"}


def ask(client: FlaskClient, **change: str) -> str:
    answer = client.post("/backtest", data={**SEVERAL, **change}, headers=BROWSER)
    assert answer.status_code == 303, answer.text
    return answer.headers["Location"]


def perform_all(runs: Runs) -> None:
    for run in runs.run_store.latest(100):
        if not run.status.final:
            document = json.loads(run.request)
            RunWorker(runs.run_store, runs.price_store).work(parse_request(document))


def test_the_form_asks_for_every_rule_on_every_ticker(client: FlaskClient, runs: Runs) -> None:
    address = ask(client)
    assert address.startswith("/batches/")
    text = page(client, address)
    assert "2 tickers × 3 rules" in text
    assert "0 of 6 runs have ended" in text
    assert text.count('class="state pending"') >= 6
    perform_all(runs)
    text = page(client, address)
    assert "6 of 6 runs have ended" in text
    assert text.count('type="checkbox" name="run"') == 6
    assert text.count("<strong>most beyond holding</strong>") == 1
    assert "Each run counts from 100 on" in text
    (listed,) = re.findall(r'href="(/runs\?q=batch[^"]+)"', text)
    assert "6 runs" in page(client, listed)
    document = client.get(address).json
    assert document is not None
    assert len(document["runs"]) == 6


@pytest.mark.parametrize(
    ("change", "rules"), [({"more_rules": ""}, 1), ({"ticker": "GOOG", "more_rules": "RSI"}, 2)]
)
def test_either_is_enough(client: FlaskClient, change: dict[str, str], rules: int) -> None:
    text = page(client, ask(client, **change))
    assert f"{rules} rule" in text


def test_one_bad_ticker_and_nothing_is_submitted_and_nothing_typed_is_lost(
    client: FlaskClient, runs: Runs
) -> None:
    change = {"ticker": "GOOG, NOPE, <b>", "more_rules": "RSX"}
    answer = client.post("/backtest", data={**SEVERAL, **change}, headers=BROWSER)
    assert answer.status_code == 400
    text = html.unescape(answer.text)
    for sentence in (
        "Nothing was submitted.",
        'There are no prices of "NOPE"',
        'There is no rule "RSX". Did you mean RSI_14_30_70?',
        'Ticker must be 1 to 32 of A-Z, 0-9 and . ^ = & _ / -, such as GOOG; got "<B>".',
    ):
        assert f"<p>{sentence}" in text
    assert 'value="GOOG, NOPE, &lt;b&gt;"' in answer.text
    assert 'value="RSX"' in answer.text
    assert runs.run_store.latest(1) == []


def test_programs_send_json(client: FlaskClient) -> None:
    document: dict[str, Any] = {
        "tickers": ["GOOG", "SPY"],
        "rules": ["RSI"],
        **DATES,
    }
    answer = client.post("/batches", json=document)
    assert answer.status_code == 202
    body = answer.json
    assert body is not None
    assert answer.headers["Location"] == body["url"] == f"/batches/{body['batch_id']}"
    assert client.get(body["url"]).json == body
    assert {run["batch_id"] for run in body["runs"]} == {body["batch_id"]}
    refused(client.post("/batches", data=FORM), 415, "WrongType", "")
    refused(client.get("/batches/none"), 404, "NotFound", "There is no run none.")
    wrong = client.post("/batches", json={**document, "tickers": ["NOPE", "GOOG", "NADA"]})
    refused(wrong, 400, "BadInput", 'Nothing was submitted.\nThere are no prices of "NOPE"')
    assert '"NADA"' in wrong.json["error"]  # type: ignore[index]


def test_the_same_idempotency_key_is_the_same_batch(client: FlaskClient) -> None:
    headers = {**BROWSER, "Idempotency-Key": "mine"}
    places = {
        client.post("/backtest", data=SEVERAL, headers=headers).headers["Location"]
        for _ in range(2)
    }
    assert len(places) == 1


def test_a_new_batch_says_that_nothing_has_a_result_yet(client: FlaskClient) -> None:
    text = page(client, ask(client))
    assert "None of these runs has a result yet" in text
    assert "no two days in common" not in text


def test_more_than_can_be_compared_are_chosen_from(client: FlaskClient, runs: Runs) -> None:
    rules = [f"RSI_{period}_30_70" for period in range(2, 14)]
    document = {"tickers": ["GOOG", "SPY"], "rules": rules, **DATES}
    batch = Batches(replace(runs, max_pending=100)).submit(document)
    text = page(client, f"/batches/{batch.batch_id}")
    assert "2 tickers × 12 rules" in text
    assert "Choose up to 20 runs to compare." in text
    assert text.count(">Compare</a>") == 14, "for each ticker, and for each rule"
