"""A name that is not ours is refused (DNS rebinding); our names, addresses and probes pass."""

from __future__ import annotations

from functools import partial

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine

from scripts.config import InvalidConfig, load_config, names_of_hosts
from service.store.migrate import schema_problem
from service.usecases.runs import Runs
from service.web.factory import create_app, put_behind
from service.web.middleware.hosts import is_address
from tests.support.requests import REQUEST
from tests.support.web import BROWSER, OUTSIDE, page, refused

SENTENCE = "This service is not known as"
OURS = [
    "localhost",
    "LOCALHOST:5000",
    "app.localhost:1",
    "127.0.0.1:5000",
    "[::1]:5000",
    "10.1.2.3",
]
FOREIGN = [
    "evil.example",
    "evil.example:5000",
    "localhost.evil.example",
    "evillocalhost",
    "127.0.0.1.evil.example",
    "127.0.0.1@evil.example",
    "0x7f000001.example",
    "[evil]",
]


def client_known_as(engine: Engine, runs: Runs, names: str, hops: int = 0) -> FlaskClient:
    config = load_config({"ALLOWED_HOSTS": names})
    problem = partial(schema_problem, engine)
    hosts = names_of_hosts(config.allowed_hosts)
    app = create_app(runs, problem, allowed_hosts=hosts)
    put_behind(app, "", hops)
    return app.test_client()


@pytest.fixture
def laptop(engine: Engine, runs: Runs) -> FlaskClient:
    return client_known_as(engine, runs, load_config({}).allowed_hosts)


@pytest.mark.parametrize("host", OURS)
def test_a_laptop_answers_to_its_own_names_and_to_addresses(laptop: FlaskClient, host: str) -> None:
    assert laptop.get("/runs", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", FOREIGN)
def test_pages_of_other_sites_reach_nothing(laptop: FlaskClient, runs: Runs, host: str) -> None:
    """What a rebound name sends looks as if it came from our own page."""
    headers = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
    refused(laptop.post("/backtest", json=REQUEST, headers=headers), 400, "UnknownHost", SENTENCE)
    assert runs.run_store.latest(1) == []
    for path in ("/", "/runs", "/metrics", "/openapi.json", "/static/style.css", "/nowhere"):
        assert laptop.get(path, headers=headers).status_code == 400, path


def test_the_refusal_is_a_page_for_browsers(laptop: FlaskClient) -> None:
    assert SENTENCE in page(laptop, "/runs", 400, Host="evil.example")


def test_probes_are_answered_under_any_name(laptop: FlaskClient) -> None:
    for path in ("/health", "/ready"):
        assert laptop.get(path, headers={"Host": "lb.internal"}).status_code == 200


def test_names_of_an_installation(engine: Engine, runs: Runs) -> None:
    client = client_known_as(engine, runs, "bt.example.org,.intra.example")
    for host in (
        "bt.example.org.",
        "bt.example.org",
        "BT.example.org:443",
        "a.b.intra.example",
        "10.0.0.1:30080",
    ):
        assert client.get("/runs", headers={"Host": host}).status_code == 200, host
    for host in ("localhost", "x.bt.example.org", "example.org", "xintra.example"):
        assert client.get("/runs", headers={"Host": host}).status_code == 400, host


def test_behind_a_proxy_the_outer_name_counts(engine: Engine, runs: Runs) -> None:
    """And the one that the proxy used: a page may send the headers of a proxy that is not there."""
    client = client_known_as(engine, runs, "example.org,.svc", hops=1)
    for inside in ("example.org", "bt-web.stocks.svc:80", "10.1.2.3:5000"):
        assert client.get("/runs", headers={**OUTSIDE, "Host": inside}).status_code == 200
    forged = {**OUTSIDE, "X-Forwarded-Host": "evil.example", "Host": "example.org"}
    assert client.get("/runs", headers=forged).status_code == 400
    for forwarded in ("example.org", "10.0.0.1"):
        rebound = {**OUTSIDE, "X-Forwarded-Host": forwarded, "Host": "evil.example"}
        assert client.get("/runs", headers=rebound).status_code == 400


def test_any_name(engine: Engine, runs: Runs) -> None:
    client = client_known_as(engine, runs, "*")
    assert client.get("/runs", headers={"Host": "evil.example", **BROWSER}).status_code == 200


@pytest.mark.parametrize("names", ["", "a b", "a,", "http://a", "a:80", "*.a", "a_b"])
def test_names_that_are_none(names: str) -> None:
    with pytest.raises(InvalidConfig, match="ALLOWED_HOSTS"):
        load_config({"ALLOWED_HOSTS": names})


@pytest.mark.parametrize("name", ["", ":", "[::1]", "1.2.3", "1.2.3.4.5", "127.1", "٤.1.1.1"])
def test_what_is_no_address(name: str) -> None:
    assert not is_address(name)
