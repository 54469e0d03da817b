"""What tests of the controller ask for and wait for."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any

from sqlalchemy import Engine

from scripts.config import Config, load_config
from service.controller.reconciler import Controller
from service.store.rows import Run
from service.usecases.runs import Runs
from tests.conftest import REQUEST, database_environment


def after(rounds: int) -> threading.Event:
    """Set once the loop has turned so often."""

    class Stop(threading.Event):
        turned = 0

        def wait(self, timeout: float | None = None) -> bool:
            self.turned += timeout != 1  # the pause after an error is no turn
            return self.turned > rounds

    return Stop()


def config_of(engine: Engine, **settings: Any) -> Config:
    """The settings of a process on the same database."""
    environment = dict(pair.split("=", 1) for pair in database_environment(engine))
    return replace(load_config(environment), **settings)


def submit(runs: Runs, count: int = 1, client: str = "") -> list[str]:
    return [runs.submit(dict(REQUEST), client, force=True)[0].run_id for _ in range(count)]


def until_final(
    controller: Controller, runs: Runs, ids: list[str], seconds: float = 60
) -> list[Run]:
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
