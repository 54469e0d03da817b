"""The one loop that dispatches queued runs and brings rows and jobs together: `python -m service.controller`."""

from __future__ import annotations

import json
import logging
import os
import platform
import signal
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import ceil
from types import FrameType

from sqlalchemy.exc import DBAPIError

from rules.plugins import installed_rules
from scripts.config import Config, load_config
from scripts.logger_config import run_context, set_up_logging
from service.contract.errors import UserError
from service.contract.request import parse_request
from service.contract.status import ExitCode, Reason, Status
from service.launchers.launcher import JobState, Launcher, LaunchFailed
from service.launchers.local_process import LocalProcess
from service.store.lease_store import CONTROLLER, LeaseStore
from service.store.migrate import open_database
from service.store.run_store import Run, RunStore

logger = logging.getLogger(__name__)

LEASE_SECONDS = 8
MAX_LAUNCHES = 3
ORPHAN_SECONDS = 30  # a launched run that no job of ours belongs to and nobody claimed


@dataclass(frozen=True)
class Decision:
    """What to do about one run: `action` is wait, requeue, fail or forget; a job still alive is removed first."""

    action: str
    reason: Reason | None = None
    message: str = ""


WAIT, FORGET, REQUEUE = Decision("wait"), Decision("forget"), Decision("requeue")


def decide(run: Run | None, job: JobState | None, now: datetime, timeout: timedelta) -> Decision:
    """One row, its job and the database's clock to one decision; `run` is None when its row is not active."""
    if run is None:
        return FORGET
    if job is not None and not job.alive:
        return _with_ended_job(run, job.exit_code)
    if now - (run.launched_at or now) > timeout:
        return Decision("fail", Reason.TIMEOUT, f"The run took longer than {timeout.total_seconds():.0f} seconds.")
    return _without_job(run, now) if job is None else _with_living_job(run, now)


def _without_job(run: Run, now: datetime) -> Decision:
    """Launched by a controller that is gone; a worker may still be at it."""
    if run.status == Status.RUNNING:
        silent = run.lease_until is None or run.lease_until < now
        return _retry(run, Reason.WORKER_LOST, "The worker fell silent.") if silent else WAIT
    waited = now - (run.launched_at or now)
    return (
        _retry(run, Reason.WORKER_LOST, "The worker never started.")
        if waited.total_seconds() > ORPHAN_SECONDS
        else WAIT
    )


def _with_living_job(run: Run, now: datetime) -> Decision:
    if run.status == Status.RUNNING and run.lease_until is not None and run.lease_until < now:
        return _retry(run, Reason.WORKER_LOST, "The worker fell silent.")
    return WAIT


def _with_ended_job(run: Run, exit_code: int | None) -> Decision:
    match exit_code:
        case ExitCode.BAD_INPUT:
            return Decision("fail", Reason.BAD_INPUT, "The worker refused the request.")
        case ExitCode.NO_DATA:
            return Decision("fail", Reason.NO_DATA, "The worker found no prices that it could use.")
        case ExitCode.ENGINE_ERROR:
            return Decision("fail", Reason.ENGINE_ERROR, "The engine failed.")
        case ExitCode.DONE:
            return Decision("fail", Reason.NO_RESULT_WRITTEN, "The worker ended without a result.")
        case 137 | -9:
            if run.launches > 1:
                return Decision(
                    "fail", Reason.OUT_OF_MEMORY, "The worker was killed again, probably for want of memory."
                )
            return REQUEUE
        case _:
            return _retry(
                run, Reason.RETRIES_EXHAUSTED, f"The worker failed, the last time with exit code {exit_code}."
            )


def _retry(run: Run, reason: Reason, message: str) -> Decision:
    return REQUEUE if run.launches < MAX_LAUNCHES else Decision("fail", reason, message)


