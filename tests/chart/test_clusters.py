"""What real clusters ask of the chart: other users, networks, registries, sidecars and quotas."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chart.cluster_schema import faults
from tests.chart.rendering import (
    EXTERNAL,
    SECRET,
    Object,
    at,
    config_of,
    containers,
    laid_over,
    object_of,
    objects,
    pods,
    refusal,
    worker_job,
)

# Everything that has pods.
ALL = laid_over(SECRET, {"mysql": {"backup": {"enabled": True}}, "prices": {"tickers": ["NFLX"]}})
IDS = ("runAsUser", "runAsGroup", "fsGroup")


def with_all(*settings: tuple[str, Any], base: Object = ALL) -> list[Object]:
    """The objects of a release with everything that has pods, and these values."""
    values = base
    for path, value in settings:
        values = laid_over(values, at(path, value))
    manifests = objects(values)
    assert faults(manifests) == []
    return manifests


def test_the_cluster_may_choose_every_user_and_group() -> None:
    names = [f"{chart}podSecurityContext.{name}" for chart in ("", "mysql.") for name in IDS]
    manifests = with_all(*[(name, None) for name in names])
    contexts = {name: pod["spec"]["securityContext"] for name, pod in pods(manifests)}
    assert len(contexts) == 8
    for name, context in contexts.items():
        assert not set(IDS) & set(context), name
        assert context["runAsNonRoot"] is True


def test_users_and_groups_may_be_those_of_a_namespace() -> None:
    values = dict.fromkeys(IDS, 1_000_670_000)
    manifests = with_all(("podSecurityContext", values), ("mysql.podSecurityContext", values))
    for name, pod in pods(manifests):
        assert values.items() <= pod["spec"]["securityContext"].items(), name
    assert "minimum" in refusal(laid_over(SECRET, at("podSecurityContext.runAsUser", 0)))


def test_the_secrets_of_registries_reach_every_pod() -> None:
    own = [("imagePullSecrets", [{"name": "own"}]), ("mysql.imagePullSecrets", [{"name": "own"}])]
    for_all = ("global.imagePullSecrets", [{"name": "for-all"}, {"name": "own"}])
    for name, pod in pods(with_all(for_all)):
        assert pod["spec"]["imagePullSecrets"] == [{"name": "for-all"}, {"name": "own"}], name
    for name, pod in pods(with_all(*own, for_all)):
        assert pod["spec"]["imagePullSecrets"] == [{"name": "own"}, {"name": "for-all"}], name


@pytest.mark.parametrize("part", ["web", "controller"])
def test_an_upgrade_may_do_without_room_for_one_more_pod(part: str) -> None:
    def strategy(*settings: tuple[str, Any]) -> Any:
        return object_of(with_all(*settings), "Deployment", f"-{part}")["spec"]["strategy"]

    assert strategy() == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
    }
    numbers = f"{part}.strategy.rollingUpdate"
    tight = {"maxUnavailable": "50%", "maxSurge": 0}
    assert strategy((numbers, tight))["rollingUpdate"] == tight
    for none in (0, "0%"):
        standstill = at(numbers, {"maxUnavailable": none, "maxSurge": 0})
        assert "no pod could ever be replaced" in refusal(laid_over(SECRET, standstill))
    assert strategy((f"{part}.strategy.type", "Recreate")) == {"type": "Recreate"}


def test_a_busy_node_gets_time_to_answer_every_probe() -> None:
    """Kubernetes' own limit of a second is too short for a process that has just begun."""
    probes = {
        f"{name} {kind}": container[kind]
        for name, pod in pods(with_all())
        for container in containers(pod["spec"])
        for kind in ("startupProbe", "readinessProbe", "livenessProbe")
        if kind in container
    }
    assert len(probes) == 9
    assert {
        name: probe for name, probe in probes.items() if probe.get("timeoutSeconds", 1) < 5
    } == {}


def egress(manifests: list[Object], ending: str) -> list[Object]:
    rules: list[Object] = object_of(manifests, "NetworkPolicy", ending)["spec"].get("egress", [])
    return rules


def open_ports(manifests: list[Object], ending: str) -> set[int]:
    """The TCP ports that a policy opens."""
    return {
        port["port"]
        for rule in egress(manifests, ending)
        for port in rule.get("ports", [])
        if port["protocol"] == "TCP"
    }


PARTS = ("web", "controller", "worker", "prices", "test")


def test_names_are_asked_for_at_the_ports_of_this_cluster() -> None:
    usual = with_all()
    other = with_all(("networkPolicy.dnsPorts", [1053]), ("mysql.networkPolicy.dnsPorts", [1053]))
    for part in (*PARTS, "mysql-backup"):
        assert open_ports(usual, f"-{part}") >= {53, 5353}, part
        assert open_ports(other, f"-{part}") >= {1053}, part
        assert not open_ports(other, f"-{part}") & {53, 5353}, part


def test_a_database_whose_pods_have_another_port_than_its_service() -> None:
    """A policy counts the port of the pod, as the packet arrives there."""
    more = ("networkPolicy.databasePorts", [13306])
    manifests = with_all(("externalDatabase.port", 3307), more, base=EXTERNAL)
    for part in ("web", "controller", "worker", "test"):
        assert 13306 in open_ports(manifests, f"-{part}"), part
        assert 3307 not in open_ports(manifests, f"-{part}"), part
    assert config_of(manifests).db_port == 3307


