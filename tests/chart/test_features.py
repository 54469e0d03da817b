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
    objects,
    one,
    pods,
    worker_job,
)


def made(path: str, value: Any) -> list[Object]:
    return objects(laid_over(SECRET, at(path, value)))


def kinds(found: list[Object]) -> set[str]:
    return {f"{each['kind']} {each['metadata']['name']}" for each in found}


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
    secret = one(objects(values), "Secret")
    assert secret["data"] == {"DB_USER": "cXVhbnQ=", "DB_PASSWORD": "cCd3IiQ="}
    (volume,) = [
        each
        for each in worker_job(objects(values))["spec"]["template"]["spec"]["volumes"]
        if "secret" in each
    ]
    assert volume["secret"]["secretName"] == secret["metadata"]["name"]
    assert [each for each in objects(EXTERNAL) if each["kind"] == "Secret"] == []


def test_an_autoscaler_alone_sets_the_number_of_pods() -> None:
    found = made("web.autoscaling.enabled", True)
    scaler = one(found, "HorizontalPodAutoscaler")
    web = one(found, "Deployment", "-web")
    assert "replicas" not in web["spec"]
    assert scaler["spec"]["scaleTargetRef"]["name"] == web["metadata"]["name"]
    assert (scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]) == (2, 6)
    assert "HorizontalPodAutoscaler" not in str(kinds(objects()))
    assert one(objects(), "Deployment", "-web")["spec"]["replicas"] == 2


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
    found = [each for each in made(path, value) if each["kind"] == "PodDisruptionBudget"]
    assert {each["metadata"]["name"].removeprefix("bt-stock-backtest") for each in found} == budgets
    assert all(each["spec"]["maxUnavailable"] == 1 for each in found)
    assert all(each["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow" for each in found)


def test_the_only_hook_is_the_test(case: Object) -> None:
    hooks = {
        each["metadata"]["name"]: hook
        for each in objects(case)
        if (hook := annotations(each).get("helm.sh/hook"))
    }
    assert list(hooks.values()) == ["test"]
    named = [each["metadata"]["name"] for each in objects(case) if each["kind"] in ("Job", "Pod")]
    others = [
        name for name in named if name not in hooks and not re.search("-[0-9a-f]{8}$", name)
    ]  # a hash of its spec
    assert others == [], "a Job or Pod of a fixed name cannot be changed by an upgrade"


def annotations(each: Object) -> Object:
    return each["metadata"].get("annotations") or {}


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
        for name in kinds(made("networkPolicy.enabled", False))
    )
    web = one(made("prices.samples.enabled", False), "Deployment", "-web")["spec"]["template"][
        "spec"
    ]
    assert [each["name"] for each in web["initContainers"]] == ["migrate"]


