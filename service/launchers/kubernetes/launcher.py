"""Jobs of a Kubernetes cluster: one per run, made from the template that the chart keeps in a ConfigMap."""

from __future__ import annotations

import copy
import math
import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import date, datetime
from typing import Any

import yaml

from service.contract.request import BacktestRequest
from service.contract.status import Reason
from service.launchers.kubernetes.api import Away, Busy, Namespace, Object, Refused
from service.launchers.kubernetes.evidence import MORE_LINES, event_lines, log_lines
from service.launchers.kubernetes.job_states import (
    has_failed_pods,
    in_order,
    lacks_pods,
    state_of,
    waits_for_volumes,
)
from service.launchers.launcher import (
    JobState,
    LaunchDelayed,
    Launcher,
    LauncherAway,
    LaunchFailed,
    SweepWork,
    Work,
    environment_of,
)

UNSEEN_SECONDS = 60.0  # in which anything may have happened: the API server was away
TEMPLATE_KEY, WORKER = "job.yaml", "worker"
RUN_LABEL, LAUNCH_LABEL = "stock-backtest/run-id", "stock-backtest/launch"
OURS = ("app.kubernetes.io/managed-by", "app.kubernetes.io/instance", "app.kubernetes.io/component")
SAMPLE = BacktestRequest(
    "00000000-0000-4000-8000-000000000000",
    "SAMPLE",
    "RSI_14_30_70",
    date(2020, 1, 1),
    date(2020, 12, 31),
)


class InvalidTemplate(Exception):
    """The ConfigMap holds no Job that a run could be made from; the message says what is wrong."""


