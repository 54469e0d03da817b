"""The Job of a run, made from the template that the chart keeps in a ConfigMap."""

from __future__ import annotations

import copy
import math

import yaml

from service.launchers.kubernetes.objects import Object
from service.launchers.launcher import Work

TEMPLATE_KEY = "job.yaml"
WORKER = "worker"
RUN_LABEL = "stock-backtest/run-id"
LAUNCH_LABEL = "stock-backtest/launch"
RELEASE_LABELS = (
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/component",
)
RULES_VARIABLE = "RULES_DIGEST"
SAMPLE = Work("00000000-0000-4000-8000-000000000000", environment={})


class InvalidTemplate(Exception):
    """The ConfigMap holds no Job that a run could be made from; the message says what is wrong."""


def read_template(config_map: Object) -> Object:
    """The Job in the ConfigMap, with the ConfigMap as its owner: they are uninstalled together.

    Only what runs rely on is checked. Raises InvalidTemplate.
    """
    name = config_map["metadata"]["name"]
    place = f"{TEMPLATE_KEY} in the ConfigMap {name}"
    try:
        template: Object = yaml.safe_load(config_map.get("data", {}).get(TEMPLATE_KEY, ""))
        labels = template["metadata"]["labels"]
        containers = template["spec"]["template"]["spec"]["containers"]
        missing_labels = [label for label in RELEASE_LABELS if not labels.get(label)]
        container_names = [container["name"] for container in containers]
        kind = template.get("kind")
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise InvalidTemplate(f"{place} is no Job: {type(error).__name__} {error}") from None
    if kind != "Job" or missing_labels:
        raise InvalidTemplate(
            f"{place} is no Job of ours: kind {kind}, labels missing: {missing_labels}"
        )
    if WORKER not in container_names:
        names = ", ".join(container_names)
        raise InvalidTemplate(f'{place} has no container "worker", only {names}')
    try:
        job_of(template, SAMPLE, 1)
    except (KeyError, TypeError, AttributeError) as error:
        message = f"{place} cannot be filled in: {type(error).__name__} {error}"
        raise InvalidTemplate(message) from None
    owner = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": name,
        "uid": config_map["metadata"]["uid"],
    }
    template["metadata"]["ownerReferences"] = [owner]
    return template


def job_of(template: Object, work: Work, launch: int) -> Object:
    """The Job of one launch of a run: a copy of the template, named and filled in."""
    job = copy.deepcopy(template)
    job["metadata"]["name"] += work.run_id
    pod_template = job["spec"]["template"]
    labels = {**work.labels, RUN_LABEL: work.run_id, LAUNCH_LABEL: str(launch)}
    for metadata in (job["metadata"], pod_template.setdefault("metadata", {})):
        metadata["labels"] = {**(metadata.get("labels") or {}), **labels}
        metadata["annotations"] = {**(metadata.get("annotations") or {}), **work.annotations}
    _set_environment(worker_container(job), work)
    if work.shards is not None:
        _make_indexed(job["spec"], work.shards)
    return job


def worker_container(job: Object) -> Object:
    """The container of a Job that performs the run."""
    containers: list[Object] = job["spec"]["template"]["spec"]["containers"]
    return next(container for container in containers if container["name"] == WORKER)


def allow_any_rules(job: Object) -> None:
    """Takes out of the Job which rules the controller has, so that no worker refuses the run.

    During an upgrade the old controller starts workers of the new image, whose rules may differ.
    """
    worker = worker_container(job)
    worker["env"] = [variable for variable in worker["env"] if variable["name"] != RULES_VARIABLE]


def _set_environment(worker: Object, work: Work) -> None:
    variables = worker.get("env") or []
    kept = [variable for variable in variables if variable["name"] not in work.environment]
    added = [{"name": name, "value": value} for name, value in work.environment.items()]
    worker["env"] = kept + added


def _make_indexed(spec: Object, shards: int) -> None:
    """Turns the Job's spec into that of an Indexed Job, with one index for each shard.

    A shard is tried twice, and one that fails does not stop the others. The deadline of the Job
    grows by the deadlines of two pods for each further round of shards.
    """
    parallelism = min(shards, spec.get("parallelism", 1))
    spec.pop("backoffLimit", None)
    spec["completionMode"] = "Indexed"
    spec["completions"] = shards
    spec["parallelism"] = parallelism
    spec["backoffLimitPerIndex"] = 1
    if "activeDeadlineSeconds" in spec:
        further_rounds = math.ceil(shards / parallelism) - 1
        pod_seconds = spec["template"]["spec"].get("activeDeadlineSeconds", 0)
        spec["activeDeadlineSeconds"] += further_rounds * 2 * pod_seconds
    for rule in spec.get("podFailurePolicy", {}).get("rules", []):
        if rule["action"] == "FailJob":
            rule["action"] = "FailIndex"
