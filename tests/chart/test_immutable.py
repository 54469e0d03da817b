"""What Kubernetes lets nobody change, and the rights, are the same in every version: golden files.

A difference here breaks `helm upgrade` of an installed release (or widens a right): it takes a new major version and a
line in the README on how to upgrade.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.chart.conftest import CASES
from tests.chart.rendering import SECRET, Object, laid_over, objects

GOLDEN = Path(__file__).parent / "golden"
EVERYTHING = laid_over(
    laid_over(SECRET, {"mysql": {"backup": {"enabled": True}}}),
    {
        "prices": {"tickers": ["NFLX"]},
        "mysql": {"persistence": {"size": "7Gi", "storageClass": "fast"}},
    },
)
OF_SELECTORS = {
    "app.kubernetes.io/name",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/component",
}
STATEFUL = ("serviceName", "podManagementPolicy", "volumeClaimTemplates")


def selectors(found: list[Object]) -> Object:
    """Of workloads, and of what finds their pods."""
    result = {}
    for each in found:
        spec = each.get("spec", {})
        selector = spec.get("selector") or spec.get("podSelector")
        if selector:
            name = f"{each['kind']} {each['metadata']['name']}"
            result[name] = selector.get("matchLabels", selector)
    return result


def stateful(found: list[Object]) -> Object:
    return {
        each["metadata"]["name"]: {part: each["spec"][part] for part in STATEFUL}
        for each in found if each["kind"] == "StatefulSet"
    }  # fmt: skip


def rights(found: list[Object]) -> Object:
    kinds = ("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")
    return {
        f"{each['kind']} {each['metadata']['name']}": {part: each[part] for part in ("rules", "roleRef", "subjects") if part in each}
        for each in found if each["kind"] in kinds
    }  # fmt: skip


MADE = {"selectors": selectors, "statefulset": stateful, "rbac": rights}


@pytest.mark.parametrize("name", MADE)
def test_what_never_changes(name: str) -> None:
    golden = json.loads((GOLDEN / f"{name}.json").read_text())
    assert MADE[name](objects(EVERYTHING)) == golden


def test_selectors_hold_nothing_that_a_version_changes(case: Object) -> None:
    found = selectors(objects(case))
    assert len(found) >= 8
    assert {
        name: set(labels) for name, labels in found.items() if set(labels) != OF_SELECTORS
    } == {}


@pytest.mark.parametrize("name", CASES)
def test_selectors_depend_on_no_value(name: str) -> None:
    """But for the names of objects, which fullnameOverride sets."""
    golden = list(json.loads((GOLDEN / "selectors.json").read_text()).values())
    assert [
        labels for labels in selectors(objects(CASES[name])).values() if labels not in golden
    ] == []
