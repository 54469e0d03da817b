"""Idempotency-Key: a retry gives the same run, and no client gets another's; also ?force=."""

from __future__ import annotations

import html
import json
import re
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine

from service.contract.documents import schema
from service.usecases.runs import Runs
from tests.support.logins import BASIC, PASSWORD, TOKEN, basic, bearer, client_with
from tests.support.requests import REQUEST, RUN_ID
from tests.support.web import BROWSER, FORM, page, refused

PATTERN = schema("request.v1")["properties"]["run_id"]["pattern"]


def submit(
    client: FlaskClient, key: str, headers: dict[str, str] | None = None, **change: Any
) -> Any:
    body = {**REQUEST, **change}
    return client.post("/backtest", json=body, headers={"Idempotency-Key": key, **(headers or {})})


def test_a_retry_gives_the_same_run(client: FlaskClient, runs: Runs) -> None:
    first = submit(client, "a")
    again = submit(client, "a")
    other = submit(client, "b")
    assert first.status_code == again.status_code == 202
    assert first.json == again.json
    assert re.fullmatch(PATTERN, first.json["run_id"])
    assert other.json["run_id"] != first.json["run_id"]
    assert len(runs.run_store.latest(9)) == 2
    changed = submit(client, "a", ticker="SPY")
    refused(changed, 409, "Conflict", "exists with another request")


def test_the_key_means_the_same_in_a_form(client: FlaskClient, runs: Runs) -> None:
    headers = {**BROWSER, "Idempotency-Key": "a"}
    places = {
        client.post("/backtest", data=FORM, headers=headers).headers["Location"] for _ in range(2)
    }
    assert len(places) == len(runs.run_store.latest(9)) == 1


def test_a_run_id_of_its_own_goes_first(client: FlaskClient) -> None:
    assert submit(client, "a", run_id=RUN_ID).json["run_id"] == RUN_ID
    assert submit(client, "b", run_id=RUN_ID).json["run_id"] == RUN_ID
    refused(submit(client, "a", run_id="7"), 400, "BadInput", "run_id must be a lower-case UUID4")


def test_a_key_belongs_to_whoever_sent_it(engine: Engine, runs: Runs) -> None:
    client = client_with(engine, runs, BASIC)
    alice = basic("alice", PASSWORD)
    nightly = bearer(TOKEN)
    ids = {
        submit(client, "a", headers).json["run_id"] for headers in (alice, nightly, alice, nightly)
    }
    assert len(ids) == 2


@pytest.mark.parametrize(
    "key", ["x" * 200, "!", "~", '"quoted"', "'; DROP TABLE runs; --".replace(" ", ""), "{{7*7}}"]
)
def test_visible_ascii_is_a_key(client: FlaskClient, key: str) -> None:
    assert submit(client, key).status_code == 202


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 201, "x" * 60_000, "\xe9", "\x7f", "a\tb"])
def test_anything_else_is_no_key(client: FlaskClient, runs: Runs, key: str) -> None:
    refused(
        submit(client, key),
        400,
        "BadInput",
        "Idempotency-Key must be 1 to 200 visible ASCII characters.",
    )
    assert runs.run_store.latest(1) == []


@pytest.mark.parametrize("body", [b"[]", b"null", b"7", b'"x"', b"{"])
def test_a_key_mends_no_body(client: FlaskClient, body: bytes) -> None:
    answer = client.post(
        "/backtest", data=body, content_type="application/json", headers={"Idempotency-Key": "a"}
    )
    assert answer.status_code == 400


@pytest.mark.parametrize("force", ["true", "false"])
def test_force_is_taken_from_query_and_form(client: FlaskClient, force: str) -> None:
    assert client.post(f"/backtest?force={force}", json=REQUEST).status_code == 202
    assert client.post("/backtest", data={**FORM, "force": force}).status_code == 303


@pytest.mark.parametrize("force", ["", "1", "True", "yes", "true ", "<b>", "\u0000"])
def test_force_is_true_or_false(client: FlaskClient, runs: Runs, force: str) -> None:
    sentence = "force must be true or false"
    refused(
        client.post("/backtest", query_string={"force": force}, json=REQUEST),
        400,
        "BadInput",
        sentence,
    )
    answer = client.post("/backtest", data={**FORM, "force": force}, headers=BROWSER)
    assert answer.status_code == 400
    assert sentence in html.unescape(answer.text)
    assert runs.run_store.latest(1) == []


def test_the_form_keeps_the_tick(client: FlaskClient) -> None:
    tick = r'name="force" value="true"\s+checked'
    assert not re.search(tick, page(client, "/"))
    refused_form = client.post(
        "/backtest", data={**FORM, "ticker": "NOPE", "force": "true"}, headers=BROWSER
    )
    assert re.search(tick, refused_form.text)


def test_the_tick_is_no_part_of_the_request(client: FlaskClient, runs: Runs) -> None:
    client.post("/backtest", data={**FORM, "force": "true"})
    assert "force" not in json.loads(runs.run_store.latest(1)[0].request)