RULE = {"ports": [{"port": 4317, "protocol": "TCP"}]}
OPENED = {
    "networkPolicy.extraEgress": PARTS,
    "networkPolicy.webExtraEgress": ("web",),
    "networkPolicy.controllerExtraEgress": ("controller",),
    "networkPolicy.workerExtraEgress": ("worker",),
    "networkPolicy.fetchEgress": ("fetch",),
    "networkPolicy.pricesExtraEgress": ("prices",),
    "networkPolicy.testExtraEgress": ("test",),
    "mysql.networkPolicy.egress": ("bt-mysql",),
    "mysql.networkPolicy.backupExtraEgress": ("backup",),
}


@pytest.mark.parametrize("value", OPENED)
def test_every_part_may_reach_more(value: str) -> None:
    manifests = with_all((value, [RULE]))
    opened = {
        policy["metadata"]["name"]
        for policy in manifests
        if policy["kind"] == "NetworkPolicy" and RULE in policy["spec"].get("egress", [])
    }
    assert {name.rpartition("-")[2] for name in opened} == {
        part.rpartition("-")[2] for part in OPENED[value]
    }


def test_a_proxy_is_the_only_way_to_the_vendors() -> None:
    manifests = with_all(("prices.httpsProxy", "http://proxy.example.org:3128"))
    (worker,) = worker_job(manifests)["spec"]["template"]["spec"]["containers"]
    assert {"name": "HTTPS_PROXY", "value": "http://proxy.example.org:3128"} in worker["env"]
    assert open_ports(manifests, "-fetch") == {3128}
    assert open_ports(with_all(), "-fetch") == {443}
    wrong = at("prices.httpsProxy", "http://proxy.example.org:65536")
    assert "does not match pattern" in refusal(laid_over(SECRET, wrong))


def annotations(manifests: list[Object]) -> dict[str, dict[str, str]]:
    return {name: pod["metadata"].get("annotations", {}) for name, pod in pods(manifests)}


def test_annotations_reach_the_pods_that_come_and_go() -> None:
    """A mesh looks for them: what makes its proxy end, or leaves it out."""
    mesh = {"mesh/inject": "yes", "mesh/native": "yes"}
    without = {"mesh/inject": "no"}
    manifests = with_all(
        ("web.podAnnotations", mesh),
        ("worker.podAnnotations", mesh),
        ("mysql.podAnnotations", mesh),
        ("mysql.backup.podAnnotations", without),
        ("prices.refresh.podAnnotations", without),
        ("test.podAnnotations", without),
    )
    for name, of_pod in annotations(manifests).items():
        is_short = any(part in name for part in ("-backup", "-prices", "-test"))
        inject = "no" if is_short else "yes"
        if "controller" not in name:
            expected = {"mesh/inject": inject, "mesh/native": "yes"}
            assert expected.items() <= of_pod.items(), name


@pytest.mark.parametrize(
    ("service", "configured", "hops"),
    [
        ("ClusterIP", None, 1),
        ("NodePort", None, 0),
        ("LoadBalancer", None, 0),
        ("NodePort", 2, 2),
        ("ClusterIP", 0, 0),
    ],
)
def test_nobody_who_comes_past_the_proxy_is_believed(
    service: str, configured: int | None, hops: int
) -> None:
    """He could write another X-Forwarded-For at each request, and no limit would hold him."""
    for way in ("ingress", "httpRoute"):
        open_way = {
            "ingress": {"enabled": True, "hosts": ["a.org"]},
            "httpRoute": {"enabled": True, "parentRefs": [{"name": "gateway"}]},
        }[way]
        manifests = with_all(
            (way, open_way), ("web.service.type", service), ("web.proxyHops", configured)
        )
        assert config_of(manifests).proxy_hops == hops
    assert config_of(with_all()).proxy_hops == 0, "nothing is in front"


@pytest.mark.parametrize(
    ("size", "gib"),
    [
        ("1500Gi", 1500.0),
        ("20G", 18.626451),
        ("900Ti", 921_600.0),
        ("500Mi", 0.488281),
        ("100Gi", 100.0),
        ("900M", 0.83819),
    ],
)
def test_a_claim_has_any_size_that_kubernetes_knows(size: str, gib: float) -> None:
    manifests = with_all(("mysql.persistence.size", size), ("mysql.backup.persistence.size", size))
    (claim,) = object_of(manifests, "StatefulSet")["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["resources"]["requests"]["storage"] == size
    assert config_of(manifests).database_gib == gib
    for wrong in ("5", "5GB", "0Gi", "0.0Gi", "1.1Gi", "-5Gi", "5 Gi", "1000Ti", "1000000Gi"):
        assert "does not match pattern" in refusal(
            laid_over(SECRET, at("mysql.persistence.size", wrong))
        )


def test_a_backup_that_is_null_is_none() -> None:
    manifests = objects(laid_over(SECRET, at("mysql.backup", None)))
    assert [each for each in manifests if "backup" in each["metadata"]["name"]] == []


def test_a_queue_of_kueue_decides_when_a_job_starts() -> None:
    job = worker_job(with_all(("worker.kueueQueue", "backtests")))
    assert job["spec"]["suspend"] is True
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "backtests"
    assert "kueue.x-k8s.io/queue-name" not in job["spec"]["template"]["metadata"]["labels"]
    plain = worker_job(with_all())
    assert "suspend" not in plain["spec"]
    taken = at("worker.jobOverrides.metadata.labels", {"kueue.x-k8s.io/queue-name": "another"})
    values = laid_over(laid_over(SECRET, at("worker.kueueQueue", "backtests")), taken)
    assert "must stay backtests" in refusal(values)
