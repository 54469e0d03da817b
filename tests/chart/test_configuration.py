"""The chart sets what scripts/config.py reads, and a changed setting restarts the pods."""

from __future__ import annotations

import shutil
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from scripts.config import Config, names_of_hosts
from tests.chart.rendering import (
    CHART,
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
    worker_job,
)

NAMES = {field.name.upper() for field in fields(Config)}


def test_every_key_is_a_setting(case: Object) -> None:
    data = object_of(objects(case), "ConfigMap", "-config")["data"]
    assert set(data) <= NAMES
    assert {name: value for name, value in data.items() if not isinstance(value, str)} == {}
    config_of(objects(case))


def test_every_variable_is_a_setting(case: Object) -> None:
    """Of our own images; MySQL has its own, and users may add more."""
    known = NAMES | {
        entry["name"]
        for part in ("web", "controller", "worker")
        for entry in case.get(part, {}).get("extraEnv", [])
    }
    for _, pod in pods(objects(case)):
        for container in containers(pod["spec"]):
            if "envFrom" in container:
                variables = container.get("env", [])
                assert {variable["name"].removesuffix("_FILE") for variable in variables} <= known


def test_the_settings_of_a_plain_release() -> None:
    manifests = objects()
    config = config_of(manifests)
    assert config.db_host == object_of(manifests, "Service", "-mysql")["metadata"]["name"]
    assert config.db_port == object_of(manifests, "Service", "-mysql")["spec"]["ports"][0]["port"]
    assert (config.sqlite_path, config.launcher, config.log_format) == ("", "kubernetes", "json")
    assert (config.application_root, config.proxy_hops, config.db_tls, config.db_tls_ca) == (
        "",
        0,
        "preferred",
        "",
    )
    assert (
        config.job_template == object_of(manifests, "ConfigMap", "-worker-job")["metadata"]["name"]
    )
    (port,) = object_of(manifests, "Deployment", "-controller")["spec"]["template"]["spec"][
        "containers"
    ][0]["ports"]
    assert config.controller_port == port["containerPort"]
    assert config.prices_command.startswith(
        "kubectl --namespace stocks exec -i deploy/bt-stock-backtest-web "
    )


def test_the_settings_of_an_external_database() -> None:
    own = {"port": 3307, "name": "quant", "tls": {"mode": "required"}}
    config = config_of(objects(laid_over(EXTERNAL, {"externalDatabase": own})))
    assert (config.db_host, config.db_port, config.db_name) == ("db.example.org", 3307, "quant")
    assert (config.db_tls, config.db_tls_ca) == ("required", "")


SET = {
    "worker.maxActive": ("max_active_runs", 7),
    "worker.maxPending": ("max_pending_runs", 100_000),
    "worker.timeoutSeconds": ("run_timeout_seconds", 604_800),
    "config.leaseSeconds": ("lease_seconds", 30),
    "config.maxBodyBytes": ("max_body_bytes", 16_777_216),
    "config.maxUploadBytes": ("max_upload_bytes", 134_217_728),
    "config.logLevel": ("log_level", "DEBUG"),
    "config.resultRetentionDays": ("result_retention_days", 0.5),
    "config.resultRetentionGiB": ("result_retention_gib", 2.5),
    "config.databaseGiB": ("database_gib", 120.0),
    "web.rateLimitPerMinute": ("rate_limit_per_minute", 1_000_000),
    "controller.pollSeconds": ("controller_poll_seconds", 0.5),
    "mysql.auth.database": ("db_name", "other"),
}


@pytest.mark.parametrize("path", SET)
def test_a_value_reaches_its_setting(path: str) -> None:
    name, value = SET[path]
    assert getattr(config_of(objects(laid_over(SECRET, at(path, value)))), name) == value


