"""What a Job's conditions, its pods and its events say about a run: pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from service.contract.status import Reason
from service.launchers.kubernetes.evidence import moment_of
from service.launchers.launcher import JobState, Problem

# A Job, a pod or an event as the API server lists it
Object = Mapping[str, Any]
T = TypeVar("T", bound=Object)

OUT_OF_MEMORY = 137
SUSPENDED = "The run's Job is suspended: the cluster's queue has not let it start yet."
# What it means that a container waits for one of these reasons
WAITING_REASONS = {
    "ErrImagePull": Reason.IMAGE_PULL,
    "ImagePullBackOff": Reason.IMAGE_PULL,
    "ErrImageNeverPull": Reason.IMAGE_PULL,
    "InvalidImageName": Reason.IMAGE_PULL,
    "CreateContainerConfigError": Reason.CONFIG_ERROR,
    "CreateContainerError": Reason.CONFIG_ERROR,
}
# Reasons for waiting that do not pass with time
PERMANENT_REASONS = ("InvalidImageName", "ErrImageNeverPull")
# An event of which nothing was seen for so long may be about something mended since.
MAX_EVENT_AGE_SECONDS = 600
# A pod that should have been gone for so long is on a node that does not respond.
OVERDUE_SECONDS = 30
# A pod without company ends within a second or two after its worker.
IDLE_SECONDS = 5
# Within these times pods are created, and their volumes mounted, without anything being wrong.
POD_CREATION_SECONDS = 5
VOLUME_MOUNT_SECONDS = 15


def state_of(
    job: Object, pods: Sequence[Object], events: Sequence[Object], now: datetime, launch: int
) -> JobState:
    """The state of one Job; only its conditions say whether it has ended, its counts do not.

    `now` is by the clock of the API server, which writes when objects were created and must be
    gone. Problems begin by the clocks of nodes: their `seconds` are 0, or infinite for a problem
    that does not pass with time, and whoever watches the Job counts them.
    """
    end = _end_condition(job)
    pods = in_order(pods)
    living = [] if end else [pod for pod in pods if _lives(pod)]
    idle_pods = tuple(pod["metadata"]["name"] for pod in living if _is_idle(pod, now))
    return JobState(
        alive=end is None,
        exit_code=_exit_code(end, pods),
        launch=launch,
        leaving=_seconds_leaving(job, now),
        retried=_status(job).get("failed", 0) > 1,
        problem=_problem(job, end, pods, events, now),
        lost=any(_is_overdue(pod, now) for pod in pods),
        age=_age(job, now),
        suspended=end is None and _is_suspended(job),
        idle_pods=idle_pods,
        held_up=bool(idle_pods) and len(idle_pods) == len(living),
    )


def in_order(objects: Sequence[T]) -> list[T]:
    """The Jobs or pods by the time of their creation, the newest last."""
    return sorted(objects, key=_creation)


def has_failed_pods(job: Object) -> bool:
    """Whether a pod of the Job has failed; one that was disrupted is not counted."""
    return bool(_status(job).get("failed"))


def lacks_pods(job: Object, pods: Sequence[Object], now: datetime) -> bool:
    """Whether the Job should have a living pod and has none.

    A new Job has a few seconds to create its pod. A pod that has just ended counts as active until
    the Job notices, so that a Job with active pods lacks none.
    """
    if _has_living_pod(pods) or _end_condition(job) is not None or _status(job).get("active"):
        return False
    if _is_suspended(job):
        return False
    return _age(job, now) > POD_CREATION_SECONDS


def waits_for_volumes(pod: Object, now: datetime) -> bool:
    """Whether the pod has been on its node for a while, and no container of it has started."""
    if _age(pod, now) <= VOLUME_MOUNT_SECONDS:
        return False
    reasons = [_waiting(container).get("reason") for container in _containers(pod)]
    return "ContainerCreating" in reasons or "PodInitializing" in reasons


def _end_condition(job: Object) -> Object | None:
    """The condition that says that the Job has ended."""
    return _condition(job, "Complete") or _condition(job, "Failed")


def has_ended(job: Object) -> bool:
    """Whether the Job has ended, in whatever way."""
    return _end_condition(job) is not None


def _is_suspended(job: Object) -> bool:
    """Whether a queue such as Kueue's, or somebody, keeps the Job from having pods."""
    return _condition(job, "Suspended") is not None


