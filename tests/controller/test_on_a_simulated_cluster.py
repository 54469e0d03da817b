"""The controller and its Kubernetes client over HTTP, against copies of recorded Jobs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from kubernetes import client
from sqlalchemy import Engine

from service.contract.request import parse_request
from service.contract.status import Reason, Status
from service.controller.reconciler import Controller
from service.controller.work import work_of_request
from service.launchers.kubernetes.api import Namespace
from service.launchers.kubernetes.launcher import KubernetesJobs
from service.launchers.launcher import LauncherAway
from service.store.rows import StoredResult
from service.usecases.runs import Runs
from tests.support.controllers import submit
from tests.support.fake_answers import KINDS, Denied, fielded, labelled
from tests.support.fake_cluster import (
    LOG,
    NAMESPACE,
    TEMPLATE,
    FakeCluster,
    of_states,
    point_client_at,
)
from tests.support.fake_rows import fill, rows
from tests.support.recorded import recorded
from tests.support.requests import REQUEST
from tests.support.stores import EveryStore

MANY = {"completed": 20, "failed": 10, "pending": 40, "running": 60}
PAGE = 30  # fewer than there are Jobs and pods


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., FakeCluster]]:
    """Makes a cluster with so many runs of each state, and points the Kubernetes client at it."""
    monkeypatch.setattr("service.launchers.kubernetes.api.PAGE_SIZE", PAGE)
    with ExitStack() as stack:

        def make(**numbers: int) -> FakeCluster:
            cluster = FakeCluster()
            for run_id, state in of_states(**numbers).items():
                cluster.add(run_id, state)
            point_client_at(stack.enter_context(cluster.served()), tmp_path, monkeypatch)
            return cluster

        yield make


def controller(engine: Engine, max_active: int = 0) -> Controller:
    return Controller(EveryStore(engine), KubernetesJobs(TEMPLATE, Namespace()), max_active, 900)


def seen() -> dict[str, Reason | None]:
    """The living Jobs, and what keeps them from starting."""
    jobs_by_run = KubernetesJobs(TEMPLATE, Namespace()).jobs()
    return {
        run_id: job.problem.reason if job.problem else None
        for run_id, job in jobs_by_run.items()
        if job.alive
    }


def whole() -> dict[str, Reason | None]:
    """The reason of each run of MANY that has a living Job."""
    reasons = {"pending": Reason.UNSCHEDULABLE, "running": None}
    return {
        run_id: reasons[state] for run_id, state in of_states(**MANY).items() if state in reasons
    }


def jobs() -> client.BatchV1Api:
    """The Kubernetes client's own idea of the API: it takes every answer apart."""
    return client.BatchV1Api(Namespace()._api)


def test_there_is_a_recording_of_each_state() -> None:
    phases = {
        state: [pattern.document["status"].get("phase") for pattern in patterns]
        for state, patterns in recorded().items()
    }
    assert phases == {
        "completed": [None, "Succeeded"],
        "failed": [None, "Failed", "Failed"],
        "pending": [None, "Pending"],
        "running": [None, "Running"],
    }


def test_where_all_is_well_no_run_changes(
    engine: Engine, serve: Callable[..., FakeCluster]
) -> None:
    cluster = serve(**MANY)
    states = of_states(**MANY)
    fill(engine, states)
    before = rows(engine)
    controller(engine).step()
    assert rows(engine) == before
    noted = {run.run_id: run.reason for run in EveryStore(engine).active() if run.reason}
    assert noted == {
        run_id: Reason.UNSCHEDULABLE for run_id, state in states.items() if state == "pending"
    }
    assert {
        f"bt-{run_id}" for run_id, state in states.items() if state != "failed"
    } <= cluster.kinds["jobs"].keys()
    assert cluster.requests["GET jobs/{name}"] == 0, "of those at work every one is listed"


def test_a_pass_takes_no_more_when_more_runs_have_completed(
    engine: Engine, serve: Callable[..., FakeCluster]
) -> None:
    cluster = serve(completed=5, running=5)
    fill(engine, of_states(completed=5, running=5))
    passes = controller(engine)
    sent = []
    for _ in range(3):
        before = cluster.sent
        passes.step()
        sent.append(cluster.sent - before)
        for number in range(100):
            cluster.add(f"00000000-0000-4000-8000-{len(sent):06}{number:06}", "completed")
    assert abs(sent[2] - sent[1]) < 100, sent


