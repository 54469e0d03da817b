"""The one loop that dispatches queued runs and brings rows and jobs together: `python -m service.controller`."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from scripts.logger_config import run_context
from service.contract.status import Reason, Status
from service.controller.decisions import (
    CANCEL,
    FORGET,
    PATIENCE,
    WAIT,
    Decision,
    Patience,
    decide,
    is_stuck,
)
from service.controller.dispatcher import LAUNCHES_A_PASS, Dispatcher, removed
from service.controller.evidence import Explainer
from service.controller.vitals import observe
from service.launchers.launcher import JobState, Launcher, LauncherAway
from service.store.run_store import ActiveRun, RunStore

logger = logging.getLogger(__name__)

CHECK_SECONDS = 10.0
LOOK_SECONDS = (
    5.0  # between two looks at a cluster where nothing waits: its Jobs look after themselves
)
IDLE_LOOKS = 60  # times as seldom where there is nothing to expect at all
MOST_SILENCE = 3  # calls without an answer in one pass: then nobody is there
KEPT_FAILED, REMOVED_A_PASS = (
    500,
    30,
)  # failed Jobs that stay to be looked at: each is listed with every look

Launch = tuple[str, int, datetime | None]


def launch_of(run: ActiveRun) -> Launch:
    """One launch of one run: a number comes again where a launch did not count."""
    return run.run_id, run.launches, run.launched_at


class Controller:
    """Looks at rows and jobs, decides, acts; one `step` is one pass."""

    def __init__(
        self,
        store: RunStore,
        launcher: Launcher,
        max_active: int,
        timeout_seconds: float,
        may_act: Callable[[], bool] = lambda: True,
        patience: Patience = PATIENCE,
        look_seconds: float = 0.0,
    ) -> None:
        self._store, self._launcher, self._may_act, self._patience = (
            store,
            launcher,
            may_act,
            patience,
        )
        self._timeout = None if launcher.independent else timedelta(seconds=timeout_seconds)
        self.dispatcher = Dispatcher(store, launcher, max_active, may_act, patience.quota)
        self._look_seconds, self._looked = look_seconds, -math.inf
        self._unmarked: dict[
            Launch, Decision
        ] = {}  # failed, their jobs are told to go, not in the rows yet
        self._unwanted: dict[str, float] = {}  # jobs at work that no active row has, and since when
        self._known: set[str] = set()  # active after the last pass
        self.explainer = Explainer(store, launcher)

    def step(self) -> None:
        """Reconciles every active run with its job, then dispatches while there are free slots."""
        expected = self._store.active_clients()
        ends = self._store.ended(self._known - expected.keys())
        observe(ends)
        self.explainer.begin(ends)
        self._known = set(expected)
        if not self._time_to_look():
            return
        # before the rows: a job that ended has written its row by now
        jobs = self._jobs([*expected, *self.explainer.waiting])
        self._looked = time.monotonic()
        active = {run.run_id: run for run in self._store.active()}
        self._unmarked = {
            launch: kept for launch, kept in self._unmarked.items() if launch[0] in active
        }
        unwanted = [run_id for run_id, job in jobs.items() if job.alive and run_id not in active]
        self._unwanted = {run_id: self._unwanted.get(run_id, self._looked) for run_id in unwanted}
        now = self._store.now()
        if not self._reconcile_all(active, jobs, now):
            return
        self.explainer.step(jobs)
        self._tidy({run_id: job for run_id, job in jobs.items() if run_id not in active})
        self._known |= self.dispatcher.step(jobs, now)

    def _reconcile_all(
        self, active: Mapping[str, ActiveRun], jobs: Mapping[str, JobState], now: datetime
    ) -> bool:
        """One by one: what is wrong with one stops nobody else. False once another controller is the active one."""
        silent = 0
        for run_id in [*active, *(run_id for run_id in jobs if run_id not in active)]:
            if not self._may_act():
                return False
            with run_context(run_id):
                try:
                    self._reconcile(run_id, active.get(run_id), jobs.get(run_id), now)
                except LauncherAway as error:
                    logger.warning("The run could not be reconciled: %s", error)
                    silent += 1
                    if silent == MOST_SILENCE:
                        raise
                except Exception:
                    logger.exception("The run could not be reconciled")
        return True

    def _time_to_look(self) -> bool:
        """A cluster is asked seldom where nobody waits for the answer."""
        if not self._launcher.independent:
            return True
        if self.dispatcher.has_work(len(self._known)) or self._store.cancelling():
            return True
        pause = self._look_seconds * (1 if self._known or self.explainer.waiting else IDLE_LOOKS)
        return time.monotonic() - self._looked >= pause

    def _jobs(self, expected: Sequence[str]) -> Mapping[str, JobState]:
        """While nothing is known of them nothing is done, and the first runs of the queue say why."""
        try:
            return self._launcher.jobs(expected)
        except LauncherAway as error:
            for run in self._store.queued(LAUNCHES_A_PASS):
                self._note(run, Reason.CLUSTER_AWAY, f"{error}.")
            raise

    def _reconcile(
        self, run_id: str, run: ActiveRun | None, job: JobState | None, now: datetime
    ) -> None:
        if job is not None and is_stuck(job):
            self._launcher.remove(run_id, force=True)
        if run is not None and job is not None and job.launch != run.launches:
            self._launcher.remove(run_id)  # another controller has launched the run since
            job = None
        unwanted = time.monotonic() - self._unwanted.get(run_id, math.inf)
        decision = self._verdict(run, job) or decide(
            run, job, now, self._timeout, self._patience, unwanted
        )
        if decision is WAIT and run is not None and run.status == Status.PENDING:
            self._note(
                run,
                *(
                    (job.problem.reason, job.problem.message)
                    if job and job.problem
                    else (None, None)
                ),
            )
        if decision is WAIT or (decision is FORGET and job is not None and job.alive):
            return
        if run is not None and decision.action == "requeue":
            self._requeue(run, decision, job)
            return
        evidence = (
            self.explainer.evidence(run_id, job) if decision.action == "fail" else None
        )  # while there is some
        if not self._may_act():
            return  # that took a while; another controller may see it otherwise by now
        if run is not None and decision is not CANCEL:
            self._unmarked[launch_of(run)] = decision  # should the database be away in a moment
        if job is None or not self._left_to_look_at(job, decision):
            self._launcher.remove(run_id)  # kill before you mark
        if run is not None:
            self._mark(run, decision, job, evidence)
            self._unmarked.pop(launch_of(run), None)

    def _verdict(self, run: ActiveRun | None, job: JobState | None) -> Decision | None:
        """What was carried out on the job and not marked; a job that goes on all the same is looked at anew."""
        goes_on = job is not None and job.alive and job.leaving is None
        return (
            None
            if run is None or run.status == Status.CANCELLING or goes_on
            else self._unmarked.get(launch_of(run))
        )

    def _requeue(self, run: ActiveRun, decision: Decision, job: JobState | None) -> None:
        """Marks before it kills: a job that went first, and nobody left to say why, would look as if somebody had
        deleted it. Nothing is launched anew while the old job is there."""
        why = {"reason": decision.reason, "message": decision.message} if decision.reason else {}
        if self._store.requeue(run, decision.spent, **why):
            said = decision.message or ("ended early" if job else "is gone")
            logger.warning("The run goes back to the queue: its job %s", said)
            if (
                self._may_act()
            ):  # the answer may have taken half a minute: by now it may be another controller's job
                self._launcher.remove(run.run_id)

    def _note(self, run: ActiveRun, reason: Reason | None, message: str | None) -> None:
        """What keeps the job from starting stands at the run before its time is up."""
        if run.reason != reason:
            self._store.note(run, reason, message)

    def _left_to_look_at(self, job: JobState, decision: Decision) -> bool:
        """Its logs are read for a while; the cluster removes it in time."""
        return (
            self._launcher.independent and not job.alive and decision.action in ("forget", "fail")
        )

    def _mark(
        self, run: ActiveRun, decision: Decision, job: JobState | None, evidence: str | None
    ) -> None:
        if decision.action == "cancel" and job is None and self._store.cancelled(run.run_id):
            logger.info("The run was cancelled")
        failed = decision.action == "fail" and decision.reason
        if failed and self._store.fail(run, failed, decision.message, evidence):
            logger.error("The run failed: %s: %s", failed, decision.message)

    def _tidy(self, jobs: Mapping[str, JobState]) -> None:
        """The oldest failed Jobs go before their time where there are very many."""
        over = [run_id for run_id, job in jobs.items() if not job.alive and job.leaving is None]
        over.sort(key=lambda run_id: jobs[run_id].age)
        for run_id in over[KEPT_FAILED:][-REMOVED_A_PASS:]:
            removed(self._launcher, run_id)

    def stop(self) -> None:
        """Ends every job that depends on this controller; their runs go back as if they had not been launched."""
        mine = {} if self._launcher.independent else self._launcher.jobs()
        for run_id in mine:
            self._launcher.remove(run_id)
        for run in self._store.active():
            if run.run_id in mine:
                self._store.requeue(run, spent=0)
