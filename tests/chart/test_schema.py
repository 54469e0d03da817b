"""values.schema.json: strict, described, and its refusals tell the path and what is wrong."""

from __future__ import annotations

import json
from functools import reduce
from typing import Any

import pytest
import yaml
from helm_python import Chart, HelmError

from tests.chart.cluster_schema import faults
from tests.chart.drawing import schema
from tests.chart.rendering import CHART, SECRET, Object, at, config_of, laid_over, objects, refusal
from tests.chart.values_file import comments, leaves, nodes

NODES = nodes()
WORDS = comments(CHART / "values.yaml")
SECTIONS = [path for path, node in NODES.items() if node.get("additionalProperties") is False]
IN_JOB = "worker.jobOverrides."  # what these may be depends on each other: test_refusals.py
NUMBERS = [
    path
    for path, node in NODES.items()
    if {"minimum", "maximum"} <= set(node) and not path.startswith(IN_JOB)
]


def refused(path: str, value: Any) -> str:
    return refusal(laid_over(SECRET, at(path, value)))


MESSAGES = {
    "a typo": ("web.replicaCout", 3, "at '/web': additional properties 'replicaCout' not allowed"),
    "an unknown section": ("wbe.replicaCount", 3, "at '': additional properties 'wbe' not allowed"),
    "a wrong type": (
        "web.replicaCount",
        "three",
        "at '/web/replicaCount': got string, want integer",
    ),
    "a number as a switch": (
        "ingress.enabled",
        1,
        "at '/ingress/enabled': got number, want boolean",
    ),
    "no pod": ("web.replicaCount", 0, "at '/web/replicaCount': minimum: got 0, want 1"),
    "no controller": (
        "controller.replicaCount",
        0,
        "at '/controller/replicaCount': minimum: got 0, want 1",
    ),
    "gone too soon": (
        "worker.ttlSecondsAfterFinished",
        60,
        "at '/worker/ttlSecondsAfterFinished': minimum: got 60, want 600",
    ),
    "too many tries": (
        "worker.backoffLimit",
        11,
        "at '/worker/backoffLimit': maximum: got 11, want 10",
    ),
    "no such level": (
        "config.logLevel",
        "LOUD",
        "at '/config/logLevel': value must be one of 'DEBUG', 'INFO', 'WARNING', 'ERROR'",
    ),
    "no such mode": (
        "externalDatabase.tls.mode",
        "on",
        "at '/externalDatabase/tls/mode': value must be one of 'preferred', 'required', 'verify'",
    ),
    "half a path": ("web.basePath", "bt", "at '/web/basePath': 'bt' does not match pattern"),
    "no ticker": (
        "prices.tickers",
        ["gspc"],
        "at '/prices/tickers/0': 'gspc' does not match pattern",
    ),
    "no schedule": (
        "prices.refresh.schedule",
        "daily at 3",
        "at '/prices/refresh/schedule': 'daily at 3' does not match pattern",
    ),
    "no day": ("prices.refresh.start", "01.02.2020", "at '/prices/refresh/start'"),
    "half a digest": ("web.image.digest", "sha256:abc", "at '/web/image/digest'"),
    "a tag with a colon": ("web.image.tag", ":1", "at '/web/image/tag'"),
    "no host": (
        "ingress.hosts",
        ["https://a.org/"],
        "at '/ingress/hosts/0': 'https://a.org/' does not match pattern",
    ),
    "a host with its port": ("externalDatabase.host", "db:3306", "at '/externalDatabase/host'"),
    "no interval": ("serviceMonitor.interval", "often", "at '/serviceMonitor/interval'"),
    "a variable without name": (
        "web.extraEnv",
        [{"value": "1"}],
        "at '/web/extraEnv/0': missing property 'name'",
    ),
    "a number as variable": (
        "web.extraEnv",
        [{"name": "A", "value": 1}],
        "at '/web/extraEnv/0/value': got number, want string",
    ),
    "no quantity": (
        "worker.resources.limits.cpu",
        "two",
        "at '/worker/resources/limits/cpu': 'two' does not match pattern",
    ),
    "no pull secret": (
        "imagePullSecrets",
        ["registry"],
        "at '/imagePullSecrets/0': got string, want object",
    ),
    "a label of the chart": (
        "web.podLabels",
        {"app.kubernetes.io/name": "x"},
        "at '/web/podLabels/app.kubernetes.io~1name'",
    ),
    "a checksum": (
        "web.podAnnotations",
        {"checksum/config": "x"},
        "at '/web/podAnnotations/checksum~1config'",
    ),
    "a Job that is none": (
        "worker.jobOverrides",
        {"template": {}},
        "at '/worker/jobOverrides': additional properties 'template' not allowed",
    ),
    "a pod that is none": (
        "worker.jobOverrides",
        at("spec.template", "x"),
        "at '/worker/jobOverrides/spec/template': got string, want object",
    ),
    "a long Job name": (
        "worker.jobOverrides",
        at("metadata.name", "b" * 28),
        "at '/worker/jobOverrides/metadata/name'",
    ),
    "a switch of the subchart": (
        "mysql.enabled",
        "no",
        "at '/mysql/enabled': got string, want boolean",
    ),
    "a typo for the subchart": (
        "mysql.auht",
        {},
        "mysql:\n- at '': additional properties 'auht' not allowed",
    ),
    "a section taken away": ("web.service", None, "at '/web': missing property 'service'"),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_the_refusal_says_where_and_what(name: str) -> None:
    path, value, text = MESSAGES[name]
    assert text in refused(path, value)


@pytest.mark.parametrize("section", SECTIONS)
def test_an_unknown_key_is_refused_in_every_section(section: str) -> None:
    assert (
        f"at '/{section.replace('.', '/')}': additional properties 'unknwon' not allowed"
        in refused(section, {"unknwon": 1})
    )


@pytest.mark.parametrize("path", [*leaves(yaml.safe_load((CHART / "values.yaml").read_text()))])
def test_a_wrong_type_is_refused_at_every_value(path: str) -> None:
    other = {"x": 1} if NODES.get(path, {}).get("type") == "array" else [["x"]]
    assert f"at '/{path.replace('.', '/')}': got " in refused(path, other)


@pytest.mark.parametrize("path", NUMBERS)
def test_the_limits_of_numbers_hold(path: str) -> None:
    for name, step in (("minimum", -1), ("maximum", 1)):
        assert f"at '/{path.replace('.', '/')}': {name}: got " in refused(
            path, NODES[path][name] + step
        )


@pytest.mark.parametrize("limit", ["minimum", "maximum"])
def test_numbers_at_their_limits_make_good_objects(limit: str) -> None:
    """A large one must not become 1e+06 on its way."""
    more: Object = {
        "mysql": {"config": {"maxConnections": 100_000}},
        "web": {"service": {"type": "NodePort"}},
        "worker": {"sweepParallelism": 1},
    }
    # as many processes in as many pods need more connections than MySQL can have
    alone = {"web.workers", "worker.sweepParallelism"}
    limits = (at(path, NODES[path][limit]) for path in NUMBERS if path not in alone)
    values = reduce(laid_over, limits, laid_over(SECRET, more))
    assert refusal(values) == ""
    assert faults(objects(values)) == []
    assert config_of(objects(values)).max_pending_runs == values["worker"]["maxPending"]


def test_null_takes_a_value_away_or_is_refused_by_name() -> None:
    """What is needed has a name in the refusal; without all the rest, the chart is as good."""
    paths = [
        path
        for path in NODES
        if not path.startswith(("global", "enabled", "mysql", IN_JOB)) and ".affinity." not in path
    ]
    whys = {path: refused(path, None) for path in paths if _needed(path)}
    assert {
        path: why
        for path, why in whys.items()
        if f"missing property '{path.rpartition('.')[2]}'" not in why
    } == {}
    less = reduce(laid_over, (at(path, None) for path in paths if not _needed(path)), SECRET)
    assert refusal(less) == ""
    assert faults(objects(less)) == []
    assert len(whys) > 50
    assert len(paths) - len(whys) > 30


def test_null_for_mysql_takes_a_value_away_or_is_refused_by_name() -> None:
    """As above; a section that is null must not end in a template that asks it for its parts."""
    of_mysql = nodes("charts/mysql")
    others = ("global", "enabled", "affinity.")
    paths = [path for path in of_mysql if not path.startswith(others)]
    base = laid_over(SECRET, at("mysql.backup.enabled", True))
    whys = {
        path: refusal(laid_over(base, at(f"mysql.{path}", None)))
        for path in paths
        if path != "auth.existingSecret"
    }
    unnamed = {path for path, why in whys.items() if why and not _names(why, path)}
    assert unnamed == set()
    assert len([why for why in whys.values() if why]) > 20


def _names(why: str, path: str) -> bool:
    return f"missing property '{path.rpartition('.')[2]}'" in why


def _needed(path: str) -> bool:
    section, _, key = path.rpartition(".")
    return key in (NODES[section] if section else schema()).get("required", [])


def test_everything_is_described() -> None:
    assert _bare(schema(), "") == []


def _bare(node: Any, path: str) -> list[str]:
    """Paths of properties and items without description."""
    result = []
    for key, part in node.get("properties", {}).items():
        result += [f"{path}.{key}"] if not part.get("description") else []
        result += _bare(part, f"{path}.{key}")
    for key, part in node.get("definitions", {}).items():
        result += _bare(part, f"definitions.{key}")
    items = node.get("items")
    if isinstance(items, dict):
        result += [f"{path}[]"] if not items.get("description") else []
        result += _bare(items, f"{path}[]")
    return result


@pytest.mark.parametrize("path", WORDS)
def test_values_and_schema_use_the_same_words(path: str) -> None:
    assert NODES[path]["description"] == WORDS[path]


def test_it_is_draft_07_which_helm_3_reads_too() -> None:
    assert schema()["$schema"] == "http://json-schema.org/draft-07/schema#"
    text = json.dumps(schema())
    assert "(?" not in text, "Go's regular expressions look neither ahead nor back"
    assert [
        word
        for word in ("$defs", "unevaluatedProperties", "dependentRequired", "prefixItems")
        if word in text
    ] == []


@pytest.mark.parametrize(
    "more",
    [{"global": {"other": {"x": 1}}}, {"enabled": True}, {"global": {"imageRegistry": "r.org"}}],
)
def test_what_a_parent_chart_gives_is_accepted(more: Object) -> None:
    assert refusal(laid_over(SECRET, more)) == ""


def test_the_subchart_alone_accepts_it_too() -> None:
    with Chart.load(CHART / "charts" / "mysql") as chart:
        chart.validate_schema(
            {"global": {"other": 1}, "enabled": True, "auth": {"existingSecret": "x"}}
        )
        with pytest.raises(HelmError, match="additional properties 'auht' not allowed"):
            chart.validate_schema({"auht": {}})
