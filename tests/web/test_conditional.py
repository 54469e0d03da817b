"""What need not be sent twice is not; what nobody may keep says so; when to ask again is said."""

from __future__ import annotations

import base64
import hashlib

import pytest
from flask.testing import FlaskClient

from service.usecases.runs import Runs
from tests.support.requests import REQUEST, RUN_ID
from tests.support.web import BROWSER, completed, refused

RESULT = [
    "/result/{}",
    "/result/{}/figure.png",
    "/result/{}/chart.json",
    "/result/{}/report",
    "/result/{}/equity.csv",
    "/result/{}/trades.csv",
    "/status/{}",
]
ALWAYS = ["/rules", "/tickers", "/openapi.json", "/lightweight-charts.js"]


@pytest.mark.parametrize("address", RESULT + ALWAYS)
def test_an_etag_saves_sending_the_same_twice(
    client: FlaskClient, runs: Runs, address: str
) -> None:
    address = address.format(completed(client, runs, run_id=RUN_ID))
    first = client.get(address)
    again = client.get(address)
    assert first.status_code == 200
    assert first.headers["Cache-Control"] == "private, no-cache"
    tag = first.headers["ETag"]
    assert tag.startswith('"'), "strong: over the bytes"
    assert again.headers["ETag"] == tag
    for known in (tag, f'"other", {tag}', f"W/{tag}", "*"):
        same = client.get(address, headers={"If-None-Match": known})
        assert (same.status_code, same.data) == (304, b"")
        for name in ("ETag", "Cache-Control", "Vary"):
            assert same.headers[name] == first.headers[name]
        assert "Content-Type" not in same.headers
    for unknown in ('"other"', "", "\xff", '"' * 5000, f"{tag[:-2]}"):
        other = client.get(address, headers={"If-None-Match": unknown})
        assert (other.status_code, other.data) == (200, first.data)
    head = client.head(address)
    assert (head.status_code, head.data) == (200, b"")
    assert {**head.headers, "Date": ""} == {**first.headers, "Date": ""}
    assert client.head(address, headers={"If-None-Match": tag}).status_code == 304


@pytest.mark.parametrize(
    "address",
    [
        "/",
        "/runs",
        "/health",
        "/ready",
        "/metrics",
        "/docs",
        "/nothing",
        "/result/{}",
    ],
)
def test_nobody_keeps_anything_else(client: FlaskClient, runs: Runs, address: str) -> None:
    answer = client.get(address.format(completed(client, runs)), headers=BROWSER)
    assert answer.headers["Cache-Control"] == "no-store"
    assert "ETag" not in answer.headers


def test_static_files_are_asked_for_again_by_their_etag(client: FlaskClient) -> None:
    with client.get("/static/app.js") as answer:
        assert answer.headers["Cache-Control"] == "no-cache"
        tag = answer.headers["ETag"]
    with client.get("/static/app.js", headers={"If-None-Match": tag}) as same:
        assert same.status_code == 304


def test_page_and_json_of_one_address_are_told_apart(client: FlaskClient, runs: Runs) -> None:
    address = f"/result/{completed(client, runs)}"
    tag = client.get(address).headers["ETag"]
    page = client.get(address, headers={**BROWSER, "If-None-Match": tag})
    assert (page.status_code, page.mimetype) == (200, "text/html")
    for answer in (page, client.get(address)):
        assert {"Accept", "Accept-Language", "Cookie"} <= set(answer.headers["Vary"].split(", "))


def test_a_result_that_is_not_there_yet_has_no_etag(client: FlaskClient) -> None:
    run_id = client.post("/backtest", json=REQUEST).json["run_id"]  # type: ignore[index]
    answer = client.get(f"/result/{run_id}", headers={"If-None-Match": "*"})
    assert answer.status_code == 202
    assert answer.headers["Retry-After"] == "1"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "ETag" not in answer.headers


def test_the_figure_is_that_of_the_result(client: FlaskClient, runs: Runs) -> None:
    run_id = completed(client, runs)
    answer = client.get(f"/result/{run_id}/figure.png")
    assert answer.mimetype == "image/png"
    assert answer.data.startswith(b"\x89PNG\r\n\x1a\n")
    inline = client.get(f"/result/{run_id}").json["chart_base64"].partition(",")[2]
    assert hashlib.sha256(base64.b64decode(inline)).digest() == hashlib.sha256(answer.data).digest()
    assert (
        f'href="/result/{run_id}/figure.png?lang=en"'
        in client.get(f"/result/{run_id}", headers=BROWSER).text
    )


def test_runs_without_a_result_have_no_figure(client: FlaskClient, runs: Runs) -> None:
    run_id = client.post("/backtest", json=REQUEST).json["run_id"]  # type: ignore[index]
    refused(
        client.get(f"/result/{run_id}/figure.png"), 404, "NotFound", "has no result: it is pending."
    )
    refused(client.get("/result/nobody/figure.png"), 404, "NotFound", "There is no run nobody.")
    runs.run_store.fail(runs.run(run_id), "EngineError", "The engine failed.")
    refused(
        client.get(f"/result/{run_id}/figure.png"), 404, "NotFound", "has no result: it is failed."
    )