def test_prices_from_outside() -> None:
    cron = one(made("prices.tickers", ["NFLX", "^GSPC", "NO"]), "CronJob")["spec"]
    (loader,) = cron["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert loader["command"][-1] == "--tickers"
    assert loader["args"] == ["NFLX", "^GSPC", "NO"]
    assert cron["suspend"] is True, "started by hand until it is enabled"
    assert (
        one(made("prices", {"tickers": ["A"], "refresh": {"enabled": True}}), "CronJob")["spec"][
            "suspend"
        ]
        is False
    )


def test_one_registry_for_all_images() -> None:
    found = made("global.imageRegistry", "registry.example.org/mirror")
    images = [each["image"] for _, pod in pods(found) for each in pod["spec"]["containers"]]
    assert all(image.startswith("registry.example.org/mirror/") for image in images)


def test_images_of_your_own() -> None:
    image = {
        "registry": "r.example.org:5000",
        "repository": "team/worker",
        "tag": "7",
        "digest": f"sha256:{'a' * 64}",
    }
    job = worker_job(made("worker.image", image))
    wanted = f"r.example.org:5000/team/worker:7@sha256:{'a' * 64}"
    (worker,) = job["spec"]["template"]["spec"]["containers"]
    assert worker["image"] == wanted
    assert {"name": "IMAGE", "value": wanted} in worker["env"], (
        "the provenance of a result tells the image"
    )


def test_overrides_of_the_job_are_laid_over_it() -> None:
    plain = worker_job(objects())
    own = worker_job(
        made("worker.jobOverrides", at("spec.template.spec.runtimeClassName", "gvisor"))
    )
    assert own["spec"]["template"]["spec"].pop("runtimeClassName") == "gvisor"
    assert own == plain


def test_a_job_has_time_for_all_its_tries() -> None:
    spec = worker_job(made("worker", {"timeoutSeconds": 100, "backoffLimit": 3}))["spec"]
    assert spec["template"]["spec"]["activeDeadlineSeconds"] == 100
    assert spec["activeDeadlineSeconds"] >= 4 * 100
    assert (spec["backoffLimit"], spec["ttlSecondsAfterFinished"]) == (3, 3600)


@pytest.mark.parametrize("name", CASES)
def test_the_parts_find_each_other(name: str) -> None:
    """Selectors match pods, named ports are there, and what is named exists."""
    found = objects(CASES[name])
    specs = [pod for _, pod in pods(found)]
    for each in found:
        if each["kind"] == "Service":
            named = [
                port["name"]
                for pod in chosen(specs, each["spec"]["selector"])
                for container in pod["spec"]["containers"]
                for port in container.get("ports", [])
            ]
            assert {port["targetPort"] for port in each["spec"]["ports"]} <= set(named), each[
                "metadata"
            ]["name"]
        elif each["kind"] == "PodDisruptionBudget":
            assert len(chosen(specs, each["spec"]["selector"]["matchLabels"])) == 1
        elif each["kind"] == "ServiceMonitor":
            services = [
                service
                for service in found
                if service["kind"] == "Service"
                and carries(service["metadata"], each["spec"]["selector"]["matchLabels"])
            ]
            assert [port["name"] for service in services for port in service["spec"]["ports"]] == [
                end["port"] for end in each["spec"]["endpoints"]
            ]
    for pod in specs:
        for container in pod["spec"]["containers"]:
            ports = {port["name"] for port in container.get("ports", [])}
            asked = {
                container[probe]["httpGet"]["port"]
                for probe in container
                if probe.endswith("Probe") and "httpGet" in container[probe]
            }
            assert asked <= ports


def carries(metadata: Object, labels: Object) -> bool:
    return bool(labels.items() <= metadata.get("labels", {}).items())


def chosen(specs: list[Object], labels: Object) -> list[Object]:
    return [pod for pod in specs if carries(pod["metadata"], labels)]


@pytest.mark.parametrize("name", CASES)
def test_what_pods_refer_to_is_made_or_given(name: str) -> None:
    found = objects(CASES[name])
    given = {"database-auth", "external-auth", "login"}
    there = {(each["kind"], each["metadata"]["name"]) for each in found}
    for _, pod in pods(found):
        assert ("ServiceAccount", pod["spec"]["serviceAccountName"]) in there
        for volume in pod["spec"].get("volumes", []):
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in there
            if "secret" in volume and volume["secret"]["secretName"] not in given:
                assert ("Secret", volume["secret"]["secretName"]) in there


def test_only_pods_that_need_the_database_may_reach_it() -> None:
    label = {"stock-backtest/database-client": "true"}
    may = {
        name for name, pod in pods(made("prices.tickers", ["A"])) if carries(pod["metadata"], label)
    }
    reads = {
        name
        for name, pod in pods(made("prices.tickers", ["A"]))
        if any("envFrom" in each for each in pod["spec"]["containers"])
    }
    assert may == reads


@pytest.mark.parametrize("name", CASES)
def test_every_pod_has_one_network_policy(name: str) -> None:
    found = objects(CASES[name])
    policies = [
        each["spec"]["podSelector"]["matchLabels"]
        for each in found
        if each["kind"] == "NetworkPolicy"
    ]
    covered = {
        pod: sum(carries(spec["metadata"], labels) for labels in policies)
        for pod, spec in pods(found)
    }
    assert set(covered.values()) == {1}, covered
