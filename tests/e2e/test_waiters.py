"""The waiters on recorded statuses, some of which a library's own waiters misread. No cluster."""

from __future__ import annotations

import pytest

from tests.e2e.waiters import (
    Object,
    deployment_ready,
    job_ended,
    pod_ready,
    stateful_set_ready,
    wait_until,
)


def job(*conditions: tuple[str, str]) -> Object:
    return {
        "status": {"conditions": [{"type": name, "status": status} for name, status in conditions]}
    }


@pytest.mark.parametrize(
    ("found", "end"),
    [
        ({}, ""),
        ({"status": {"active": 1, "ready": 1}}, ""),
        (job(("SuccessCriteriaMet", "True")), ""),
        (job(("SuccessCriteriaMet", "True"), ("Complete", "True")), "Complete"),
        (job(("FailureTarget", "True")), ""),
        (job(("FailureTarget", "True"), ("Failed", "True")), "Failed"),
        (job(("Suspended", "False"), ("Complete", "False")), ""),
    ],
)
def test_a_job_ends_with_any_condition_that_says_so(found: Object, end: str) -> None:
    assert job_ended(found) == end


def stateful_set(generation: int = 1, replicas: int = 1, **status: object) -> Object:
    standard = {
        "observedGeneration": 1,
        "replicas": 1,
        "readyReplicas": 1,
        "updatedReplicas": 1,
        "currentRevision": "db-6d9f",
        "updateRevision": "db-6d9f",
    }
    return {
        "metadata": {"generation": generation},
        "spec": {"replicas": replicas},
        "status": {**standard, **status},
    }


@pytest.mark.parametrize(
    ("found", "ready"),
    [
        (stateful_set(), True),
        (
            stateful_set(generation=2),
            False,
        ),  # the controller has not seen the change: all else is of before
        (stateful_set(updateRevision="db-7c1b"), False),  # the ready pod is still the old one
        (stateful_set(readyReplicas=0), False),
        (stateful_set(replicas=0), False),  # its last pod is still there
        ({"metadata": {"generation": 1}, "spec": {}}, False),
    ],
)
def test_a_stateful_set_is_ready_in_its_newest_revision(found: Object, ready: bool) -> None:
    assert stateful_set_ready(found) == ready


def deployment(generation: int = 1, wanted: int = 2, **status: int) -> Object:
    standard = {
        "observedGeneration": 1,
        "replicas": 2,
        "updatedReplicas": 2,
        "availableReplicas": 2,
    }
    return {
        "metadata": {"generation": generation},
        "spec": {"replicas": wanted},
        "status": {**standard, **status},
    }


@pytest.mark.parametrize(
    ("found", "ready"),
    [
        (deployment(), True),
        (deployment(generation=2), False),
        (deployment(replicas=3), False),  # an old pod is still there
        (deployment(updatedReplicas=1), False),
        (deployment(availableReplicas=1), False),
        (deployment(wanted=3), False),
        ({"metadata": {"generation": 1}, "spec": {}}, False),
    ],
)
def test_a_deployment_is_ready_without_old_pods(found: Object, ready: bool) -> None:
    assert deployment_ready(found) == ready


def test_a_pod_on_its_way_out_is_not_ready() -> None:
    status = {"conditions": [{"type": "Ready", "status": "True"}]}
    assert pod_ready({"metadata": {}, "status": status})
    assert not pod_ready(
        {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": status}
    )
    assert not pod_ready(
        {"metadata": {}, "status": {"conditions": [{"type": "Ready", "status": "False"}]}}
    )
    assert not pod_ready({"metadata": {}, "status": {}})


def test_waiting_ends_with_the_answer_or_says_what_was_seen_last() -> None:
    answers = iter(range(10))
    assert wait_until(lambda: next(answers), lambda number: number == 1, 5, "one") == 1
    with pytest.raises(AssertionError, match=r"not within 0 s: seven; the last that was seen: 2"):
        wait_until(lambda: next(answers), lambda number: number == 7, 0, "seven")
