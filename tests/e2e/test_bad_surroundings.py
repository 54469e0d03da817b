"""A cluster that does not give what runs need: the run, or else the pod, says why in a sentence."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

from tests.e2e.cluster import Release
from tests.e2e.conftest import ONE_EACH, TINY
from tests.e2e.waiters import Object, pod_ready, wait_until

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def release(helm_release: Callable[..., Release]) -> Release:
    return helm_release(**ONE_EACH)


def quota(pods: int) -> Object:
    metadata = {"name": "few-pods"}
    return {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": metadata,
        "spec": {"hard": {"pods": str(pods)}},
    }


def test_a_used_up_quota_makes_runs_wait_and_say_so(release: Release) -> None:
    now = release.upgrade()
    now.namespace.apply(quota(1))

    def used() -> object:
        document = now.namespace.object("resourcequota", "few-pods")
        return document.get("status", {}).get("used")

    wait_until(used, bool, 30, "the quota counts")
    with now.web() as web:
        run_id = web.submit()
        status = wait_until(
            lambda: web.status(run_id),
            lambda status: status["reason"],
            120,
            "the run says why it waits",
        )
        assert (status["status"], status["reason"]) == ("pending", "QuotaExceeded")
        assert status["hint"].startswith("The cluster's quota is used up")
        time.sleep(5)
        assert web.status(run_id)["reason"] == "QuotaExceeded", "as long as it waits"
        now.namespace.apply(quota(50))
        assert web.wait(run_id, seconds=120)["status"] == "completed"
    now.namespace.kubectl("delete", "resourcequota", "few-pods")


# The chart's Role without the right to create Jobs.
ROLE = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "Role",
    "metadata": {"name": "my-own"},
    "rules": [
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["delete", "get", "list"]},
        {"apiGroups": [""], "resources": ["pods", "events"], "verbs": ["list"]},
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]},
    ],
}


def binding(account: str) -> Object:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "my-own"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "my-own"},
        "subjects": [{"kind": "ServiceAccount", "name": account}],
    }


def test_a_role_that_may_not_create_jobs(release: Release) -> None:
    namespace = release.namespace
    now = release.upgrade(rbac={"create": False})
    namespace.apply(ROLE, binding(now.name_of("serviceaccount", "controller")))
    namespace.kubectl(
        "delete", "pod", *now.pods("controller")
    )  # the new one finds out at its start
    sentence = "No job can be started: Jobs cannot be created: jobs.batch is forbidden"
    words = "logs", f"deploy/{now.name_of('deployment', 'controller')}", "--tail=20"
    wait_until(
        lambda: namespace.shown(*words),
        lambda text: sentence in text,
        60,
        "the controller says it in its log",
    )
    assert not any(pod_ready(pod) for pod in namespace.objects("pods", **now.labels("controller")))
    with now.web() as web:
        reason, message = web.failed()
        assert reason == "AdmissionDenied"
        assert message.startswith(
            "The cluster refuses the worker's Job: jobs.batch is forbidden: User"
        )
        namespace.kubectl("delete", "role/my-own", "rolebinding/my-own")
        assert now.upgrade(rbac={"create": True}), (
            "the controller recovers by itself, so that the upgrade can wait"
        )
        web.completed()


def test_no_storage_for_the_database(release: Release) -> None:
    values = {
        **TINY,
        **ONE_EACH,
        "mysql": {**TINY["mysql"], "persistence": {"storageClass": "nowhere"}},
    }
    lost = Release("lost", release.namespace, values)
    lost._deploy("install", wait=False)
    assert "get pods,jobs,events" in lost.helm("get", "notes", "lost")[0]

    def events() -> str:
        return " ".join(event["message"] for event in release.namespace.objects("events"))

    wait_until(
        events,
        lambda text: 'storageclass.storage.k8s.io "nowhere" not found' in text,
        60,
        "an event says it",
    )
    (pod,) = release.namespace.objects("pods", **lost.labels("mysql"))
    assert pod["status"]["phase"] == "Pending"
    assert "PersistentVolumeClaim" in json.dumps(pod["status"]["conditions"])
    lost.helm("uninstall", "lost")
