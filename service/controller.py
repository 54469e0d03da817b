"""The one loop that dispatches queued runs and brings rows and jobs together: `python -m service.controller`."""

from __future__ import annotations

import json
import logging
import os
import platform
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from types import FrameType

from sqlalchemy.exc import DBAPIError

from rules.plugins import installed_rules
from scripts.config import Config, load_config
from scripts.logger_config import run_context, set_up_logging
from service.contract.errors import UserError
from service.contract.request import parse_request
from service.contract.status import Reason, Status
from service.decisions import CANCEL, FORGET, STUCK_SECONDS, WAIT, Decision, decide, next_runs
from service.launchers.launcher import JobState, LaunchDelayed, Launcher, LauncherAway, LaunchFailed, Problem
from service.launchers.local_process import LocalProcess
from service.leadership import Leadership
from service.store.lease_store import LeaseStore
from service.store.migrate import open_database
from service.store.run_store import ActiveRun, Run, RunStore
from service.upkeep import Upkeep
from service.vitals import ACTIVE, LAST_PASS, LAUNCHES, PASS_SECONDS, Vitals, observe

logger = logging.getLogger(__name__)

LAUNCHES_A_PASS = 5
CLIENTS_A_PASS, CLIENTS_KNOWN = 50, 10_000
CHECK_SECONDS = 10.0


