"""A client's requests, and runs and sweeps that have been performed, for tests of the web."""

from __future__ import annotations

import html
import json
from typing import Any

from flask.testing import FlaskClient

from service.contract.request import parse_request
from service.usecases.runs import Runs
from service.worker.run import RunWorker
from service.worker.software import Software
from service.worker.sweep import SweepWorker
from tests.support.requests import REQUEST, SWEEP

BROWSER = {"Accept": "text/html,application/xhtml+xml"}
FORM = {
    "ticker": "GOOG",
    "start_date": "2013-01-02",
    "end_date": "2020-02-07",
    "initial_capital": "100000",
    "commission_rate": "0.001",
    "slippage_rate": "0",
    "lot_size": "0",
    "rule": "MA_CROSS",
    "MA_CROSS.fast": "10",
    "MA_CROSS.slow": "30",
}
# TradingView asks for this link where its charts are; pages load nothing from there.
CREDIT = "https://www.tradingview.com/"
# What a proxy says of the address that its client asked for.
OUTSIDE = {
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "example.org",
    "X-Forwarded-For": "203.0.113.7",
}


def completed(client: FlaskClient, runs: Runs, **change: Any) -> str:
    """A run that has been performed; its run_id."""
    run_id: str = client.post("/backtest", json={**REQUEST, **change}).json["run_id"]
    request = parse_request(json.loads(runs.run(run_id).request))
    assert RunWorker(runs.run_store, runs.price_store).work(request) == 0
    return run_id


def swept(client: FlaskClient, runs: Runs, **change: Any) -> str:
    """A sweep that has been performed; its run_id."""
    answer = client.post("/sweeps", json={**SWEEP, **change})
    assert answer.status_code == 202, answer.text
    run_id: str = answer.json["run_id"]  # type: ignore[index]
    assert runs.run_store.mark_launched(run_id)
    SweepWorker(runs.run_store, runs.price_store, Software()).work(run_id)
    return run_id


def page(client: FlaskClient, address: str, status: int = 200, **headers: str) -> str:
    """The text of a page as its reader sees it, without escapes."""
    answer = client.get(address, headers={**BROWSER, **headers})
    assert answer.status_code == status, answer.text[:500]
    assert answer.mimetype == "text/html"
    return html.unescape(answer.text)


def refused(answer: Any, status: int, code: str, sentence: str) -> None:
    """Asserts that the answer is an error of the one shape, and shows no trace."""
    assert answer.status_code == status, answer.text
    assert set(answer.json) == {"error", "code", "run_id"}
    assert answer.json["code"] == code
    assert sentence in answer.json["error"]
    assert "Traceback" not in answer.text
    assert 'File "' not in answer.text
