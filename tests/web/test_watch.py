"""Requests that wait for news of a run."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping
from functools import partial

import pytest
from flask.testing import FlaskClient

from service.store.rows import Run
from service.usecases.runs import Runs
from service.web import watch as watch_module
from service.web.services import services_of
from service.web.watch import Watch
from tests.support.requests import REQUEST
from tests.support.web import refused

LONG = 20.0


class Marks:
    """What `Watch` looks at, and how often it did."""

    def __init__(self) -> None:
        self.marks: dict[str, object] = {"a": 1, "b": 1}
        self.looks: list[set[str]] = []
        self.error: Exception | None = None

    def __call__(self, run_ids: Collection[str]) -> Mapping[str, object]:
        self.looks.append(set(run_ids))
        if self.error:
            raise self.error
        return self.marks


def waiting(watch: Watch, run_id: str, mark: object = 1, seconds: float = LONG) -> threading.Thread:
    thread = threading.Thread(target=watch.wait, args=(run_id, mark, seconds))
    thread.start()
    return thread


def test_who_waits_is_answered_by_a_change() -> None:
    marks = Marks()
    watch = Watch(marks)
    one, other = waiting(watch, "a"), waiting(watch, "b")
    while {"a", "b"} not in marks.looks:
        time.sleep(0.01)
    marks.marks = {"a": 2, "b": 1}
    one.join(LONG / 2)
    assert not one.is_alive()
    assert other.is_alive(), "nothing happened to b"
    marks.marks = {"a": 2}
    other.join(LONG / 2)
    assert not other.is_alive(), "b is gone, which is news too"


def test_nobody_is_looked_for_when_nobody_waits() -> None:
    marks = Marks()
    watch = Watch(marks)
    watch.wait("a", 1, 0.01)
    while watch._is_looking:
        time.sleep(0.01)
    looks = len(marks.looks)
    watch.wait("a", 0, LONG)  # looks again, and is answered
    assert len(marks.looks) > looks


def test_who_waits_is_answered_where_the_database_is_away_or_the_process_stops() -> None:
    marks = Marks()
    watch = Watch(marks)
    marks.error = OSError("gone")
    assert not watch.wait("a", 1, LONG)
    marks.error = None
    watch.stop_when(lambda: True)
    assert not watch.wait("a", 1, LONG)


def test_too_many_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "MAX_WAITING", 1)
    watch = Watch(Marks())
    first = waiting(watch, "a", seconds=0.5)
    while not watch._waiting:
        time.sleep(0.01)
    assert not watch.wait("b", 1, LONG)
    first.join()


def submitted(client: FlaskClient, runs: Runs) -> Run:
    answer = client.post("/backtest", json=REQUEST).json
    assert answer is not None
    return runs.run(answer["run_id"])


def test_the_status_waits_for_news(client: FlaskClient, runs: Runs) -> None:
    run = submitted(client, runs)
    address = f"/status/{run.run_id}"
    known = client.get(address).headers["ETag"]
    same = client.get(f"{address}?wait=1", headers={"If-None-Match": known})
    assert same.status_code == 304
    cancel = threading.Timer(0.2, runs.cancel, [run.run_id])
    cancel.start()
    changed = client.get(f"{address}?wait=20", headers={"If-None-Match": known})
    assert (changed.status_code, changed.json["status"]) == (200, "cancelled")  # type: ignore[index]
    whole = client.get(f"{address}?wait=20")  # without a tag: until the end
    assert whole.data == changed.data
    ended = client.get(f"{address}?wait=20", headers={"If-None-Match": changed.headers["ETag"]})
    assert ended.status_code == 304, "a run that has ended has no more news"


def test_a_web_that_stops_answers_at_once(client: FlaskClient, runs: Runs) -> None:
    run = submitted(client, runs)
    services_of(client.application).watch.stop_when(lambda: True)
    start = time.monotonic()
    answer = client.get(f"/status/{run.run_id}?wait=20").json
    assert answer is not None
    assert answer["status"] == "pending"
    assert time.monotonic() - start < LONG / 2


class Gone(BaseException):
    """What ends a request from outside."""


class NeverOver(threading.Event):
    """Its waiters are gone."""

    def wait(self, timeout: float | None = None) -> bool:
        raise Gone


def test_who_is_gone_while_waiting_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting_type = partial(watch_module._Waiting, is_over=NeverOver())
    monkeypatch.setattr(watch_module, "_Waiting", waiting_type)
    watch = Watch(Marks())
    with pytest.raises(Gone):
        watch.wait("a", 1, LONG)
    assert watch._waiting == set()


@pytest.mark.parametrize("wait", ["x", "-1", "21", "1.5"])
def test_a_wait_that_cannot_be(client: FlaskClient, runs: Runs, wait: str) -> None:
    run = submitted(client, runs)
    answer = client.get(f"/status/{run.run_id}?wait={wait}")
    refused(answer, 400, "BadInput", "wait must be a whole number from 0 to 20")
