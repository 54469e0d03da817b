"""Random faults of a cluster while runs are submitted: none is lost, doubled or left hanging.

Their results have the bytes of a quiet day. It takes two minutes;
`CHAOS_SECONDS=600 CHAOS_RUNS=300 CHAOS_SEED=...` makes it longer.
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from service.contract.result import BacktestResult
from tests.e2e.chaos import Chaos
from tests.e2e.cluster import CommandFailed, Namespace, Release
from tests.e2e.conftest import TINY
from tests.e2e.nodes import addresses, nodes_of
from tests.e2e.waiters import wait_until
from tests.e2e.web import FINAL
from tests.faults.audit import quiet_result
from tests.faults.client import Client, variant
from tests.faults.history import ACCEPTED
from tests.faults.readers import read_all, read_at_random

pytestmark = [pytest.mark.cluster, pytest.mark.nodes]

SEED = int(os.environ.get("CHAOS_SEED", "20261125"))
SECONDS = float(os.environ.get("CHAOS_SECONDS", "120"))
RUNS = int(os.environ.get("CHAOS_RUNS", "40"))
CLIENTS = 2
READERS = 2
DIFFERENT = 25
CANCELLED = 0.05
REUSED = 0.1
MAY_FAIL = (
    "JobLost",
    "OutOfMemory",
    "WorkerLost",
    "RetriesExhausted",
)  # hit again and again, or deleted by hand
DRAIN_SECONDS = 240.0  # for what the last faults delayed, and then so much for every run
SECONDS_A_RUN = 6.0
ROWS = """
import json
from sqlalchemy import text
from scripts.config import load_config
from service.store.database import connect
query = '''SELECT runs.run_id, status, launches, attempt, results.run_id IS NOT NULL
FROM runs LEFT JOIN results USING (run_id)'''
with connect(load_config()).connect() as connection:
    print(json.dumps([list(row) for row in connection.execute(text(query))]))
