"""What Kubernetes lets nobody change, and the rights, are the same in every version: golden files.

A difference here breaks `helm upgrade` of an installed release (or widens a right): it takes a new
major version and a line in the README on how to upgrade.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.chart.conftest import CASES
from tests.chart.immutable import fields_of_stateful_sets, selectors
from tests.chart.rendering import SECRET, Object, laid_over, objects

KIND_LABEL = "stock-backtest/kind"
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


def rights(objects: list[Object]) -> Object:
    """The rules and subjects of each role and binding."""
    parts = ("rules", "roleRef", "subjects")
    all_rights = {}
    for item in objects:
        if item["kind"] in ("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"):
            name = f"{item['kind']} {item['metadata']['name']}"
            all_rights[name] = {part: item[part] for part in parts if part in item}
    return all_rights


MADE = {"selectors": selectors, "statefulset": fields_of_stateful_sets, "rbac": rights}


@pytest.mark.parametrize("name", MADE)
def test_what_never_changes(name: str) -> None:
    golden = json.loads((GOLDEN / f"{name}.json").read_text())
    assert MADE[name](objects(EVERYTHING)) == golden


def test_selectors_hold_nothing_that_a_version_changes(case: Object) -> None:
    found = selectors(objects(case))
    assert len(found) >= 8
    assert {
        name: set(labels)
        for name, labels in found.items()
        if set(labels) - {KIND_LABEL} != OF_SELECTORS
    } == {}
    # The policy of the workers that fetch prices is for some of the workers.
    assert {name for name, labels in found.items() if KIND_LABEL in labels} <= {
        name for name in found if name.startswith("NetworkPolicy") and name.endswith("-fetch")
    }


@pytest.mark.parametrize("name", CASES)
def test_selectors_depend_on_no_value(name: str) -> None:
    """But for the names of objects, which fullnameOverride sets."""
    golden = list(json.loads((GOLDEN / "selectors.json").read_text()).values())
    assert [
        labels for labels in selectors(objects(CASES[name])).values() if labels not in golden
    ] == []
