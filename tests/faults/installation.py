"""The platform as processes on one database: web replicas, controllers and their workers."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path

import requests

from scripts.config import ROOT
from tests.faults.processes import MARK, Program, Worker, end_all, wait_until, workers

AHEAD = {
    "PYTHONPATH": str(Path(__file__).with_name("ahead")),
    "LD_PRELOAD": "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "FAKETIME": "+10m",
    "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    "NO_FAKE_STAT": "1",  # files keep the times of the disk, as on a machine whose clock is wrong
}
PYTHON = sys.executable
ACTIVE = "stock_backtest_controller_active"
READY_SECONDS = 60


GUNICORN = [
    str(Path(PYTHON).with_name("gunicorn")),
    "--config",
    "python:service.web.server.gunicorn_conf",
    "app:app",
]
CONTROLLER = [PYTHON, "-m", "service.controller"]
CONTROLLER_OF_AHEAD_WORKERS = [
    PYTHON,
    "-c",
    "import os, runpy\n"
    f"os.environ.update({AHEAD})\n"  # for its children only: it has been loaded already
    "runpy.run_module('service.controller', run_name='__main__', alter_sys=True)",
]


class Installation:
    """Everything it starts ends with it, whatever happened in between."""

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self.mark = uuid.uuid4().hex
        self._directory = directory
        settings = {
            "MAX_ACTIVE_RUNS": "2",
            "RATE_LIMIT_PER_MINUTE": "0",
            "LOG_LEVEL": "INFO",
            MARK: self.mark,
        }
        self._environment = {**settings, **environment}
        self.webs: list[Program] = []
        self.urls: list[str] = []
        self.controllers: list[Program] = []
        self._vitals: list[str] = []

    def __enter__(self) -> Installation:
        return self

    def __exit__(self, *_: object) -> None:
        end_all(self.mark)
        for program in (*self.webs, *self.controllers):
            program.kill()  # its zombie

    def start_webs(self, count: int = 1, **environment: str) -> None:
        """Starts so many more replicas and waits until they are ready."""
        for _ in range(count):
            port = _free_port()
            self.webs.append(
                self._program(
                    f"web-{len(self.webs)}",
                    GUNICORN,
                    {"WEB_BIND": f"127.0.0.1:{port}", **environment},
                )
            )
            self.urls.append(f"http://127.0.0.1:{port}")
            self.webs[-1].start()
        for url in self.urls[-count:]:
            wait_until(lambda url=url: is_ready(url), READY_SECONDS, f"{url} is ready")

    def start_controllers(
        self, count: int = 1, workers_ahead: bool = False, **environment: str
    ) -> None:
        """Starts so many more controllers; at most one of all is active."""
        command = CONTROLLER_OF_AHEAD_WORKERS if workers_ahead else CONTROLLER
        for _ in range(count):
            port = _free_port()
            settings = {**environment, "CONTROLLER_PORT": str(port)}
            self.controllers.append(
                self._program(f"controller-{len(self.controllers)}", command, settings)
            )
            self._vitals.append(f"http://127.0.0.1:{port}")
            self.controllers[-1].start()

    def is_active(self, controller: Program) -> bool:
        """Whether the controller is active, by its own metrics."""
        return self.metrics(controller).get(ACTIVE) == 1

    def metrics(self, controller: Program) -> dict[str, float]:
        """The program's metrics; empty while it does not answer."""
        try:
            text = requests.get(
                f"{self._vitals[self.controllers.index(controller)]}/metrics", timeout=2
            ).text
        except requests.RequestException:
            return {}
        lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, value in lines}

    def active_controller(self) -> Program:
        """The one that is; waits for it."""
        wait_until(lambda: any(map(self.is_active, self.controllers)), 30, "a controller is active")
        return next(filter(self.is_active, self.controllers))

    def workers(self) -> list[Worker]:
        """All living workers, those of dead controllers, too."""
        return workers(self.mark)

    def logs(self) -> str:
        """The logs of all processes; workers write to the log of their controller."""
        return "\n".join(program.text() for program in (*self.webs, *self.controllers))

    def _program(self, name: str, command: list[str], environment: Mapping[str, str]) -> Program:
        return Program(
            command, {**self._environment, **environment}, self._directory / f"{name}.log"
        )


def is_ready(url: str) -> bool:
    """Whether the replica could record a run now."""
    try:
        return requests.get(f"{url}/ready", timeout=5).status_code == 200
    except requests.RequestException:
        return False


def prepare(environment: Mapping[str, str], tickers: tuple[str, ...] = ("GOOG",)) -> None:
    """Migrates the database and imports prices, as an operator does."""
    for command in (
        ["-m", "service.store.migrate"],
        ["scripts/data_loader.py", "import", *(f"data/{ticker}.csv" for ticker in tickers)],
    ):
        subprocess.run(
            [PYTHON, *command],
            cwd=ROOT,
            env={**os.environ, **environment},
            check=True,
            capture_output=True,
            timeout=120,
        )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
