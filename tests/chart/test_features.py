"""What a value turns on is there, what it turns off is not, and the parts find each other."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.chart.conftest import CASES
from tests.chart.rendering import (
    EXTERNAL,
    SECRET,
    Object,
    at,
    files,
    laid_over,
    object_of,
    objects,
    pods,
    worker_job,
)


def objects_with(path: str, value: Any) -> list[Object]:
    return objects(laid_over(SECRET, at(path, value)))


def kinds(manifests: list[Object]) -> set[str]:
    return {f"{manifest['kind']} {manifest['metadata']['name']}" for manifest in manifests}


def test_an_external_database_leaves_nothing_of_mysql() -> None:
    texts = files(EXTERNAL)
    assert [name for name in texts if "charts/mysql" in name] == []
    assert not any(
        "StatefulSet" in name or "PersistentVolume" in name or "mysql" in name
        for name in kinds(objects(EXTERNAL))
    )
    rendered = "\n".join(text for name, text in texts.items() if not name.endswith("NOTES.txt"))
    assert "mysql" not in rendered.lower().replace("mysql:3306", "")
    assert "uninstall" not in texts["stock-backtest/templates/NOTES.txt"]


def test_a_password_by_value_becomes_a_secret() -> None:
    values = laid_over(
        EXTERNAL,
        {"externalDatabase": {"existingSecret": "", "password": "p'w\"$", "username": "quant"}},
    )
    secret = object_of(objects(values), "Secret")
    assert secret["data"] == {"DB_USER": "cXVhbnQ=", "DB_PASSWORD": "cCd3IiQ="}
    (volume,) = [
        volume
        for volume in worker_job(objects(values))["spec"]["template"]["spec"]["volumes"]
        if "secret" in volume
    ]
    assert volume["secret"]["secretName"] == secret["metadata"]["name"]
    assert [manifest for manifest in objects(EXTERNAL) if manifest["kind"] == "Secret"] == []


def test_an_autoscaler_alone_sets_the_number_of_pods() -> None:
    manifests = objects_with("web.autoscaling.enabled", True)
    scaler = object_of(manifests, "HorizontalPodAutoscaler")
    web = object_of(manifests, "Deployment", "-web")
    assert "replicas" not in web["spec"]
    assert scaler["spec"]["scaleTargetRef"]["name"] == web["metadata"]["name"]
    assert (scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]) == (2, 6)
    assert "HorizontalPodAutoscaler" not in str(kinds(objects()))
    assert object_of(objects(), "Deployment", "-web")["spec"]["replicas"] == 2


@pytest.mark.parametrize(
    ("path", "value", "budgets"),
    [
        ("web.replicaCount", 2, {"-web", "-controller"}),
        ("web.replicaCount", 1, {"-controller"}),
        ("controller.replicaCount", 1, {"-web"}),
        ("web.podDisruptionBudget.enabled", False, {"-controller"}),
        ("web", {"replicaCount": 1, "autoscaling": {"enabled": True}}, {"-web", "-controller"}),
    ],
)
def test_a_budget_only_where_there_is_more_than_one_pod(
    path: str, value: Any, budgets: set[str]
) -> None:
    budgets_made = [
        manifest
        for manifest in objects_with(path, value)
        if manifest["kind"] == "PodDisruptionBudget"
    ]
    assert {
        manifest["metadata"]["name"].removeprefix("bt-stock-backtest") for manifest in budgets_made
    } == budgets
    assert all(manifest["spec"]["maxUnavailable"] == 1 for manifest in budgets_made)
    assert all(
        manifest["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow" for manifest in budgets_made
    )


def test_the_only_hook_is_the_test(case: Object) -> None:
    hooks = {
        manifest["metadata"]["name"]: hook
        for manifest in objects(case)
        if (hook := annotations(manifest).get("helm.sh/hook"))
    }
    assert list(hooks.values()) == ["test"]
    named = [
        manifest["metadata"]["name"]
        for manifest in objects(case)
        if manifest["kind"] in ("Job", "Pod")
    ]
    others = [
        name for name in named if name not in hooks and not re.search("-[0-9a-f]{8}$", name)
    ]  # a hash of its spec
    assert others == [], "a Job or Pod of a fixed name cannot be changed by an upgrade"


def annotations(manifest: Object) -> Object:
    return manifest["metadata"].get("annotations") or {}


def test_off_means_nothing_is_made() -> None:
    plain = kinds(objects())
    for kind in (
        "Ingress",
        "HTTPRoute",
        "ServiceMonitor",
        "PrometheusRule",
        "CronJob",
        "HorizontalPodAutoscaler",
    ):
        assert not any(name.startswith(kind) for name in plain)
    assert not any(
        name.startswith("NetworkPolicy bt-stock")
        for name in kinds(objects_with("networkPolicy.enabled", False))
    )
    web = object_of(objects_with("prices.samples.enabled", False), "Deployment", "-web")["spec"][
        "template"
    ]["spec"]
    assert [manifest["name"] for manifest in web["initContainers"]] == ["migrate"]


def test_prices_from_outside() -> None:
    cron = object_of(objects_with("prices.tickers", ["NFLX", "^GSPC", "NO"]), "CronJob")["spec"]
    (loader,) = cron["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert loader["command"][1:3] == ["scripts/data_loader.py", "fetch"]
    assert loader["command"][-1] == "--tickers"
    assert loader["args"] == ["NFLX", "^GSPC", "NO"]
    assert cron["suspend"] is True, "started by hand until it is enabled"
    assert (
        object_of(
            objects_with("prices", {"tickers": ["A"], "refresh": {"enabled": True}}), "CronJob"
        )["spec"]["suspend"]
        is False
    )


def test_only_fetches_may_leave_the_cluster() -> None:
    (policy,) = policies_that_lead_outside(objects())
    assert policy["podSelector"]["matchLabels"]["stock-backtest/kind"] == "prices"
    assert policy["policyTypes"] == ["Egress"]
    assert policies_that_lead_outside(objects_with("prices.vendors", [])) == []
    refreshed = objects_with("prices", {"vendors": [], "tickers": ["A"]})
    assert policies_that_lead_outside(refreshed) == [policy]


def policies_that_lead_outside(manifests: list[Object]) -> list[Object]:
    """Those whose pods reach any address at port 443; the controller's is for the API server."""
    return [
        each["spec"]
        for each in manifests
        if each["kind"] == "NetworkPolicy"
        and not each["metadata"]["name"].endswith("-controller")
        and any(
            "to" not in rule and 443 in [port["port"] for port in rule.get("ports", [])]
            for rule in each["spec"].get("egress", [])
        )
    ]


