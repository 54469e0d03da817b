"""A page of another site cannot act in a user's name; everybody else is not in the way of it."""

from __future__ import annotations

from functools import partial

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine

from service.store.migrate import schema_problem
from service.usecases.runs import Runs
from service.web.factory import create_app, put_behind
from tests.support.requests import REQUEST, RUN_ID
from tests.support.web import BROWSER, FORM, OUTSIDE, refused

SENTENCE = "This was sent by a page of another site"
ALLOWED = [
    {},
    {"Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none"},
    {"Origin": "http://localhost"},
    {"Origin": "HTTP://LOCALHOST"},
    {"Sec-Fetch-Site": "same-origin", "Origin": "http://rewritten.example"},
]
REFUSED = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": ""},
    {"Sec-Fetch-Site": "x" * 60_000},
    {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},
    {"Sec-Fetch-Site": "same-origin, cross-site"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "http://evil.example"},
    {"Origin": "https://localhost"},
    {"Origin": "http://localhost:8080"},
    {"Origin": "http://localhost.evil.example"},
    {"Origin": "http://evil.example/localhost"},
    {"Origin": "http://localhost@evil.example"},
    {"Origin": "http://localhost/"},
    {"Origin": "\xff"},
]


@pytest.mark.parametrize("headers", ALLOWED)
def test_pages_of_ours_and_programs_pass(client: FlaskClient, headers: dict[str, str]) -> None:
    assert client.post("/backtest", json=REQUEST, headers=headers).status_code == 202
    assert client.post("/backtest", data=FORM, headers={**BROWSER, **headers}).status_code == 303


@pytest.mark.parametrize("headers", REFUSED)
def test_pages_of_others_do_not(client: FlaskClient, runs: Runs, headers: dict[str, str]) -> None:
    refused(client.post("/backtest", json=REQUEST, headers=headers), 403, "CrossOrigin", SENTENCE)
    refused(client.post(f"/runs/{RUN_ID}/cancel", headers=headers), 403, "CrossOrigin", SENTENCE)
    page = client.post("/backtest", data=FORM, headers={**BROWSER, **headers})
    assert (page.status_code, page.mimetype) == (403, "text/html")
    assert runs.run_store.latest(1) == []
    for method in ("PUT", "PATCH", "DELETE", "X"):
        assert client.open("/backtest", method=method, headers=headers).status_code == 403
    for address in ("/", "/rules", "/health", "/nothing"):
        assert client.get(address, headers=headers).status_code in (200, 404), (
            "reading is not acting"
        )


def test_behind_a_proxy_the_outside_counts(engine: Engine, runs: Runs) -> None:
    for hops, ours in ((1, "https://example.org"), (0, "http://localhost")):
        app = create_app(runs, partial(schema_problem, engine))
        put_behind(app, "/bt", hops)
        for origin in ("https://example.org", "http://localhost", "http://example.org"):
            answer = app.test_client().post(
                "/bt/backtest", json=REQUEST, headers={**OUTSIDE, "Origin": origin}
            )
            assert answer.status_code == (202 if origin == ours else 403)


def test_a_port_of_its_own(client: FlaskClient) -> None:
    for origin, status in (
        ("http://127.0.0.1:5000", 202),
        ("http://127.0.0.1", 403),
        ("http://127.0.0.1:5001", 403),
    ):
        headers = {"Host": "127.0.0.1:5000", "Origin": origin}
        assert client.post("/backtest", json=REQUEST, headers=headers).status_code == status
