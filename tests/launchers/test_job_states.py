"""What Jobs, pods and events mean, from statuses as a Kubernetes 1.34 API server writes them."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pytest

from service.contract.status import Reason
from service.launchers.kubernetes.job_states import lacks_pods, state_of, waits_for_volumes
from service.launchers.launcher import JobState, Problem

NOW = datetime(2026, 1, 1, 12, 10, tzinfo=UTC)
CREATED = "2026-01-01T12:00:00Z"


def job(*conditions: tuple[str, str], failed: int = 0, **metadata: Any) -> dict[str, Any]:
    listed = [{"type": kind, "status": "True", "reason": reason} for kind, reason in conditions]
    return {
        "metadata": {"name": "bt-1", "uid": "u1", "creationTimestamp": CREATED, **metadata},
        "status": {"conditions": listed, "failed": failed},
    }


def pod(
    state: dict[str, Any] | None = None, created: str = CREATED, **status: Any
) -> dict[str, Any]:
    containers = [{"name": "worker", "image": "worker:1", "state": state}] if state else []
    return {
        "metadata": {"creationTimestamp": created, "uid": "p1"},
        "status": {"containerStatuses": containers, "startTime": CREATED, **status},
    }


def waiting(reason: str) -> dict[str, Any]:
    return pod({"waiting": {"reason": reason, "message": "why"}})


def over(code: int, reason: str = "Error", **more: Any) -> dict[str, Any]:
    return pod({"terminated": {"exitCode": code, "reason": reason}}, **more)


def seen(alive: bool, exit_code: int | None = None, **more: Any) -> JobState:
    return JobState(alive, exit_code, age=600.0, **more)


def state(
    job: dict[str, Any], *pods: dict[str, Any], events: list[dict[str, Any]] | None = None
) -> JobState:
    return state_of(job, pods, events or [], NOW, 1)


def test_a_running_job_is_alive_without_a_problem() -> None:
    assert state(job(), pod({"running": {}})) == seen(alive=True)
    assert state(job()) == seen(alive=True), "its pod is about to be made"


def beside(
    name: str, code: int, proxy: dict[str, Any], finished: str = CREATED, phase: str = "Running"
) -> dict[str, Any]:
    """A pod whose worker has ended, with the proxy of a mesh in such a state."""
    worker = {"terminated": {"exitCode": code, "reason": "Error", "finishedAt": finished}}
    meshed = pod(worker, phase=phase)
    meshed["metadata"]["name"] = name
    meshed["status"]["containerStatuses"].append({"name": "istio-proxy", "state": proxy})
    return meshed


RUNNING: dict[str, Any] = {"running": {}}


def test_a_proxy_keeps_pods_whose_worker_has_ended() -> None:
    done = beside("a", 0, RUNNING)
    assert state(job(), done) == seen(True, 0, idle_pods=("a",), held_up=True)
    failed = beside("b", 70, RUNNING)
    assert state(job(), done, failed) == seen(True, 70, idle_pods=("a", "b"), held_up=True)
    working = pod(RUNNING)
    assert state(job(), done, working) == seen(True, 0, idle_pods=("a",)), "a sweep goes on"
    just_now = beside("c", 0, RUNNING, finished="2026-01-01T12:09:56Z")
    assert state(job(), just_now) == seen(True, 0), "it may be about to end"
    for_its_node = beside("n", 143, RUNNING)
    disrupted = {"type": "DisruptionTarget", "status": "True", "message": "drained"}
    for_its_node["status"]["conditions"] = [disrupted]
    assert not state(job(), for_its_node).held_up, "the Job makes another pod, and no try is spent"
    leaving = beside("l", 143, RUNNING)
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T12:10:10Z"
    assert not state(job(), leaving).held_up
    over = beside("d", 0, {"terminated": {"exitCode": 0}}, phase="Succeeded")
    assert state(job(), over) == seen(True, 0)
    assert state(job(("Complete", "x")), done) == seen(False, 0)


def test_a_queue_of_the_cluster_holds_a_job_back() -> None:
    waits = state(job(("Suspended", "JobSuspended")))
    assert waits.suspended
    assert waits.problem is not None
    assert waits.problem.reason == Reason.WAITING_FOR_QUOTA
    assert not lacks_pods(job(("Suspended", "JobSuspended")), [], NOW)
    assert not state(job(("Suspended", "x"), ("Failed", "DeadlineExceeded"))).suspended
    resumed = job()
    resumed["status"]["conditions"] = [{"type": "Suspended", "status": "False"}]
    assert state(resumed) == seen(alive=True)


def test_since_1_31_a_finished_job_has_two_conditions_and_only_the_last_is_the_end() -> None:
    assert state(job(("SuccessCriteriaMet", "CompletionsReached")), pod({"running": {}})).alive
    done = state(
        job(("SuccessCriteriaMet", "CompletionsReached"), ("Complete", "CompletionsReached")),
        over(0),
    )
    assert done == seen(alive=False, exit_code=0)
    assert state(job(("FailureTarget", "PodFailurePolicy")), over(64)).alive


def test_counts_never_end_a_job() -> None:
    assert state(job(failed=2), over(1)).alive


@pytest.mark.parametrize(
    ("pods", "code"),
    [
        ([over(64)], 64),
        ([over(137, "OOMKilled")], 137),
        ([over(1, "OOMKilled")], 137),
        ([over(70, created="2026-01-01T12:01:00Z"), over(75)], 70),
        ([], None),
        (
            [
                over(75),
                pod({"waiting": {"reason": "ContainerCreating"}}, created="2026-01-01T12:01:00Z"),
            ],
            75,
        ),
    ],
)
def test_the_exit_code_is_that_of_the_worker_that_ended_last(
    pods: list[dict[str, Any]], code: int | None
) -> None:
    assert state(job(("Failed", "BackoffLimitExceeded")), *pods).exit_code == code


def test_a_second_pod_counts_as_a_retry() -> None:
    assert not state(job(("Failed", "PodFailurePolicy"), failed=1), over(64)).retried
    assert state(job(("Failed", "BackoffLimitExceeded"), failed=2), over(1), over(1)).retried


@pytest.mark.parametrize(
    ("reason", "expected", "seconds"),
    [
        ("ErrImagePull", Reason.IMAGE_PULL, 0),
        ("ImagePullBackOff", Reason.IMAGE_PULL, 0),
        ("InvalidImageName", Reason.IMAGE_PULL, math.inf),
        ("CreateContainerConfigError", Reason.CONFIG_ERROR, 0),
    ],
)
def test_why_a_container_waits(reason: str, expected: Reason, seconds: float) -> None:
    problem = state(job(), waiting(reason)).problem
    assert problem is not None
    assert (problem.reason, problem.seconds) == (expected, seconds)
    assert problem.message == f"worker:1: {reason}: why"


def test_ordinary_waiting_is_no_problem() -> None:
    assert state(job(), waiting("ContainerCreating")).problem is None


def test_no_node_takes_it() -> None:
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/1 nodes are available",
        "lastTransitionTime": "2026-01-01T12:09:00Z",
    }
    problem = state(job(), pod(conditions=[condition])).problem
    assert problem == Problem(
        Reason.UNSCHEDULABLE, "No node takes the worker: 0/1 nodes are available", about="p1"
    )


def event(reason: str, message: str, last: str = "2026-01-01T12:09:00Z") -> dict[str, Any]:
    return {
        "reason": reason,
        "involvedObject": {"uid": "u1"},
        "message": message,
        "lastTimestamp": last,
    }


def test_what_was_said_long_ago_says_nothing() -> None:
    """Its pod was drained a moment ago, and the next one is about to be made."""
    old = event(
        "FailedCreate", "Error creating: exceeded quota: small", last="2026-01-01T11:59:00Z"
    )
    assert state(job(), events=[old]).problem is None


def test_a_secret_that_is_missing() -> None:
    message = 'MountVolume.SetUp failed for volume "database" : secret "x" not found'
    creating = waiting("ContainerCreating")
    creating["metadata"]["uid"] = "u1"
    problem = state(job(), creating, events=[event("FailedMount", message)]).problem
    assert problem == Problem(Reason.CONFIG_ERROR, message, about="u1")
    assert state(job(), creating).problem is None, "it is on its way"


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (
            'pods "bt-1-x" is forbidden: exceeded quota: small, requested: pods=1, used: pods=2',
            Reason.QUOTA_EXCEEDED,
        ),
        (
            'pods "bt-1-x" is forbidden: violates PodSecurity "restricted:latest"',
            Reason.ADMISSION_DENIED,
        ),
        (
            'pods "bt-1-" is forbidden: error looking up service account: serviceaccount "w" '
            "not found",
            Reason.CONFIG_ERROR,
        ),
    ],
)
def test_why_a_job_has_no_pod(message: str, reason: Reason) -> None:
    newest = event("FailedCreate", f"Error creating: {message}")
    older = event("FailedCreate", "Error creating: something else", last="2026-01-01T12:08:00Z")
    other = {
        **event("FailedCreate", "Error creating: not ours"),
        "involvedObject": {"uid": "u2"},
    }
    events = [newest, older, other]
    expected = Problem(reason, message, about="u1")
    assert state(job(), events=events).problem == expected
    disrupted = [{"type": "DisruptionTarget", "status": "True", "message": "evicted"}]
    for first in (over(1, phase="Failed"), over(143, phase="Failed", conditions=disrupted)):
        assert state(job(failed=1), first, events=events).problem == expected, "nor a second one"
        assert state(job(failed=1), first, pod({"running": {}}), events=events).problem is None
    made_since = over(1, created="2026-01-01T12:09:30Z", phase="Failed")
    problem = state(job(failed=1), made_since, events=events).problem
    assert problem is None, "the next one is about to be made"


def test_deadlines_of_the_job_and_of_a_pod() -> None:
    of_the_job = state(job(("Failed", "DeadlineExceeded")))
    following = pod({"running": {}}, created="2026-01-01T12:05:00Z")
    of_a_pod = state(job(), following, pod(reason="DeadlineExceeded"))
    for problem in (of_the_job.problem, of_a_pod.problem):
        assert problem is not None
        assert problem.reason == Reason.TIMEOUT
        assert problem.seconds == math.inf


def test_a_job_that_is_being_deleted_is_leaving() -> None:
    assert state(job(deletionTimestamp=CREATED), over(0)).leaving == 600
    assert state(job(), over(0)).leaving is None


def test_a_pod_that_should_be_gone_is_on_a_node_that_does_nothing() -> None:
    for moment, lost in (
        ("2026-01-01T12:09:35Z", False),
        ("2026-01-01T12:09:25Z", True),
        ("2026-01-01T12:10:20Z", False),
    ):
        terminating = pod({"running": {}})
        terminating["metadata"]["deletionTimestamp"] = moment
        assert state(job(), terminating).lost == lost


def test_a_drained_worker_says_so_until_the_next_one_comes() -> None:
    condition = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
        "lastTransitionTime": "2026-01-01T12:09:00Z",
    }
    problem = state(job(), over(143, conditions=[condition])).problem
    assert problem is not None
    assert problem.reason == Reason.DISRUPTED
    assert problem.message == "The worker has to leave its node: Eviction API: evicting"
    following = pod({"running": {}}, created="2026-01-01T12:09:30Z")
    assert state(job(), over(143, conditions=[condition]), following).problem is None


@pytest.mark.parametrize(
    ("created", "waits"), [("2026-01-01T12:09:50Z", False), ("2026-01-01T12:09:40Z", True)]
)
def test_nobody_asks_why_a_pod_has_no_volumes_while_they_may_still_come(
    created: str, waits: bool
) -> None:
    creating = pod({"waiting": {"reason": "ContainerCreating"}}, created=created)
    # by the clock of its node
    creating["status"]["startTime"] = "2026-01-01T11:00:00Z"
    assert waits_for_volumes(creating, NOW) is waits


def test_nobody_asks_why_a_new_job_has_no_pod_yet() -> None:
    assert lacks_pods(job(), [], NOW)
    assert not lacks_pods(job(), [pod()], NOW)
    failed = {**job(), "status": {"failed": 1}}
    assert lacks_pods(failed, [over(1, phase="Failed")], NOW), "nor a second one"
    active = {**job(), "status": {"active": 1}}
    assert not lacks_pods(active, [], NOW), "its pod has just ended"
    inactive = {**job(), "status": {"active": 0, "failed": 1}}
    assert lacks_pods(inactive, [], NOW), "another pod could not be made"
    assert not lacks_pods(job(creationTimestamp="2026-01-01T12:09:56Z"), [], NOW)
    assert not lacks_pods(job(("Failed", "BackoffLimitExceeded")), [], NOW)