def test_one_registry_for_all_images() -> None:
    manifests = objects_with("global.imageRegistry", "registry.example.org/mirror")
    images = [
        container["image"] for _, pod in pods(manifests) for container in pod["spec"]["containers"]
    ]
    assert all(image.startswith("registry.example.org/mirror/") for image in images)


def test_images_of_your_own() -> None:
    image = {
        "registry": "r.example.org:5000",
        "repository": "team/worker",
        "tag": "7",
        "digest": f"sha256:{'a' * 64}",
    }
    job = worker_job(objects_with("worker.image", image))
    wanted = f"r.example.org:5000/team/worker:7@sha256:{'a' * 64}"
    (worker,) = job["spec"]["template"]["spec"]["containers"]
    assert worker["image"] == wanted
    assert {"name": "IMAGE", "value": wanted} in worker["env"], (
        "the provenance of a result tells the image"
    )


def test_overrides_of_the_job_are_laid_over_it() -> None:
    plain = worker_job(objects())
    own = worker_job(
        objects_with("worker.jobOverrides", at("spec.template.spec.runtimeClassName", "gvisor"))
    )
    assert own["spec"]["template"]["spec"].pop("runtimeClassName") == "gvisor"
    assert own == plain


def test_a_job_has_time_for_all_its_tries() -> None:
    spec = worker_job(objects_with("worker", {"timeoutSeconds": 100, "backoffLimit": 3}))["spec"]
    assert spec["template"]["spec"]["activeDeadlineSeconds"] == 100
    assert spec["activeDeadlineSeconds"] >= 4 * 100
    assert (spec["backoffLimit"], spec["ttlSecondsAfterFinished"]) == (3, 3600)


