"""The fields that Kubernetes lets nobody change in an installed release."""

from __future__ import annotations

from collections.abc import Iterable

from tests.chart.rendering import Object

OF_STATEFUL_SETS = ("serviceName", "podManagementPolicy", "volumeClaimTemplates")


def selectors(objects: Iterable[Object]) -> Object:
    """The selectors of workloads, and of what finds their pods."""
    labels = {}
    for item in objects:
        spec = item.get("spec", {})
        selector = spec.get("selector") or spec.get("podSelector")
        if selector:
            name = f"{item['kind']} {item['metadata']['name']}"
            labels[name] = selector.get("matchLabels", selector)
    return labels


def fields_of_stateful_sets(objects: Iterable[Object]) -> Object:
    """The fields of StatefulSets that cannot be changed, by name."""
    fields = {}
    for item in objects:
        if item["kind"] == "StatefulSet":
            spec = item["spec"]
            fields[item["metadata"]["name"]] = {part: spec[part] for part in OF_STATEFUL_SETS}
    return fields