@pytest.mark.parametrize(
    ("persistence", "gib"),
    [
        ({}, 5.0),
        ({"size": "1Ti"}, 1024.0),
        ({"size": "512Mi"}, 0.5),
        ({"existingClaim": "mine"}, 0.0),
        ({"enabled": False}, 0.0),
    ],
)
def test_the_room_of_the_database_is_that_of_its_claim(persistence: Object, gib: float) -> None:
    values = laid_over(SECRET, {"mysql": {"persistence": persistence}})
    assert config_of(objects(values)).database_gib == gib


def test_the_room_of_a_database_outside_is_not_known() -> None:
    assert config_of(objects(EXTERNAL)).database_gib == 0.0


def test_who_may_store_prices() -> None:
    assert config_of(objects(SECRET)).price_writers == ""
    writers = {"web": {"priceWriters": ["alice", "bob@example.org"]}}
    assert config_of(objects(laid_over(SECRET, writers))).price_writers == "alice,bob@example.org"


def test_which_vendors_may_be_asked() -> None:
    assert config_of(objects(SECRET)).price_vendors == "yahoo"
    both = {"prices": {"vendors": ["yahoo", "krx"]}}
    assert config_of(objects(laid_over(SECRET, both))).price_vendors == "yahoo,krx"
    none = {"prices": {"vendors": []}}
    assert config_of(objects(laid_over(SECRET, none))).price_vendors == ""


def allowed_hosts(values: Object) -> list[str]:
    config = config_of(objects(laid_over(SECRET, values)))
    return names_of_hosts(config.allowed_hosts)


def test_the_web_is_known_by_its_service_and_its_own_machine() -> None:
    service = "bt-stock-backtest-web"
    below = ["", ".stocks", ".stocks.svc", ".stocks.svc.cluster.local"]
    expected = [".localhost", *(f"{service}{end}" for end in below)]
    assert allowed_hosts({}) == expected
    more = {"web": {"allowedHosts": ["bt.example.org", "*.intra.example"]}}
    assert allowed_hosts(more) == [*expected, "bt.example.org", ".intra.example"]


def test_the_web_is_known_by_what_leads_to_it() -> None:
    ingress = {"ingress": {"enabled": True, "hosts": ["a.org", "*.b.org"]}}
    assert allowed_hosts(ingress)[-2:] == ["a.org", ".b.org"]
    parents = [{"name": "gateway"}]
    route = {"httpRoute": {"enabled": True, "parentRefs": parents, "hostnames": ["c.org"]}}
    assert allowed_hosts(route)[-1] == "c.org"
    of_gateway = {"httpRoute": {"enabled": True, "parentRefs": parents}}
    assert allowed_hosts(of_gateway)[-1] == "*", "its Gateway chooses"


@pytest.mark.parametrize(("has_access_log", "setting"), [(True, "true"), (False, "false")])
def test_a_line_for_every_request_or_none(has_access_log: bool, setting: str) -> None:
    assert (
        config_of(objects(laid_over(SECRET, at("config.accessLog", has_access_log)))).access_log
        == setting
    )


