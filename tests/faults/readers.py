"""Clients that ask at random for what others have submitted, as long as the faults last."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Sequence
from typing import Any

import requests

from tests.faults.client import Client
from tests.faults.history import History

ANSWER_SECONDS = 30
PAUSE_SECONDS = 0.15


def read_at_random(
    urls: Sequence[str], client: Client, over: threading.Event, chance: random.Random
) -> None:
    """Status and result of random runs, of any replica; sometimes submit again, or cancel."""
    while not over.wait(PAUSE_SECONDS):
        known = list(client.accepted.items())
        if not known:
            continue
        run_id, request = chance.choice(known)
        url = chance.choice(urls)
        what = chance.choices(("status", "result", "again", "cancel"), (60, 30, 10, 1))[0]
        if what == "again":
            client.submit(url, request, run_id)
        elif what == "cancel":
            cancel(client.history, url, run_id)
        else:
            ask(client.history, url, what, run_id)


def read_all(url: str, client: Client) -> None:
    """Status and result of every run, once all is quiet."""
    for run_id in list(client.accepted):
        for what in ("status", "result"):
            ask(client.history, url, what, run_id)


def ask(history: History, url: str, what: str, run_id: str) -> None:
    """One question, recorded with its answer."""
    _record(history, what, run_id, "GET", f"{url}/{what}/{run_id}")


def cancel(history: History, url: str, run_id: str) -> None:
    """Asks that it be cancelled; it may have ended before."""
    _record(history, "cancel", run_id, "POST", f"{url}/runs/{run_id}/cancel")


def _record(history: History, what: str, run_id: str, method: str, address: str) -> None:
    with history.call(what, run_id) as seen:
        try:
            answer = requests.request(
                method,
                address,
                headers={"Accept": "application/json"},
                timeout=ANSWER_SECONDS,
            )
        except requests.RequestException:
            return
        seen["code"] = answer.status_code
        seen["seen"] = _seen(what, answer)


def _seen(what: str, answer: requests.Response) -> dict[str, Any]:
    if not answer.ok:
        return {}
    if what == "result":
        return {"digest": hashlib.sha256(answer.content).hexdigest()}
    document: dict[str, Any] = answer.json()
    return document
