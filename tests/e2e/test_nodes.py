"""Nodes that are drained, vanish, or stop the API server: no run is lost or waits for ever."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.cluster import Namespace, Release
from tests.e2e.conftest import ONE_EACH, TINY
from tests.e2e.nodes import addresses, api_server_frozen, dead, nodes_of, ready
from tests.e2e.template import Change, changed, performs, pod_of
from tests.e2e.test_sweeps import SWEEP, computing
from tests.e2e.waiters import wait_until
from tests.e2e.web import Web, web_at

pytestmark = [pytest.mark.cluster, pytest.mark.nodes]
# 50 s until the cluster notices, 30 s of toleration, 30 s of grace, 15 s until a run counts as lost
VANISHED_SECONDS = 240.0
HOST = "kubernetes.io/hostname"


@pytest.fixture(scope="module")
def nodes(new_namespace: Callable[..., Namespace]) -> tuple[Namespace, str, str]:
    """The namespace, the node that stays and the one that goes."""
    namespace = new_namespace(restarts=True)
    first, others = nodes_of(namespace)
    if not others:
        pytest.skip("the cluster has one node: make kind-up WORKER_NODES=1")
    return namespace, first, others[0]


@pytest.fixture(scope="module")
def release(nodes: tuple[Namespace, str, str]) -> Release:
    """Everything but the workers stands on the node that stays."""
    namespace, first, _ = nodes
    stays = {"nodeSelector": {HOST: first}}
    parts = {
        part: {**TINY[part], **ONE_EACH.get(part, {}), **stays}
        for part in ("web", "controller", "mysql")
    }
    parts["web"]["service"] = {"type": "NodePort"}
    release = Release(
        "bt", namespace, {**parts, "worker": TINY["worker"], "config": {"leaseSeconds": 30}}
    )
    release.install()
    return release


@pytest.fixture(scope="module")
def web(release: Release) -> Web:
    """Through the node's port: the API server may be away."""
    port = release.namespace.object("service", release.name_of("service", "web"))["spec"]["ports"][
        0
    ]["nodePort"]
    return web_at(f"http://{addresses(release.namespace)[0]}:{port}")


def on(node: str, change: Change) -> Change:
    """A change of the Job that makes it prefer a node."""
    prefers = {
        "preference": {"matchExpressions": [{"key": HOST, "operator": "In", "values": [node]}]},
        "weight": 100,
    }

    def both(job: dict[str, Any]) -> None:
        change(job)
        affinity = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [prefers]}}
        pod_of(job)["affinity"] = affinity

    return both


def start_on(release: Release, web: Web, node: str, seconds: int, rule_id: str) -> str:
    """A run at work there; its run_id."""
    with changed(release, on(node, performs(f"time.sleep({seconds})"))):
        run_id = web.submit(rule_id=rule_id)
        web.wait(run_id, "running")
    assert where(release, run_id) == node
    return run_id


def where(release: Release, run_id: str) -> str:
    """The node of the run's newest pod."""
    words = (
        "get",
        "pods",
        "-l",
        f"stock-backtest/run-id={run_id}",
        "--sort-by=.metadata.creationTimestamp",
    )
    return release.namespace.kubectl(*words, "-o", "jsonpath={.items[*].spec.nodeName}").split()[-1]


def test_a_drained_node_costs_no_retry(
    release: Release,
    web: Web,
    nodes: tuple[Namespace, str, str],
    record_property: Callable[..., None],
) -> None:
    _, first, other = nodes
    run_id = start_on(release, web, other, 10, "MA_CROSS_5_30")
    started = time.monotonic()
    release.namespace.kubectl(
        "drain", other, "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=90s"
    )
    status = web.wait(run_id, seconds=90)
    release.namespace.kubectl("uncordon", other)
    record_property(
        "fault", f"node drained: {status['status']} after {time.monotonic() - started:.0f} s"
    )
    assert (status["status"], status["attempt"]) == ("completed", 2)
    assert where(release, run_id) == first
    assert release.namespace.object("job", f"bt-{run_id}")["status"].get("failed", 0) == 0


def test_the_api_server_is_away_for_half_a_minute(
    release: Release,
    web: Web,
    nodes: tuple[Namespace, str, str],
    record_property: Callable[..., None],
) -> None:
    """Who runs goes on; who waits says why; then all is as it was."""
    _, first, other = nodes
    running = start_on(release, web, other, 5, "MA_CROSS_6_30")
    with api_server_frozen(first):
        waiting = web.submit(rule_id="MA_CROSS_7_30")
        assert web.wait(running, seconds=30)["status"] == "completed", "it needs nobody"
        said = wait_until(
            lambda: web.status(waiting), lambda status: status["reason"], 60, "it says why it waits"
        )
        assert (said["status"], said["reason"]) == ("pending", "ClusterAway")
    started = time.monotonic()
    assert web.wait(waiting, seconds=120)["status"] == "completed"
    record_property(
        "fault",
        f"API server away: ClusterAway, completed {time.monotonic() - started:.0f} s after it",
    )


def start_sweep_on(release: Release, web: Web, node: str) -> str:
    """A sweep whose first shard has ended and whose others are at work there."""
    with changed(release, on(node, computing("index and time.sleep(60)"))):
        run_id = str(web.ask("/sweeps?force=true", SWEEP)["run_id"])
        wait_until(
            lambda: release.namespace.shown(
                "get", "job", f"bt-{run_id}", "-o", "jsonpath={.status.succeeded}"
            ),
            lambda succeeded: succeeded == "1",
            120,
            "a shard",
        )
    assert where(release, run_id) == node
    return run_id


def test_a_node_vanishes_with_its_workers(
    release: Release,
    web: Web,
    nodes: tuple[Namespace, str, str],
    record_property: Callable[..., None],
) -> None:
    namespace, first, other = nodes
    sweep_id = start_sweep_on(release, web, other)
    run_id = start_on(release, web, other, 60, "MA_CROSS_8_30")
    started = time.monotonic()
    with dead(other):
        for what, its_id in (("run", run_id), ("sweep", sweep_id)):
            status = web.wait(its_id, seconds=VANISHED_SECONDS)
            took = time.monotonic() - started
            record_property(
                "fault", f"node of a {what} vanished: {status['status']} after {took:.0f} s"
            )
            assert where(release, its_id) == first
            assert status["status"] == "completed"
        assert web.ask(f"/sweeps/{sweep_id}")["failed"] == []
    wait_until(lambda: ready(namespace, other), bool, 120, "the node is back")
