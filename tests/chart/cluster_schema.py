"""The strict schemas of Kubernetes, each object of each version once."""

from __future__ import annotations

import json
from functools import cache

import kubernetes_validate.utils
import yaml

from tests.chart.rendering import CHART, Object

OLDEST = (
    str(yaml.safe_load((CHART / "Chart.yaml").read_text())["kubeVersion"])
    .removeprefix(">=")
    .rpartition(".")[0]
)
VERSIONS = (OLDEST, kubernetes_validate.latest_version().rpartition(".")[0])
# Made by operators and the Gateway API; Kubernetes has no schema for them.
FOREIGN = {
    ("monitoring.coreos.com/v1", "ServiceMonitor"),
    ("monitoring.coreos.com/v1", "PrometheusRule"),
    ("gateway.networking.k8s.io/v1", "HTTPRoute"),
}


def faults(manifests: list[Object]) -> list[str]:
    """The faults that the oldest and the newest supported Kubernetes find in an object.

    A field that Kubernetes does not know is a fault, too.
    """
    own = [
        manifest
        for manifest in manifests
        if (manifest["apiVersion"], manifest["kind"]) not in FOREIGN
    ]
    return [
        fault
        for manifest in own
        for version in VERSIONS
        if (fault := _fault(version, json.dumps(manifest)))
    ]


# It reads a megabyte for each object.
kubernetes_validate.utils.schema_contents = cache(kubernetes_validate.utils.schema_contents)


@cache
def _fault(version: str, text: str) -> str:
    document = json.loads(text)
    try:
        kubernetes_validate.validate(document, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        where = ".".join(map(str, error.path))
        name = f"{document['kind']} {document['metadata']['name']}"
        return f"{name} on {version}: {where}: {error.message}"
    except kubernetes_validate.SchemaNotFoundError as error:
        return f"{document['kind']} {document['metadata']['name']}: {error.message}"
    return ""
