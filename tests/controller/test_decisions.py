"""Every case of what to do about a run: with a Kubernetes Job, and with a local process."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.contract.status import SWEEP, Reason, Status
from service.controller.ages import Times, waited_seconds
from service.controller.decisions import (
    Cancel,
    Decision,
    EndPods,
    Fail,
    Forget,
    Patience,
    Policy,
    RemoveJob,
    Requeue,
    Wait,
    decide,
    is_stuck,
    next_runs,
)
from service.launchers.launcher import JobState, Problem
from service.store.rows import Run
from tests.support.sample_rows import ALIVE, NOW, OLD, PENDING, ROW, SILENT, TIMEOUT, ended

ON_A_CLUSTER = Policy(jobs_outlive_controller=True, run_timeout=TIMEOUT)
LOCAL = Policy(jobs_outlive_controller=False, run_timeout=TIMEOUT)
WAIT = Wait()
FORGET = Forget()
REMOVE = RemoveJob()
CANCEL = Cancel()
REQUEUE = Requeue()

GIVEN_BACK = replace(PENDING, attempt=1, claimed_by="w")
CANCELLING = replace(ROW, status=Status.CANCELLING)
SWEPT = replace(ROW, kind=SWEEP, lease_until=None)
LATE = {"launched_at": NOW - timedelta(seconds=31)}


def times_of(run: Run | None, policy: Policy) -> Times:
    if run is None:
        return Times()
    launched = (NOW - (run.launched_at or NOW)).total_seconds()
    left = ((run.lease_until or NOW) - NOW).total_seconds()
    return Times(launched, policy.lease_seconds - left, waited_seconds(run, NOW))


def decided(
    run: Run | None, job: JobState | None, policy: Policy, unwanted_seconds: float = 0.0
) -> Decision:
    """Of a controller that has seen all of the run, at NOW."""
    return decide(run, job, times_of(run, policy), policy, unwanted_seconds)


def with_problem(reason: Reason, seconds: float) -> JobState:
    return JobState(alive=True, problem=Problem(reason, "Why.", seconds))


def silent(seconds: int) -> Run:
    return replace(ROW, lease_until=NOW - timedelta(seconds=seconds))


def held_up(code: int, **more: object) -> JobState:
    """A Job whose worker has ended, beside the proxy of a mesh, which has not."""
    return JobState(alive=True, exit_code=code, idle_pods=("p",), held_up=True, **more)


SUSPENDED = JobState(
    alive=True, suspended=True, problem=Problem(Reason.WAITING_FOR_QUOTA, "Why.", 1e6)
)
SUSPENDED_AGAIN = Requeue(Reason.WAITING_FOR_QUOTA, "Why.", counted_launches=0)
LONG_AGO = {"created_at": NOW - timedelta(days=2)}


@pytest.mark.parametrize(
    ("run", "job", "expected"),
    [
        (None, held_up(0), REMOVE),
        (None, held_up(70), REMOVE),
        (None, held_up(0, leaving=1.0), REMOVE),
        (ROW, held_up(0), Reason.NO_RESULT_WRITTEN),
        (ROW, held_up(70), Reason.ENGINE_ERROR),
        (ROW, held_up(137), REQUEUE),
        (replace(ROW, launches=2), held_up(137), Reason.OUT_OF_MEMORY),
        (PENDING, held_up(1), REQUEUE),
        (SWEPT, held_up(0), EndPods()),
        (SWEPT, replace(held_up(1), held_up=False), EndPods()),
        (ROW, replace(held_up(0), held_up=False), WAIT),
        (PENDING, SUSPENDED, WAIT),
        (replace(PENDING, **LATE), SUSPENDED, WAIT),
        (ROW, SUSPENDED, SUSPENDED_AGAIN),
        (SWEPT, SUSPENDED, SUSPENDED_AGAIN),
        (replace(PENDING, **LONG_AGO), SUSPENDED, Reason.WAITING_FOR_QUOTA),
        (CANCELLING, SUSPENDED, CANCEL),
        (CANCELLING, held_up(0), CANCEL),
    ],
)
def test_jobs_that_a_mesh_or_a_queue_holds_back(
    run: Run | None, job: JobState, expected: Decision | Reason
) -> None:
    decision = decided(run, job, ON_A_CLUSTER)
    if isinstance(expected, Reason):
        assert isinstance(decision, Fail)
        assert decision.reason == expected
    else:
        assert decision == expected


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
        (
            replace(ROW, launches=3),
            JobState(alive=False, exit_code=75, retried=True),
            Reason.RETRIES_EXHAUSTED,
        ),
        (
            ROW,
            JobState(False, None, problem=Problem(Reason.TIMEOUT, "Late.", math.inf)),
            Reason.TIMEOUT,
        ),
        (SWEPT, ALIVE, WAIT),  # its shards have leases of their own
        (SWEPT, JobState(True, 1, retried=True), WAIT),  # which are tried twice each
        (replace(SWEPT, claimed_by=None), JobState(True, 1), WAIT),
        (
            replace(SWEPT, claimed_by=None),
            JobState(True, 1, retried=True),
            Reason.RETRIES_EXHAUSTED,
        ),  # none begins
        (replace(SWEPT, claimed_by=None), JobState(True, 75, retried=True), REQUEUE),
        (SWEPT, JobState(False, 137, retried=True), REQUEUE),  # the next workers name what was lost
        (SWEPT, ended(70), REQUEUE),
        (SWEPT, ended(0), REQUEUE),
        (replace(SWEPT, launches=3), ended(0), Reason.RETRIES_EXHAUSTED),
        (
            SWEPT,
            JobState(False, None, problem=Problem(Reason.TIMEOUT, "Late.", math.inf)),
            Reason.TIMEOUT,
        ),
        (replace(SWEPT, **LATE), None, Reason.JOB_LOST),
        (replace(SWEPT, claimed_by=None, **LATE), None, REQUEUE),
        (replace(SWEPT, launched_at=None), None, REQUEUE),  # nothing else would end it
        (
            replace(SWEPT, claimed_by=None),
            ended(1),
            Reason.RETRIES_EXHAUSTED,
        ),  # nor would the next ones begin
        (replace(SWEPT, claimed_by=None), ended(0), REQUEUE),
        (replace(SWEPT, claimed_by=None), JobState(False, None), REQUEUE),  # its pods are gone
        (replace(SWEPT, claimed_by=None), ended(75), REQUEUE),
        (SWEPT, None, WAIT),  # created a moment ago by the controller before this one
        (CANCELLING, ALIVE, CANCEL),
        (CANCELLING, None, CANCEL),
        (CANCELLING, ended(0), CANCEL),
    ],
)
def test_on_a_cluster(run: Run, job: JobState | None, expected: Decision | Reason) -> None:
    check(decided(run, job, ON_A_CLUSTER), expected)


@pytest.mark.parametrize(
    ("run", "job", "expected"),
    [
        (None, ALIVE, FORGET),
        (None, ended(0), FORGET),
        (ROW, ALIVE, WAIT),
        (PENDING, ALIVE, WAIT),
        (replace(ROW, **OLD), ALIVE, Reason.TIMEOUT),
        (replace(PENDING, **OLD), ALIVE, Reason.TIMEOUT),
        (SILENT, ALIVE, REQUEUE),
        (replace(SILENT, launches=3), ALIVE, Reason.WORKER_LOST),
        (ROW, None, WAIT),
        (replace(ROW, **OLD), None, Reason.TIMEOUT),
        (replace(PENDING, **OLD), None, Reason.TIMEOUT),
        (SILENT, None, REQUEUE),
        (replace(ROW, lease_until=None), None, REQUEUE),
        (replace(SILENT, launches=3), None, Reason.WORKER_LOST),
        (PENDING, None, WAIT),
        (replace(PENDING, launched_at=NOW - timedelta(seconds=31)), None, REQUEUE),
        (
            replace(PENDING, launched_at=NOW - timedelta(seconds=31), launches=3),
            None,
            Reason.WORKER_LOST,
        ),
        (ROW, ended(64), Reason.BAD_INPUT),
        (ROW, ended(65), Reason.NO_DATA),
        (ROW, ended(70), Reason.ENGINE_ERROR),
        (ROW, ended(0), Reason.NO_RESULT_WRITTEN),
        (ROW, ended(-9), REQUEUE),
        (ROW, ended(137), REQUEUE),
        (replace(ROW, launches=2), ended(-9), Reason.OUT_OF_MEMORY),
        (ROW, ended(75), REQUEUE),
        (ROW, ended(143), REQUEUE),
        (PENDING, ended(1), REQUEUE),
        (replace(ROW, launches=2), ended(1), REQUEUE),
        (replace(ROW, launches=3), ended(1), Reason.RETRIES_EXHAUSTED),
    ],
)
def test_local_processes(
    run: Run | None, job: JobState | None, expected: Decision | Reason
) -> None:
    check(decided(run, job, LOCAL), expected)


def check(decision: Decision, expected: Decision | Reason) -> None:
    """`expected` is the decision, or the reason of a failure."""
    if isinstance(expected, Reason):
        assert isinstance(decision, Fail)
        assert decision.reason == expected
        assert decision.message.endswith(".")
    else:
        assert decision == expected


BUDGETS = {
    Reason.TIMEOUT: 0,
    Reason.QUOTA_EXCEEDED: 60,
    Reason.ADMISSION_DENIED: 60,
    Reason.CONFIG_ERROR: 60,
    Reason.IMAGE_PULL: 180,
    Reason.UNSCHEDULABLE: 900,
}


@pytest.mark.parametrize("reason", BUDGETS)
def test_each_problem_has_its_budget(reason: Reason) -> None:
    seconds = BUDGETS[reason]
    assert decided(PENDING, with_problem(reason, seconds - 0.1), ON_A_CLUSTER) == WAIT
    decision = decided(PENDING, with_problem(reason, seconds), ON_A_CLUSTER)
    if reason == Reason.QUOTA_EXCEEDED:
        assert decision == Requeue(reason, "Why.", counted_launches=0)
    else:
        assert decision == Fail(reason, "Why.")


@pytest.mark.parametrize(
    ("run", "code", "expected"),
    [
        (PENDING, None, Requeue(Reason.QUOTA_EXCEEDED, "Why.", counted_launches=0)),
        (PENDING, 137, REQUEUE),
        (replace(PENDING, launches=2), 137, Reason.OUT_OF_MEMORY),
        (replace(PENDING, launches=3), 1, Reason.RETRIES_EXHAUSTED),
        (SWEPT, 137, REQUEUE),
    ],
)
def test_a_quota_that_refuses_the_second_pod_takes_no_blame_away(
    run: Run, code: int | None, expected: Decision | Reason
) -> None:
    job = replace(with_problem(Reason.QUOTA_EXCEEDED, 60), exit_code=code)
    decision = decided(run, job, ON_A_CLUSTER)
    check(decision, expected)
    if isinstance(decision, Requeue):
        assert decision.counted_launches == (code is not None)


def test_budgets_can_be_set() -> None:
    policy = replace(ON_A_CLUSTER, patience=Patience(image_pull=20, unschedulable=30, quota=40))
    for reason, seconds in ((Reason.IMAGE_PULL, 20), (Reason.UNSCHEDULABLE, 30)):
        assert decided(PENDING, with_problem(reason, seconds - 1), policy) == WAIT
        check(decided(PENDING, with_problem(reason, seconds), policy), Fail(reason, "Why."))
    over_quota = with_problem(Reason.QUOTA_EXCEEDED, 60)
    recent = replace(PENDING, created_at=NOW - timedelta(seconds=39))
    assert isinstance(decided(recent, over_quota, policy), Requeue)
    old = replace(PENDING, created_at=NOW - timedelta(seconds=41))
    assert isinstance(decided(old, over_quota, policy), Fail)


def test_a_disrupted_run_waits_for_the_next_pod_however_long() -> None:
    assert decided(PENDING, with_problem(Reason.DISRUPTED, 9e9), ON_A_CLUSTER) == WAIT


def test_a_node_that_does_nothing_any_more_costs_no_launch() -> None:
    for run in (PENDING, ROW, replace(ROW, launches=3)):
        decision = decided(run, JobState(alive=True, lost=True), ON_A_CLUSTER)
        assert isinstance(decision, Requeue)
        assert (decision.reason, decision.counted_launches) == (Reason.DISRUPTED, 0)
    assert decided(CANCELLING, JobState(alive=True, lost=True), ON_A_CLUSTER) == CANCEL


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        (JobState(alive=True), FORGET),
        (JobState(alive=True, lost=True), REMOVE),
        (JobState(alive=False), FORGET),  # its time to live ends it
        (None, FORGET),
    ],
)
def test_a_job_of_a_run_that_has_ended(job: JobState | None, expected: Decision) -> None:
    assert decided(None, job, ON_A_CLUSTER) == expected


def test_a_job_that_nobody_has_waited_for_in_ten_minutes() -> None:
    """However old it is: a long run has ended a moment ago."""
    old = JobState(alive=True, age=9999)
    assert decided(None, old, ON_A_CLUSTER, unwanted_seconds=600) == FORGET
    assert decided(None, old, ON_A_CLUSTER, unwanted_seconds=601) == REMOVE


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        (JobState(alive=True), False),
        (JobState(alive=True, lost=True), False),
        (JobState(alive=True, leaving=1.0), False),
        (JobState(alive=True, leaving=1.0, lost=True), True),
        (JobState(alive=True, leaving=121.0), True),
    ],
)
def test_when_a_job_is_stuck(job: JobState, expected: bool) -> None:
    assert is_stuck(job) == expected


def test_local_processes_are_cancelled_too() -> None:
    assert decided(CANCELLING, ALIVE, LOCAL) == CANCEL


def waiting(*clients: str) -> list[Run]:
    return [
        replace(PENDING, id=number, run_id=f"r{number}", client=client)
        for number, client in enumerate(clients)
    ]


@pytest.mark.parametrize(
    ("clients", "at_work", "room", "expected"),
    [
        ("aaaa", {}, 2, [0, 1]),
        ("aaaab", {}, 2, [0, 4]),
        ("aaaab", {"b": 1}, 2, [0, 4]),
        ("aaaab", {"b": 2}, 2, [0, 1]),
        ("aaabbbc", {}, 6, [0, 3, 6, 1, 4, 2]),
        ("aab", {"a": 5}, 3, [2, 0, 1]),
        ("ba", {"c": 9}, 1, [0]),
        ("ab", {}, 0, []),
        ("", {"a": 1}, 3, []),
    ],
)
def test_turns_are_fair_between_clients_and_in_order_within(
    clients: str, at_work: dict[str, int], room: int, expected: list[int]
) -> None:
    assert [run.id for run in next_runs(waiting(*clients), at_work, {}, room)] == expected


@given(st.lists(st.sampled_from("abcd"), max_size=30), st.integers(1, 6))
def test_nobody_waits_for_more_than_one_turn_of_each_other(clients: list[str], room: int) -> None:
    """Each client starts a run before any other starts a second one, however many it queued."""
    chosen = next_runs(waiting(*clients), {}, {}, room)
    assert len(chosen) == min(room, len(clients))
    counts = Counter(run.client for run in chosen)
    for client in set(clients):
        left = clients.count(client) - counts[client]
        assert left == 0 or max(counts.values()) - counts[client] <= 1
        order = [run.id for run in chosen if run.client == client]
        assert (
            order == [number for number, name in enumerate(clients) if name == client][: len(order)]
        )


def test_more_clients_than_slots_take_turns() -> None:
    """There is one slot; two clients have long queues, and a third submits a single run last."""
    left = waiting(*"a" * 50, *"b" * 50, "c")
    served: dict[str, int] = {}
    order: list[str] = []
    for turn in range(6):
        (run,) = next_runs(left, {}, served, 1)
        left.remove(run)
        served[run.client] = turn
        order.append(run.client)
    assert "".join(order) == "abcaba"