"""


@pytest.fixture(scope="module")
def release(new_namespace: Callable[..., Namespace]) -> Release:
    """The database stands on the node that is never paused; containers may be restarted here."""
    namespace = new_namespace(f"-{SEED}", restarts=True)
    first, others = nodes_of(namespace)
    if not others:
        pytest.skip("the cluster has one node: make kind-up WORKER_NODES=1")
    release = Release(
        "bt",
        namespace,
        {
            **TINY,
            "web": {**TINY["web"], "service": {"type": "NodePort"}},
            "worker": {**TINY["worker"], "maxActive": 4},
            "mysql": {**TINY["mysql"], "nodeSelector": {"kubernetes.io/hostname": first}},
        },
    )
    release.install()
    return release


class Observer:
    """Asks for every run from time to time, and remembers each end as it was first seen."""

    def __init__(self, urls: list[str], client: Client) -> None:
        self._urls = urls
        self._client = client
        self.ends: dict[str, dict[str, Any]] = {}

    def look(self) -> set[str]:
        """The runs that have not ended, as far as the web answers."""
        for run_id in self._client.accepted.keys() - self.ends.keys():
            status = self.ask(f"/status/{run_id}")
            if status and status["status"] in FINAL:
                self.ends[run_id] = status
        return self._client.accepted.keys() - self.ends.keys()

    def ask(self, path: str, post: bool = False) -> dict[str, Any]:
        """The answer of any node that answers; empty where none does."""
        for url in self._urls:
            try:
                answer = requests.request(
                    "POST" if post else "GET", url + path, json={} if post else None, timeout=10
                )
            except requests.RequestException:
                continue
            if answer.ok:
                return dict(answer.json())
            assert answer.status_code in (409, 500, 503), (
                f"{path}: {answer.status_code} {answer.text}"
            )
        return {}


def submit_a_share(client: Client, urls: list[str], number: int, observer: Observer) -> None:
    """Over most of the time of the faults; a few are cancelled a moment later."""
    chance = random.Random(SEED + number)
    share = len(range(number, RUNS, CLIENTS))
    started = time.monotonic()
    for turn in range(share):
        time.sleep(max(0.0, started + 0.8 * SECONDS * turn / share - time.monotonic()))
        request = variant(chance.randrange(DIFFERENT))
        force = chance.random() > REUSED
        run_id = client.submit_until_accepted(
            chance.sample(urls, len(urls)), request, force, seconds=max(180, SECONDS)
        )
        if chance.random() < CANCELLED:
            time.sleep(chance.uniform(0, 3))
            with client.history.call("cancel", run_id) as seen:
                if observer.ask(f"/runs/{run_id}/cancel", post=True):
                    seen["code"] = ACCEPTED


def watch(observer: Observer, over: threading.Event) -> None:
    while not over.wait(3):
        observer.look()


def drain(observer: Observer) -> float:
    """Seconds until the last run had ended."""
    started = time.monotonic()
    left = len(observer.look())
    while hanging := observer.look():
        assert time.monotonic() - started < DRAIN_SECONDS + SECONDS_A_RUN * left, (
            f"hanging: {sorted(hanging)} of {left}"
        )
        time.sleep(2)
    return time.monotonic() - started


def test_chaos(release: Release, record_property: Callable[..., None]) -> None:
    print(f"CHAOS_SEED={SEED}")
    port = release.namespace.object("service", release.name_of("service", "web"))["spec"]["ports"][
        0
    ]["nodePort"]
    urls = [f"http://{address}:{port}" for address in addresses(release.namespace)]
    client = Client()
    chaos = Chaos(release, SEED)
    over = threading.Event()
    observer = Observer(urls, client)
    with client.tolerant(), ThreadPoolExecutor(CLIENTS + READERS + 1) as pool:
        threads = [
            pool.submit(submit_a_share, client, urls, number, observer) for number in range(CLIENTS)
        ]
        threads.append(pool.submit(watch, observer, over))
        for number in range(READERS):
            chance_of_reader = random.Random(SEED + 100 + number)
            threads.append(pool.submit(read_at_random, urls, client, over, chance_of_reader))
        try:
            chaos.run(SECONDS)
        finally:
            over.set()
        for thread in threads:
            thread.result()
    seconds = drain(observer)
    release.namespace.wait_until_whole(180)  # what the last fault took away comes back
    ends = Counter(status["reason"] or status["status"] for status in observer.ends.values())
    line = (
        f"chaos on the cluster, seed {SEED}: accepted {len(client.accepted)}, {dict(ends)}, "
        f"drained in {seconds:.0f} s, {len(client.history.calls)} calls"
    )
    record_property("fault", f"{line}, faults {dict(chaos.done)}")
    check(release, observer, client)
    read_all(urls[0], client)
    assert client.history.contradictions() == []
    assert len(client.accepted) == RUNS
    assert ends["completed"] > 0.7 * RUNS


def rows_of(release: Release) -> list[list[Any]]:
    """Asks the database, again until it answers: a pod that is ready may not be reachable yet."""

    def look() -> list[list[Any]]:
        try:
            rows: list[list[Any]] = json.loads(
                release.namespace.python(next(iter(release.pods("web"))), ROWS)
            )
        except CommandFailed:
            return []
        return rows

    return wait_until(look, bool, 120, "the database answers")


def check(release: Release, observer: Observer, client: Client) -> None:
    """No run is lost, doubled or changed after its end, and results are those of a quiet day."""
    rows = {row[0]: row[1:] for row in rows_of(release)}
    lost = client.accepted.keys() - rows.keys()
    unknown = rows.keys() - client.accepted.keys() - client.unanswered.keys()
    assert (lost, unknown) == (set(), set())
    for run_id, seen in observer.ends.items():
        assert observer.ask(f"/status/{run_id}") == seen, "changed after its end"
        status = seen["status"]
        reason = seen["reason"]
        assert rows[run_id][3] == (status == "completed" and seen["reused_from"] is None), (
            seen,
            rows[run_id],
        )
        if status == "completed":
            result = BacktestResult(**observer.ask(f"/result/{run_id}"))
            assert result.reproducible() == quiet_result(json.dumps(client.accepted[run_id])), (
                f"other bytes: {run_id}"
            )
        else:
            assert reason in (*MAY_FAIL, "CancelledByUser"), seen
