"""Names are legal, short enough for what Kubernetes adds to them, and differ between releases."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from service.launchers.kubernetes.template import SAMPLE
from tests.chart.rendering import (
    SECRET,
    Object,
    at,
    laid_over,
    object_of,
    objects,
    pods,
    refusal,
    worker_job,
)

RELEASES = {
    "1": "b",
    "2, a digit": "1a",
    "14, the chart's own": "stock-backtest",
    "20": "backtests-production",
    "20, a dot": "backtests.production",
    "40": "backtests-of-the-quantitative-team-in-eu",
    "53": "backtests-of-the-quantitative-team-in-eu-west-1-tests",
    "53, the chart's own": "quantitative-team-stock-backtest-in-eu-west-1-testing",
}
OVERRIDES = ["", "q", "the-backtests-of-the-quantitative-team-a"]
VALUES = laid_over(
    laid_over(SECRET, at("mysql.backup.enabled", True)),
    {"prices": {"tickers": ["NFLX"]}, "ingress": {"enabled": True, "hosts": ["a.example.org"]}},
)
DNS_LABEL = r"[a-z]([-a-z0-9]*[a-z0-9])?"
# Pods of a StatefulSet and Jobs of a CronJob get a label with the name and 11 characters more.
LONGEST = {"StatefulSet": 52, "CronJob": 52, "Service": 63, "Deployment": 52}


def release(name: str, override: str = "") -> list[Object]:
    more = {
        "fullnameOverride": override,
        "mysql": {"fullnameOverride": override and f"{override[:30]}-db"},
    }
    return objects(laid_over(VALUES, more), name=name)


def labels(node: Any) -> Iterator[tuple[str, str]]:
    """Every label of an object, and of what is inside it."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ("labels", "matchLabels") and value:
                yield from value.items()
            yield from labels(value)
    elif isinstance(node, list):
        for part in node:
            yield from labels(part)


def test_the_lengths_are_those_that_helm_allows() -> None:
    assert {1, 20, 40, 53} <= {len(name) for name in RELEASES.values()} <= set(range(1, 54))


@pytest.mark.parametrize("override", OVERRIDES)
@pytest.mark.parametrize("name", RELEASES.values(), ids=RELEASES)
def test_every_name_fits(name: str, override: str) -> None:
    manifests = release(name, override)
    for manifest in manifests:
        called = manifest["metadata"]["name"]
        assert len(called) <= LONGEST.get(manifest["kind"], 63), called
        assert re.fullmatch(DNS_LABEL, called), called
    for key, value in labels([*manifests, worker_job(manifests)]):
        assert re.fullmatch(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?", value), (
            f"{key}: {value}"
        )
    assert len(worker_job(manifests)["metadata"]["name"] + SAMPLE.run_id) <= 63
    assert worker_job(manifests)["metadata"]["name"] == "bt-", "kubectl get jobs shows bt-<run_id>"
    for _, pod in pods(manifests):
        parts = [
            *pod["spec"]["containers"],
            *pod["spec"].get("initContainers", []),
            *pod["spec"].get("volumes", []),
        ]
        assert all(re.fullmatch(DNS_LABEL, part["name"]) for part in parts)
        ports = [
            port["name"]
            for container in pod["spec"]["containers"]
            for port in container.get("ports", [])
        ]
        assert all(len(port) <= 15 for port in ports)


def test_the_override_is_the_name() -> None:
    assert object_of(release("bt", "q"), "Deployment", "-web")["metadata"]["name"] == "q-web"
    assert (
        object_of(release("bt"), "Deployment", "-web")["metadata"]["name"]
        == "bt-stock-backtest-web"
    )
    assert (
        object_of(release("my-stock-backtest"), "Deployment", "-web")["metadata"]["name"]
        == "my-stock-backtest-web"
    )


SIMILAR = [
    "a" * 53,
    "a" * 52 + "b",
    "a" * 41,
    "a" * 40,
    "b" + "a" * 52,
    "a.b",
    "a-b",
    "1",
    "bt-1",
    "a" * 25 + ".b",
]


def test_two_releases_in_one_namespace_share_nothing() -> None:
    """Names that are cut or made legal end in a hash of the whole."""
    names = {
        (manifest["kind"], manifest["metadata"]["name"]): name
        for name in SIMILAR
        for manifest in objects(VALUES, name=name)
    }
    assert len(names) == sum(len(objects(VALUES, name=name)) for name in SIMILAR)


def test_selectors_of_two_releases_differ() -> None:
    for kind, ending in (
        ("Deployment", "-web"),
        ("Deployment", "-controller"),
        ("StatefulSet", ""),
    ):
        selectors = [
            str(object_of(objects(VALUES, name=name), kind, ending)["spec"]["selector"])
            for name in SIMILAR
        ]
        assert len(set(selectors)) == len(SIMILAR)


@pytest.mark.parametrize("override", ["Upper", "-a", "a-", "1a", "a.b", "a" * 41])
def test_an_override_that_is_no_name_is_refused(override: str) -> None:
    assert "/fullnameOverride'" in refusal(laid_over(SECRET, at("fullnameOverride", override)))
