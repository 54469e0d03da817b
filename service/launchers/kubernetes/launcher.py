"""Jobs of a Kubernetes cluster: one for each run, made from the chart's template."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from service.contract.status import Reason
from service.launchers.kubernetes.api import Away, Busy, Namespace, Refused
from service.launchers.kubernetes.evidence import LINES_TO_READ, event_lines, log_lines
from service.launchers.kubernetes.job_states import (
    counts_jobs,
    has_ended,
    has_failed_pods,
    in_order,
    is_over_quota,
    lacks_pods,
    state_of,
    waits_for_volumes,
)
from service.launchers.kubernetes.objects import Object
from service.launchers.kubernetes.problem_times import ProblemTimes
from service.launchers.kubernetes.template import (
    LAUNCH_LABEL,
    RELEASE_LABELS,
    RUN_LABEL,
    SAMPLE,
    WORKER,
    InvalidTemplate,
    allow_any_rules,
    job_of,
    read_template,
    worker_container,
)
from service.launchers.launcher import (
    JobState,
    LaunchDelayed,
    Launcher,
    LauncherAway,
    LaunchFailed,
    Work,
)

# Jobs that are removed at once where a quota counts them: those that stay can be looked at.
MAX_REMOVED_FOR_ROOM = 10
FILLED_BY = (
    "{}. Jobs there now: {} of this platform at work, {} of this platform that have ended, which "
    "go first, and {} of others."
)


class KubernetesJobs(Launcher):
    """Runs each job as the Job `bt-<run_id>` in the controller's namespace.

    `template` is the name of the ConfigMap with the Job that runs are made from.
    """

    jobs_outlive_controller = True

    def __init__(self, template: str, namespace: Namespace) -> None:
        self._template_name = template
        self._namespace = namespace
        self._template: Object | None = None
        # the image of the workers when this controller began
        self._first_image: str | None = None
        self._problem_times = ProblemTimes()
        # a quota that counts Jobs, or ended pods, has refused one since there was room
        self._lacks_room = False
        # uids of the Jobs whose pods such a quota refuses
        self._without_room: set[str] = set()

    def launch(self, work: Work, number: int) -> None:
        job = self._new_job(work, number)
        try:
            self._namespace.create_job(job)
        except Busy as error:
            raise LaunchDelayed(str(error)) from error
        except Away as error:
            # the Job may have been created although the answer was lost
            self._adopt(job, str(error))
        except Refused as error:
            if error.status == 409:
                self._adopt(job, str(error))
            elif _is_over_quota(error):
                self._lacks_room |= counts_jobs(str(error))
                message = self._explained(str(error))
                raise LaunchDelayed(message, Reason.QUOTA_EXCEEDED) from error
            else:
                message = f"The cluster refuses the worker's Job: {error}."
                raise LaunchFailed(message, Reason.ADMISSION_DENIED) from error

    def _new_job(self, work: Work, launch: int) -> Object:
        """The Job to create; raises LaunchFailed or LaunchDelayed."""
        try:
            job = job_of(self._newest_template(), work, launch)
        except InvalidTemplate as error:
            raise LaunchFailed(str(error), Reason.CONFIG_ERROR) from error
        except Away as error:
            raise LaunchDelayed(str(error)) from error
        if worker_container(job).get("image") != self._first_image:
            allow_any_rules(job)
        return job

    def _adopt(self, job: Object, reason: str) -> None:
        """Looks at the Job that has the name of one whose creation did not succeed.

        If it is of the same launch, the answer to its creation was lost, and nothing is left to do.
        Raises LaunchDelayed when there is no such Job, or when it is of an earlier launch, and then
        deletes it; LaunchFailed when it is not ours; LauncherAway when this cannot be found out.
        """
        name = job["metadata"]["name"]
        labels = job["metadata"]["labels"]
        try:
            existing = self._namespace.job(name)["metadata"]
        except Refused as error:
            # there is none, or not any more where the name was taken a moment ago
            raise LaunchDelayed(reason, everybody=error.status != 409) from error
        except Away as error:
            raise LauncherAway(str(error)) from error
        existing_labels = existing.get("labels", {})
        if not _have_same(existing_labels, labels, (*RELEASE_LABELS, RUN_LABEL)):
            raise LaunchFailed(f"A Job that is not ours has the name {name}.", Reason.NAME_CONFLICT)
        is_leaving = "deletionTimestamp" in existing
        if not is_leaving and _have_same(existing_labels, labels, (LAUNCH_LABEL,)):
            return
        # where this fails, the next attempt to launch the run tries it again
        with suppress(Refused, Away):
            self._namespace.delete_job(name)
        message = f"the Job of an earlier launch is not gone yet: {reason}"
        raise LaunchDelayed(message, everybody=False)

    def jobs(self, expected: Collection[str] = ()) -> Mapping[str, JobState]:
        try:
            states = self._states(expected)
        except (Refused, Away, InvalidTemplate) as error:
            raise LauncherAway(str(error)) from error
        self._note_pods_without_room(states.values())
        return self._problem_times.add_to(states)

    def _note_pods_without_room(self, states: Iterable[JobState]) -> None:
        """Room is made once for each Job: what was said of it is still read minutes later."""
        refused = {
            state.problem.about
            for state in states
            if state.problem and counts_jobs(state.problem.message)
        }
        self._lacks_room |= bool(refused - self._without_room)
        self._without_room = refused

    def _states(self, expected: Collection[str]) -> dict[str, JobState]:
        """The state of each job by run_id; raises Refused, Away or InvalidTemplate."""
        labels = self._release_labels()
        jobs = {_run_id(job): job for job in self._namespace.unfinished_jobs(labels)}
        pods = _by_run(self._namespace.living_pods(labels))
        # The list lacks the Job of a sweep as soon as one shard has succeeded, while another pod
        # of it may be on a dead node.
        self._add_unlisted_jobs(jobs, [*expected, *pods])
        for run_id in expected:
            if run_id in jobs and has_failed_pods(jobs[run_id]):
                pods[run_id] = self._namespace.pods({**labels, RUN_LABEL: run_id})
        now = self._namespace.now()
        events = self._events(jobs, pods, now)
        return {
            run_id: state_of(job, pods.get(run_id, []), events, now, _launch_number(job))
            for run_id, job in jobs.items()
            if run_id
        }

    def _add_unlisted_jobs(self, jobs: dict[str, Object], run_ids: Iterable[str]) -> None:
        """Adds the Jobs of runs that the list lacks; those that do not exist stay missing."""
        for run_id in run_ids:
            if run_id in jobs:
                continue
            try:
                job = self._namespace.job(self._job_name(run_id))
            except Refused as error:
                if error.status != 404:
                    raise
                continue
            if _run_id(job) == run_id:
                jobs[run_id] = job

    def _events(
        self, jobs: Mapping[str, Object], pods: Mapping[str, list[Object]], now: datetime
    ) -> list[Object]:
        """The events that say why Jobs have no pods, and pods no volumes, where there are such."""
        events = list[Object]()
        if any(lacks_pods(job, pods.get(run_id, []), now) for run_id, job in jobs.items()):
            events += self._namespace.warnings("FailedCreate")
        if any(waits_for_volumes(pod, now) for group in pods.values() for pod in group):
            events += self._namespace.warnings("FailedMount")
        return events

    def evidence(self, run_id: str) -> Mapping[str, Any]:
        try:
            pods = self._namespace.pods({**self._release_labels(), RUN_LABEL: run_id})
            pod_names = [pod["metadata"]["name"] for pod in in_order(pods)]
            events = self._namespace.events(self._job_name(run_id))
            if pod_names:
                events += self._namespace.events(pod_names[-1])
        except (Refused, Away, InvalidTemplate) as error:
            return {"events": [f"They could not be read: {error}"]}
        return {"events": event_lines(events), "log": self._last_log(pod_names)}

    def _last_log(self, pod_names: Sequence[str]) -> list[str]:
        """The lines of the last pod that has a log, or why there are none."""
        lines = list[str]()
        for pod_name in reversed(pod_names):
            try:
                return log_lines(self._namespace.log(pod_name, WORKER, LINES_TO_READ))
            except Refused as error:
                lines = [f"It could not be read: {error}"]
            except Away as error:
                return [f"It could not be read: {error}"]
        return lines

    def remove(self, run_id: str, force: bool = False) -> None:
        try:
            self._namespace.delete_job(self._job_name(run_id))
            if force:
                self._delete_pods(run_id)
        except (Away, InvalidTemplate) as error:
            raise LauncherAway(str(error)) from error

    def end_pods(self, names: Collection[str]) -> None:
        try:
            for name in names:
                self._namespace.end_pod(name)
        except Away as error:
            raise LauncherAway(str(error)) from error

    def make_room(self, kept: Collection[str]) -> int:
        if not self._lacks_room:
            return 0
        self._lacks_room = False
        try:
            ended = [job for job in self._ended_jobs() if _run_id(job) and _run_id(job) not in kept]
            for job in ended[:MAX_REMOVED_FOR_ROOM]:
                self._namespace.delete_job(job["metadata"]["name"])
        except (Away, Refused, InvalidTemplate) as error:
            raise LauncherAway(str(error)) from error
        return len(ended[:MAX_REMOVED_FOR_ROOM])

    def _ended_jobs(self) -> list[Object]:
        """Those of this release that have ended and still are there, the oldest first."""
        jobs = self._namespace.all_jobs(self._release_labels())
        return [
            job
            for job in in_order(jobs)
            if has_ended(job) and "deletionTimestamp" not in job["metadata"]
        ]

    def _explained(self, refusal: str) -> str:
        """The refusal by a quota, and what fills it where it counts Jobs."""
        if not counts_jobs(refusal):
            return refusal
        try:
            own = self._namespace.all_jobs(self._release_labels())
            others = len(self._namespace.all_jobs({})) - len(own)
        except (Away, Refused, InvalidTemplate):
            return refusal
        ended = sum(map(has_ended, own))
        return FILLED_BY.format(refusal, len(own) - ended, ended, others)

    def _delete_pods(self, run_id: str) -> None:
        for pod in self._namespace.living_pods({**self._release_labels(), RUN_LABEL: run_id}):
            self._namespace.delete_pod(pod["metadata"]["name"])

    def check(self) -> str:
        """Lets the API server try a Job without keeping it."""
        try:
            job = job_of(self._newest_template(), SAMPLE, 1)
            self._namespace.create_job(job, dry_run=True)
        except (InvalidTemplate, Away) as error:
            return str(error)
        except Refused as error:
            if error.status == 409 or _is_over_quota(error):
                return ""
            return f"Jobs cannot be created: {error}"
        return ""

    def _job_name(self, run_id: str) -> str:
        return str(self._last_template()["metadata"]["name"]) + run_id

    def _release_labels(self) -> dict[str, str]:
        labels = self._last_template()["metadata"]["labels"]
        return {name: labels[name] for name in RELEASE_LABELS}

    def _last_template(self) -> Object:
        """The template that was read last; raises InvalidTemplate or Away."""
        return self._template or self._newest_template()

    def _newest_template(self) -> Object:
        """The template as it is now: a ConfigMap that was created anew has another uid.

        Raises InvalidTemplate or Away.
        """
        self._template = None
        try:
            config_map = self._namespace.config_map(self._template_name)
        except Refused as error:
            raise InvalidTemplate(
                f"The ConfigMap {self._template_name} with the worker's Job cannot be read: {error}"
            ) from None
        template = read_template(config_map)
        self._template = template
        if self._first_image is None:
            self._first_image = worker_container(template).get("image")
        return template


def _is_over_quota(error: Refused) -> bool:
    return error.status == 403 and is_over_quota(str(error))


def _have_same(labels: Mapping[str, str], others: Mapping[str, str], names: Iterable[str]) -> bool:
    """Whether both have the same values of the labels of these names."""
    return all(labels.get(name) == others[name] for name in names)


def _by_run(pods: Iterable[Object]) -> dict[str, list[Object]]:
    """The pods of each run by its run_id."""
    groups = defaultdict[str, list[Object]](list)
    for pod in pods:
        groups[_run_id(pod)].append(pod)
    return dict(groups)


def _run_id(job_or_pod: Object) -> str:
    return str(job_or_pod["metadata"].get("labels", {}).get(RUN_LABEL, ""))


def _launch_number(job: Object) -> int:
    """The number of the launch that the Job belongs to; 0 where its label holds none."""
    text = str(job["metadata"].get("labels", {}).get(LAUNCH_LABEL))
    return int(text) if text.isdecimal() else 0