class Controller:
    """Looks at rows and jobs, decides, acts; one `step` is one pass."""

    def __init__(
        self,
        store: RunStore,
        launcher: Launcher,
        max_active: int,
        timeout_seconds: float,
        may_act: Callable[[], bool] = lambda: True,
    ) -> None:
        self._store, self._launcher, self._max_active, self._may_act = store, launcher, max_active, may_act
        self._timeout = None if launcher.independent else timedelta(seconds=timeout_seconds)
        self._unmarked: dict[tuple[str, int], Decision] = {}  # carried out on the jobs, not in the rows yet
        self._known: set[str] = set()  # active after the last pass
        self._served: dict[str, None] = {}  # clients in the order of their last turns

    def step(self) -> None:
        """Reconciles every active run with its job, then dispatches while there are free slots."""
        expected = self._store.active_clients()
        observe(self._store.ended(self._known - expected.keys()))
        self._known = set(expected)
        if self._launcher.independent and not expected and not self._store.queued(1):
            return  # a cluster is not asked about nothing
        jobs = self._jobs(list(expected))  # before the rows: a job that ended has written its row by now
        active = {run.run_id: run for run in self._store.active()}
        now = self._store.now()
        for run_id in [*active, *(run_id for run_id in jobs if run_id not in active)]:
            if not self._may_act():
                return
            with run_context(run_id):
                try:
                    self._reconcile(run_id, active.get(run_id), jobs.get(run_id), now)
                except LauncherAway:
                    raise
                except Exception:  # one bad row stops nobody else
                    logger.exception("The run could not be reconciled")
        self._dispatch(jobs)

    def _jobs(self, expected: Sequence[str]) -> Mapping[str, JobState]:
        """While nothing is known of them nothing is done, and the first runs of the queue say why."""
        try:
            return self._launcher.jobs(expected)
        except LauncherAway as error:
            for run in self._store.queued(LAUNCHES_A_PASS):
                if run.reason != Reason.CLUSTER_AWAY:
                    self._store.note(run, Reason.CLUSTER_AWAY, f"{error}.")
            raise

    def _reconcile(self, run_id: str, run: ActiveRun | None, job: JobState | None, now: datetime) -> None:
        if job is not None and _stuck(job):
            self._launcher.remove(run_id, force=True)
        if run is not None and job is not None and job.launch != run.launches:
            self._launcher.remove(run_id)  # another controller has launched the run since
            job = None
        decision = self._unmarked.pop((run_id, run.launches if run else 0), None)
        decision = decision or decide(run, job, now, self._timeout)
        if decision is WAIT and run is not None and run.status == Status.PENDING:
            self._note(run, job.problem if job else None)
        if decision is WAIT or (decision is FORGET and job is not None and job.alive):
            return
        if run is not None and decision is not CANCEL:
            self._unmarked[run_id, run.launches] = decision  # should the database be away in a moment
        if job is None or not self._left_to_look_at(job, decision):
            self._launcher.remove(run_id)  # kill before you mark
        if run is not None:
            self._mark(run, decision, job)
            self._unmarked.pop((run_id, run.launches), None)

    def _note(self, run: ActiveRun, problem: Problem | None) -> None:
        """What keeps the job from starting stands at the run before its time is up."""
        reason, message = (problem.reason, problem.message) if problem else (None, None)
        if run.reason != reason:
            self._store.note(run, reason, message)

    def _left_to_look_at(self, job: JobState, decision: Decision) -> bool:
        """Its logs are read for a while; the cluster removes it in time."""
        return self._launcher.independent and not job.alive and decision.action in ("forget", "fail")

    def _mark(self, run: ActiveRun, decision: Decision, job: JobState | None) -> None:
        why = {"reason": decision.reason, "message": decision.message} if decision.reason else {}
        if decision.action == "requeue" and self._store.requeue(run, decision.spent, **why):
            logger.warning(
                "The run goes back to the queue: its job %s", decision.message or ("ended early" if job else "is gone")
            )
        if decision.action == "cancel" and job is None and self._store.cancelled(run.run_id):
            logger.info("The run was cancelled")
        failed = decision.action == "fail" and decision.reason
        if failed and self._store.fail(run, failed, decision.message, _evidence(job)):
            logger.error("The run failed: %s: %s", failed, decision.message)

    def _dispatch(self, jobs: Mapping[str, JobState]) -> None:
        """By turns; a run whose last job was still there a moment ago waits for the next pass."""
        busy = {run_id for run_id, job in jobs.items() if (job.alive or job.leaving is not None) and not _stuck(job)}
        active = self._store.active_clients()
        room = min(self._max_active - len(busy | active.keys()), LAUNCHES_A_PASS)
        if room <= 0:
            return
        waiting = self._waiting(room + len(busy - active.keys()))
        able = [run for run in waiting if not self._leaves(run.run_id, jobs)]
        turns = {client: number for number, client in enumerate(self._served)}
        for run in next_runs(able, Counter(active.values()), turns, room):
            with run_context(run.run_id):
                if not self._may_act() or not self._store.mark_launched(run.run_id):
                    continue
                self._known.add(run.run_id)
                self._serve(run.client)
                if not self._launch(replace(run, launches=run.launches + 1)):
                    return

    def _serve(self, client: str) -> None:
        self._served.pop(client, None)
        self._served[client] = None
        if len(self._served) > CLIENTS_KNOWN:
            del self._served[next(iter(self._served))]

    def _waiting(self, each: int) -> list[Run]:
        """The first runs of the clients that come after the last one served, in the order of arrival."""
        last = next(reversed(self._served), None)
        clients = self._store.waiting_clients(last, CLIENTS_A_PASS)
        if last is not None and len(clients) < CLIENTS_A_PASS:
            first = self._store.waiting_clients(None, CLIENTS_A_PASS - len(clients))
            clients += [client for client in first if client <= last]
        found = (run for client in clients for run in self._store.queued_of(client, each))
        return sorted(found, key=lambda run: run.id)

    def _leaves(self, run_id: str, jobs: Mapping[str, JobState]) -> bool:
        """Whether a job of the queued run is still there; it is told to go if nobody has."""
        job = jobs.get(run_id)
        if job is not None and job.leaving is None:
            self._launcher.remove(run_id)
        return job is not None

    def _launch(self, run: Run) -> bool:
        """False when nothing can be launched for now."""
        try:
            self._launcher.launch(parse_request(json.loads(run.request)), run.launches)
            LAUNCHES.inc()
        except UserError as error:  # accepted by an older contract
            self._store.fail(run, Reason.BAD_INPUT, str(error))
        except LaunchFailed as error:
            logger.error("The job could not be started: %s", error)
            self._store.fail(run, error.reason, str(error))
        except LaunchDelayed as error:
            logger.warning("The job cannot be started yet: %s", error)
            self._store.requeue(run, spent=0, reason=error.reason, message=str(error) if error.reason else None)
            return False
        return True

    def stop(self) -> None:
        """Ends every job that depends on this controller; their runs go back as if they had not been launched."""
        mine = {} if self._launcher.independent else self._launcher.jobs()
        for run_id in mine:
            self._launcher.remove(run_id)
        for run in self._store.active():
            if run.run_id in mine:
                self._store.requeue(run, spent=0)


