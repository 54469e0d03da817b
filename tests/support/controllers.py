"""Settings, requests and waiting, for tests of the controller."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Engine

from scripts.config import Config, load_config
from service.controller.reconciler import Controller
from service.launchers.local_process import Perform
from service.store.rows import Run
from service.usecases.runs import Runs
from tests.support.databases import database_environment
from tests.support.requests import REQUEST


def after(rounds: int) -> threading.Event:
    """An event for Controller.run that is set after so many passes."""

    class Stop(threading.Event):
        passes = 0

        def wait(self, timeout: float | None = None) -> bool:
            # The pause after an error, of 1 s, follows no pass.
            if timeout != 1:
                self.passes += 1
            return self.passes > rounds

    return Stop()


def config_of(engine: Engine, **settings: Any) -> Config:
    """The settings of a process on the same database."""
    return replace(load_config(database_environment(engine)), **settings)


def execute(*command: str) -> None:
    """Becomes the command, in the environment of this process."""
    os.execvp(command[0], command)


def with_environment(environment: Mapping[str, str], perform: Perform) -> None:
    """Performs with these environment variables besides those of this process."""
    os.environ.update(environment)
    perform()


def submit(runs: Runs, count: int = 1, client: str = "") -> list[str]:
    """Records runs of the same request; returns their run_ids."""
    return [runs.submit(dict(REQUEST), client, force=True)[0].run_id for _ in range(count)]


def until_final(
    controller: Controller, runs: Runs, ids: list[str], seconds: float = 60
) -> list[Run]:
    """Lets the controller work until all these runs have ended; returns their rows.

    Raises AssertionError where they have not after so many seconds.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        controller.step()
        rows = [runs.run(run_id) for run_id in ids]
        if all(row.status.final for row in rows):
            return rows
        time.sleep(0.05)
    raise AssertionError(rows)


RELEASES = """
import os, signal, time
from scripts.config import load_config
from service.store.database import connect
from tests.support.stores import EveryStore
store, run_id = EveryStore(connect(load_config())), os.environ["RUN_ID"]
attempt = store.claim(run_id, "slow")
def stop(*_):
    store.release(run_id, attempt)
    os._exit(143)
signal.signal(signal.SIGTERM, stop)
time.sleep(60)
"""
