"""Rows of runs as the web records them, for tests of the stores."""

from __future__ import annotations

from typing import Any

from service.contract.request import parse_request
from service.store.requests import RequestStore
from tests.support.requests import REQUEST, RUN_ID


def add_run(
    store: RequestStore, run_id: str = RUN_ID, work: str | None = None, **values: Any
) -> str:
    """Records a run; its run_id."""
    request = parse_request({"run_id": run_id, **REQUEST})
    row = {
        "request": request.canonical(),
        "ticker": "GOOG",
        "rule_id": "RSI",
        "prices_fingerprint": "f",
        "rules_digest": "d",
    }
    assert store.add({"run_id": run_id, **row, **values}, work)
    return run_id
