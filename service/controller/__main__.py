"""`python -m service.controller`: puts the controller together and lets it turn until it is told to stop."""

from __future__ import annotations

import logging
import os
import platform
import signal
import threading
import time
from types import FrameType

from rules.plugins import installed_rules
from scripts.config import Config, load_config
from scripts.logger_config import set_up_logging
from service.controller.decisions import Patience
from service.controller.leadership import Leadership
from service.controller.reconciler import Controller
from service.controller.upkeep import Upkeep
from service.controller.vitals import ACTIVE, LAST_PASS, PASS_SECONDS, Vitals
from service.launchers.launcher import Launcher, LauncherAway
from service.launchers.local_process import LocalProcess
from service.store.database import DatabaseError
from service.store.leases import LeaseStore
from service.store.migrate import open_database
from service.store.run_store import RunStore

logger = logging.getLogger(__name__)

CHECK_SECONDS = 10.0
LOOK_SECONDS = (
    5.0  # between two looks at a cluster where nothing waits: its Jobs look after themselves
)


def main(config: Config, stop: threading.Event | None = None) -> None:
    """Steps until SIGTERM or SIGINT, or until `stop` is set, as the one active controller of its database."""
    engine = open_database(config)
    launcher, vitals, stop = launcher_of(config), Vitals(), stop or _on_signals()
    store = RunStore(engine, config.lease_seconds)
    leadership = Leadership(
        LeaseStore(engine), f"{platform.node()}:{os.getpid()}", lambda: not vitals.health()
    )
    limits = config.max_active_runs, config.run_timeout_seconds
    controller = Controller(
        store,
        launcher,
        *limits,
        lambda: leadership.held,
        patience_of(config),
        look_seconds=LOOK_SECONDS,
    )
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
    except DatabaseError as error:  # leaving together; the lease runs out by itself
        logger.warning("The database went first: %s", error.orig)


def patience_of(config: Config) -> Patience:
    """As configured."""
    return Patience(config.image_pull_seconds, config.unschedulable_seconds, config.quota_seconds)


def launcher_of(config: Config) -> Launcher:
    """The configured one; the Kubernetes client is not even imported on a laptop."""
    if config.launcher == "local":
        return LocalProcess()
    from service.launchers.kubernetes.api import Namespace
    from service.launchers.kubernetes.launcher import KubernetesJobs

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
    away = isinstance(error, DatabaseError)
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
