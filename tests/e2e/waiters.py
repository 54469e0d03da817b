"""Whether an object has become what its spec asks for, and a loop that waits for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

Object = Mapping[str, Any]
Seen = TypeVar("Seen")


def job_ended(job: Object) -> str:
    """Complete, Failed or "" for a Job that has not ended.

    Since Kubernetes 1.31 other conditions come first (SuccessCriteriaMet, FailureTarget).
    """
    conditions = job.get("status", {}).get("conditions") or []
    ended = [
        condition["type"]
        for condition in conditions
        if condition["type"] in ("Complete", "Failed") and condition["status"] == "True"
    ]
    return ended[0] if ended else ""


def stateful_set_ready(document: Object) -> bool:
    """Whether every pod is ready and of the newest revision.

    Right after a change the status still describes the previous one.
    """
    status = document.get("status", {})
    replicas = document["spec"].get("replicas", 1)
    revisions = status.get("currentRevision"), status.get("updateRevision")
    return (
        status.get("observedGeneration", 0) >= document["metadata"]["generation"]
        and revisions[0] == revisions[1]
        and status.get("readyReplicas", 0) == replicas == status.get("replicas", 0)
    )


def deployment_ready(document: Object) -> bool:
    """Whether every pod is available and of the newest revision, and no older one is left."""
    status = document.get("status", {})
    replicas = document["spec"].get("replicas", 1)
    counts = [status.get(name, 0) for name in ("replicas", "updatedReplicas", "availableReplicas")]
    return (
        status.get("observedGeneration", 0) >= document["metadata"]["generation"]
        and counts == [replicas] * 3
    )


def pod_ready(pod: Object) -> bool:
    """The pod can be used, and is not on its way out."""
    conditions = {
        condition["type"]: condition["status"]
        for condition in pod.get("status", {}).get("conditions") or []
    }
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]


def wait_until(
    look: Callable[[], Seen], good: Callable[[Seen], object], seconds: float, what: str
) -> Seen:
    """Calls `look` until `good` is true of its answer, and returns that answer.

    It waits by the clock, not by turns; the message of its AssertionError has the last answer.
    """
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if good(seen):
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(
                f"not within {seconds} s: {what}; the last that was seen: {str(seen)[:2000]}"
            )
        time.sleep(0.5)