def _evidence(job: JobState | None) -> str | None:
    """What was seen of the job, for whoever asks later why the run failed."""
    if job is None:
        return None
    return json.dumps({"exit_code": job.exit_code, "launch": job.launch, "retried": job.retried})


def _stuck(job: JobState) -> bool:
    """Its slot is given away and its pods are forgotten: a node that is dead says nothing more."""
    return job.leaving is not None and job.leaving > STUCK_SECONDS


def main(config: Config, stop: threading.Event | None = None) -> None:
    """Steps until SIGTERM or SIGINT, or until `stop` is set, as the one active controller of its database."""
    engine = open_database(config)
    launcher, vitals, stop = launcher_of(config), Vitals(), stop or _on_signals()
    store = RunStore(engine, config.lease_seconds)
    leadership = Leadership(LeaseStore(engine), f"{platform.node()}:{os.getpid()}", lambda: not vitals.health())
    limits = config.max_active_runs, config.run_timeout_seconds
    controller = Controller(store, launcher, *limits, may_act=lambda: leadership.held)
    upkeep = Upkeep(store, config.result_retention_days)
    installed_rules(True)  # a plug-in that is not fit is named in this log too
    if config.controller_port:
        vitals.serve(config.controller_port)
    logger.info("Controller started: at most %d runs at once", config.max_active_runs)
    leadership.start()
    checked = Check(launcher)
    while not stop.wait(config.controller_poll_seconds):
        vitals.beat = time.monotonic()
        try:
            ACTIVE.set(leadership.held)
            if leadership.held:
                with PASS_SECONDS.time():
                    controller.step()
                LAST_PASS.set_to_current_time()
                upkeep.step()
            vitals.problem = checked.problem()
        except Exception as error:  # noqa: BLE001  whatever it was, the next pass may do better
            vitals.problem = _away(error)
            stop.wait(1)
    try:
        controller.stop()
        leadership.stop()
    except DBAPIError as error:  # leaving together; the lease runs out by itself
        logger.warning("The database went first: %s", error.orig)


def launcher_of(config: Config) -> Launcher:
    """The configured one; the Kubernetes client is not even imported on a laptop."""
    if config.launcher == "local":
        return LocalProcess()
    from service.launchers.kubernetes_api import Namespace
    from service.launchers.kubernetes_job import KubernetesJobs

    return KubernetesJobs(config.job_template, Namespace())


class Check:
    """The launcher's own check: made at the start, and again from time to time until nothing is wrong."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher, self._problem, self._made = launcher, "not checked yet", -CHECK_SECONDS

    def problem(self) -> str:
        """The last answer; a new one is logged."""
        if self._problem and time.monotonic() - self._made >= CHECK_SECONDS:
            self._problem, self._made = self._launcher.check(), time.monotonic()
            if self._problem:
                logger.error("No job can be started: %s", self._problem)
        return self._problem


def _away(error: Exception) -> str:
    if isinstance(error, LauncherAway):
        logger.warning("Nothing is known about the jobs: %s", error)
        return str(error)
    away = isinstance(error, DBAPIError)
    logger.error("The database is away" if away else "The pass failed", exc_info=error)
    return "The database is away." if away else "The last pass failed; its trace is in the log."


def _on_signals() -> threading.Event:
    stop = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, ask)
    signal.signal(signal.SIGINT, ask)
    return stop


if __name__ == "__main__":
    settings = load_config()
    set_up_logging(settings.log_level, settings.log_format)
    main(settings)
