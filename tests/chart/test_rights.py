"""The controller's Role allows what its Kubernetes client calls, and nobody else has rights."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from service.launchers.kubernetes.api import Namespace, Refused
from tests.chart.conftest import CASES
from tests.chart.rendering import SECRET, Object, at, laid_over, object_of, objects
from tests.support.fake_answers import KINDS
from tests.support.fake_cluster import FakeCluster, point_client_at

ASKED: dict[str, tuple[Any, ...]] = {
    "create_job": ({"metadata": {"name": "bt-x"}},),
    "job": ("bt-x",),
    "delete_job": ("bt-x",),
    "config_map": ("bt-stock-backtest-worker-job",),
    "unfinished_jobs": ({"app.kubernetes.io/instance": "bt"},),
    "all_jobs": ({"app.kubernetes.io/instance": "bt"},),
    "living_pods": ({"app.kubernetes.io/instance": "bt"},),
    "pods": ({"app.kubernetes.io/instance": "bt"},),
    "log": ("bt-x-abcde", "worker", 200),
    "events": ("bt-x",),
    "delete_pod": ("bt-x-abcde",),
    "end_pod": ("bt-x-abcde",),
    "warnings": ("FailedCreate",),
}
Right = tuple[str, str, str]


VERBS = {"POST": "create", "DELETE": "delete", "GET": "get"}


def right(request: str) -> Right:
    """The right that a request of the fake cluster takes, like `GET jobs/{name}`."""
    method, path = request.split()
    resource, _, name = path.partition("/")
    verb = "list" if method == "GET" and not name else VERBS[method]
    group = KINDS[resource].group.removeprefix("apis/").partition("/")[0]
    subresource = "/log" if name.endswith("/log") else ""
    return "" if group == "api" else group, resource + subresource, verb


@pytest.fixture
def called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> set[Right]:
    """The rights that the calls in ASKED take of an API server."""
    cluster = FakeCluster()
    with cluster.served() as address:
        point_client_at(address, tmp_path, monkeypatch)
        namespace = Namespace()
        for method, arguments in ASKED.items():
            # the object may not be there; the right is needed all the same
            with suppress(Refused):
                getattr(namespace, method)(*arguments)
    return {right(request) for request in cluster.requests}


def allowed(role: Object) -> set[Right]:
    return {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_every_call_is_asked_for() -> None:
    methods = {
        name
        for name, value in vars(Namespace).items()
        if callable(value) and not name.startswith("_")
    }
    assert methods - {"now"} == set(ASKED), "which asks nobody"


def test_the_role_allows_what_is_called_and_no_more(called: set[Right]) -> None:
    assert allowed(object_of(objects(), "Role")) == called


def test_the_only_config_map_is_the_template() -> None:
    manifests = objects()
    (named,) = [
        rule["resourceNames"]
        for rule in object_of(manifests, "Role")["rules"]
        if rule["resources"] == ["configmaps"]
    ]
    assert named == [object_of(manifests, "ConfigMap", "-config")["data"]["JOB_TEMPLATE"]]
    assert named == [object_of(manifests, "ConfigMap", "-worker-job")["metadata"]["name"]]


@pytest.mark.parametrize("name", CASES)
def test_there_are_no_rights_in_other_namespaces(name: str) -> None:
    manifests = objects(CASES[name])
    assert [
        manifest["kind"] for manifest in manifests if manifest["kind"].startswith("ClusterRole")
    ] == []
    assert (
        len([manifest for manifest in manifests if manifest["kind"] in ("Role", "RoleBinding")])
        == 2
    )


def test_rights_and_accounts_of_your_own() -> None:
    manifests = objects(laid_over(SECRET, at("rbac.create", False)))
    assert [manifest["kind"] for manifest in manifests if "Role" in manifest["kind"]] == []
    manifests = objects(laid_over(SECRET, at("controller.serviceAccount.name", "mine")))
    assert object_of(manifests, "RoleBinding")["subjects"][0]["name"] == "mine"
    assert (
        object_of(manifests, "Deployment", "-controller")["spec"]["template"]["spec"][
            "serviceAccountName"
        ]
        == "mine"
    )
    assert "bt-stock-backtest-controller" not in [
        e["metadata"]["name"] for e in manifests if e["kind"] == "ServiceAccount"
    ]
