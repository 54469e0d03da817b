"""A controller with jobs that do what the test says."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
from sqlalchemy import Engine

from service.controller.reconciler import Controller
from service.launchers.local_process import LocalProcess, perform_work
from service.usecases.runs import Runs
from tests.support.controllers import with_environment
from tests.support.databases import database_environment
from tests.support.launchers import ByHand, OnACluster


@pytest.fixture
def launcher() -> ByHand:
    return ByHand()


@pytest.fixture
def controller(runs: Runs, launcher: ByHand) -> Controller:
    return Controller(runs.run_store, launcher, max_active=2, timeout_seconds=900)


@pytest.fixture
def cluster() -> OnACluster:
    return OnACluster()


@pytest.fixture
def remote(runs: Runs, cluster: OnACluster) -> Controller:
    return Controller(runs.run_store, cluster, max_active=2, timeout_seconds=900)


@pytest.fixture
def local(engine: Engine) -> Iterator[LocalProcess]:
    environment = {**database_environment(engine), "LOG_LEVEL": "WARNING"}
    launcher = LocalProcess(partial(with_environment, environment, perform_work))
    yield launcher
    for run_id in list(launcher.jobs()):
        launcher.remove(run_id)