@pytest.mark.parametrize("name", CASES)
def test_the_parts_find_each_other(name: str) -> None:
    """Selectors match pods, named ports are there, and what is named exists."""
    manifests = objects(CASES[name])
    specs = [pod for _, pod in pods(manifests)]
    for service in of_kind(manifests, "Service"):
        named = [
            port["name"]
            for pod in chosen(specs, service["spec"]["selector"])
            for container in pod["spec"]["containers"]
            for port in container.get("ports", [])
        ]
        targets = {port["targetPort"] for port in service["spec"]["ports"]}
        assert targets <= set(named), service["metadata"]["name"]
    for budget in of_kind(manifests, "PodDisruptionBudget"):
        assert len(chosen(specs, budget["spec"]["selector"]["matchLabels"])) == 1
    for monitor in of_kind(manifests, "ServiceMonitor"):
        labels = monitor["spec"]["selector"]["matchLabels"]
        watched = [
            port["name"]
            for service in of_kind(manifests, "Service")
            if carries(service["metadata"], labels)
            for port in service["spec"]["ports"]
        ]
        assert watched == [endpoint["port"] for endpoint in monitor["spec"]["endpoints"]]
    for pod in specs:
        for container in pod["spec"]["containers"]:
            ports = {port["name"] for port in container.get("ports", [])}
            resources = {
                container[probe]["httpGet"]["port"]
                for probe in container
                if probe.endswith("Probe") and "httpGet" in container[probe]
            }
            assert resources <= ports


def of_kind(manifests: list[Object], kind: str) -> list[Object]:
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def carries(metadata: Object, labels: Object) -> bool:
    return bool(labels.items() <= metadata.get("labels", {}).items())


def chosen(specs: list[Object], labels: Object) -> list[Object]:
    return [pod for pod in specs if carries(pod["metadata"], labels)]


@pytest.mark.parametrize("name", CASES)
def test_what_pods_refer_to_is_made_or_given(name: str) -> None:
    manifests = objects(CASES[name])
    existing = {"database-auth", "external-auth", "login"}
    there = {(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests}
    for _, pod in pods(manifests):
        assert ("ServiceAccount", pod["spec"]["serviceAccountName"]) in there
        for volume in pod["spec"].get("volumes", []):
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in there
            if "secret" in volume and volume["secret"]["secretName"] not in existing:
                assert ("Secret", volume["secret"]["secretName"]) in there


def test_only_pods_that_need_the_database_may_reach_it() -> None:
    label = {"stock-backtest/database-client": "true"}
    may = {
        name
        for name, pod in pods(objects_with("prices.tickers", ["A"]))
        if carries(pod["metadata"], label)
    }
    reads = {
        name
        for name, pod in pods(objects_with("prices.tickers", ["A"]))
        if any("envFrom" in container for container in pod["spec"]["containers"])
    }
    assert may == reads


@pytest.mark.parametrize("name", CASES)
def test_every_pod_has_one_network_policy(name: str) -> None:
    manifests = objects(CASES[name])
    policies = [
        manifest["spec"]["podSelector"]["matchLabels"]
        for manifest in manifests
        if manifest["kind"] == "NetworkPolicy"
    ]
    covered = {
        pod: sum(carries(spec["metadata"], labels) for labels in policies)
        for pod, spec in pods(manifests)
    }
    assert set(covered.values()) == {1}, covered
