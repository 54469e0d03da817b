"""Every pod, those of Jobs too, passes Pod Security `restricted` and the chart's own rules."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable

import pytest

from tests.chart.conftest import CASES
from tests.chart.rendering import (
    SECRET,
    Object,
    containers,
    laid_over,
    object_of,
    objects,
    pods,
    worker_job,
)
from tests.chart.restricted import untidy, violations

TICKERS = laid_over(
    SECRET, {"prices": {"tickers": ["NFLX"]}, "mysql": {"backup": {"enabled": True}}}
)
KINDS = {
    "Deployment -web",
    "Deployment -controller",
    "StatefulSet -mysql",
    "CronJob -prices",
    "CronJob -backup",
    "Pod -test",
    "Job -mysql-backup",
    "Job bt-",
}


def test_the_audit_sees_every_pod() -> None:
    names = [re.sub("-[0-9a-f]{8}$", "", name) for name, _ in pods(objects(TICKERS))]
    assert {
        kind
        for kind in KINDS
        for name in names
        if name.startswith(kind.split()[0]) and name.endswith(kind.split()[1])
    } == KINDS
    assert len(names) == len(KINDS)
    other = {
        manifest["kind"]
        for manifest in objects(TICKERS)
        if "template" in str(manifest.get("spec")) and "containers" in str(manifest.get("spec"))
    }
    assert other <= {"Deployment", "StatefulSet", "CronJob", "Job", "Pod"}, (
        "a new kind of pod that `pods` does not know"
    )


def test_pods_are_restricted(case: Object) -> None:
    assert {
        name: faults for name, pod in pods(objects(case)) if (faults := violations(pod["spec"]))
    } == {}


def test_pods_are_tidy(case: Object) -> None:
    assert {
        name: faults for name, pod in pods(objects(case)) if (faults := untidy(pod["spec"]))
    } == {}


def test_images_are_pulled_once() -> None:
    policies = {
        container["imagePullPolicy"]
        for _, pod in pods(objects(TICKERS))
        for container in containers(pod["spec"])
    }
    assert policies == {"IfNotPresent"}


@pytest.mark.parametrize("name", ["defaults", "production", "external"])
def test_only_the_controller_has_a_token(name: str) -> None:
    manifests = objects(CASES[name])
    with_token = [
        name for name, pod in pods(manifests) if pod["spec"]["automountServiceAccountToken"]
    ]
    assert with_token == ["Deployment bt-stock-backtest-controller"]
    accounts = [manifest for manifest in manifests if manifest["kind"] == "ServiceAccount"]
    assert accounts
    assert [account for account in accounts if account["automountServiceAccountToken"]] == []
    bound = [
        subject["name"]
        for manifest in manifests
        if manifest["kind"] == "RoleBinding"
        for subject in manifest["subjects"]
    ]
    assert bound == ["bt-stock-backtest-controller"]
    used = {account["metadata"]["labels"]["app.kubernetes.io/component"] for account in accounts}
    assert {"web", "controller", "worker"} <= used, "each part has an account of its own"


def test_secrets_reach_no_environment_but_the_name_of_the_user(case: Object) -> None:
    keys = {
        variable["name"]
        for _, pod in pods(objects(case))
        for container in containers(pod["spec"])
        for variable in container.get("env", [])
        if "secretKeyRef" in variable.get("valueFrom", {})
    }
    assert keys <= {"MYSQL_USER"}


def good() -> Object:
    """The pod of a run: no finding."""
    return copy.deepcopy(worker_job(objects())["spec"]["template"]["spec"])


def change(path: str, value: object) -> Callable[[Object], None]:
    """Sets a value of the pod, or of its container where the path starts with a dot.

    The value `del` removes what is there.
    """

    def apply(spec: Object) -> None:
        *parents, last = path.strip(".").split(".")
        node = spec["containers"][0] if path.startswith(".") else spec
        for name in parents:
            node = node[name]
        node.pop(last) if value == "del" else node.__setitem__(last, value)

    return apply


HOST_PATH = [{"name": "host", "hostPath": {"path": "/"}}]
RESTRICTED = {
    "hostNetwork": change("hostNetwork", True),
    "hostPID": change("hostPID", True),
    "hostIPC": change("hostIPC", True),
    "volume host: hostPath": change("volumes", HOST_PATH),
    "ephemeral container x": change("ephemeralContainers", [{"name": "x"}]),
    "sysctl kernel.msgmax": change("securityContext.sysctls", [{"name": "kernel.msgmax"}]),
    "hostProcess": change("securityContext.windowsOptions", {"hostProcess": True}),
    "runAsNonRoot": change("securityContext.runAsNonRoot", "del"),
    "runAsUser 0": change(".securityContext.runAsUser", 0),
    "seccompProfile": change("securityContext.seccompProfile", {"type": "Unconfined"}),
    "allowPrivilegeEscalation": change(".securityContext.allowPrivilegeEscalation", "del"),
    "privileged": change(".securityContext.privileged", True),
    "capabilities.drop": change(".securityContext.capabilities", {"drop": ["NET_RAW"]}),
    "capabilities.add": change(".securityContext.capabilities.add", ["SYS_ADMIN"]),
    "procMount": change(".securityContext.procMount", "Unmasked"),
    "hostPort": change(".ports", [{"containerPort": 5000, "hostPort": 5000, "name": "x"}]),
    "probe host": change(".livenessProbe", {"httpGet": {"host": "10.0.0.1", "port": 1}}),
}
TIDY = {
    "enableServiceLinks": change("enableServiceLinks", True),
    "automountServiceAccountToken is left to the cluster": change(
        "automountServiceAccountToken", "del"
    ),
    "serviceAccountName": change("serviceAccountName", ""),
    "volume tmp has no sizeLimit": change("volumes", [{"name": "tmp", "emptyDir": {}}]),
    "readOnlyRootFilesystem": change(".securityContext.readOnlyRootFilesystem", "del"),
    "tag of its image": change(".image", "registry.example.org:5000/worker:latest"),
    "imagePullPolicy": change(".imagePullPolicy", "del"),
    "env twice": change(".env", [{"name": "A"}, {"name": "A"}]),
    "named twice": change(
        ".ports", [{"name": "a", "containerPort": 1}, {"name": "a", "containerPort": 2}]
    ),
    "ports twice": change(
        ".ports", [{"name": "a", "containerPort": 1}, {"name": "b", "containerPort": 1}]
    ),
    "mounts twice": change(".volumeMounts", [{"mountPath": "/tmp"}, {"mountPath": "/tmp"}]),
    "resources.limits.ephemeral-storage": change(".resources.limits.ephemeral-storage", "del"),
    "resources.requests.cpu": change(
        ".resources.requests", {"memory": "1Gi", "ephemeral-storage": "1Gi"}
    ),
}


@pytest.mark.parametrize("expected", RESTRICTED)
def test_the_audit_finds(expected: str) -> None:
    spec = good()
    assert violations(spec) == []
    RESTRICTED[expected](spec)
    assert [text.removeprefix("container worker: ") for text in violations(spec)] == [expected]


@pytest.mark.parametrize("expected", TIDY)
def test_the_rules_find(expected: str) -> None:
    spec = good()
    assert untidy(spec) == []
    TIDY[expected](spec)
    assert [text.removeprefix("container worker: ") for text in untidy(spec)] == [expected]


def test_an_init_container_counts_like_any_other() -> None:
    spec = object_of(objects(), "Deployment", "-web")["spec"]["template"]["spec"]
    assert len(spec["initContainers"]) == 2
    del spec["initContainers"][1]["securityContext"]["capabilities"]
    assert violations(spec) == ["container samples: capabilities.drop"]