class KubernetesJobs(Launcher):
    """Job `bt-<run_id>` in the namespace of the controller; the jobs are owned by the template's ConfigMap."""

    independent = True

    def __init__(self, template: str, namespace: Namespace) -> None:
        self._name, self._namespace = template, namespace
        self._template: Object | None = None
        self._image: str | None = None  # of the workers, when this controller began
        self._troubles: dict[
            tuple[str, Reason], float
        ] = {}  # of pods and Jobs, by uid, and since when they are seen
        self._looked = -math.inf

    def launch(self, work: Work, number: int) -> None:
        try:
            self._template = None  # an owner that was made anew has another uid
            job = filled_in(self._loaded(), work, number)
            if worker_of(job).get("image") != self._image:
                expect_any_rules(job)
            self._namespace.create_job(job)
        except InvalidTemplate as error:
            raise LaunchFailed(str(error), Reason.CONFIG_ERROR) from error
        except Busy as error:
            raise LaunchDelayed(str(error)) from error
        except Away as error:
            self._adopt(job, str(error))
        except Refused as error:
            if error.status == 409:
                self._adopt(job, str(error))
            elif error.status == 403 and "exceeded quota" in str(error):
                raise LaunchDelayed(str(error), Reason.QUOTA_EXCEEDED) from error
            else:
                message = f"The cluster refuses the worker's Job: {error}."
                raise LaunchFailed(message, Reason.ADMISSION_DENIED) from error

    def _adopt(self, job: Object, why: str) -> None:
        """A Job of that name may be there: ours, of the same launch (its creation's answer was lost), or in the way."""
        name, wanted = job["metadata"]["name"], job["metadata"]["labels"]
        try:
            there = self._namespace.job(name)["metadata"]
        except Refused as error:  # not there: the creation failed
            raise LaunchDelayed(why, everybody=error.status != 409) from error
        except Away as error:
            raise LauncherAway(str(error)) from error
        labels = there.get("labels", {})
        if any(labels.get(label) != wanted[label] for label in (*OURS, RUN_LABEL)):
            raise LaunchFailed(f"A Job that is not ours has the name {name}.", Reason.NAME_CONFLICT)
        if "deletionTimestamp" not in there and labels.get(LAUNCH_LABEL) == wanted[LAUNCH_LABEL]:
            return
        with suppress(Refused, Away):  # the next try tells it again
            self._namespace.delete_job(name)
        raise LaunchDelayed(f"the Job of an earlier launch is not gone yet: {why}", everybody=False)

    def jobs(self, expected: Collection[str] = ()) -> Mapping[str, JobState]:
        try:
            labels = self._ours()
            jobs = {_run_id(job): job for job in self._namespace.unfinished_jobs(labels)}
            pods = by_run(self._namespace.living_pods(labels))
            # a Job of shards is left out of the list from its first success on; a pod of it may be on a dead node
            for run_id in [*expected, *pods]:
                if run_id not in jobs and (job := self._by_name(run_id)) is not None:
                    jobs[run_id] = job
            for run_id in expected:
                if run_id in jobs and has_failed_pods(jobs[run_id]):
                    pods[run_id] = self._namespace.pods({**labels, RUN_LABEL: run_id})
            now = self._namespace.now()
            events = self._events(jobs, pods, now)
        except (Refused, Away, InvalidTemplate) as error:
            raise LauncherAway(str(error)) from error
        states = {
            run_id: state_of(job, pods.get(run_id, []), events, now, _launch(job))
            for run_id, job in jobs.items()
            if run_id
        }
        return self._timed(states)

    def _timed(self, states: dict[str, JobState]) -> Mapping[str, JobState]:
        """With the time that each problem has been seen for, by this controller's own watch."""
        now = time.monotonic()
        before = self._troubles if now - self._looked < UNSEEN_SECONDS else {}
        self._looked, self._troubles = now, {}
        for run_id, job in states.items():
            if job.problem is None:
                continue
            trouble = job.problem.about, job.problem.reason
            since = self._troubles[trouble] = before.get(trouble, now)
            problem = replace(job.problem, seconds=max(job.problem.seconds, now - since))
            states[run_id] = replace(job, problem=problem)
        return states

    def _by_name(self, run_id: str) -> Object | None:
        """A Job that the list lacks: it completed, or it is really gone."""
        try:
            job = self._namespace.job(self._job_name(run_id))
        except Refused as error:
            if error.status != 404:
                raise
            return None
        return job if _run_id(job) == run_id else None

    def _events(
        self, jobs: Mapping[str, Object], pods: Mapping[str, list[Object]], now: datetime
    ) -> list[Object]:
        """Asked for only where something still has no pod, or a pod no volumes."""
        childless = any(lacks_pods(job, pods.get(run_id, []), now) for run_id, job in jobs.items())
        late = any(waits_for_volumes(pod, now) for some in pods.values() for pod in some)
        found = self._namespace.warnings("FailedCreate") if childless else []
        return found + (self._namespace.warnings("FailedMount") if late else [])

    def evidence(self, run_id: str) -> Mapping[str, Any]:
        try:
            job = self._job_name(run_id)
            pods = self._namespace.pods({**self._ours(), RUN_LABEL: run_id})
            named = [pod["metadata"]["name"] for pod in in_order(pods)]
            events = [
                event for name in (job, *named[-1:]) for event in self._namespace.events(name)
            ]
        except (Refused, Away, InvalidTemplate) as error:
            return {"events": [f"They could not be read: {error}"]}
        return {"events": event_lines(events), "log": self._log(named)}

    def _log(self, pods: Sequence[str]) -> list[str]:
        """Of the last pod that has one."""
        said = []
        for pod in reversed(pods):
            try:
                return log_lines(self._namespace.log(pod, WORKER, MORE_LINES))
            except Refused as error:
                said = [f"It could not be read: {error}"]
            except Away as error:
                return [f"It could not be read: {error}"]
        return said

    def remove(self, run_id: str, force: bool = False) -> None:
        try:
            self._namespace.delete_job(self._job_name(run_id))
            for pod in (
                self._namespace.living_pods({**self._ours(), RUN_LABEL: run_id}) if force else []
            ):
                self._namespace.delete_pod(pod["metadata"]["name"])
        except (Away, InvalidTemplate) as error:
            raise LauncherAway(str(error)) from error

    def check(self) -> str:
        """Lets the API server try a Job without keeping it."""
        try:
            self._template = None
            self._namespace.create_job(filled_in(self._loaded(), SAMPLE, 1), dry_run=True)
        except InvalidTemplate as error:
            return str(error)
        except Away as error:
            return f"{error}"
        except Refused as error:
            return (
                ""
                if error.status == 409 or "exceeded quota" in str(error)
                else f"Jobs cannot be created: {error}"
            )
        return ""

    def _job_name(self, run_id: str) -> str:
        return str(self._loaded()["metadata"]["name"]) + run_id

    def _ours(self) -> dict[str, str]:
        labels = self._loaded()["metadata"]["labels"]
        return {name: labels[name] for name in OURS}

    def _loaded(self) -> Object:
        if self._template is None:
            try:
                self._template = template_of(self._namespace.config_map(self._name))
            except Refused as error:
                raise InvalidTemplate(
                    f"The ConfigMap {self._name} with the worker's Job cannot be read: {error}"
                ) from None
            self._image = self._image or worker_of(self._template).get("image")
        return self._template


