"""Every case of what to do about a run whose job is a Kubernetes Job; tests/test_controller.py has local processes."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta

import pytest

from service.contract.status import Reason, Status
from service.decisions import BUDGETS, CANCEL, REQUEUE, WAIT, Decision, decide
from service.launchers.launcher import JobState, Problem
from service.store.run_store import Run
from tests.test_controller import ALIVE, NOW, OLD, PENDING, ROW, TIMEOUT, ended

GIVEN_BACK = replace(PENDING, attempt=1, claimed_by="w")
CANCELLING = replace(ROW, status=Status.CANCELLING)
LATE = {"launched_at": NOW - timedelta(seconds=31)}


def with_problem(reason: Reason, seconds: float) -> JobState:
    return JobState(alive=True, problem=Problem(reason, "Why.", seconds))


def silent(seconds: int) -> Run:
    return replace(ROW, lease_until=NOW - timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("run", "job", "expected"),
    [
        (replace(ROW, **OLD), ALIVE, WAIT),  # its own deadline ends it
        (silent(1), ALIVE, WAIT),  # its second pod is about to claim
        (silent(61), ALIVE, REQUEUE),
        (replace(silent(61), launches=3), ALIVE, Reason.WORKER_LOST),
        (GIVEN_BACK, ALIVE, WAIT),  # drained: the Job makes another pod
        (ROW, JobState(alive=True, leaving=5.0), WAIT),
        (ROW, None, WAIT),  # created a moment ago by the controller before this one
        (replace(ROW, **LATE), None, Reason.JOB_LOST),
        (replace(GIVEN_BACK, **LATE), None, Reason.JOB_LOST),
        (replace(PENDING, **LATE), None, REQUEUE),  # the launch itself was lost
        (replace(PENDING, attempt=2, **LATE), None, REQUEUE),  # and it had been tried before
        (replace(ROW, launched_at=None), None, WAIT),  # claimed by a pod that was told to end
        (ROW, JobState(alive=False, exit_code=137), REQUEUE),
        (ROW, JobState(alive=False, exit_code=137, retried=True), Reason.OUT_OF_MEMORY),
        (ROW, JobState(alive=False, exit_code=1, retried=True), Reason.RETRIES_EXHAUSTED),
        (ROW, JobState(alive=False, exit_code=75, retried=True), REQUEUE),  # the database was away
        (ROW, JobState(alive=False, exit_code=143, retried=True), REQUEUE),
        (replace(ROW, launches=3), JobState(alive=False, exit_code=75, retried=True), Reason.RETRIES_EXHAUSTED),
        (ROW, JobState(False, None, problem=Problem(Reason.TIMEOUT, "Late.", math.inf)), Reason.TIMEOUT),
        (CANCELLING, ALIVE, CANCEL),
        (CANCELLING, None, CANCEL),
        (CANCELLING, ended(0), CANCEL),
    ],
)
def test_decisions(run: Run, job: JobState | None, expected: Decision | Reason) -> None:
    decision = decide(run, job, NOW, None)
    if isinstance(expected, Reason):
        assert (decision.action, decision.reason) == ("fail", expected)
        assert decision.message.endswith(".")
    else:
        assert decision is expected


@pytest.mark.parametrize("reason", BUDGETS)
def test_each_problem_has_its_budget(reason: Reason) -> None:
    assert decide(PENDING, with_problem(reason, BUDGETS[reason] - 0.1), NOW, None) is WAIT
    decision = decide(PENDING, with_problem(reason, BUDGETS[reason]), NOW, None)
    action = "requeue" if reason == Reason.QUOTA_EXCEEDED else "fail"
    assert (decision.action, decision.reason, decision.message, decision.spent) == (action, reason, "Why.", 0)


def test_local_processes_are_cancelled_too() -> None:
    assert decide(CANCELLING, ALIVE, NOW, TIMEOUT) is CANCEL
