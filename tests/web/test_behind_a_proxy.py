"""Below a base path and behind a proxy every address of the pages works; cancelling and metrics."""

from __future__ import annotations

import re
from functools import partial
from html import unescape

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine

from service.store.migrate import schema_problem
from service.usecases.runs import Runs
from service.web.factory import create_app, put_behind
from service.web.missing_prices import PriceImport
from tests.support.requests import REQUEST
from tests.support.web import BROWSER, FORM, OUTSIDE, completed


def client_below(engine: Engine, runs: Runs, application_root: str, hops: int = 0) -> FlaskClient:
    app = create_app(runs, partial(schema_problem, engine))
    put_behind(app, application_root, hops)
    return app.test_client()


def addresses(page: str) -> set[str]:
    named = re.findall(r'(?:href|src|action|data-page|data-status-url|formaction)="([^"#]+)"', page)
    return {address for address in named if not address.startswith(("http", "data:"))}


@pytest.mark.parametrize("application_root", ["/bt", "/bt/", "/deep/er"])
def test_every_address_of_every_page_is_below_the_application_root(
    engine: Engine, runs: Runs, application_root: str
) -> None:
    client = client_below(engine, runs, application_root)
    base = application_root.rstrip("/")
    posted = client.post(f"{base}/backtest", data=FORM, headers=BROWSER)
    assert posted.headers["Location"].startswith(f"{base}/result/")
    for path in ("/", "/runs", posted.headers["Location"].removeprefix(base), "/result/none"):
        answer = client.get(base + path, headers=BROWSER)
        named = addresses(answer.text)
        assert len(named) > 4
        for address in named:
            assert address.startswith(base + "/"), address
            assert (
                client.get(address, headers=BROWSER, buffered=True).status_code in (200, 202, 405)
                or "none" in address
                or address.endswith("/compare")
            )
    for path in ("/", "/health", "/runs"):
        assert client.get(path).status_code == 404, "nothing is served beside it"


def test_a_crawl_never_leaves_the_application(engine: Engine, runs: Runs) -> None:
    """Follows every address that an answer names, by GET, or by POST where GET is refused."""
    client = client_below(engine, runs, "/bt")
    run_ids = [
        client.post("/bt/backtest", json={**REQUEST, "initial_capital": 1000 + n}).json["run_id"]
        for n in range(3)
    ]  # type: ignore[index]
    todo = {"/bt/", "/bt/runs?limit=1", f"/bt/result/{run_ids[0]}", "/bt/nowhere"}
    seen = set[str]()
    while todo:
        address = todo.pop()
        seen.add(address)
        assert address.startswith("/bt/"), address
        answer = client.get(address, headers=BROWSER, buffered=True)
        if answer.status_code == 405:
            answer = client.post(address, data=FORM, headers=BROWSER)
        # Forms are sent here without a choice of runs, and without a search.
        is_choice = address.partition("?")[0] in ("/bt/compare", "/bt/runs/bulk", "/bt/estimate")
        expected = (200, 202, 303, 404, 409, *([400] if is_choice else []))
        assert answer.status_code in expected, (address, answer.status)
        named = {answer.headers["Location"]} if "Location" in answer.headers else set()
        if answer.mimetype == "text/html":
            named |= {unescape(link) for link in addresses(answer.text) if not link.startswith("?")}
        todo |= {link.partition("#")[0] for link in named} - seen
    assert {"/bt/backtest", f"/bt/runs/{run_ids[0]}/cancel"} <= seen
    assert any("before=" in link for link in seen), "the page of older runs"
    assert any(link.startswith("/bt/static/") for link in seen)
    older = client.get("/bt/runs?limit=1").json
    assert older is not None
    assert older["next"].startswith("/bt/runs?")


def test_json_names_addresses_below_it_too(engine: Engine, runs: Runs) -> None:
    answer = client_below(engine, runs, "/bt").post("/bt/backtest", json=REQUEST)
    assert answer.json is not None
    assert answer.json["status_url"].startswith("/bt/status/")
    assert answer.headers["Location"] == answer.json["status_url"]


def test_the_outside_address_is_believed_from_a_trusted_proxy_only(
    engine: Engine, runs: Runs
) -> None:
    for hops, outside in (
        (1, "https://example.org/bt/result/"),
        (0, "http://localhost/bt/result/"),
    ):
        client = client_below(engine, runs, "/bt", hops)
        address = client.post("/bt/backtest", data=FORM, headers=BROWSER).headers["Location"]
        assert f"curl {outside}" in client.get(address, headers={**BROWSER, **OUTSIDE}).text


