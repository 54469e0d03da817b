"""What to do about a run: pure functions of its row, its job and how long both have lasted."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from service.contract.status import ExitCode, Reason, Status
from service.controller.ages import Times
from service.launchers.launcher import JobState, Problem
from service.store.rows import CLAIM_SECONDS, ActiveRun, Run

MAX_LAUNCHES = 3
MAX_LEAVING_SECONDS = 120  # a job that was told to end and is still there: its node may be dead
MAX_ORPHAN_SECONDS = 30  # a launched run that no job of ours belongs to and no worker claimed
SECOND_POD_SECONDS = 60  # in which the second pod of a living job claims a run without a lease
MAX_UNWANTED_SECONDS = 600  # a job that no run waits for any more and that does not end
QUOTA_SECONDS = 86_400.0

BLAMELESS = (ExitCode.DATABASE_AWAY, ExitCode.STOPPED)
KILLED = (137, -9)  # as Kubernetes and as a local process say it

# How long a job may have a problem; Patience has those that can be set.
PROBLEM_SECONDS = {
    Reason.TIMEOUT: 0.0,
    Reason.QUOTA_EXCEEDED: 60.0,
    Reason.ADMISSION_DENIED: 60.0,
    Reason.CONFIG_ERROR: 60.0,
    Reason.DISRUPTED: math.inf,  # the Job makes another pod
}


@dataclass(frozen=True)
class Patience:
    """Seconds that a run waits for what the cluster does not give.

    `quota` counts from the request, the others from when the problem was first seen.
    """

    image_pull: float = 180.0
    unschedulable: float = 900.0
    quota: float = QUOTA_SECONDS

    def seconds_with(self, reason: Reason) -> float:
        """How long a job may have the problem."""
        if reason == Reason.IMAGE_PULL:
            return self.image_pull
        if reason == Reason.UNSCHEDULABLE:
            return self.unschedulable
        return PROBLEM_SECONDS[reason]


DEFAULT_PATIENCE = Patience()


@dataclass(frozen=True)
class Policy:
    """By what a controller decides.

    `run_timeout` ends a run whose job depends on the controller; a job that outlives it
    (`jobs_outlive_controller`) keeps its own deadline. A worker that does not renew its lease for
    `lease_seconds` has lost it.
    """

    jobs_outlive_controller: bool
    run_timeout: timedelta
    lease_seconds: float = CLAIM_SECONDS
    patience: Patience = DEFAULT_PATIENCE


@dataclass(frozen=True)
class Wait:
    """Nothing, for now."""


@dataclass(frozen=True)
class Forget:
    """No active run has this job."""


@dataclass(frozen=True)
class RemoveJob:
    """No active run has this job, and it does not end by itself."""


@dataclass(frozen=True)
class EndPods:
    """The pods whose workers have ended go, so that their job goes on to the next ones."""


@dataclass(frozen=True)
class Cancel:
    """The job goes, then the run is cancelled."""


@dataclass(frozen=True)
class Requeue:
    """The run goes back to the queue, then its job goes.

    `counted_launches`: 0 where the run is not to blame for the end of its job.
    """

    reason: Reason | None = None
    message: str = ""
    counted_launches: int = 1


@dataclass(frozen=True)
class Fail:
    """The job goes, then the run has failed."""

    reason: Reason
    message: str


Decision = Wait | Forget | RemoveJob | EndPods | Cancel | Requeue | Fail


def decide(
    run: ActiveRun | None,
    job: JobState | None,
    times: Times,
    policy: Policy,
    unwanted_seconds: float = 0.0,
) -> Decision:
    """One row, its job and how long it has lasted to one decision.

    `run` is None where no active run has the job, for `unwanted_seconds` by now.
    """
    if run is None:
        return _without_run(job, unwanted_seconds)
    if run.status == Status.CANCELLING:
        return Cancel()
    if job is not None and not job.alive:
        return _with_ended_job(run, job)
    timeout_seconds = policy.run_timeout.total_seconds()
    if not policy.jobs_outlive_controller and times.launched > timeout_seconds:
        return Fail(Reason.TIMEOUT, f"The run took longer than {timeout_seconds:.0f} seconds.")
    if job is None:
        return _without_job(run, times, policy)
    return _with_living_job(run, job, times, policy)


def _without_run(job: JobState | None, unwanted_seconds: float) -> Decision:
    if job is None or not job.alive:
        return Forget()
    if job.lost or job.held_up or unwanted_seconds > MAX_UNWANTED_SECONDS:
        return RemoveJob()
    return Forget()


def _with_ended_job(run: ActiveRun, job: JobState) -> Decision:
    if job.problem is not None:
        return Fail(job.problem.reason, job.problem.message)
    return _with_ended_workers(run, job)


def _without_job(run: ActiveRun, times: Times, policy: Policy) -> Decision:
    """Launched by a controller that is gone, or its job was deleted.

    A worker may still be at it, unless its job would be listed.
    """
    is_late = times.launched > MAX_ORPHAN_SECONDS
    was_claimed = run.claimed_by is not None  # by a worker of this launch
    if policy.jobs_outlive_controller and is_late and was_claimed:
        return Fail(Reason.JOB_LOST, "The run's Job was deleted before it had ended.")
    if run.status == Status.RUNNING:
        if _lacks_worker(run, times, policy, is_late):
            return _retry_or_fail(run, Reason.WORKER_LOST, "The worker fell silent.")
        return Wait()
    if is_late:
        return _retry_or_fail(run, Reason.WORKER_LOST, "The worker never started.")
    return Wait()


def _lacks_worker(run: ActiveRun, times: Times, policy: Policy, is_late: bool) -> bool:
    """Whether nobody works on a running run; the row of a sweep has no lease to tell."""
    if run.is_sweep:
        return is_late or run.launched_at is None
    return run.lease_until is None or times.silent > policy.lease_seconds


def _with_living_job(run: ActiveRun, job: JobState, times: Times, policy: Policy) -> Decision:
    if job.leaving is not None:
        return Wait()
    if job.lost:
        message = "The worker's node does not answer any more; the run starts again."
        return Requeue(Reason.DISRUPTED, message, counted_launches=0)
    if job.suspended:
        return _with_suspended_job(run, job, times, policy)
    if job.idle_pods and run.is_sweep:
        return EndPods()
    if job.held_up:
        return _with_ended_workers(run, job)
    problem = job.problem
    if problem is not None and problem.seconds >= policy.patience.seconds_with(problem.reason):
        return _with_lasting_problem(run, job, problem, times, policy)
    never_began = run.is_sweep and run.claimed_by is None
    if never_began and job.retried:
        # Two pods of the sweep failed before they began; the others would too.
        return _with_ended_workers(run, job)
    if _lease_ran_out(run, times, policy):
        return _retry_or_fail(run, Reason.WORKER_LOST, "The worker fell silent.")
    return Wait()


def _with_suspended_job(run: ActiveRun, job: JobState, times: Times, policy: Policy) -> Decision:
    """A queue of the cluster has not let it start, or has stopped it in favour of another one."""
    assert job.problem is not None
    if times.waited > policy.patience.quota:
        return Fail(job.problem.reason, job.problem.message)
    if run.status == Status.RUNNING:
        return Requeue(job.problem.reason, job.problem.message, counted_launches=0)
    return Wait()


def _with_lasting_problem(
    run: ActiveRun, job: JobState, problem: Problem, times: Times, policy: Policy
) -> Decision:
    has_time = times.waited <= policy.patience.quota
    waits_for_quota = problem.reason == Reason.QUOTA_EXCEEDED and has_time
    if not waits_for_quota:
        return Fail(problem.reason, problem.message)
    if job.exit_code is not None:
        # The run may be to blame: a worker of it has ended.
        return _with_ended_workers(run, job)
    return Requeue(problem.reason, problem.message, counted_launches=0)


def _lease_ran_out(run: ActiveRun, times: Times, policy: Policy) -> bool:
    """The second pod of a job gets some time to claim the run."""
    if run.status != Status.RUNNING or run.lease_until is None:
        return False
    grace_seconds = SECOND_POD_SECONDS if policy.jobs_outlive_controller else 0
    return times.silent > policy.lease_seconds + grace_seconds


def _with_ended_workers(run: ActiveRun, job: JobState) -> Decision:
    if run.is_sweep:
        return _with_ended_sweep_workers(run, job)
    match job.exit_code:
        case ExitCode.BAD_INPUT:
            return Fail(Reason.BAD_INPUT, "The worker refused the request.")
        case ExitCode.NO_DATA:
            return Fail(Reason.NO_DATA, "The worker found no prices that it could use.")
        case ExitCode.ENGINE_ERROR:
            return Fail(Reason.ENGINE_ERROR, "The engine failed.")
        case ExitCode.DONE:
            return Fail(Reason.NO_RESULT_WRITTEN, "The worker ended without a result.")
        case exit_code if exit_code in KILLED:
            return _with_killed_worker(run, job)
        case _:
            return _with_failed_worker(run, job)


def _with_ended_sweep_workers(run: ActiveRun, job: JobState) -> Decision:
    """Its workers say how each shard ended; the next ones go on and put the result together."""
    never_began = run.claimed_by is None
    if never_began and job.exit_code not in (None, ExitCode.DONE, *BLAMELESS):
        message = (
            "The sweep's workers failed before they began, the last time with exit code"
            f" {job.exit_code}."
        )
        return Fail(Reason.RETRIES_EXHAUSTED, message)
    message = "The sweep's workers ended without a result, again and again."
    return _retry_or_fail(run, Reason.RETRIES_EXHAUSTED, message)


def _with_killed_worker(run: ActiveRun, job: JobState) -> Decision:
    if run.launches > 1 or job.retried:
        message = "The worker was killed again, probably for want of memory."
        return Fail(Reason.OUT_OF_MEMORY, message)
    return Requeue()


def _with_failed_worker(run: ActiveRun, job: JobState) -> Decision:
    message = f"The worker failed, the last time with exit code {job.exit_code}."
    if job.retried and job.exit_code not in BLAMELESS:
        return Fail(Reason.RETRIES_EXHAUSTED, message)
    return _retry_or_fail(run, Reason.RETRIES_EXHAUSTED, message)


def _retry_or_fail(run: ActiveRun, reason: Reason, message: str) -> Decision:
    if run.launches < MAX_LAUNCHES:
        return Requeue()
    return Fail(reason, message)


def is_stuck(job: JobState) -> bool:
    """Whether a job that was told to end never will by itself, for its node seems to be dead.

    Its slot is given to another run, and its pods are removed without a word from their node.
    """
    if job.leaving is None:
        return False
    return job.lost or job.leaving > MAX_LEAVING_SECONDS


def next_runs(
    waiting: Sequence[Run],
    active_counts: Mapping[str, int],
    last_turns: Mapping[str, int],
    free_slots: int,
) -> list[Run]:
    """The runs whose turn it is, at most `free_slots` of them.

    First in, first out for each client. Between clients the one with the fewest active runs, then
    the one whose last turn was longest ago, then the one who asked first. `waiting` is in the
    order of arrival; the mappings are by client.
    """
    counts = Counter(active_counts)
    turns = dict(last_turns)
    candidates = list(waiting)
    chosen: list[Run] = []
    while candidates and len(chosen) < free_slots:
        run = min(
            candidates, key=lambda run: (counts[run.client], turns.get(run.client, -1), run.id)
        )
        candidates.remove(run)
        counts[run.client] += 1
        turns[run.client] = max(turns.values(), default=0) + 1
        chosen.append(run)
    return chosen