def template_of(config_map: Object) -> Object:
    """The Job that the ConfigMap holds as YAML, checked as far as runs rely on it; raises InvalidTemplate."""
    where = f"{TEMPLATE_KEY} in the ConfigMap {config_map['metadata']['name']}"
    try:
        job = yaml.safe_load(config_map.get("data", {}).get(TEMPLATE_KEY, ""))
        labels, spec = job["metadata"]["labels"], job["spec"]["template"]["spec"]
        missing = [name for name in OURS if not labels.get(name)]
        containers = [container["name"] for container in spec["containers"]]
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise InvalidTemplate(f"{where} is no Job: {type(error).__name__} {error}") from None
    if job.get("kind") != "Job" or missing:
        raise InvalidTemplate(
            f"{where} is no Job of ours: kind {job.get('kind')}, labels missing: {missing}"
        )
    if WORKER not in containers:
        raise InvalidTemplate(f'{where} has no container "worker", only {", ".join(containers)}')
    try:
        filled_in(job, SAMPLE, 1)
    except (KeyError, TypeError, AttributeError) as error:
        raise InvalidTemplate(
            f"{where} cannot be filled in: {type(error).__name__} {error}"
        ) from None
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": config_map["metadata"]["name"]}
    job["metadata"]["ownerReferences"] = [
        {**owner, "uid": config_map["metadata"]["uid"]}
    ]  # uninstalled together
    return dict(job)


def filled_in(template: Object, work: Work, number: int) -> Object:
    """The run's own Job: fields set by path, the request in the environment of the container `worker`."""
    job = copy.deepcopy(template)
    job["metadata"]["name"] += work.run_id
    pod = job["spec"]["template"]
    for metadata in (job["metadata"], pod.setdefault("metadata", {})):
        labels = {RUN_LABEL: work.run_id, LAUNCH_LABEL: str(number)}
        metadata["labels"] = {**(metadata.get("labels") or {}), **labels}
        named = {"stock-backtest/ticker": work.ticker, "stock-backtest/rule": work.rule_id}
        metadata["annotations"] = {**(metadata.get("annotations") or {}), **named}
    worker, asked = worker_of(job), environment_of(work)
    kept = [variable for variable in worker.get("env") or [] if variable["name"] not in asked]
    worker["env"] = kept + [{"name": name, "value": value} for name, value in asked.items()]
    return indexed(job, work.shards) if isinstance(work, SweepWork) else job


def worker_of(job: Object) -> Object:
    """The container that performs the run."""
    containers: list[Object] = job["spec"]["template"]["spec"]["containers"]
    return next(container for container in containers if container["name"] == WORKER)


def expect_any_rules(job: Object) -> None:
    """While an upgrade is under way the controller of before starts the workers of after, whose rules may differ."""
    worker = worker_of(job)
    worker["env"] = [variable for variable in worker["env"] if variable["name"] != "RULES_DIGEST"]


def indexed(job: Object, shards: int) -> Object:
    """The same as an Indexed Job: each shard is tried twice, one that cannot be done stops no other."""
    spec = job["spec"]
    at_once = min(shards, spec.get("parallelism", 1))
    pod_seconds = spec["template"]["spec"].get("activeDeadlineSeconds", 0)
    more = (math.ceil(shards / at_once) - 1) * 2 * pod_seconds
    spec |= {
        "completionMode": "Indexed",
        "completions": shards,
        "parallelism": at_once,
        "backoffLimitPerIndex": 1,
    }
    spec.pop("backoffLimit", None)
    if "activeDeadlineSeconds" in spec:
        spec["activeDeadlineSeconds"] += more
    for rule in spec.get("podFailurePolicy", {}).get("rules", []):
        rule["action"] = "FailIndex" if rule["action"] == "FailJob" else rule["action"]
    return job


def by_run(pods: Sequence[Object]) -> dict[str, list[Object]]:
    """Each with those of its run."""
    found = defaultdict(list)
    for pod in pods:
        found[_run_id(pod)].append(pod)
    return dict(found)


def _run_id(found: Mapping[str, Any]) -> str:
    return str(found["metadata"].get("labels", {}).get(RUN_LABEL, ""))


def _launch(job: Mapping[str, Any]) -> int:
    text = str(job["metadata"].get("labels", {}).get(LAUNCH_LABEL))
    return int(text) if text.isdecimal() else 0