def _condition(job_or_pod: Object, kind: str) -> Object | None:
    """The condition of that type, where it is true."""
    conditions: Sequence[Object] = _status(job_or_pod).get("conditions") or []
    for condition in conditions:
        if condition["type"] == kind and condition["status"] == "True":
            return condition
    return None


def _exit_code(end: Object | None, pods: Sequence[Object]) -> int | None:
    """That of the worker that ended last; a kill for lack of memory counts as 137."""
    if end is not None and end["type"] == "Complete":
        return 0
    for pod in reversed(pods):
        for container in _containers(pod):
            terminated = container.get("state", {}).get("terminated")
            if terminated and container["name"] == "worker":
                is_out_of_memory = terminated.get("reason") == "OOMKilled"
                return OUT_OF_MEMORY if is_out_of_memory else int(terminated["exitCode"])
    return None


def _problem(
    job: Object,
    end: Object | None,
    pods: Sequence[Object],
    events: Sequence[Object],
    now: datetime,
) -> Problem | None:
    if _is_past_deadline(end, pods):
        return Problem(Reason.TIMEOUT, "The worker's deadline passed.", math.inf)
    if end is not None:
        return None
    if _is_suspended(job):
        return Problem(Reason.WAITING_FOR_QUOTA, SUSPENDED, about=_uid(job))
    problem = None
    if not _has_living_pod(pods):
        problem = _creation_problem(job, pods, events, now)
    if problem is None and pods:
        problem = _pod_problem(pods[-1], events, now)
    return problem


def _is_past_deadline(end: Object | None, pods: Sequence[Object]) -> bool:
    """Whether a deadline of the Job has passed, or that of a pod, which the Job would replace."""
    if end is not None and end.get("reason") == "DeadlineExceeded":
        return True
    return any(_status(pod).get("reason") == "DeadlineExceeded" for pod in pods)


def _creation_problem(
    job: Object, ended_pods: Sequence[Object], events: Sequence[Object], now: datetime
) -> Problem | None:
    """Why the Job has no pod, or no further one after those that ended."""
    last_creation = _creation(ended_pods[-1]) if ended_pods else ""
    later_events = [event for event in events if moment_of(event) >= last_creation]
    message = _event_message(job, later_events, now, "FailedCreate")
    if message is None:
        return None
    message = message.removeprefix("Error creating: ")
    return Problem(_creation_reason(message), message, about=_uid(job))


def is_over_quota(message: str) -> bool:
    """Whether the API server refuses an object for a ResourceQuota."""
    return "exceeded quota" in message


def counts_jobs(message: str) -> bool:
    """Whether it does for a quota that counts Jobs, or pods that have ended too."""
    requested = message.partition("requested: ")[2].partition(", used: ")[0]
    return is_over_quota(message) and ("count/jobs.batch" in requested or "count/pods" in requested)


def _creation_reason(message: str) -> Reason:
    if is_over_quota(message):
        return Reason.QUOTA_EXCEEDED
    if "serviceaccount" in message:
        return Reason.CONFIG_ERROR
    return Reason.ADMISSION_DENIED


def _pod_problem(pod: Object, events: Sequence[Object], now: datetime) -> Problem | None:
    return _scheduling_problem(pod) or _start_problem(pod) or _volume_problem(pod, events, now)


def _scheduling_problem(pod: Object) -> Problem | None:
    """Why the pod has to leave its node, or gets none."""
    for condition in _status(pod).get("conditions") or []:
        match condition["type"], condition["status"]:
            case "DisruptionTarget", "True":
                cause = condition.get("message") or condition.get("reason")
                message = f"The worker has to leave its node: {cause}"
                return Problem(Reason.DISRUPTED, message, about=_uid(pod))
            case "PodScheduled", "False":
                message = f"No node takes the worker: {condition.get('message', '')}"
                return Problem(Reason.UNSCHEDULABLE, message, about=_uid(pod))
    return None


