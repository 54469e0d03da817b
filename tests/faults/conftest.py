"""One MySQL for the session, a database and an installation for each test, a table at the end."""

from __future__ import annotations

import os
import random
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.audit import Audit, Fault, Figures
from tests.faults.client import Client, variant
from tests.faults.installation import Installation, prepare
from tests.faults.mysql_server import MySQLServer
from tests.faults.processes import Program, wait_until

CONTAINER = os.environ.get("FAULTS_CONTAINER", "stock-backtest-faults-mysql")
SEED = int(os.environ.get("CHAOS_SEED", "20240229"))
QUIET_RUNS = 12
TABLE: pytest.StashKey[list[Figures]] = pytest.StashKey()
NOTES: pytest.StashKey[list[str]] = pytest.StashKey()


@dataclass(frozen=True)
class Scene:
    """An installation, its client and its audit."""

    server: MySQLServer
    database: str
    installation: Installation
    client: Client
    audit: Audit
    random: random.Random
    table: list[Figures]

    def start(self, webs: int = 1, controllers: int = 1, **environment: str) -> None:
        """Ready replicas and an active controller."""
        self.installation.start_webs(webs, **environment)
        self.installation.start_controllers(controllers, **environment)
        self.active()

    def active(self) -> Program:
        """The controller that dispatches."""
        return self.installation.active_controller()

    def submit(self, count: int) -> None:
        """Different runs, to the replicas in turn."""
        for _ in range(count):
            number = len(self.client.accepted)
            url = self.installation.urls[number % len(self.installation.urls)]
            assert self.client.submit(url, variant(number)) == 202

    def wait_for_work(self) -> None:
        """Waits until a worker computes."""
        wait_until(self.running, 60, "a run is being performed", pause=0.02)

    def running(self) -> list[str]:
        """The runs that workers hold."""
        return [row.run_id for row in self.audit.in_flight() if row.status == "running"]

    def close(self, fault: Fault, *may_fail: str) -> Figures:
        """The audit, and its line in the table."""
        figures = self.audit.close(fault, self.installation.urls[0], may_fail)
        self.table.append(figures)
        return figures


@pytest.fixture(scope="session")
def server() -> Iterator[MySQLServer]:
    with MySQLServer.run(CONTAINER) as server:
        yield server


@pytest.fixture(scope="session")
def quiet_rate(
    server: MySQLServer, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> float:
    """Runs a second without a fault, two at once."""
    with _scene(server, tmp_path_factory.mktemp("quiet"), 1.0, request.config) as scene:
        scene.start()
        with scene.audit.fault("quiet") as fault:
            scene.submit(QUIET_RUNS)
        figures = scene.audit.close(fault, scene.installation.urls[0])
        rate = QUIET_RUNS / (figures.seconds + figures.drained)
        request.config.stash[NOTES].append(f"the quiet rate: {rate:.2f} runs a second, two at once")
        return rate


@pytest.fixture
def scene(
    server: MySQLServer, quiet_rate: float, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Scene]:
    """An installation with nothing started yet."""
    with _scene(server, tmp_path, quiet_rate, request.config) as scene:
        yield scene


@contextmanager
def _scene(
    server: MySQLServer, directory: Path, quiet_rate: float, config: pytest.Config
) -> Iterator[Scene]:
    database = f"faults_{uuid.uuid4().hex[:12]}"
    client = Client()
    server.ask(f"CREATE DATABASE {database}")
    try:
        prepare(server.environment(database))
        with Installation(directory, server.environment(database)) as installation:
            audit = Audit(server, database, client, quiet_rate)
            yield Scene(
                server,
                database,
                installation,
                client,
                audit,
                random.Random(SEED),
                config.stash[TABLE],
            )
    finally:
        server.ask(f"DROP DATABASE {database}")


@pytest.fixture
def note(request: pytest.FixtureRequest) -> list[str]:
    """Lines to be printed below the table."""
    return request.config.stash[NOTES]


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TABLE] = []
    config.stash[NOTES] = []


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """The figures of every fault that was tried."""
    lines = config.stash[TABLE]
    if lines:
        terminalreporter.section("faults (seconds; rate: of the drain, to the quiet one)")
        terminalreporter.line(
            f"{'fault':58} {'lasted':>7} {'runs':>5} {'settled':>8} {'drained':>8} "
            f"{'rate':>5}  ends"
        )
    for line in lines:
        terminalreporter.line(
            f"{line.fault:58} {line.seconds:7.1f} {line.runs:5} {line.settled:8.1f} "
            f"{line.drained:8.1f} {line.rate:5.2f}  {line.ends}"
        )
    for text in config.stash[NOTES]:
        terminalreporter.line(text)