class Controller:
    """Looks at rows and jobs, decides, acts; one `step` is one pass."""

    def __init__(self, store: RunStore, launcher: Launcher, max_active: int, timeout_seconds: float) -> None:
        self._store, self._launcher = store, launcher
        self._max_active, self._timeout = max_active, timedelta(seconds=timeout_seconds)

    def step(self) -> None:
        """Reconciles every active run with its job, then dispatches while there are free slots."""
        jobs = self._launcher.jobs()  # before the rows: a job that ended has written its row by now
        active = {run.run_id: run for run in self._store.active()}
        now = self._store.now()
        for run_id in [*active, *(run_id for run_id in jobs if run_id not in active)]:
            with run_context(run_id):
                try:
                    self._reconcile(run_id, active.get(run_id), jobs, now)
                except Exception:  # one bad row stops nobody else
                    logger.exception("The run could not be reconciled")
        self._dispatch()

    def _reconcile(self, run_id: str, run: Run | None, jobs: Mapping[str, JobState], now: datetime) -> None:
        job = jobs.get(run_id)
        if run is not None and job is not None and job.launch != run.launches:
            self._launcher.remove(run_id)  # another controller has launched the run since
            job = None
        decision = decide(run, job, now, self._timeout)
        if decision is WAIT or (decision is FORGET and job is not None and job.alive):
            return
        self._launcher.remove(run_id)  # kill before you mark
        if run is not None and decision.action == "requeue" and self._store.requeue(run):
            logger.warning("The run goes back to the queue: its job %s", "is gone" if job is None else "ended early")
        if run is not None and decision.reason is not None and self._store.fail(run, decision.reason, decision.message):
            logger.error("The run failed: %s: %s", decision.reason, decision.message)

    def _dispatch(self) -> None:
        alive = {run_id for run_id, job in self._launcher.jobs().items() if job.alive}
        taken = alive | {run.run_id for run in self._store.active()}
        for run in self._store.queued(max(0, self._max_active - len(taken))):
            with run_context(run.run_id):
                if self._store.mark_launched(run.run_id):
                    self._launch(replace(run, launches=run.launches + 1))

    def _launch(self, run: Run) -> None:
        try:
            self._launcher.launch(parse_request(json.loads(run.request)), run.launches)
        except UserError as error:  # accepted by an older contract
            self._store.fail(run, Reason.BAD_INPUT, str(error))
        except LaunchFailed as error:
            logger.error("The job could not be started: %s", error)
            self._store.fail(run, Reason.LAUNCH_FAILED, "The worker could not be started.")

    def stop(self) -> None:
        """Ends every job; their runs go back to the queue as if they had not been launched."""
        mine = self._launcher.jobs()
        for run_id in mine:
            self._launcher.remove(run_id)
        for run in self._store.active():
            if run.run_id in mine:
                self._store.requeue(run, spent=0)


def main(config: Config) -> None:
    """Steps until SIGTERM or SIGINT, as the one active controller of its database."""
    engine = open_database(config)
    controller = Controller(
        RunStore(engine, config.lease_seconds), LocalProcess(), config.max_active_runs, config.run_timeout_seconds
    )
    installed_rules(True)  # a plug-in that is not fit is named in this log too
    leases, holder = LeaseStore(engine), f"{platform.node()}:{os.getpid()}"
    stop = threading.Event()
    _on_signals(stop)
    logger.info("Controller started: at most %d runs at once", config.max_active_runs)
    while not stop.wait(config.controller_poll_seconds):
        try:
            if leases.take(CONTROLLER, holder, max(LEASE_SECONDS, ceil(3 * config.controller_poll_seconds))):
                controller.step()
        except DBAPIError:
            logger.exception("The database is away")
            stop.wait(1)
    controller.stop()
    leases.drop(CONTROLLER, holder)


def _on_signals(stop: threading.Event) -> None:
    def ask(number: int, frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, ask)
    signal.signal(signal.SIGINT, ask)


if __name__ == "__main__":
    settings = load_config()
    set_up_logging(settings.log_level, settings.log_format)
    main(settings)
