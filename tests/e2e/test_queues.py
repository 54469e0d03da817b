"""Clusters that hold Jobs back: a quota that counts them, a mesh, a queue, a way out by a proxy."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from tests.e2e.cluster import Release
from tests.e2e.conftest import ONE_EACH
from tests.e2e.pods import IMAGE, python_pod
from tests.e2e.template import Job, changed, ends, pod_of, worker_of
from tests.e2e.waiters import wait_until
from tests.e2e.web import Web
from tests.support.requests import SWEEP

# `changed` comes last: helm does not take back what kubectl has changed.
pytestmark = pytest.mark.cluster

RUNS = 20


@pytest.fixture(scope="module")
def release(helm_release: Callable[..., Release]) -> Release:
    return helm_release(**ONE_EACH, worker={"maxActive": 4})


def ask_for_many(web: Web, first: int) -> list[str]:
    return [web.submit(rule_id=f"MA_CROSS_{first + number}_90") for number in range(RUNS)]


def all_completed(web: Web, run_ids: list[str], seconds: float) -> float:
    """How long it took until all of them were; at their first attempt, each."""
    started = time.monotonic()
    for run_id in run_ids:
        status = web.wait(run_id, seconds=max(1.0, started + seconds - time.monotonic()))
        assert (status["status"], status["attempt"]) == ("completed", 1), status
    return time.monotonic() - started


def suspend(release: Release, run_id: str, state: bool) -> None:
    patch = f'{{"spec": {{"suspend": {str(state).lower()}}}}}'
    release.namespace.kubectl("patch", "job", f"bt-{run_id}", "--type=merge", "--patch", patch)


def test_a_suspended_job_waits_for_the_queue_and_takes_no_slot(release: Release) -> None:
    """Kueue suspends each Job, and lets it start when it is its turn."""
    queued = release.upgrade(worker={"maxActive": 1, "kueueQueue": "backtests"})
    with queued.web() as web:
        run_ids = [web.submit(rule_id=f"MA_CROSS_{number}_95") for number in range(10, 13)]
        for run_id in run_ids:
            status = wait_until(
                partial(web.status, run_id), lambda seen: seen["reason"], 60, "it says why it waits"
            )
            assert (status["status"], status["reason"]) == ("pending", "WaitingForQuota")
        jobs = [queued.namespace.object("job", f"bt-{run_id}") for run_id in run_ids]
        labels = [job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] for job in jobs]
        assert labels == ["backtests"] * 3
        for run_id in reversed(run_ids):
            suspend(queued, run_id, False)
            assert web.wait(run_id)["status"] == "completed"
    release.upgrade()


LISTENER = """
import socket
server = socket.create_server(("", 3128))
while True:
    connection, _ = server.accept()
    with connection:
        print(connection.recv(200).decode().splitlines()[0], flush=True)
        connection.sendall(b"HTTP/1.1 503 Nobody is there\\r\\n\\r\\n")
"""


def test_a_fetch_takes_the_way_through_the_proxy(release: Release) -> None:
    labels = {"app": "proxy"}
    release.namespace.start(python_pod("proxy", LISTENER, labels=labels))
    ports = [{"port": 3128, "targetPort": 3128}]
    release.namespace.apply(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "proxy"},
            "spec": {"selector": labels, "ports": ports},
        }
    )
    behind = release.upgrade(prices={"httpsProxy": "http://proxy:3128"})
    with behind.web() as web:
        run_id = web.ask("/fetches", {"ticker": "MSFT"})["run_id"]
        assert web.wait(run_id, seconds=180)["reason"] == "VendorFailed"
    said = behind.namespace.kubectl("logs", "proxy")
    assert "CONNECT " in said
    assert "yahoo.com:443" in said
    release.upgrade()


@contextmanager
def quota(release: Release, counted: str, number: int) -> Iterator[None]:
    """At most so many of what is counted, in the release's namespace."""
    metadata = {"name": "few"}
    spec = {"hard": {counted: str(number)}}
    release.namespace.apply(
        {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": spec}
    )

    def used() -> Any:
        return release.namespace.object("resourcequota", "few").get("status", {}).get("used")

    wait_until(used, bool, 30, "the quota counts")
    try:
        yield
    finally:
        release.namespace.kubectl("delete", "resourcequota", "few")


@pytest.mark.parametrize(
    ("counted", "number"),
    [("count/jobs.batch", 6), pytest.param("count/pods", 9, marks=pytest.mark.slow)],
)
def test_a_quota_that_counts_what_has_ended(release: Release, counted: str, number: int) -> None:
    """Twenty runs where six Jobs may be there, or six pods beside the three of the platform."""
    with quota(release, counted, number), release.web() as web:
        seconds = all_completed(web, ask_for_many(web, 10), 300)
    print(f"{counted}: {RUNS} runs in {seconds:.0f} s")
    log = release.namespace.kubectl("logs", f"deploy/{release.name_of('deployment', 'controller')}")
    assert "ended Jobs were removed early: a quota counts them" in log


# What a mesh adds to a pod: a proxy that serves until it is told to end.
PROXY = """
import signal, sys, threading
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
stop.wait()
"""


def beside_a_proxy(job: Job) -> None:
    proxy = {
        "name": "istio-proxy",
        "image": IMAGE,
        "command": ["python", "-c", PROXY],
        "securityContext": worker_of(job)["securityContext"],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
    }
    pod_of(job)["containers"].append(proxy)


def test_the_proxy_of_a_mesh_holds_no_slot(release: Release) -> None:
    with changed(release, beside_a_proxy), release.web() as web:
        run_ids = ask_for_many(web, 30)
        seconds = all_completed(web, run_ids, 400)
        print(f"{RUNS} runs beside a proxy in {seconds:.0f} s")
        wait_until(
            lambda: release.namespace.names("jobs") & {f"bt-{run_id}" for run_id in run_ids},
            lambda left: not left,
            60,
            "the Jobs of completed runs are gone",
        )


def test_a_sweep_beside_a_proxy_is_completed(release: Release) -> None:
    """Its further shards need the pods of the first ones to end."""
    with changed(release, beside_a_proxy), release.web() as web:
        run_id = web.ask("/sweeps?force=true", SWEEP)["run_id"]
        assert web.wait(run_id, seconds=240)["status"] == "completed"


def test_a_worker_that_fails_beside_a_proxy_leaves_its_last_words(release: Release) -> None:
    def fails(job: Job) -> None:
        ends(70)(job)
        beside_a_proxy(job)

    with changed(release, fails), release.web() as web:
        run_id = web.submit()
        status = web.wait(run_id, seconds=120)
        assert (status["status"], status["reason"]) == ("failed", "EngineError")
        evidence = web.result(run_id)["provenance"]["evidence"]
    assert evidence["exit_code"] == 70
    assert "the worker says 70" in evidence["log"]