def test_what_the_clock_says_is_asked_of_the_api_server(
    serve: Callable[..., FakeCluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    """deletionTimestamp is when the pod must be gone, which may be in the future.

    A controller on a node whose clock is ahead would take the pod for lost.
    """
    served = "Thu, 01 Jan 2026 12:00:00 GMT"
    serve(running=1)
    namespace = Namespace()
    assert abs(namespace.now() - datetime.now(UTC)) < timedelta(minutes=1)
    for date in (served, "", "yesterday"):
        monkeypatch.setattr(
            "http.server.BaseHTTPRequestHandler.date_time_string", lambda *_, date=date: date
        )
        namespace.living_pods({})
        assert (
            timedelta()
            <= namespace.now() - datetime(2026, 1, 1, 12, tzinfo=UTC)
            < timedelta(minutes=1)
        )


def test_every_page_comes(serve: Callable[..., FakeCluster]) -> None:
    cluster = serve(**MANY)
    assert seen() == whole()
    assert cluster.requests["GET jobs"] == 4, "30, 30, 30 and 20"


def test_a_list_that_expires_midway_proves_nothing(
    engine: Engine, serve: Callable[..., FakeCluster]
) -> None:
    """Jobs and pods of the pages that did not come are not gone."""
    cluster = serve(**MANY)
    fill(engine, of_states(**MANY))
    before = rows(engine)
    there = set(cluster.kinds["jobs"])
    cluster.expired = True
    with suppress(LauncherAway):
        assert seen() == whole()
    with suppress(LauncherAway):
        controller(engine).step()
    assert rows(engine) == before
    assert set(cluster.kinds["jobs"]) == there
    assert cluster.requests["GET jobs/{name}"] == 0, "nothing was taken for missing"


def test_what_a_failed_job_left_is_read(serve: Callable[..., FakeCluster]) -> None:
    serve(failed=1)
    (run_id,) = of_states(failed=1)
    assert KubernetesJobs(TEMPLATE, Namespace()).evidence(run_id) == {
        "events": [],
        "log": [LOG.strip()],
    }


def test_a_run_is_launched_and_cancelled(
    engine: Engine, runs: Runs, serve: Callable[..., FakeCluster]
) -> None:
    cluster = serve(completed=1)
    run, _ = runs.submit(REQUEST)
    passes = controller(engine, max_active=1)
    passes.step()
    (job,) = [
        stored for name, stored in cluster.kinds["jobs"].items() if name == f"bt-{run.run_id}"
    ]
    assert job.labels["stock-backtest/launch"] == "1"
    work = work_of_request(parse_request(json.loads(run.request)))
    # again, as after an answer that was lost
    KubernetesJobs(TEMPLATE, Namespace()).launch(work, 1)
    assert cluster.requests["POST jobs"] == 2
    runs.cancel(run.run_id)
    passes.step()
    passes.step()
    assert f"bt-{run.run_id}" not in cluster.kinds["jobs"]
    assert runs.run(run.run_id).status == Status.CANCELLED


def names_of_jobs(cluster: FakeCluster, ids: list[str]) -> set[str]:
    """The runs among these that have a Job."""
    return {run_id for run_id in ids if f"bt-{run_id}" in cluster.kinds["jobs"]}


def test_jobs_that_a_queue_of_the_cluster_holds_back_take_no_slot(
    clock: list[float], engine: Engine, runs: Runs, serve: Callable[..., FakeCluster]
) -> None:
    """Kueue suspends each Job until it is admitted, and may suspend it again later."""
    cluster = serve()
    ids = submit(runs, 3)
    passes = controller(engine, max_active=1)
    for number in (1, 2, 3):
        passes.step()
        assert len(names_of_jobs(cluster, ids)) == number
        for run_id in names_of_jobs(cluster, ids):
            cluster.set_status(f"bt-{run_id}", "Suspended")
        passes.step()
        clock[0] += 1
    passes.step()
    for run in map(runs.run, ids):
        assert (run.status, run.reason, run.launches) == (Status.PENDING, "WaitingForQuota", 1)
        assert "such as Kueue's" in str(runs.status(run).hint)
    admitted, *others = ids
    cluster.set_status(f"bt-{admitted}")
    passes.step()
    assert runs.run(admitted).reason is None
    runs.run_store.claim(admitted, "w")
    cluster.set_status(f"bt-{admitted}", "Suspended")
    passes.step()
    run = runs.run(admitted)
    assert (run.status, run.reason, run.launches) == (Status.PENDING, "WaitingForQuota", 0)
    assert names_of_jobs(cluster, ids) == set(others), "it joins the queue again"


def test_a_queue_of_the_cluster_holds_no_more_jobs_than_it_needs_to(
    clock: list[float],
    engine: Engine,
    runs: Runs,
    serve: Callable[..., FakeCluster],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("service.controller.dispatcher.MAX_WAITING_JOBS", 3)
    cluster = serve()
    ids = submit(runs, 8)
    passes = controller(engine, max_active=2)
    for _ in range(6):
        passes.step()
        for run_id in names_of_jobs(cluster, ids):
            cluster.set_status(f"bt-{run_id}", "Suspended")
        clock[0] += 1
    assert len(names_of_jobs(cluster, ids)) == 3
    assert not passes.dispatcher.has_work(len(ids)), "so the cluster is looked at seldom"


def test_a_quota_that_counts_jobs_lets_every_run_through(
    clock: list[float], engine: Engine, runs: Runs, serve: Callable[..., FakeCluster]
) -> None:
    """It counts those that have ended, too, which stay for an hour to be looked at."""
    cluster = serve(failed=3)
    cluster.max_jobs = 9
    ids = submit(runs, 20)
    passes = controller(engine, max_active=4)
    told = set()
    for _ in range(60):
        passes.step()
        for run_id in ids:
            run = runs.run(run_id)
            told.add(run.message)
            if run.status == Status.PENDING and run_id in names_of_jobs(cluster, [run_id]):
                runs.run_store.claim(run_id, "w")
                assert runs.run_store.finish(run_id, 1, StoredResult("{}", "", None), {})
                cluster.set_status(f"bt-{run_id}", "Complete", succeeded=1)
        clock[0] += 1
    assert {runs.run(run_id).status for run_id in ids} == {Status.COMPLETED}
    assert len(cluster.kinds["jobs"]) <= 9
    assert cluster.kinds["jobs"], "no more go than is needed"
    assert any(
        re.search("Jobs there now: [23] of this platform at work, [67] .* and 0 of others", text)
        for text in filter(None, told)
    )


def test_pages_are_of_one_moment(serve: Callable[..., FakeCluster]) -> None:
    cluster = serve(running=10)
    api = jobs()
    first = api.list_namespaced_job(NAMESPACE, limit=4)
    assert first.metadata.remaining_item_count == 6
    api.delete_namespaced_job(
        max(cluster.kinds["jobs"]), NAMESPACE, propagation_policy="Foreground"
    )
    assert len(cluster.kinds["pods"]) == 9, "its pod went with it"
    again = api.list_namespaced_job(NAMESPACE, limit=4, _continue=first.metadata._continue)
    last = api.list_namespaced_job(NAMESPACE, limit=4, _continue=again.metadata._continue)
    assert [len(page.items) for page in (first, again, last)] == [4, 4, 2]
    assert last.metadata._continue is None
    assert len(api.list_namespaced_job(NAMESPACE).items) == 9


def test_an_expired_page_says_how_to_go_on(serve: Callable[..., FakeCluster]) -> None:
    cluster = serve(running=10)
    api = jobs()
    selected = {"label_selector": "app.kubernetes.io/component=worker", "limit": 4}
    first = api.list_namespaced_job(NAMESPACE, **selected)
    assert first.metadata.remaining_item_count is None, "unknown where something is selected"
    cluster.expired = True
    with pytest.raises(client.ApiException) as caught:
        api.list_namespaced_job(NAMESPACE, _continue=first.metadata._continue, **selected)
    refusal = json.loads(caught.value.body)
    assert (caught.value.status, refusal["reason"]) == (410, "Expired")
    rest = api.list_namespaced_job(
        NAMESPACE, _continue=refusal["metadata"]["continue"], field_selector="status.successful=0"
    )
    assert len(first.items) + len(rest.items) == 10


@pytest.mark.parametrize(
    ("selector", "chosen"),
    [
        ("a", ["a1", "a2"]),
        ("!a", ["none"]),
        ("a=1", ["a1"]),
        ("a==1", ["a1"]),
        ("a!=1", ["a2", "none"]),
        ("a in (1, 3)", ["a1"]),
        ("a in (1,2)", ["a1", "a2"]),
        ("a notin (1,3)", ["a2", "none"]),
    ],
)
def test_selectors(selector: str, chosen: list[str]) -> None:
    known: dict[str, dict[str, str]] = {
        "a1": {"a": "1"},
        "a2": {"a": "2", "b": "1"},
        "none": {"b": "1"},
    }
    assert [name for name, labels in known.items() if labelled(selector)(labels)] == chosen


def test_lists_of_selectors_and_fields(serve: Callable[..., FakeCluster]) -> None:
    serve(completed=1, failed=1, pending=1, running=1)
    pods = client.CoreV1Api(Namespace()._api)
    selected = {
        "field_selector": "status.phase!=Succeeded,status.phase!=Failed",
        "label_selector": "a notin (b,c),job-name",
    }
    assert {pod.status.phase for pod in pods.list_namespaced_pod(NAMESPACE, **selected).items} == {
        "Pending",
        "Running",
    }
    for asked_for in ("reason=FailedCreate", "involvedObject.name=pod,reason!=Killing"):
        assert pods.list_namespaced_event(NAMESPACE, field_selector=asked_for).items == []
    for wrong in ("status.foo=1", "status.phase"):
        with pytest.raises(Denied, match="not supported|invalid selector"):
            fielded(wrong, KINDS["pods"])
