"""Random values that the chart's schemas allow.

hypothesis-jsonschema draws what is neither object nor array: its objects do not work with the
pinned hypothesis.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from hypothesis import strategies as st
from hypothesis_jsonschema import from_schema

from tests.chart.rendering import CHART, SECRET, Object, laid_over

# What Kubernetes accepts where the schema leaves the form to it.
FREE: dict[str, list[Any]] = {
    "valueFrom": [
        {"secretKeyRef": {"name": "mine", "key": "token"}},
        {"fieldRef": {"fieldPath": "status.podIP"}},
    ],
    "nodeAffinity": [{"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}],
    "podAffinity": [{"preferredDuringSchedulingIgnoredDuringExecution": []}],
    "podAntiAffinity": [
        {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "zone"}]}
    ],
    "to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}, {"podSelector": {}}],
    "from": [{"namespaceSelector": {"matchLabels": {"team": "quant"}}}],
    "ports": [{"port": 443, "protocol": "TCP"}, {"port": 8000, "endPort": 9000}],
    "podSelector": [{}, {"matchLabels": {"app": "proxy"}}],
    "namespaceSelector": [{}, {"matchLabels": {"team": "quant"}}],
    "ipBlock": [{"cidr": "10.0.0.0/8"}],
    "metadata": [{}, {"annotations": {"mine": "1"}}],
}
KEYS = st.from_regex(r"([a-z]{1,9}/)?[a-z]{1,9}(\.[a-z]{1,9})?", fullmatch=True)


@cache
def schema(path: str = "") -> Object:
    """The chart's schema, or that of a subchart; nobody changes it."""
    return dict(json.loads((CHART / path / "values.schema.json").read_text()))


def values() -> st.SearchStrategy[Object]:
    """Random values files; passwords come from a Secret, as they must without a cluster."""
    own = schema()
    mysql = schema("charts/mysql")
    of_mysql = {key: part for key, part in mysql["properties"].items() if key != "global"}
    properties = {**own["properties"], "mysql": {**mysql, "properties": of_mysql}}
    drawn = _drawn("", {**own, "properties": properties}, own["definitions"])
    return drawn.map(lambda given: laid_over(given, SECRET))


def _drawn(
    name: str, node: Object, definitions: Object, item: bool = False
) -> st.SearchStrategy[Any]:
    """Random values of a part of the schema.

    An object has any of its keys; an object in an array has those that the schema requires.
    """
    if "$ref" in node:
        return _drawn(name, definitions[node["$ref"].rpartition("/")[2]], definitions, item)
    if node.get("type") == "array":
        items = _drawn(name, node["items"], definitions, item=True)
        return st.lists(items, min_size=node.get("minItems", 0), max_size=3, unique_by=repr)
    if node.get("type") != "object":
        return from_schema(node)
    if "properties" in node:
        parts = {key: _drawn(key, part, definitions) for key, part in node["properties"].items()}
        needed = {key: parts.pop(key) for key in node.get("required", []) if item}
        return st.fixed_dictionaries(needed, optional=parts)
    if node.get("additionalProperties"):
        return st.dictionaries(
            KEYS, _drawn(name, node["additionalProperties"], definitions), max_size=3
        )
    if "patternProperties" in node:
        ((pattern, part),) = node["patternProperties"].items()
        keys = st.from_regex(pattern, fullmatch=True)
        return st.dictionaries(keys, _drawn(name, part, definitions), max_size=2)
    return st.sampled_from(FREE[name])