@pytest.mark.parametrize(
    ("configured", "base"),
    [("/", ""), ("", ""), ("/bt", "/bt"), ("/bt/", "/bt"), ("/a/b.c~d-e_f", "/a/b.c~d-e_f")],
)
def test_the_base_path_is_one_everywhere(configured: str, base: str) -> None:
    more = {
        "web": {"basePath": configured},
        "ingress": {"enabled": True, "hosts": ["a.org"]},
        "serviceMonitor": {"enabled": True},
    }
    manifests = objects(laid_over(SECRET, more))
    config = config_of(manifests)
    assert (config.application_root, config.proxy_hops) == (base, 1)
    (web,) = object_of(manifests, "Deployment", "-web")["spec"]["template"]["spec"]["containers"]
    probes = [
        web[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness", "liveness")
    ]
    assert probes == [f"{base}/health", f"{base}/ready", f"{base}/health"]
    (path,) = object_of(manifests, "Ingress")["spec"]["rules"][0]["http"]["paths"]
    assert path["path"] == base or (base, path["path"]) == ("", "/")
    assert (
        object_of(manifests, "ServiceMonitor", "-web")["spec"]["endpoints"][0]["path"]
        == f"{base}/metrics"
    )
    assert (
        object_of(manifests, "ServiceMonitor", "-controller")["spec"]["endpoints"][0]["path"]
        == "/metrics"
    )
    assert object_of(manifests, "Pod", "-test")["spec"]["containers"][0]["args"][1].endswith(
        f":5000{base}"
    )


TLS = {
    "externalDatabase": {
        "tls": {"mode": "verify", "caSecret": "authority", "caKey": "root.pem"},
        "secretKeys": {"user": "u", "password": "p"},
    }
}


@pytest.mark.parametrize(
    "values", [SECRET, EXTERNAL, laid_over(EXTERNAL, TLS)], ids=["mysql", "external", "verified"]
)
def test_the_database_is_the_same_for_all(values: Object) -> None:
    """Every container that reads the settings has the files that they name."""
    manifests = objects(values)
    data = object_of(manifests, "ConfigMap", "-config")["data"]
    readers = [
        (pod["spec"], container)
        for _, pod in pods(manifests)
        for container in containers(pod["spec"])
        if "envFrom" in container
    ]
    assert len(readers) == 6, "web, samples, controller, worker and migrations before two of them"
    names = ("DB_USER_FILE", "DB_PASSWORD_FILE", "DB_TLS_CA")
    for spec, container in readers:
        own = {variable["name"]: variable.get("value") for variable in container["env"]}
        named = {**data, **own}
        assert {named[name] for name in names if name in named} == set(_files(spec, container))
        assert "DB_USER_FILE" in own, "pods of the release before must not look for it"


def _files(spec: Object, container: Object) -> list[str]:
    """Paths of the files that Secrets put into a container."""
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    secrets = [volume for volume in spec["volumes"] if "secret" in volume]
    return [
        f"{mounts[volume['name']]}/{item['path']}"
        for volume in secrets
        for item in volume["secret"]["items"]
    ]


def templates(path: Path, values: Object) -> Object:
    """The pod templates and the template of Jobs: where they change, pods are replaced."""
    manifests = objects(values, path=path)
    workloads = {
        manifest["kind"] + manifest["metadata"]["name"]: manifest["spec"]["template"]
        for manifest in manifests
        if manifest["kind"] in ("Deployment", "StatefulSet")
    }
    return {**workloads, "job": worker_job(manifests)}


def test_a_new_version_of_the_chart_alone_replaces_no_pod(case: Object, tmp_path: Path) -> None:
    new = tmp_path / "stock-backtest"
    shutil.copytree(CHART, new)
    for described in (new / "Chart.yaml", new / "charts" / "mysql" / "Chart.yaml"):
        chart = yaml.safe_load(described.read_text())
        chart |= {"version": "0.3.0+build", "description": "Other words"}
        for dependency in chart.get("dependencies", []):
            dependency["version"] = "0.3.0+build"
        described.write_text(yaml.safe_dump(chart))
    assert objects(case, path=new) != objects(case), "the labels of the objects tell the version"
    assert templates(new, case) == templates(CHART, case)


@pytest.mark.parametrize(
    ("path", "value", "replaced"),
    [
        ("config.logLevel", "DEBUG", ["-controller", "-web"]),
        ("mysql.auth.database", "other", ["-controller", "-web", "-mysql"]),
        ("worker.resources.limits.cpu", "3", ["-controller"]),
        ("mysql.config.maxConnections", 200, ["-mysql"]),
        ("web.service.port", 80, []),
    ],
)
def test_a_change_of_settings_replaces_the_pods_that_read_them(
    path: str, value: object, replaced: list[str]
) -> None:
    before = templates(CHART, SECRET)
    after = templates(CHART, laid_over(SECRET, at(path, value)))
    changed = [name for name in before if name != "job" and before[name] != after[name]]
    assert len(changed) == len(replaced)
    assert all(name.endswith(tuple(replaced)) for name in changed)
