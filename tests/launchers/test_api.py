"""What becomes of the answers of an API server, over HTTP; tests/e2e has a real one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from service.launchers.kubernetes.api import Away, Busy, Namespace, Refused
from service.launchers.kubernetes.objects import Object
from tests.support.fake_answers import Denied
from tests.support.fake_cluster import TEMPLATE, FakeCluster, of_states, point_client_at

JOB = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "bt-x", "labels": {"a": "b"}},
    "spec": {
        "template": {
            "spec": {
                "containers": [{"name": "worker", "resources": {"limits": {"cpu": 1}}}],
                "fieldOfALaterRelease": True,
            }
        }
    },
}


@pytest.fixture
def cluster() -> FakeCluster:
    cluster = FakeCluster()
    for run_id, state in of_states(running=1, failed=1).items():
        cluster.add(run_id, state)
    return cluster


@pytest.fixture
def namespace(
    cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Namespace]:
    with cluster.served() as address:
        point_client_at(address, tmp_path, monkeypatch)
        yield Namespace()


def answer_with(cluster: FakeCluster, status: int, content: str | None = None) -> None:
    """Denies every call with that status; the content is a Status object or other text."""
    cluster.denial = Denied(status, "Reason", "it is so")
    if content is not None:
        cluster.denial.content = content.encode()


def number_of_calls(verb: str, resource: str, code: int) -> float:
    labels = {"verb": verb, "resource": resource, "code": str(code)}
    name = "stock_backtest_kubernetes_request_seconds_count"
    return REGISTRY.get_sample_value(name, labels) or 0


@pytest.mark.parametrize("status", [400, 403, 404, 409, 410, 422])
def test_a_refusal_has_the_status_and_the_message(
    status: int, cluster: FakeCluster, namespace: Namespace
) -> None:
    answer_with(cluster, status)
    with pytest.raises(Refused, match="^it is so$") as caught:
        namespace.job("bt-x")
    assert caught.value.status == status


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_has_too_much_to_do_is_busy(
    status: int, cluster: FakeCluster, namespace: Namespace
) -> None:
    answer_with(cluster, status)
    with pytest.raises(Busy, match="^the Kubernetes API is busy: it is so$"):
        namespace.create_job(JOB)
    assert cluster.requests["POST jobs"] == 1, "nothing is tried twice"


@pytest.mark.parametrize("status", [302, 401, 500, 502, 504])
def test_other_failures_say_nothing_about_what_was_asked(
    status: int, cluster: FakeCluster, namespace: Namespace
) -> None:
    answer_with(cluster, status)
    with pytest.raises(Away, match=f"^the Kubernetes API fails with {status}: it is so$") as caught:
        namespace.create_job(JOB)
    assert not isinstance(caught.value, Busy)
    assert cluster.requests["POST jobs"] == 1, "nothing is tried twice"


@pytest.mark.parametrize("content", ["", "no JSON", "[]", "{}"])
def test_a_refusal_without_a_message(
    content: str, cluster: FakeCluster, namespace: Namespace
) -> None:
    answer_with(cluster, 403, content)
    with pytest.raises(Refused, match="^status 403$"):
        namespace.living_pods({})


def test_an_answer_that_cannot_be_read(cluster: FakeCluster, namespace: Namespace) -> None:
    for content in ("no JSON", '{"items": 1, "metadata": {}}'):
        answer_with(cluster, 200, content)
        with pytest.raises(Away, match="^the answer of the Kubernetes API cannot be read: "):
            namespace.living_pods({})


@pytest.mark.parametrize("content", ["", "<html>", "[]"])
def test_an_unreadable_answer_to_a_change_does_not_count_as_done(
    content: str, cluster: FakeCluster, namespace: Namespace
) -> None:
    """It may come from a proxy in between: the Job may be there or not."""
    answer_with(cluster, 200, content)
    with pytest.raises(Away):
        namespace.create_job({"metadata": {"name": "bt-1"}})
    with pytest.raises(Away):
        namespace.delete_job("bt-1")


def test_a_server_that_is_not_there(
    cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cluster.served() as address:
        point_client_at(address, tmp_path, monkeypatch)
    before = number_of_calls("list", "jobs", 0)
    with pytest.raises(Away, match="^the Kubernetes API does not answer: "):
        Namespace().unfinished_jobs({})
    assert number_of_calls("list", "jobs", 0) == before + 1


def test_what_is_gone_need_not_be_deleted(cluster: FakeCluster, namespace: Namespace) -> None:
    namespace.delete_job("bt-nobody")
    namespace.delete_pod("nobody")
    answer_with(cluster, 403)
    with pytest.raises(Refused):
        namespace.delete_job("bt-nobody")


def test_a_job_is_sent_as_it_is(
    cluster: FakeCluster, namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API server judges it, and not this client, whose models know less than a server."""
    sent: list[Object] = []
    answer = cluster.answer

    def record(method: str, path: str, query: Object, body: Object) -> tuple[int, bytes]:
        sent.append({"query": query, "body": body})
        return answer(method, path, query, body)

    monkeypatch.setattr(cluster, "answer", record)
    namespace.create_job(JOB, dry_run=True)
    assert "bt-x" not in cluster.kinds["jobs"]
    namespace.create_job(JOB)
    assert "bt-x" in cluster.kinds["jobs"]
    namespace.delete_job("bt-x")
    namespace.delete_pod("nobody")
    options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Foreground"}
    assert sent == [
        {"query": {"dryRun": "All"}, "body": JOB},
        {"query": {}, "body": JOB},
        {"query": {}, "body": options},
        {"query": {}, "body": {**options, "gracePeriodSeconds": 0}},
    ]


