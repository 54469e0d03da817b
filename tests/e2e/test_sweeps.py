"""A parameter sweep on a cluster: one Indexed Job, whose shards are killed, once and for good."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from service.contract.sweep import parse_sweep
from service.contract.sweep_result import SweepResult
from service.search.plan import SHARD_ROWS, SweepPlan
from service.search.result import EndedShard, judge_sweep
from service.store.shards import LOST_MESSAGE
from tests.e2e.cluster import Release
from tests.e2e.conftest import ONE_EACH
from tests.e2e.template import Change, changed, program
from tests.e2e.waiters import wait_until
from tests.e2e.web import Web
from tests.support.prices import series

pytestmark = pytest.mark.cluster

# 20 periods, 49 lower and 49 upper thresholds: three shards
SWEEP = {
    "tickers": ["GOOG"],
    "rule_id": "RSI",
    "start_date": "2015-01-02",
    "end_date": "2015-12-31",
    "grid": {"period": "2:21:1", "oversold": "1:49:1", "overbought": "51:99:1"},
}
ROWS = 20 * 49 * 49


@pytest.fixture(scope="module")
def release(helm_release: Callable[..., Release]) -> Release:
    return helm_release(
        **ONE_EACH, config={"leaseSeconds": 10}, worker={"maxActive": 4, "sweepParallelism": 3}
    )


@pytest.fixture(scope="module")
def web(release: Release) -> Iterator[Web]:
    with release.web() as web:
        yield web


def computing(instead: str) -> Change:
    """The worker, with another action after it has claimed a shard; `index` is that of its pod."""
    return program(f"""
import os, sys, time
import service.search.plan, worker
index = int(os.environ["JOB_COMPLETION_INDEX"])
computed = service.search.plan.SweepPlan.compute_shard
def instead(plan, rows):
    {instead}
    return computed(plan, rows)
service.search.plan.SweepPlan.compute_shard = instead
sys.exit(worker.main())
""")


def start(release: Release, web: Web, change: Change) -> str:
    """A sweep whose first Job is different."""
    with changed(release, change):
        run_id = str(web.ask("/sweeps?force=true", SWEEP)["run_id"])
        wait_until(
            lambda: release.namespace.shown("get", "job", f"bt-{run_id}"),
            lambda text: "NotFound" not in text,
            30,
            "a Job",
        )
    return run_id


def pods_of(release: Release, run_id: str, index: int) -> list[dict[str, Any]]:
    labels = f"stock-backtest/run-id={run_id},batch.kubernetes.io/job-completion-index={index}"
    items: list[dict[str, Any]] = json.loads(
        release.namespace.kubectl("get", "pods", "-o", "json", "-l", labels)
    )["items"]
    return items


def here(lost: int | None = None) -> SweepResult:
    """The result of the same request in this process, without one of its shards."""
    plan = SweepPlan(
        parse_sweep({"run_id": "0" * 8 + "-0000-4000-8000-" + "0" * 12, **SWEEP}),
        lambda _: series("GOOG"),
    )
    shards = [
        EndedShard(rows.start, rows.stop, None, "WorkerLost", LOST_MESSAGE)
        if number == lost
        else EndedShard(rows.start, rows.stop, plan.compute_shard(rows))
        for number, rows in enumerate(plan.shards())
    ]
    return judge_sweep(plan, shards, {}).result


def bytes_of(result: SweepResult) -> str:
    document = json.loads(result.reproducible())
    document["provenance"].pop("rules_digest", None)
    return json.dumps(document, sort_keys=True)


def test_a_shard_that_is_killed_is_done_again(release: Release, web: Web) -> None:
    run_id = start(release, web, computing("time.sleep(10)"))
    (pod,) = wait_until(
        lambda: pods_of(release, run_id, 1),
        lambda pods: len(pods) == 1 and pods[0]["status"]["phase"] == "Running",
        90,
        "a pod",
    )
    wait_until(
        lambda: release.namespace.shown("logs", pod["metadata"]["name"]),
        lambda text: "Shard 1 started" in text,
        60,
        "its shard",
    )
    release.namespace.kubectl("delete", "pod", pod["metadata"]["name"], "--force")
    status = web.wait(run_id, seconds=180)
    assert status["status"] == "completed", status
    job = release.namespace.object("job", f"bt-{run_id}")
    spec = job["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == (
        "Indexed",
        -(-ROWS // SHARD_ROWS),
        3,
    )
    assert len(pods_of(release, run_id, 1)) >= 1
    theirs = SweepResult(**web.ask(f"/sweeps/{run_id}"))
    assert theirs.failed == []
    assert bytes_of(theirs) == bytes_of(here())
    page = web.page(f"/sweeps/{run_id}?where=period=14")
    assert f"{49 * 49:,} rows" in page


def test_a_shard_that_dies_twice_is_named(
    release: Release, web: Web, record_property: Callable[..., None]
) -> None:
    run_id = start(release, web, computing("index == 1 and os._exit(137)"))
    status = web.wait(run_id, seconds=300)
    assert status["status"] == "completed", status
    theirs = SweepResult(**web.ask(f"/sweeps/{run_id}"))
    (lost,) = theirs.failed
    assert (lost["combinations"], lost["reason"], lost["message"]) == (
        SHARD_ROWS,
        "WorkerLost",
        LOST_MESSAGE,
    )
    assert bytes_of(theirs) == bytes_of(here(lost=1))
    record_property("fault", "a sweep's shard dies twice: completed, its rows named")


def test_workers_that_cannot_begin(
    release: Release, web: Web, record_property: Callable[..., None]
) -> None:
    """Two are enough to know it, however many shards there are."""
    run_id = start(release, web, program("raise SystemExit(3)"))
    status = web.wait(run_id, seconds=120)
    assert (status["status"], status["reason"]) == ("failed", "RetriesExhausted"), status
    assert "failed before they began, the last time with exit code 3." in web.page(
        f"/sweeps/{run_id}"
    )
    record_property("fault", "a sweep's workers cannot begin: RetriesExhausted")


def test_cancelled_while_it_computes(release: Release, web: Web) -> None:
    run_id = start(release, web, computing("time.sleep(60)"))
    web.wait(run_id, "running", seconds=90)
    web.ask(f"/runs/{run_id}/cancel", {})
    assert web.wait(run_id, seconds=90)["status"] == "cancelled"
    assert pods_of(release, run_id, 0) == []
