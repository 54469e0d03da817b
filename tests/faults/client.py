"""A client that remembers every run_id that was answered with 202, and all other answers."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import requests

from tests.faults.history import History

SYSTEM_ERRORS = {500: {"InternalError"}, 503: {"DatabaseAway"}}
SHAPE = {"error", "code", "run_id"}
REPLY_SECONDS = 90  # a frozen database is given up by the web first
DIED = 0  # the connection, before there was an answer


def variant(number: int) -> dict[str, Any]:
    """A request that differs from those of every other number."""
    return {
        "ticker": "GOOG",
        "rule_id": ("MA_CROSS_10_30", "RSI_14_30_70", "MA_CROSS_20_50")[number % 3],
        "start_date": "2013-01-02",
        "end_date": "2020-02-07",
        "initial_capital": 10_000.0 + number,
    }


@dataclass
class Client:
    """Threads may share it."""

    accepted: dict[str, dict[str, Any]] = field(default_factory=dict)  # by run_id, the request
    unanswered: dict[str, dict[str, Any]] = field(
        default_factory=dict
    )  # whose connection died: recorded or not
    history: History = field(default_factory=History)
    refused: list[int] = field(default_factory=list)  # the statuses of system errors
    _tolerant: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def tolerant(self) -> Iterator[None]:
        """System errors may be answered, and connections die, in here only."""
        self._tolerant += 1
        try:
            yield
        finally:
            self._tolerant -= 1

    def submit(
        self, url: str, request: dict[str, Any], run_id: str | None = None, force: bool = True
    ) -> int:
        """Submits a run and returns the status; with `force` it is computed anew."""
        run_id = run_id or str(uuid.uuid4())
        tolerant = bool(self._tolerant)
        with self.history.call("submit", run_id) as seen:
            try:
                answer = requests.post(
                    f"{url}/backtest",
                    params={"force": "true"} if force else {},
                    json={**request, "run_id": run_id},
                    timeout=REPLY_SECONDS,
                )
            except requests.RequestException as error:
                assert tolerant or self._tolerant, f"without a fault: {error}"
                with self._lock:
                    self._note_no_answer(run_id, request)
                return DIED
            seen["code"] = answer.status_code
        with self._lock:
            self._note(answer, run_id, request, tolerant or bool(self._tolerant))
        return answer.status_code

    def submit_until_accepted(
        self, urls: Sequence[str], request: dict[str, Any], force: bool = True, seconds: float = 180
    ) -> str:
        """Submits the same run_id, to one replica after the other, until there is a 202."""
        run_id = str(uuid.uuid4())
        started = time.monotonic()
        tries = 0
        while self.submit(urls[tries % len(urls)], request, run_id, force) != 202:
            assert time.monotonic() - started < seconds, (
                f"run {run_id} was not accepted in {seconds} s"
            )
            tries += 1
            time.sleep(0.5)
        return run_id

    def _note(
        self, answer: requests.Response, run_id: str, request: dict[str, Any], tolerant: bool
    ) -> None:
        if answer.status_code == 202:
            assert answer.json()["run_id"] == run_id
            self.accepted[run_id] = request
            self.unanswered.pop(run_id, None)
            return
        document = answer.json()
        assert set(document) == SHAPE, document
        assert "Traceback" not in answer.text
        if answer.status_code == 409:
            assert document["code"] == "Conflict"
            return
        assert document["code"] in SYSTEM_ERRORS.get(answer.status_code, ()), (
            f"{answer.status_code}: {answer.text}"
        )
        assert document["run_id"] == run_id, document
        assert tolerant, f"without a fault: {answer.status_code} {answer.text}"
        self.refused.append(answer.status_code)
        self._note_no_answer(run_id, request)

    def _note_no_answer(self, run_id: str, request: dict[str, Any]) -> None:
        """A commit whose reply was lost may have happened."""
        if run_id not in self.accepted:
            self.unanswered[run_id] = request
