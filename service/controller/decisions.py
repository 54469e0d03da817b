"""What to do about a run: pure functions of its row, its job and the database's clock, a line for each case."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from service.contract.status import SWEEP, ExitCode, Reason, Status
from service.launchers.launcher import JobState
from service.store.run_store import ActiveRun, Run

MAX_LAUNCHES = 3
STUCK_SECONDS = 120  # a job that was told to end and is not gone: its node may be dead
ORPHAN_SECONDS = 30  # a launched run that no job of ours belongs to and nobody claimed
SECOND_POD_SECONDS = (
    60  # a lease that ran out while the job lives: its second pod is about to claim the run
)
NO_ROW_SECONDS = 600  # a job that nobody waits for any more and that does not end
QUOTA_SECONDS = 86_400.0
BLAMELESS = (ExitCode.DATABASE_AWAY, ExitCode.STOPPED)
FIXED = {
    Reason.TIMEOUT: 0.0,
    Reason.QUOTA_EXCEEDED: 60.0,
    Reason.ADMISSION_DENIED: 60.0,
    Reason.CONFIG_ERROR: 60.0,
    Reason.DISRUPTED: math.inf,  # the Job makes another pod
}


@dataclass(frozen=True)
class Patience:
    """Seconds that a run may wait for what the cluster does not give; `quota` counts from the request."""

    image_pull: float = 180.0
    unschedulable: float = 900.0
    quota: float = QUOTA_SECONDS

    def with_problem(self, reason: Reason) -> float:
        """How long a job may have it."""
        own = {Reason.IMAGE_PULL: self.image_pull, Reason.UNSCHEDULABLE: self.unschedulable}
        return own[reason] if reason in own else FIXED[reason]


PATIENCE = Patience()


@dataclass(frozen=True)
class Decision:
    """What to do about one run: wait, requeue, fail, cancel or forget; a job still alive is removed first."""

    action: str
    reason: Reason | None = None
    message: str = ""
    spent: int = 1  # launches that a requeue counts: 0 where the run is not to blame


WAIT, FORGET, REQUEUE, CANCEL = (
    Decision("wait"),
    Decision("forget"),
    Decision("requeue"),
    Decision("cancel"),
)
REMOVE = Decision("remove")


def decide(
    run: ActiveRun | None,
    job: JobState | None,
    now: datetime,
    timeout: timedelta | None,
    patience: Patience = PATIENCE,
    unwanted: float = 0.0,
) -> Decision:
    """One row, its job and the database's clock to one decision.

    `run` is None when its row is not active, for `unwanted` seconds by now; `timeout` when the jobs are independent and
    keep their own deadline.
    """
    if run is None:
        return (
            REMOVE
            if job is not None and job.alive and (job.lost or unwanted > NO_ROW_SECONDS)
            else FORGET
        )
    if run.status == Status.CANCELLING:
        return CANCEL
    if job is not None and not job.alive:
        ended_by = job.problem
        return (
            Decision("fail", ended_by.reason, ended_by.message)
            if ended_by
            else _with_ended_workers(run, job)
        )
    if timeout is not None and now - (run.launched_at or now) > timeout:
        return Decision(
            "fail",
            Reason.TIMEOUT,
            f"The run took longer than {timeout.total_seconds():.0f} seconds.",
        )
    independent = timeout is None
    if job is None:
        return _without_job(run, now, independent)
    return _with_living_job(run, job, now, independent, patience)


def _without_job(run: ActiveRun, now: datetime, independent: bool) -> Decision:
    """Launched by a controller that is gone; a worker may still be at it, unless its job would have been listed."""
    waited = now - (run.launched_at or now)
    late = waited.total_seconds() > ORPHAN_SECONDS
    if independent and late and run.claimed_by is not None:  # by a worker of this launch
        return Decision("fail", Reason.JOB_LOST, "The run's Job was deleted before it had ended.")
    if run.status == Status.RUNNING:
        unheld = run.lease_until is None or run.lease_until < now
        silent = late or run.launched_at is None if run.kind == SWEEP else unheld
        return _retry(run, Reason.WORKER_LOST, "The worker fell silent.") if silent else WAIT
    return _retry(run, Reason.WORKER_LOST, "The worker never started.") if late else WAIT


def _with_living_job(
    run: ActiveRun, job: JobState, now: datetime, independent: bool, patience: Patience
) -> Decision:
    if job.leaving is not None:
        return WAIT
    if job.lost:
        message = "The worker's node does not answer any more; the run starts again."
        return Decision("requeue", Reason.DISRUPTED, message, spent=0)
    if job.problem is not None and job.problem.seconds >= patience.with_problem(job.problem.reason):
        waits = job.problem.reason == Reason.QUOTA_EXCEEDED and not waited_enough(
            run, now, patience.quota
        )
        if waits and job.exit_code is not None:  # the run may be to blame: a worker of it has ended
            return _with_ended_workers(run, job)
        return Decision(
            "requeue" if waits else "fail", job.problem.reason, job.problem.message, spent=0
        )
    if (
        run.kind == SWEEP and run.claimed_by is None and job.retried
    ):  # as with a run: its other pods would fail too
        return _with_ended_workers(run, job)
    grace = timedelta(seconds=SECOND_POD_SECONDS if independent else 0)
    if (
        run.status == Status.RUNNING
        and run.lease_until is not None
        and run.lease_until + grace < now
    ):
        return _retry(run, Reason.WORKER_LOST, "The worker fell silent.")
    return WAIT


def _with_ended_workers(run: ActiveRun, job: JobState) -> Decision:
    if (
        run.kind == SWEEP
    ):  # its workers say how each shard ended; the next ones go on, and put the result together
        if run.claimed_by is None and job.exit_code not in (None, ExitCode.DONE, *BLAMELESS):
            message = f"The sweep's workers failed before they began, the last time with exit code {job.exit_code}."
            return Decision("fail", Reason.RETRIES_EXHAUSTED, message)
        return _retry(
            run,
            Reason.RETRIES_EXHAUSTED,
            "The sweep's workers ended without a result, again and again.",
        )
    match job.exit_code:
        case ExitCode.BAD_INPUT:
            return Decision("fail", Reason.BAD_INPUT, "The worker refused the request.")
        case ExitCode.NO_DATA:
            return Decision("fail", Reason.NO_DATA, "The worker found no prices that it could use.")
        case ExitCode.ENGINE_ERROR:
            return Decision("fail", Reason.ENGINE_ERROR, "The engine failed.")
        case ExitCode.DONE:
            return Decision("fail", Reason.NO_RESULT_WRITTEN, "The worker ended without a result.")
        case 137 | -9:
            return _killed(run, job)
        case _:
            message = f"The worker failed, the last time with exit code {job.exit_code}."
            over = job.retried and job.exit_code not in BLAMELESS
            return _retry(
                run, Reason.RETRIES_EXHAUSTED, message, MAX_LAUNCHES if over else run.launches
            )


def _killed(run: ActiveRun, job: JobState) -> Decision:
    if run.launches > 1 or job.retried:
        message = "The worker was killed again, probably for want of memory."
        return Decision("fail", Reason.OUT_OF_MEMORY, message)
    return REQUEUE


def _retry(run: ActiveRun, reason: Reason, message: str, tried: int | None = None) -> Decision:
    return REQUEUE if (tried or run.launches) < MAX_LAUNCHES else Decision("fail", reason, message)


def waited_enough(run: ActiveRun, now: datetime, seconds: float) -> bool:
    """Whether the run was asked for so long ago."""
    return (now - run.created_at).total_seconds() > seconds


def is_stuck(job: JobState) -> bool:
    """Its slot is given away and its pods are forgotten: a node that is dead says nothing more."""
    return job.leaving is not None and (job.lost or job.leaving > STUCK_SECONDS)


def next_runs(
    waiting: Sequence[Run], at_work: Mapping[str, int], served: Mapping[str, int], room: int
) -> list[Run]:
    """Whose turn it is: first in, first out for each client; between clients the one with the fewest runs at work.

    Among those the one whose last turn was longest ago, then the one who asked first. `waiting` is in the order of
    arrival, `at_work` counts the active runs of each client, `served` numbers the last turn of each.
    """
    counts, turns, chosen, left = Counter(at_work), dict(served), list[Run](), list(waiting)
    while left and len(chosen) < room:
        run = min(left, key=lambda run: (counts[run.client], turns.get(run.client, -1), run.id))
        left.remove(run)
        counts[run.client] += 1
        turns[run.client] = max(turns.values(), default=0) + 1
        chosen.append(run)
    return chosen