def test_a_run_is_cancelled_over_http(client: FlaskClient, runs: Runs) -> None:
    address = client.post("/backtest", data=FORM, headers=BROWSER).headers["Location"]
    run_id = address.rpartition("/")[2]
    assert f'action="/runs/{run_id}/cancel"' in client.get(address, headers=BROWSER).text
    answer = client.post(f"/runs/{run_id}/cancel", headers=BROWSER)
    assert (answer.status_code, answer.headers["Location"]) == (303, address)
    again = client.post(f"/runs/{run_id}/cancel")
    assert (again.status_code, again.json and again.json["status"]) == (202, "cancelled"), (
        "twice changes nothing"
    )
    assert "/cancel" not in client.get(address, headers=BROWSER).text
    result = client.get(f"/result/{run_id}").json
    assert result is not None
    assert (result["status"], result["error_code"]) == ("failed", "CancelledByUser")


def test_a_run_that_has_ended_cannot_be_cancelled(client: FlaskClient, runs: Runs) -> None:
    run_id = completed(client, runs)
    answer = client.post(f"/runs/{run_id}/cancel")
    assert answer.status_code == 409
    assert answer.json == {
        "error": f"Run {run_id} has ended already: it is completed.",
        "code": "Conflict",
        "run_id": run_id,
    }
    assert client.post("/runs/nobody/cancel").status_code == 404
    assert client.get(f"/runs/{run_id}/cancel").status_code == 405


def test_metrics_count_runs_and_requests(client: FlaskClient, runs: Runs) -> None:
    client.post("/backtest", json=REQUEST)
    client.get("/status/nobody")
    answer = client.get("/metrics")
    assert answer.mimetype == "text/plain"
    assert 'stock_backtest_runs{status="pending"} 1.0' in answer.text
    assert 'stock_backtest_runs{status="completed"} 0.0' in answer.text
    labels = 'method="GET",route="/status/<run_id>",status="404"'
    assert f"stock_backtest_http_request_seconds_count{{{labels}}} 1.0" in answer.text


def test_a_waiting_run_says_what_it_waits_for(client: FlaskClient, runs: Runs) -> None:
    address = client.post("/backtest", data=FORM, headers=BROWSER).headers["Location"]
    run = runs.run(address.rpartition("/")[2])
    runs.run_store.mark_launched(run.run_id)
    launched = runs.run(run.run_id)
    runs.run_store.requeue(
        launched,
        counted_launches=0,
        reason="QuotaExceeded",
        message="exceeded quota: small, used: pods=2",
    )
    page = client.get(address, headers=BROWSER).text
    assert "<strong>QuotaExceeded</strong>: exceeded quota: small, used: pods=2" in page
    assert "starts when there is room" in page


def test_made_up_methods_fill_no_memory(client: FlaskClient) -> None:
    for number in range(20):
        client.open("/", method=f"X{number}")
    assert client.get("/metrics").text.count("_http_request_seconds_count") == 1


def unknown_ticker_sentence(runs: Runs, price_import: PriceImport) -> str:
    client = create_app(runs, str, price_import=price_import).test_client()
    answer = client.post("/backtest", json={**REQUEST, "ticker": "ZZZZ"})
    assert answer.json is not None
    assert (answer.status_code, answer.json["code"]) == (400, "BadInput")
    return str(answer.json["error"])


def test_an_unknown_ticker_is_answered_with_the_ways_to_import_prices(runs: Runs) -> None:
    assert unknown_ticker_sentence(runs, PriceImport()) == (
        'There are no prices of "ZZZZ". Nearest are GOOG, SPY; add others on the'
        " page Prices, or with python scripts/data_loader.py --tickers ZZZZ (Yahoo Finance)."
    )


def test_in_a_cluster_an_unknown_ticker_is_not_sent_to_where_no_pod_can_reach(runs: Runs) -> None:
    command = "kubectl exec -i deploy/bt-web -- python x.py"
    message = unknown_ticker_sentence(runs, PriceImport(command, in_cluster=True))
    assert "on the page Prices, or by the chart's value prices.tickers" in message
    assert "kubectl" not in message
    assert "--tickers" not in message
