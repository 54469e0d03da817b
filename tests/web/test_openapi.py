"""The description of the API is whole, valid and true; the page shows all of it."""

from __future__ import annotations

import html
import io
import re
import uuid
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from flask import Flask
from openapi_spec_validator import OpenAPIV31SpecValidator
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from service.contract.documents import schema
from service.store.migrate import schema_problem
from service.usecases.runs import Runs
from service.web.factory import create_app, put_behind
from service.web.middleware import guesses
from service.web.middleware.auth import Login
from service.web.openapi.document import ERRORS
from tests.support.logins import BASIC, PROXY, TOKEN, bearer
from tests.support.openapi_check import CheckedClient, Seen, described_by
from tests.support.prices import prices
from tests.support.requests import REQUEST, SWEEP
from tests.support.web import BROWSER, FORM, completed, swept

CSV = prices("GOOG", 60).to_csv()
FOREIGN = {"Sec-Fetch-Site": "cross-site"}
LOGINS = pytest.mark.parametrize("login", [Login(), BASIC, PROXY], ids=lambda login: login.mode)


def client_with(engine: Engine, runs: Runs, login: Login) -> CheckedClient:
    app = create_app(runs, partial(schema_problem, engine), login=login, price_vendors=["yahoo"])
    app.test_client_class = CheckedClient
    client = app.test_client()
    assert isinstance(client, CheckedClient)
    return client


@LOGINS
def test_it_is_openapi_3_1(engine: Engine, runs: Runs, login: Login) -> None:
    document = client_with(engine, runs, login).get("/openapi.json", headers=bearer(TOKEN)).json
    assert document["openapi"] == "3.1.0"  # type: ignore[index]
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []  # type: ignore[arg-type]


