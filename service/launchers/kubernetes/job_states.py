"""What a Job's conditions, its pods and its events say about a run: pure functions of what the API server listed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from service.contract.status import Reason
from service.launchers.kubernetes.evidence import moment_of
from service.launchers.launcher import JobState, Problem

Object = Mapping[str, Any]

OUT_OF_MEMORY = 137
WAITING = {
    "ErrImagePull": Reason.IMAGE_PULL,
    "ImagePullBackOff": Reason.IMAGE_PULL,
    "ErrImageNeverPull": Reason.IMAGE_PULL,
    "InvalidImageName": Reason.IMAGE_PULL,
    "CreateContainerConfigError": Reason.CONFIG_ERROR,
    "CreateContainerError": Reason.CONFIG_ERROR,
}
STALE_SECONDS = 600
OVERDUE_SECONDS = 30  # after a pod should have been gone: its node does nothing any more
SOON_SECONDS, MOUNTED_SECONDS = 5, 15  # in which pods and their volumes come by themselves
AT_ONCE = ("InvalidImageName", "ErrImageNeverPull")  # no waiting mends them


def state_of(
    job: Object, pods: Sequence[Object], events: Sequence[Object], now: datetime, launch: int
) -> JobState:
    """The state of one Job; its conditions alone decide whether it has ended, never its counts.

    `now` is the API server's: it writes when objects were made and must be gone. How long a problem has stood is not to
    be seen here, since the clocks of nodes say when it began; one that no waiting mends has stood for ever.
    """
    ended = _ended(job)
    pods = in_order(pods)
    problem = _timeout(ended, pods)
    if ended is None and problem is None:
        problem = None if _any_alive(pods) else _childless(job, pods, events, now)
        problem = problem or (_problem(pods[-1], events, now) if pods else None)
    return JobState(
        alive=ended is None,
        exit_code=0 if ended and ended["type"] == "Complete" else _exit_code(pods),
        launch=launch,
        leaving=_since(job["metadata"]["deletionTimestamp"], now)
        if "deletionTimestamp" in job["metadata"]
        else None,
        retried=job.get("status", {}).get("failed", 0) > 1,
        problem=problem,
        lost=any(
            _since(pod["metadata"].get("deletionTimestamp"), now) > OVERDUE_SECONDS for pod in pods
        ),
        age=_since(job["metadata"].get("creationTimestamp"), now),
    )


def has_failed_pods(job: Object) -> bool:
    """Whether a pod of it has failed; one that was only disrupted is not counted."""
    return bool(job.get("status", {}).get("failed"))


def lacks_pods(job: Object, pods: Sequence[Object], now: datetime) -> bool:
    """Whether it is worth asking why: not right after the Job was made, and not when it has ended or its pod has, which
    the Job counts as active until it notices."""
    expected = (
        not _any_alive(pods) and _ended(job) is None and not job.get("status", {}).get("active")
    )
    return expected and _since(job["metadata"].get("creationTimestamp"), now) > SOON_SECONDS


def _any_alive(pods: Sequence[Object]) -> bool:
    return any(pod.get("status", {}).get("phase") not in ("Failed", "Succeeded") for pod in pods)


def in_order(pods: Sequence[Object]) -> list[Object]:
    """The newest last."""
    return sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp")))


def _ended(job: Object) -> Object | None:
    conditions: Sequence[Object] = job.get("status", {}).get("conditions") or []
    return next(
        (
            it
            for it in conditions
            if it["type"] in ("Complete", "Failed") and it["status"] == "True"
        ),
        None,
    )


def _timeout(ended: Object | None, pods: Sequence[Object]) -> Problem | None:
    """A deadline of the Job, or of a pod, which alone would be tried again."""
    late = any(pod.get("status", {}).get("reason") == "DeadlineExceeded" for pod in pods)
    if late or (ended is not None and ended.get("reason") == "DeadlineExceeded"):
        return Problem(Reason.TIMEOUT, "The worker's deadline passed.", math.inf)
    return None


def waits_for_volumes(pod: Object, now: datetime) -> bool:
    """Made a while ago, by now on a node, and no container of it has started."""
    if _since(pod["metadata"].get("creationTimestamp"), now) <= MOUNTED_SECONDS:
        return False
    waiting = [container.get("state", {}).get("waiting") or {} for container in _containers(pod)]
    return any(it.get("reason") in ("ContainerCreating", "PodInitializing") for it in waiting)


def _problem(pod: Object, events: Sequence[Object], now: datetime) -> Problem | None:
    status, uid = pod.get("status", {}), str(pod["metadata"].get("uid"))
    for condition in status.get("conditions") or []:
        if condition["type"] == "DisruptionTarget" and condition["status"] == "True":
            message = f"The worker has to leave its node: {condition.get('message') or condition.get('reason')}"
            return Problem(Reason.DISRUPTED, message, about=uid)
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            message = f"No node takes the worker: {condition.get('message', '')}"
            return Problem(Reason.UNSCHEDULABLE, message, about=uid)
    for container in _containers(pod):
        waiting = container.get("state", {}).get("waiting") or {}
        reason = WAITING.get(waiting.get("reason", ""))
        if reason is not None:
            seconds = math.inf if waiting["reason"] in AT_ONCE else 0.0
            message = f"{container.get('image')}: {waiting['reason']}: {waiting.get('message', '')}"
            return Problem(reason, message, seconds, uid)
    said = _said(pod, events, now, "FailedMount") if waits_for_volumes(pod, now) else None
    return None if said is None else Problem(Reason.CONFIG_ERROR, said, about=uid)


def _childless(
    job: Object, ended: Sequence[Object], events: Sequence[Object], now: datetime
) -> Problem | None:
    """The newest word on why the Job has no pod, or no other one."""
    last = max((str(pod["metadata"].get("creationTimestamp")) for pod in ended), default="")
    said = _said(job, [event for event in events if moment_of(event) >= last], now, "FailedCreate")
    if said is None:
        return None
    message = said.removeprefix("Error creating: ")
    if "exceeded quota" in message:
        reason = Reason.QUOTA_EXCEEDED
    else:
        reason = Reason.CONFIG_ERROR if "serviceaccount" in message else Reason.ADMISSION_DENIED
    return Problem(reason, message, about=str(job["metadata"].get("uid")))


def _said(about: Object, events: Sequence[Object], now: datetime, reason: str) -> str | None:
    """The newest event of that reason, unless it is so old that it may be about something mended since."""
    uid = about["metadata"].get("uid")
    found = [
        it for it in events if it.get("reason") == reason and it["involvedObject"].get("uid") == uid
    ]
    newest = max(found, key=moment_of, default=None)
    stale = newest is None or _since(moment_of(newest) or None, now) > STALE_SECONDS
    return None if stale or newest is None else str(newest.get("message"))


def _exit_code(pods: Sequence[Object]) -> int | None:
    """Of the worker that ended last; the kernel's kill for want of memory counts as 137."""
    for pod in reversed(pods):
        for container in _containers(pod):
            ended = container.get("state", {}).get("terminated")
            if ended and container["name"] == "worker":
                return (
                    OUT_OF_MEMORY if ended.get("reason") == "OOMKilled" else int(ended["exitCode"])
                )
    return None


def _containers(pod: Object) -> Sequence[Object]:
    status = pod.get("status", {})
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def _since(moment: str | None, now: datetime) -> float:
    return 0.0 if moment is None else (now - datetime.fromisoformat(moment)).total_seconds()
