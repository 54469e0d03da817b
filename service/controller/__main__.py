"""`python -m service.controller`: puts the controller together and runs it until told to stop."""

from __future__ import annotations

import logging
import os
import platform
import signal
import threading
import time
from collections.abc import Sequence
from types import FrameType
from typing import Protocol

from rules.plugins import installed_rules
from scripts.config import Config, load_config
from scripts.logger_config import set_up_logging
from service.controller.decisions import Patience
from service.controller.earlier_trials import EarlierTrials
from service.controller.forward import ForwardRecords
from service.controller.leadership import Leadership
from service.controller.reconciler import Controller
from service.controller.upkeep import Retention, Upkeep
from service.controller.vitals import ACTIVE, LAST_PASS, PASS_SECONDS, Vitals
from service.launchers.launcher import Launcher, LauncherAway
from service.launchers.local_process import LocalProcess
from service.store.database import DatabaseError, refuses_login
from service.store.leases import LeaseStore
from service.store.migrate import open_database
from service.store.queue import QueueStore
from service.store.upkeep import UpkeepStore

logger = logging.getLogger(__name__)

CHECK_SECONDS = 10.0
LOGIN_REFUSED = "The database refuses this program's login: its user or password is another one."
LOOK_SECONDS = 5.0  # between two looks at a cluster where nothing waits


def main(config: Config, stop: threading.Event | None = None) -> None:
    """Steps until SIGTERM or SIGINT, or until `stop` is set.

    Only one of several controllers of a database is active at a time.
    """
    stop = stop or _set_by_signals()
    engine = open_database(config)
    store = QueueStore(engine)
    launcher = launcher_of(config)
    vitals = Vitals()
    leadership = Leadership(
        leases=LeaseStore(engine),
        holder=f"{platform.node()}:{os.getpid()}",
        is_alive=lambda: not vitals.health(),
    )
    controller = Controller(
        store=store,
        launcher=launcher,
        max_active=config.max_active_runs,
        timeout_seconds=config.run_timeout_seconds,
        may_act=lambda: leadership.held,
        patience=patience_of(config),
        look_seconds=LOOK_SECONDS,
        lease_seconds=config.lease_seconds,
    )
    retention = Retention(config.result_retention_days, config.result_retention_gib)
    upkeep_store = UpkeepStore(engine)
    upkeeping: list[Stepping] = [
        Upkeep(upkeep_store, retention),
        EarlierTrials(upkeep_store),
        ForwardRecords(upkeep_store),
    ]
    launcher_check = LauncherCheck(launcher)
    installed_rules(validate=True)  # a plug-in that is left out is named in this log too
    if config.controller_port:
        vitals.serve(config.controller_port)
    logger.info("Controller started: at most %d runs at once", config.max_active_runs)
    leadership.start()
    while not stop.wait(config.controller_poll_seconds):
        vitals.beat = time.monotonic()
        try:
            ACTIVE.set(leadership.held)
            if leadership.held:
                _pass(controller, upkeeping)
            vitals.problem = launcher_check.problem() or leadership.problem
        except Exception as error:  # noqa: BLE001  whatever it was, the next pass may do better
            vitals.problem = _logged_problem(error)
            stop.wait(1)
    _leave(controller, leadership, launcher)


class Stepping(Protocol):
    """What the controller does beside its runs, a little in each pass."""

    def step(self) -> None: ...


def _pass(controller: Controller, upkeeping: Sequence[Stepping]) -> None:
    with PASS_SECONDS.time():
        controller.step()
    LAST_PASS.set_to_current_time()
    for each in upkeeping:
        each.step()


def _leave(controller: Controller, leadership: Leadership, launcher: Launcher) -> None:
    try:
        controller.stop()
        leadership.stop()
    except DatabaseError as error:
        # Database and controller are stopped together; the lease runs out by itself.
        logger.warning("The database went first: %s", error.orig)
    finally:
        launcher.close()


def patience_of(config: Config) -> Patience:
    """As configured."""
    return Patience(
        image_pull=config.image_pull_seconds,
        unschedulable=config.unschedulable_seconds,
        quota=config.quota_seconds,
    )


def launcher_of(config: Config) -> Launcher:
    """The configured one; the Kubernetes client is not even imported on a laptop."""
    if config.launcher == "local":
        return LocalProcess()
    from service.launchers.kubernetes.api import Namespace
    from service.launchers.kubernetes.launcher import KubernetesJobs

    return KubernetesJobs(config.job_template, Namespace())


class LauncherCheck:
    """The launcher's own check: made at the start, and again from time to time until it passes."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher
        self._problem = "not checked yet"
        self._checked = -CHECK_SECONDS

    def problem(self) -> str:
        """The last answer, empty where nothing is wrong; a new problem is logged."""
        if self._problem and time.monotonic() - self._checked >= CHECK_SECONDS:
            self._problem = self._launcher.check()
            self._checked = time.monotonic()
            if self._problem:
                logger.error("No job can be started: %s", self._problem)
        return self._problem


def _logged_problem(error: Exception) -> str:
    """One sentence for /ready; the trace goes to the log."""
    if isinstance(error, LauncherAway):
        logger.warning("Nothing is known about the jobs: %s", error)
        return str(error)
    if isinstance(error, DatabaseError):
        problem = LOGIN_REFUSED if refuses_login(error) else "The database is away."
        logger.error(problem, exc_info=error)
        return problem
    logger.error("The pass failed", exc_info=error)
    return "The last pass failed; its trace is in the log."


def _set_by_signals() -> threading.Event:
    stop = threading.Event()

    def set_stop(number: int, frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, set_stop)
    signal.signal(signal.SIGINT, set_stop)
    return stop


if __name__ == "__main__":
    settings = load_config()
    set_up_logging(settings.log_level, settings.log_format)
    main(settings)
