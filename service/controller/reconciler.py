"""The controller: brings rows and jobs together, then lets the dispatcher launch what waits."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, assert_never

from scripts.logger_config import run_context
from service.contract.status import Reason, Status
from service.controller.ages import Ages, Times
from service.controller.decisions import (
    DEFAULT_PATIENCE,
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
)
from service.controller.dispatcher import LAUNCHES_PER_PASS, Dispatcher, remove_job, set_aside
from service.controller.evidence import EvidenceCollector
from service.controller.vitals import observe
from service.launchers.launcher import JobState, Launcher, LauncherAway
from service.store.queue import QueueStore
from service.store.rows import CLAIM_SECONDS, ActiveRun

logger = logging.getLogger(__name__)

IDLE_LOOKS = 60  # times as seldom the cluster is looked at while nothing is expected of it
SETTLING_SECONDS = 60.0
MAX_SILENT_CALLS = 3  # calls without an answer in one pass: then the launcher is away
MAX_FAILED_JOBS = 500  # kept to be looked at: each is listed with every look
MAX_REMOVALS_PER_PASS = 30


class Launch(NamedTuple):
    """One launch of one run; a number comes again where a launch did not count."""

    run_id: str
    number: int
    moment: datetime | None


def launch_of(run: ActiveRun) -> Launch:
    return Launch(run.run_id, run.launches, run.launched_at)


class Controller:
    """Looks at rows and jobs, decides, acts; one `step` is one pass.

    `may_act` answers whether this is the one active controller. `look_seconds` lie between two
    looks at a cluster where nothing waits.
    """

    def __init__(
        self,
        store: QueueStore,
        launcher: Launcher,
        max_active: int,
        timeout_seconds: float,
        may_act: Callable[[], bool] = lambda: True,
        patience: Patience = DEFAULT_PATIENCE,
        look_seconds: float = 0.0,
        lease_seconds: float = CLAIM_SECONDS,
    ) -> None:
        self._store = store
        self._launcher = launcher
        self._may_act = may_act
        self._look_seconds = look_seconds
        self._policy = Policy(
            jobs_outlive_controller=launcher.jobs_outlive_controller,
            run_timeout=timedelta(seconds=timeout_seconds),
            lease_seconds=lease_seconds,
            patience=patience,
        )
        self._ages = Ages()
        self.dispatcher = Dispatcher(store, launcher, max_active, may_act, patience.quota)
        self.evidence = EvidenceCollector(store, launcher)
        self._looked = -math.inf
        # Failures whose jobs were told to go and that are not in the rows yet.
        self._unmarked: dict[Launch, Fail] = {}
        # Jobs at work that no active run has, and since when.
        self._unwanted_since: dict[str, float] = {}
        self._last_end = -math.inf
        # Runs that were active after the last pass.
        self._known: set[str] = set()

    def step(self) -> None:
        """Reconciles every active run with its job, then dispatches while there are free slots."""
        active_ids = self._store.active_clients().keys()
        self._observe_ends(active_ids)
        if not self._is_time_to_look():
            return
        # The jobs are listed before the rows are read: a job that ended has written its row.
        jobs = self._list_jobs([*active_ids, *self.evidence.waiting])
        self._looked = time.monotonic()
        active = {run.run_id: run for run in self._readable_runs()}
        jobs_without_run = {run_id: job for run_id, job in jobs.items() if run_id not in active}
        self._drop_old_notes(active, jobs_without_run)
        now = self._store.now()
        if not self._reconcile_all(active, jobs, now):
            return
        self.evidence.explain_waiting(jobs)
        self._remove_oldest_failed(jobs_without_run)
        self._known |= self.dispatcher.step(jobs, now)
        self._make_room()
        self._ages.forget_all_but(self._known)

    def _readable_runs(self) -> list[ActiveRun]:
        """The active runs; those whose rows cannot be read are ended, and their jobs with them."""
        readable = []
        for run in self._store.active():
            if not set_aside(self._store, run):
                readable.append(run)
            elif self._has_job_to_end(run):
                remove_job(self._launcher, run.run_id)
        return readable

    def _has_job_to_end(self, run: ActiveRun) -> bool:
        has_name = "run_id" not in run.bad_columns
        return has_name and not run.is_of_later_release and self._may_act()

    def stop(self) -> None:
        """Ends every job that depends on this controller.

        Their runs go back to the queue as if they had not been launched.
        """
        if self._launcher.jobs_outlive_controller:
            return
        own_jobs = self._launcher.jobs()
        for run_id in own_jobs:
            self._launcher.remove(run_id)
        for run in self._store.active():
            if run.run_id in own_jobs:
                self._store.requeue(run, counted_launches=0)

    def _observe_ends(self, active_ids: Iterable[str]) -> None:
        """Counts what has ended since the last pass."""
        expected = set(active_ids)
        ended_runs = self._store.ended(self._known - expected)
        if ended_runs:
            self._last_end = time.monotonic()
        observe(ended_runs)
        self.evidence.begin_pass(ended_runs)
        self._known = expected

    def _is_time_to_look(self) -> bool:
        """A cluster is asked seldom while nobody waits for the answer."""
        if not self._launcher.jobs_outlive_controller:
            return True
        if self.dispatcher.has_work(len(self._known)) or self._store.has_cancelling():
            return True
        is_idle = not self._known and not self.evidence.waiting and self._has_settled()
        pause_seconds = self._look_seconds * (IDLE_LOOKS if is_idle else 1)
        return time.monotonic() - self._looked >= pause_seconds

    def _has_settled(self) -> bool:
        """Whether the job of the run that ended last had time to end too."""
        return time.monotonic() - self._last_end > SETTLING_SECONDS

    def _list_jobs(self, expected: Sequence[str]) -> Mapping[str, JobState]:
        """The jobs; while the launcher is away the first runs of the queue say so."""
        try:
            return self._launcher.jobs(expected)
        except LauncherAway as error:
            for run in self._store.queued(LAUNCHES_PER_PASS):
                self._note(run, Reason.CLUSTER_AWAY, f"{error}.")
            raise

    def _drop_old_notes(
        self, active: Mapping[str, ActiveRun], jobs_without_run: Mapping[str, JobState]
    ) -> None:
        self._unmarked = {
            launch: failure for launch, failure in self._unmarked.items() if launch.run_id in active
        }
        self._unwanted_since = {
            run_id: self._unwanted_since.get(run_id, self._looked)
            for run_id, job in jobs_without_run.items()
            if job.alive
        }

    def _reconcile_all(
        self, active: Mapping[str, ActiveRun], jobs: Mapping[str, JobState], now: datetime
    ) -> bool:
        """One by one, so that what is wrong with one stops no other.

        False once another controller is the active one.
        """
        silent_calls = 0
        for run_id in dict.fromkeys([*active, *jobs]):
            if not self._may_act():
                return False
            with run_context(run_id):
                try:
                    self._reconcile(run_id, active.get(run_id), jobs.get(run_id), now)
                except LauncherAway as error:
                    logger.warning("The run could not be reconciled: %s", error)
                    silent_calls += 1
                    if silent_calls == MAX_SILENT_CALLS:
                        raise
                except Exception:
                    logger.exception("The run could not be reconciled")
        return True

    def _reconcile(
        self, run_id: str, run: ActiveRun | None, job: JobState | None, now: datetime
    ) -> None:
        if job is not None and is_stuck(job):
            self._launcher.remove(run_id, force=True)
        if run is None:
            self._reconcile_job(run_id, job)
            return
        if job is not None and job.launch != run.launches:
            # Another controller has launched the run since.
            self._launcher.remove(run_id)
            job = None
        self._carry_out(self._decision(run, job, now), run, job)

    def _reconcile_job(self, run_id: str, job: JobState | None) -> None:
        """A job that no active run has."""
        since = self._unwanted_since.get(run_id, math.inf)
        unwanted_seconds = time.monotonic() - since
        decision = decide(None, job, Times(), self._policy, unwanted_seconds)
        is_kept_to_look_at = self._launcher.jobs_outlive_controller
        has_ended = job is None or not job.alive
        is_over = isinstance(decision, Forget) and has_ended and not is_kept_to_look_at
        if run_id in self.evidence.waiting:
            return  # its log would go with it
        if (is_over or isinstance(decision, RemoveJob)) and self._may_act():
            self._launcher.remove(run_id)

    def _decision(self, run: ActiveRun, job: JobState | None, now: datetime) -> Decision:
        """What is to be done: first of all what was carried out on the job and not marked yet.

        A job that goes on all the same is looked at anew.
        """
        goes_on = job is not None and job.alive and job.leaving is None
        unmarked = self._unmarked.get(launch_of(run))
        if unmarked is not None and not goes_on and run.status != Status.CANCELLING:
            return unmarked
        return decide(run, job, self._ages.times(run, now), self._policy)

    def _carry_out(self, decision: Decision, run: ActiveRun, job: JobState | None) -> None:
        match decision:
            case Wait():
                self._note_problem(run, job)
            case Requeue():
                self._requeue(run, decision, job)
            case Fail():
                self._fail(run, decision, job)
            case Cancel():
                self._cancel(run, job)
            case EndPods():
                self._end_pods(job)
            case Forget() | RemoveJob():
                raise AssertionError(f"{decision} is for jobs without a run")
            case _:
                assert_never(decision)

    def _note_problem(self, run: ActiveRun, job: JobState | None) -> None:
        """What keeps the job from starting stands in the row before its time is up."""
        if run.status != Status.PENDING:
            return
        if job is None or job.problem is None:
            self._note(run, None, None)
        else:
            self._note(run, job.problem.reason, job.problem.message)

    def _note(self, run: ActiveRun, reason: Reason | None, message: str | None) -> None:
        if run.reason != reason:
            self._store.note(run, reason, message)

    def _requeue(self, run: ActiveRun, decision: Requeue, job: JobState | None) -> None:
        """Marks the row before it removes the job.

        Were the job removed first and this controller gone before it had marked the row, the next
        one would take it for a job that somebody deleted. Nothing is launched anew while the old
        job is there.
        """
        message = decision.message if decision.reason else None
        if not self._store.requeue(run, decision.counted_launches, decision.reason, message):
            return
        what_happened = decision.message or ("ended early" if job else "is gone")
        logger.warning("The run goes back to the queue: its job %s", what_happened)
        # The answer may have taken half a minute: by now it may be another controller's job.
        if self._may_act():
            self._launcher.remove(run.run_id)

    def _fail(self, run: ActiveRun, failure: Fail, job: JobState | None) -> None:
        """Removes the job, unless it is kept to be looked at, then marks the row."""
        evidence = self.evidence.collect(run.run_id, job)  # while there is something to be seen
        if not self._may_act():
            return  # reading it took a while
        # Should the database be away in a moment, the next pass goes on from here.
        self._unmarked[launch_of(run)] = failure
        has_ended = job is not None and not job.alive
        is_kept = self._launcher.jobs_outlive_controller and has_ended
        if not is_kept and run.run_id not in self.evidence.waiting:
            self._launcher.remove(run.run_id)
        if self._store.fail(run, failure.reason, failure.message, evidence):
            logger.error("The run failed: %s: %s", failure.reason, failure.message)
        self._unmarked.pop(launch_of(run), None)

    def _end_pods(self, job: JobState | None) -> None:
        if job is not None and self._may_act():
            self._launcher.end_pods(job.idle_pods)

    def _cancel(self, run: ActiveRun, job: JobState | None) -> None:
        """Removes the job; the row is marked in the first pass that sees no job."""
        if not self._may_act():
            return
        self._launcher.remove(run.run_id)
        if job is None and self._store.finish_cancelling(run.run_id):
            logger.info("The run was cancelled")

    def _make_room(self) -> None:
        """Ended Jobs go before their time where a quota counts them, and the queue would stand."""
        if not self._may_act():
            return
        number = self._launcher.make_room({*self._known, *self.evidence.waiting})
        if number:
            message = "%d ended Jobs were removed early: a quota counts them, and runs wait"
            logger.warning(message, number)
            self.dispatcher.try_soon()

    def _remove_oldest_failed(self, jobs_without_run: Mapping[str, JobState]) -> None:
        """The oldest failed Jobs go before their time where there are very many."""
        ended_ids = [
            run_id
            for run_id, job in jobs_without_run.items()
            if not job.alive and job.leaving is None
        ]
        ended_ids.sort(key=lambda run_id: jobs_without_run[run_id].age)
        too_many = ended_ids[MAX_FAILED_JOBS:]
        for run_id in too_many[-MAX_REMOVALS_PER_PASS:]:
            remove_job(self._launcher, run_id)