def test_of_listed_objects_only_what_is_looked_at_is_read(
    cluster: FakeCluster, namespace: Namespace
) -> None:
    (pod,) = namespace.living_pods({})
    (recorded,) = [
        json.loads(stored.body)
        for stored in cluster.kinds["pods"].values()
        if stored.fields["status.phase"] == "Running"
    ]
    assert set(pod) == {"metadata", "status"}
    assert pod["metadata"]["name"] == recorded["metadata"]["name"]
    assert pod["metadata"]["uid"] == recorded["metadata"]["uid"]
    assert pod["metadata"]["creationTimestamp"] == recorded["metadata"]["creationTimestamp"]
    assert set(pod["metadata"]["labels"]) == {"stock-backtest/run-id", "stock-backtest/launch"}
    assert pod["status"]["phase"] == "Running"
    types = [condition["type"] for condition in recorded["status"]["conditions"]]
    assert [condition["type"] for condition in pod["status"]["conditions"]] == types
    (container,) = pod["status"]["containerStatuses"]
    assert set(container) == {"name", "image", "state"}


def test_calls_are_counted_as_the_api_server_names_them(
    cluster: FakeCluster, namespace: Namespace
) -> None:
    calls = {
        ("create", "jobs", 201): lambda: namespace.create_job(JOB),
        ("get", "jobs", 200): lambda: namespace.job("bt-x"),
        ("list", "jobs", 200): lambda: namespace.unfinished_jobs({}),
        ("delete", "jobs", 200): lambda: namespace.delete_job("bt-x"),
        ("delete", "pods", 404): lambda: namespace.delete_pod("nobody"),
        ("list", "pods", 200): lambda: namespace.pods({}),
        ("list", "events", 200): lambda: namespace.events("bt-x"),
        ("get", "configmaps", 200): lambda: namespace.config_map(TEMPLATE),
        ("get", "pods/log", 200): lambda: namespace.log(next(iter(cluster.kinds["pods"])), "c", 1),
    }
    for labels, call in calls.items():
        before = number_of_calls(*labels)
        call()
        assert number_of_calls(*labels) == before + 1, labels
