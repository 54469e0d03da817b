"""A text stays one, whatever else YAML could read in it, and none breaks the objects around it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chart.cluster_schema import faults
from tests.chart.parts import LOGIN, ROUTE, VERIFIED
from tests.chart.rendering import (
    CHART,
    EXTERNAL,
    SECRET,
    Object,
    at,
    laid_over,
    objects,
    refusal,
    values_of,
    worker_job,
)
from tests.chart.values_file import nodes

OTHERWISE = ["0", "1e3", "true", "null", "2001-02-03"]
HARMFUL = ["a: b", " #", "'\"", "{", "a\n---\nb", "\x02", "\r\na", "\ufeff", "{{ fail 1 }}"]
TEXTS = [*OTHERWISE, *HARMFUL]
SOME = ["0", "true", "a: b", "a\n---\nb", "\x02", "{{ fail 1 }}"]  # there are many values
ALL = laid_over(values_of(CHART / "ci" / "production-values.yaml"), LOGIN)
ROUTED = laid_over(laid_over(SECRET, ROUTE), LOGIN)
VERIFYING = laid_over(EXTERNAL, VERIFIED)
CHARTS = {"": "", "charts/mysql": "mysql."}
PATHS = [
    before + path
    for chart, before in CHARTS.items()
    for path, node in nodes(chart).items()
    if node.get("type") == "string" and "enum" not in node and not path.startswith("global")
]
ANYBODYS = {
    "an annotation of pods": lambda text: at("web.podAnnotations", {"a": text}),
    "an annotation of the Service": lambda text: at("web.service.annotations", {"a": text}),
    "a variable": lambda text: at("worker.extraEnv", [{"name": "A", "value": text}]),
    "a toleration": lambda text: at("worker.tolerations", [{"key": text, "value": text}]),
    "an annotation of the Job": lambda text: at(
        "worker.jobOverrides", at("metadata.annotations", {"a": text})
    ),
    "a script": lambda text: at("mysql.initdbScripts", {"1.sql": text}),
    "an annotation of MySQL": lambda text: at("mysql.podAnnotations", {"a": text}),
}


def base_of(path: str) -> Object:
    if path.startswith("externalDatabase"):
        return VERIFYING
    if path.startswith("httpRoute"):
        return ROUTED
    return ALL


def rendered(values: Object) -> list[Object]:
    manifests = objects(values)
    return [*manifests, worker_job(manifests)]


@pytest.mark.parametrize("path", PATHS)
def test_a_text_is_refused_or_stays_a_text(path: str) -> None:
    for text in SOME:
        values = laid_over(base_of(path), at(path, text))
        if not refusal(values):
            assert faults(rendered(values)) == [], text


@pytest.mark.parametrize("name", ANYBODYS)
def test_a_text_that_may_be_anything_arrives_as_it_is(name: str) -> None:
    for text in TEXTS:
        manifests = rendered(laid_over(ALL, ANYBODYS[name](text)))
        assert faults(manifests) == [], text
        assert any(text in texts(manifest) for manifest in manifests), repr(text)


def texts(node: Any) -> list[Any]:
    """Every value inside an object, however deep."""
    if isinstance(node, dict):
        return [text for part in node.values() for text in texts(part)]
    return [text for part in node for text in texts(part)] if isinstance(node, list) else [node]


def test_an_account_may_be_called_like_a_number() -> None:
    values = laid_over(
        SECRET,
        {part: {"serviceAccount": {"name": "0"}} for part in ("web", "controller", "worker")},
    )
    assert worker_job(objects(values))["spec"]["template"]["spec"]["serviceAccountName"] == "0"


OPTIONS_OF_MYSQL = "max_connect_errors=7\n\tlong_query_time=1 # Minuten: ä 분"


@pytest.mark.parametrize("text", [OPTIONS_OF_MYSQL, ""])
def test_lines_of_my_cnf_may_be_any_printable_text(text: str) -> None:
    values = laid_over(SECRET, at("mysql.config.extra", text))
    (config,) = [manifest for manifest in objects(values) if "my.cnf" in manifest.get("data", {})]
    assert config["data"]["my.cnf"].endswith(f"{text}\n")


@pytest.mark.parametrize("text", ["\x02", "a\rb", "\x7f", "\x85", "\u2028", "\ufeff", "\0"])
def test_my_cnf_has_no_control_characters(text: str) -> None:
    assert "at '/config/extra': " in refusal(laid_over(SECRET, at("mysql.config.extra", text)))
