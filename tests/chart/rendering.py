"""Renders the chart without a cluster, each combination of values once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from helm_python import Chart, HelmError

from scripts.config import ROOT, Config, load_config
from service.launchers.kubernetes.template import SAMPLE, job_of, read_template

CHART = ROOT / "charts" / "stock-backtest"
CI = sorted((CHART / "ci").glob("*-values.yaml"))
SECRET = {"mysql": {"auth": {"existingSecret": "database-auth"}}}
EXTERNAL = {
    "mysql": {"enabled": False},
    "externalDatabase": {"host": "db.example.org", "existingSecret": "database-auth"},
}

Object = dict[str, Any]


class _Loader(yaml.CSafeLoader):
    """Refuses a key that stands twice, as the API server does."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    assert len(keys) == len({repr(key) for key in keys}), f"a key stands twice: {keys}"
    return {
        key: loader.construct_object(value, deep=True)
        for key, (_, value) in zip(keys, node.value, strict=True)
    }  # type: ignore[no-untyped-call]


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def documents(text: str) -> list[Object]:
    """The YAML documents of one text; a key that stands twice is an error."""
    return [document for document in yaml.load_all(text, Loader=_Loader) if document]


@cache
def _rendered(values: str, name: str, namespace: str, path: Path) -> dict[str, str]:
    with Chart.load(
        path
    ) as chart:  # anew each time: a render without the subchart takes it out of the loaded chart
        return chart.render(json.loads(values), name=name, namespace=namespace)


def files(
    values: Mapping[str, Any], name: str = "bt", namespace: str = "stocks", path: Path = CHART
) -> dict[str, str]:
    """The text of each template, by its path; raises HelmError."""
    return _rendered(json.dumps(values, sort_keys=True), name, namespace, path)


def objects(
    values: Mapping[str, Any] = SECRET, name: str = "bt", path: Path = CHART
) -> list[Object]:
    """All objects of a release."""
    texts = files(values, name, path=path)
    return [
        manifest
        for name, text in sorted(texts.items())
        if name.endswith(".yaml")
        for manifest in documents(text)
    ]


def object_of(manifests: list[Object], kind: str, ending: str = "") -> Object:
    """The only object of that kind whose name ends so."""
    (only,) = [
        manifest
        for manifest in manifests
        if manifest["kind"] == kind and manifest["metadata"]["name"].endswith(ending)
    ]
    return only


def worker_job(manifests: list[Object]) -> Object:
    """The Job that the ConfigMap holds as text."""
    (job,) = documents(object_of(manifests, "ConfigMap", "-worker-job")["data"]["job.yaml"])
    return job


def filled_job(manifests: list[Object]) -> Object:
    """The Job of a run, as the controller sends it."""
    config_map = object_of(manifests, "ConfigMap", "-worker-job")
    config_map["metadata"]["uid"] = "1b7b5a31-5cf0-4f0c-8d3a-3d4a3d6f6f10"
    return job_of(read_template(config_map), SAMPLE, 1)


def pods(manifests: list[Object]) -> Iterator[tuple[str, Object]]:
    """Name and template (metadata and spec) of every pod, the ones of run-time Jobs too."""
    for manifest in [*manifests, worker_job(manifests)]:
        name = f"{manifest['kind']} {manifest['metadata']['name']}"
        if manifest["kind"] == "Pod":
            yield name, manifest
        elif manifest["kind"] == "CronJob":
            yield name, manifest["spec"]["jobTemplate"]["spec"]["template"]
        elif manifest["kind"] in ("Deployment", "StatefulSet", "Job"):
            yield name, manifest["spec"]["template"]


def containers(spec: Mapping[str, Any]) -> list[Object]:
    """All containers of a pod's spec, init containers first."""
    return [*spec.get("initContainers", []), *spec["containers"]]


def config_of(manifests: list[Object]) -> Config:
    """The settings as a pod reads them; the password is in a file that is not here."""
    return load_config(
        {
            **object_of(manifests, "ConfigMap", "-config")["data"],
            "DB_PASSWORD": "from-the-file",
            "DB_USER": "quant",
        }
    )


def refusal(values: Mapping[str, Any]) -> str:
    """Why the chart does not render; empty when it does."""
    try:
        files(values)
    except HelmError as error:
        return str(error)
    return ""


def laid_over(values: Mapping[str, Any], more: Mapping[str, Any]) -> Object:
    """Values with others on top, as `helm -f a -f b` does it."""
    result = dict(values)
    for key, value in more.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = laid_over(result[key], value) if both else value
    return result


def at(path: str, value: Any) -> Object:
    """`{a: {b: value}}` for `a.b`."""
    for key in reversed(path.split(".")):
        value = {key: value}
    return dict(value)


def values_of(path: Path) -> Object:
    return dict(yaml.safe_load(path.read_text()) or {})