def test_every_rule_is_described(engine: Engine, runs: Runs) -> None:
    app = client_with(engine, runs, Login()).application
    described = described_by(app)["paths"]
    ours = {
        (re.sub(r"<(\w+:)?(\w+)>", r"{\2}", rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert {
        (path, method) for path, operations in described.items() for method in operations
    } == ours
    for operations in described.values():
        for operation in operations.values():
            assert operation["summary"].endswith(".")


def test_a_route_that_nobody_described_is_noticed(engine: Engine, runs: Runs) -> None:
    app: Flask = create_app(runs, partial(schema_problem, engine))
    app.add_url_rule("/secret", view_func=lambda: "x", endpoint="secret")
    with pytest.raises(AttributeError, match="operation"):
        described_by(app)


def test_the_contracts_stand_in_it_as_they_are(engine: Engine, runs: Runs) -> None:
    schemas = described_by(client_with(engine, runs, Login()).application)["components"]["schemas"]
    ours_of = {"request.v1": "Request", "result.v1": "Result", "status.v1": "Status"}
    for name, ours in (
        ours_of | {"sweep.v1": "SweepRequest", "sweep_result.v1": "SweepResult"}
    ).items():
        assert schemas[ours]["properties"] == schema(name)["properties"]
        assert schemas[ours]["additionalProperties"] is False
    assert set(schema("request.v1")["required"]) - set(schemas["Request"]["required"]) == {"run_id"}


def declared(app: Flask) -> Seen:
    return {
        (method, path, int(status))
        for path, operations in described_by(app)["paths"].items()
        for method, operation in operations.items()
        for status in operation["responses"]
        if status != "default"
    }


@LOGINS
def test_every_declared_status_is_really_given(
    engine: Engine, runs: Runs, monkeypatch: pytest.MonkeyPatch, login: Login
) -> None:
    client = client_with(engine, replace(runs, max_pending=3), login)
    open_client = client_with(engine, runs, Login())
    other = completed(open_client, runs, initial_capital=5)
    run_id = completed(open_client, runs), swept(open_client, runs), other
    if login.mode != "none":
        everything(client, run_id)
        client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {TOKEN}"
    if login.mode == "basic":
        with monkeypatch.context() as full:
            full.setattr(guesses, "MAX_AT_ONCE", 0)
            everything(client, run_id, {"Authorization": "Basic bm9ib2R5Ong="})
    good_and_bad(client, run_id)
    everything(client, ("nobody", "nobody", "no one"))
    everything(client, run_id, FOREIGN)
    everything(client, run_id, {"If-None-Match": "*"})
    everything(client, run_id, {"If-Match": '"other"'})
    everything(client, run_id, {"Range": "bytes=0-1"})
    everything(client, run_id, {"Range": "bytes=999999-"})

    def away(*_: Any) -> Any:
        raise OperationalError("select", {}, Exception("gone"))

    monkeypatch.setattr(engine, "connect", away)
    monkeypatch.setattr(engine, "begin", away)
    everything(client, run_id)
    assert declared(client.application) - client.seen == set()
    assert {(method, path) for method, path, status in client.seen if status == 500} == set()


Ids = tuple[str, str, str]  # of a backtest, of a sweep, and of another backtest
FETCH_ID = "33333333-3333-4333-8333-333333333333"
JSON = {"Accept": "application/json"}
BATCH_ID = "22222222-2222-4222-8222-222222222222"
BATCH = {
    "batch_id": BATCH_ID,
    "tickers": ["GOOG"],
    "rules": ["RSI"],
    "start_date": "2013-01-02",
    "end_date": "2020-02-07",
}


def everything(client: CheckedClient, ids: Ids, headers: dict[str, str] | None = None) -> None:
    bodies: dict[str, Any] = {
        "/backtest": {"json": REQUEST},
        "/sweeps": {"json": SWEEP},
        "/sweeps/{run_id}/run": {"data": {"row": "0"}},
        "/batches": {"json": BATCH},
        "/estimate": {"json": SWEEP},
        "/fetches": {"json": {"run_id": FETCH_ID, "ticker": "OWN"}},
        "/prices/{ticker}": {"data": CSV, "content_type": "text/csv"},
        "/runs/bulk": {"json": {"runs": [ids[0]], "action": "star"}},
        "/runs/{run_id}/marks": {"json": {"star": True}},
    }
    for path, operations in described_by(client.application)["paths"].items():
        run_id = ids[path.startswith("/sweeps")]
        for method in operations:
            address = path.replace("{run_id}", run_id).replace(
                "{filename}", "style.css" if run_id != "nobody" else "x"
            )
            address = address.replace("{batch_id}", BATCH_ID if run_id != "nobody" else "x")
            if path.startswith("/compare"):
                address += f"?run={ids[0]}&run={ids[2]}"
            address = address.replace("{ticker}", "OWN" if run_id != "nobody" else "x y")
            body = bodies.get(path, {}) if method == "post" else {}
            if (method, path) == ("post", "/prices"):
                body = {"data": {"files": (io.BytesIO(CSV.encode()), "own.csv")}}
            client.open(address, method=method.upper(), headers=headers, buffered=True, **body)


def good_and_bad(client: CheckedClient, ids: Ids) -> None:
    everything(client, ids)  # the third in the queue is that of this line
    client.post(f"/runs/{FETCH_ID}/cancel")
    for address in ("?page=0", "/figure.png?theme=x", "/chart.json?first=x", "/report?lang=x"):
        client.get(f"/result/{ids[0]}{address}", headers=BROWSER)
    client.get(f"/status/{ids[0]}?wait=x")
    sweeps(client, ids[1])
    fetches(client)
    fetched = client.get("/runs?q=kind%3Dprices", headers=JSON).json["runs"]  # type: ignore[index]
    for run in fetched:
        client.post(f"/runs/{run['run_id']}/cancel")
    pending = (
        client.post("/backtest", data=FORM, headers=BROWSER).headers["Location"].rpartition("/")[2]
    )
    client.get(f"/result/{pending}")
    client.post("/backtest", json={**REQUEST, "run_id": pending})
    client.post(f"/runs/{pending}/cancel")
    client.post(f"/runs/{pending}/cancel", headers=BROWSER)
    client.post("/backtest", json={})
    client.post("/backtest", data="x", content_type="text/plain")
    client.post("/backtest", data="x" * 70_000, content_type="application/json")
    for _ in range(4):
        client.post("/backtest?force=true", json=REQUEST)
        client.post("/sweeps?force=true", json=SWEEP)
        client.post(f"/sweeps/{ids[1]}/run?force=true", data={"row": "1"})
    client.get("/runs?limit=none")
    client.get("/tickers?limit=none")
    lists(client, ids[0])
    client.get("/?run=nobody")


def fetches(client: CheckedClient) -> None:
    answer = client.post("/fetches", data={"tickers": "OWN"}, headers=BROWSER)
    address = answer.headers["Location"]
    run_id = address.rpartition("/")[2]
    client.get(address)
    client.post("/fetches", json={"run_id": run_id, "ticker": "OTHER"})
    client.post(f"/runs/{run_id}/cancel")
    for headers in ({}, {"If-None-Match": "*"}, {"If-Match": '"other"'}):
        client.get(address, headers=headers)
    client.post("/fetches", json={})
    client.post("/fetches", data="x", content_type="text/plain")
    client.post("/fetches", data="x" * 70_000, content_type="application/json")
    for _ in range(4):
        client.post("/fetches", json={"ticker": "OWN"})


def lists(client: CheckedClient, run_id: str) -> None:
    for address in ("/compare", "/compare.csv"):
        client.get(address)
    for path in ("/estimate", "/batches", "/runs/bulk", f"/runs/{run_id}/marks"):
        client.post(path, json={"surprise": 1})
        client.post(path, data="x", content_type="text/plain")
        client.post(path, data="x" * 70_000, content_type="application/json")
    for path in ("/prices", "/prices/OWN"):
        client.post(path, data=b"")
        client.post(path, data=b"x" * (2**24 + 1), content_type="application/octet-stream")
    client.post("/batches", json={**BATCH, "rules": ["MACD"]})
    for _ in range(4):
        client.post("/batches?force=true", json={**BATCH, "batch_id": str(uuid.uuid4())})
    form = {"run": run_id, "action": "unstar"}
    client.post("/runs/bulk", data=form, headers=BROWSER)
    client.post("/runs/bulk", data={**form, "action": "delete"}, headers=BROWSER)
    marks = f"/runs/{run_id}/marks"
    client.post(marks, data={"tags": "idea"}, headers=BROWSER)
    client.post(marks, json={"note": "first"})
    client.post(marks, json={"note": "second", "version": 7})


def sweeps(client: CheckedClient, swept_id: str) -> None:
    client.get(f"/result/{swept_id}")
    form = {**SWEEP, "tickers": '["GOOG"]', "grid": '{"fast":[5]}'}
    run_id = (
        client.post("/sweeps", data=form, headers=BROWSER).headers["Location"].rpartition("/")[2]
    )
    client.get(f"/sweeps/{run_id}")
    client.post("/sweeps", json={**SWEEP, "run_id": run_id})
    client.post(f"/runs/{run_id}/cancel")
    client.get(f"/sweeps/{swept_id}?page=0", headers=BROWSER)
    client.get("/sweeps?sweep=nobody", headers=BROWSER)
    for path in ("/sweeps", f"/sweeps/{swept_id}/run"):
        client.post(path, json={})
        client.post(path, data="x", content_type="text/plain")
        client.post(path, data="x" * 70_000, content_type="application/json")


def test_an_answer_that_is_not_as_described_is_noticed(
    engine: Engine, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_with(engine, runs, Login())
    assert client.get("/health").status_code == 200
    for lie in ({"status": "so so"}, {"status": "ok", "more": 1}, ("", 204), ("ok", 200)):
        monkeypatch.setitem(client.application.view_functions, "health.health", lambda lie=lie: lie)
        with pytest.raises(AssertionError):
            client.get("/health")


def test_logins_are_described_where_there_are_some(engine: Engine, runs: Runs) -> None:
    for login, schemes in ((Login(), None), (BASIC, {"basic", "token"}), (PROXY, {"token"})):
        document = described_by(client_with(engine, runs, login).application)
        assert (set(document["components"].get("securitySchemes", ())) or None) == schemes
        status = document["paths"]["/status/{run_id}"]["get"]
        assert ("401" in status["responses"]) is bool(schemes)
        assert {name for way in status.get("security", []) for name in way} == (schemes or set())
        assert "security" not in document["paths"]["/health"]["get"]


def test_below_a_base_path_it_names_that_path(engine: Engine, runs: Runs) -> None:
    app = create_app(runs, partial(schema_problem, engine))
    put_behind(app, "/bt", 0)
    assert app.test_client().get("/bt/openapi.json").json["servers"] == [{"url": "/bt"}]
    plain = create_app(runs, partial(schema_problem, engine)).test_client()
    assert plain.get("/openapi.json").json["servers"] == [{"url": "/"}]  # type: ignore[index]


def test_the_page_shows_all_of_it(engine: Engine, runs: Runs) -> None:
    client = client_with(engine, runs, Login())
    page = html.unescape(client.get("/docs", headers=BROWSER).text)
    document = described_by(client.application)
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert f"<code>{method.upper()} {path}</code>" in page
            assert operation["summary"] in page
    for name, kind in document["components"]["schemas"].items():
        assert f'<h2 id="{name}">' in page
        for field in kind.get("properties", ()):
            assert f"<code>{field}</code>" in page
    for description in ERRORS.values():
        assert description in page or description == ERRORS[401]
    assert "Undefined" not in page
    assert 'href="/docs"' in client.get("/", headers=BROWSER).text
    for target in re.findall(r'href="#([^"]+)"', page):
        assert f'id="{target}"' in page