def _start_problem(pod: Object) -> Problem | None:
    """Why a container of the pod cannot start."""
    for container in _containers(pod):
        waiting = _waiting(container)
        reason = WAITING_REASONS.get(waiting.get("reason", ""))
        if reason is not None:
            seconds = math.inf if waiting["reason"] in PERMANENT_REASONS else 0.0
            message = f"{container.get('image')}: {waiting['reason']}: {waiting.get('message', '')}"
            return Problem(reason, message, seconds, _uid(pod))
    return None


def _volume_problem(pod: Object, events: Sequence[Object], now: datetime) -> Problem | None:
    """Why the volumes of the pod cannot be mounted."""
    if not waits_for_volumes(pod, now):
        return None
    message = _event_message(pod, events, now, "FailedMount")
    if message is None:
        return None
    return Problem(Reason.CONFIG_ERROR, message, about=_uid(pod))


def _event_message(
    about: Object, events: Sequence[Object], now: datetime, reason: str
) -> str | None:
    """The message of the newest event of that reason about the object, unless it is too old."""
    uid = about["metadata"].get("uid")
    matching = [
        event
        for event in events
        if event.get("reason") == reason and event["involvedObject"].get("uid") == uid
    ]
    if not matching:
        return None
    newest = max(matching, key=moment_of)
    if _seconds_since(moment_of(newest) or None, now) > MAX_EVENT_AGE_SECONDS:
        return None
    return str(newest.get("message"))


def _has_living_pod(pods: Sequence[Object]) -> bool:
    return any(_lives(pod) for pod in pods)


def _lives(pod: Object) -> bool:
    return _status(pod).get("phase") not in ("Failed", "Succeeded")


def _is_idle(pod: Object, now: datetime) -> bool:
    """Whether the pod's worker has ended a while ago, by the clock of its node.

    A pod that has to go, with its node or by itself, goes on as if it had no company.
    """
    if "deletionTimestamp" in pod["metadata"] or _condition(pod, "DisruptionTarget"):
        return False
    for container in _containers(pod):
        terminated = container.get("state", {}).get("terminated")
        if terminated and container["name"] == "worker":
            return _seconds_since(terminated.get("finishedAt"), now) > IDLE_SECONDS
    return False


def _is_overdue(pod: Object, now: datetime) -> bool:
    """Whether the pod should have been gone for a while."""
    return _seconds_since(pod["metadata"].get("deletionTimestamp"), now) > OVERDUE_SECONDS


def _seconds_leaving(job: Object, now: datetime) -> float | None:
    moment = job["metadata"].get("deletionTimestamp")
    return None if moment is None else _seconds_since(moment, now)


def _age(job_or_pod: Object, now: datetime) -> float:
    return _seconds_since(job_or_pod["metadata"].get("creationTimestamp"), now)


def _creation(job_or_pod: Object) -> str:
    return str(job_or_pod["metadata"].get("creationTimestamp"))


def _uid(job_or_pod: Object) -> str:
    return str(job_or_pod["metadata"].get("uid"))


def _status(job_or_pod: Object) -> Object:
    status: Object = job_or_pod.get("status", {})
    return status


def _containers(pod: Object) -> list[Object]:
    """The statuses of the pod's containers, those of its init containers first."""
    init_containers = _status(pod).get("initContainerStatuses") or []
    containers = _status(pod).get("containerStatuses") or []
    return [*init_containers, *containers]


def _waiting(container: Object) -> Object:
    """Why the container waits; empty if it does not."""
    return container.get("state", {}).get("waiting") or {}


def _seconds_since(moment: str | None, now: datetime) -> float:
    """Seconds since a moment in ISO 8601; 0 without one."""
    if moment is None:
        return 0.0
    return (now - datetime.fromisoformat(moment)).total_seconds()
