"""A namespace of a cluster in memory, with the methods of the real one (kubernetes/api.py)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import yaml

from service.launchers.kubernetes.api import Refused
from service.launchers.kubernetes.objects import Object
from service.launchers.launcher import Work
from tests.support.requests import RUN_ID

JOB_NAME = f"bt-{RUN_ID}"
WORK = Work(RUN_ID, {"RUN_ID": RUN_ID, "RULES_DIGEST": "abc"})
SWEEP_WORK = Work(RUN_ID, {"RUN_ID": RUN_ID, "RUN_KIND": "sweep"}, shards=3)
RELEASE_LABELS = {
    "app.kubernetes.io/managed-by": "stock-backtest",
    "app.kubernetes.io/instance": "bt",
    "app.kubernetes.io/component": "worker",
}
WORKER = {
    "name": "worker",
    "env": [{"name": "TICKER", "value": "old"}, {"name": "A", "value": "b"}],
}
JOB_TEMPLATE = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "bt-", "labels": RELEASE_LABELS},
    "spec": {
        "template": {"metadata": {"labels": RELEASE_LABELS}, "spec": {"containers": [WORKER]}}
    },
}


def changed_template(path: str, value: Any) -> Object:
    """The template with another value at a path like `spec.template`."""
    template: Object = copy.deepcopy(JOB_TEMPLATE)
    *parents, last = path.split(".")
    parent = template
    for name in parents:
        parent = parent[name]
    parent[last] = value
    return template


def config_map(template: object = JOB_TEMPLATE) -> Object:
    """The ConfigMap that holds the template as YAML."""
    return {
        "metadata": {"name": "bt-worker-job", "uid": "u"},
        "data": {"job.yaml": yaml.safe_dump(template)},
    }


class FakeNamespace:
    """Keeps Jobs by name; tests set its other attributes.

    failure: raised by creations and lists, if there is one.
    template: the ConfigMap, or the error that reading it raises.
    succeeded: names of Jobs that the list of unfinished Jobs lacks.
    warning_reasons: the reasons for which events were read, in that order.
    deleted: names of the Jobs and pods that were told to go.
    ended: names of the pods that were told to end by themselves.
    """

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.template: Object | Exception = config_map()
        self.succeeded: list[str] = []
        self.warning_reasons: list[str] = []
        self.deleted: list[str] = []
        self.ended: list[str] = []
        self.jobs_by_name: dict[str, Object] = {}
        self.all_pods: list[Object] = []
        self.all_events: list[Object] = []
        self.logs: dict[str, str] = {}
        self.time = datetime(2026, 1, 1, 12, 10, tzinfo=UTC)

    def create_job(self, job: Object, dry_run: bool = False) -> None:
        self._fail()
        name = job["metadata"]["name"]
        if name in self.jobs_by_name:
            raise Refused(409, f'jobs.batch "{name}" already exists')
        if dry_run:
            return
        created = copy.deepcopy(job)
        created["metadata"]["creationTimestamp"] = "2026-01-01T12:00:00Z"
        created["metadata"]["uid"] = name
        self.jobs_by_name[name] = created

    def now(self) -> datetime:
        return self.time

    def job(self, name: str) -> Object:
        if name not in self.jobs_by_name:
            raise Refused(404, f'jobs.batch "{name}" not found')
        return self.jobs_by_name[name]

    def unfinished_jobs(self, labels: Mapping[str, str]) -> list[Object]:
        self._fail()
        jobs = _with_labels(self.jobs_by_name.values(), labels)
        return [job for job in jobs if job["metadata"]["name"] not in self.succeeded]

    def all_jobs(self, labels: Mapping[str, str]) -> list[Object]:
        self._fail()
        return _with_labels(self.jobs_by_name.values(), labels)

    def living_pods(self, labels: Mapping[str, str]) -> list[Object]:
        return [
            pod
            for pod in self.pods(labels)
            if pod.get("status", {}).get("phase") not in ("Failed", "Succeeded")
        ]

    def pods(self, labels: Mapping[str, str]) -> list[Object]:
        self._fail()
        return _with_labels(self.all_pods, labels)

    def warnings(self, reason: str) -> list[Object]:
        self.warning_reasons.append(reason)
        return [event for event in self.all_events if event["reason"] == reason]

    def events(self, name: str) -> list[Object]:
        return [event for event in self.all_events if event["involvedObject"]["name"] == name]

    def log(self, pod: str, container: str, lines: int) -> str:
        if pod not in self.logs:
            raise Refused(400, "container is waiting to start")
        return self.logs[pod]

    def delete_pod(self, name: str) -> None:
        self.deleted.append(name)

    def end_pod(self, name: str) -> None:
        self.ended.append(name)

    def delete_job(self, name: str) -> None:
        self.deleted.append(name)

    def config_map(self, name: str) -> Object:
        if isinstance(self.template, Exception):
            raise self.template
        return self.template

    def add_pod(self, name: str, minute: int = 0) -> Object:
        """A pod of the one Job, created so many minutes after twelve."""
        metadata = {
            "name": name,
            "uid": name,
            "labels": self.jobs_by_name[JOB_NAME]["metadata"]["labels"],
            "creationTimestamp": f"2026-01-01T12:{minute:02}:00Z",
        }
        pod: Object = {"metadata": metadata}
        self.all_pods.insert(0, pod)
        return pod

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure


def _with_labels(objects: Any, labels: Mapping[str, str]) -> list[Object]:
    return [
        document for document in objects if labels.items() <= document["metadata"]["labels"].items()
    ]
