"""values.yaml, its schema and the README name the same values, and each of them has an effect."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from itertools import islice
from typing import Any

import jsonschema
import pytest
import yaml

from tests.chart.drawing import schema
from tests.chart.parts import LOGIN, ROUTE, VERIFIED
from tests.chart.rendering import (
    CHART,
    CI,
    EXTERNAL,
    SECRET,
    Object,
    at,
    files,
    laid_over,
    refusal,
    values_of,
)
from tests.chart.values_file import comments, defaults, leaves, nodes, value_at

CHARTS = {"": CHART, "charts/mysql": CHART / "charts" / "mysql"}
VALUES = {name: yaml.safe_load((path / "values.yaml").read_text()) for name, path in CHARTS.items()}
# Given by parent charts, or, of the parent, read by Helm alone.
OTHERS = {"global", "global.imageRegistry", "global.imagePullSecrets", "enabled"}
# Without mysql.enabled, which changes nothing but together with others: test_features.py.
LEAVES = [
    (chart, path) for chart in CHARTS for path in leaves(VALUES[chart]) if path != "mysql.enabled"
]

# For each value at least one of them is valid and not the default.
CANDIDATES: list[Any] = [
    [],
    2_000_000,
    3_000_000,
    True,
    False,
    1,
    2,
    700,
    5000,
    0.5,
    "a",
    "/a",
    "1",
    "r.org",
    "http://proxy.example.org:3128",
    "300m",
    "7Gi",
    "7G",
    "2001-02-03",
    "1m",
    "0 0 * * *",
    "8.4",
    f"sha256:{'a' * 64}",
    {"a": "b"},
    {"podAffinity": {}},
    {"metadata": {"labels": {"a": "b"}}},
    {"1.sql": "SELECT 1"},
    ["A"],
    ["a"],
    [443],
    [{"name": "a"}],
    [{"secretName": "a"}],
    [{"key": "a"}],
    [{"podSelector": {}}],
    [{"to": []}],
    [{"from": []}],
    ["ReadWriteMany"],
    [{"maxSkew": 2, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}],
]
BY_VALUE = {"externalDatabase": {"existingSecret": "", "password": "for-tests-only"}}
PROXY = laid_over(LOGIN, at("auth.mode", "proxy-header"))
GENERATED = {"mysql": {"auth": {"password": "for-tests-only", "rootPassword": "for-tests-only"}}}


@cache
def bases() -> list[Object]:
    """Values that together switch on every part of the chart."""
    (production,) = [values_of(path) for path in CI if path.name == "production-values.yaml"]
    external = laid_over(EXTERNAL, VERIFIED)
    logins = [laid_over(SECRET, LOGIN), laid_over(SECRET, PROXY)]
    return [
        SECRET,
        production,
        laid_over(SECRET, ROUTE),
        external,
        laid_over(external, BY_VALUE),
        GENERATED,
        *logins,
    ]


@pytest.mark.parametrize("chart", CHARTS)
def test_values_and_schema_have_the_same_keys(chart: str) -> None:
    """The schema may know more than an empty map in values.yaml, and less than its quantities."""
    of_values = set(_paths(VALUES[chart]))
    of_schema = set(nodes(chart)) - OTHERS
    empty = tuple(
        f"{path}." for path in leaves(VALUES[chart]) if value_at(VALUES[chart], path) == {}
    )
    assert {path for path in of_schema if not path.startswith(empty)} == {
        path for path in of_values if not _quantity(path)
    }


def _paths(values: Object, path: str = "") -> Iterator[str]:
    for key, value in values.items():
        here = f"{path}.{key}".lstrip(".")
        yield here
        if isinstance(value, dict):
            yield from _paths(value, here)


def _quantity(path: str) -> bool:
    return bool(re.search(r"resources\.(requests|limits)\.", path))


@pytest.mark.parametrize(("chart", "path"), LEAVES)
def test_every_value_changes_what_is_rendered(chart: str, path: str) -> None:
    valid = list(
        islice(
            (candidate for candidate in _candidates(chart, path) if _valid(chart, path, candidate)),
            3,
        )
    )
    assert valid, "CANDIDATES has nothing for it"
    whole = f"mysql.{path}" if chart else path
    likely = sorted(bases(), key=lambda base: whole.partition(".")[0] not in base)
    assert any(_changes(base, whole, candidate) for base in likely for candidate in valid), (
        "no template uses it"
    )


def _candidates(chart: str, path: str) -> list[Any]:
    return ["300m", "301m"] if _quantity(path) else nodes(chart)[path].get("enum", CANDIDATES)


def _valid(chart: str, path: str, candidate: Any) -> bool:
    whole = {"definitions": schema(chart).get("definitions", {})}
    return _quantity(path) or jsonschema.Draft7Validator({**nodes(chart)[path], **whole}).is_valid(
        candidate
    )


def _changes(base: Object, path: str, candidate: Any) -> bool:
    changed = laid_over(base, at(path, candidate))
    return not refusal(changed) and files(changed) != files(base)


@pytest.mark.parametrize("chart", CHARTS)
def test_templates_ask_only_for_values_that_exist(chart: str) -> None:
    """A misspelt one would be empty, and nobody would say so."""
    texts = [
        path.read_text() for path in (CHARTS[chart] / "templates").rglob("*") if path.is_file()
    ]
    addresses = {
        path
        for text in texts
        for path in re.findall(r"(?<!mysql)\.Values\.([a-z]\w*(?:\.[a-z]\w*)*)", text)
    }
    of_mysql = {f"mysql.{path}" for path in _paths(VALUES["charts/mysql"])} if not chart else set()
    assert len(addresses) >= 10
    assert addresses - set(_paths(VALUES[chart])) - of_mysql - OTHERS == set()


@pytest.mark.parametrize("chart", CHARTS)
def test_every_value_is_documented(chart: str) -> None:
    documented = tuple(comments(CHARTS[chart] / "values.yaml"))
    assert [path for path in leaves(VALUES[chart]) if not path.startswith(documented)] == []


@pytest.mark.parametrize("chart", CHARTS)
def test_the_table_in_the_readme_is_current(chart: str) -> None:
    """`make chart-docs` writes it."""
    text = (CHARTS[chart] / "README.md").read_text()
    rows = {
        path: (json.loads(default.replace("nil", "null")), words)
        for path, default, words in re.findall(
            r"^\| ([\w.]+) \| \w+ \| `(.*?)` \| (.*) \|$", text, re.MULTILINE
        )
    }
    words = comments(CHARTS[chart] / "values.yaml")
    assert rows == {
        path: (value, words[path])
        for path, value in defaults(CHARTS[chart] / "values.yaml").items()
    }
