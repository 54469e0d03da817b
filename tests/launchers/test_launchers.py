"""What every launcher does, over local processes and over a real cluster (marker `cluster`): the same tests for both."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date

import pytest
import yaml

from service.contract.request import BacktestRequest
from service.launchers.launcher import JobState, Launcher
from service.launchers.local_process import LocalProcess

REQUEST = BacktestRequest("", "GOOG", "RSI_14_30_70", date(2020, 1, 1), date(2021, 1, 1))
PROGRAM = """
import os, signal, sys, time
print("ticker", os.environ["TICKER"], flush=True)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
capital = float(os.environ["INITIAL_CAPITAL"])
time.sleep(60 if capital == 999 else 0)
sys.exit(int(capital))
"""
PATIENCE_SECONDS = 60
RUNS_ITSELF, ENDS_ITSELF = (
    999,
    64,
)  # the capital says what the program does: it runs on, or ends with that code


def local() -> Iterator[Launcher]:
    launcher = LocalProcess([sys.executable, "-c", PROGRAM])
    yield launcher
    for run_id in list(launcher.jobs()):
        launcher.remove(run_id)


def kubernetes() -> Iterator[Launcher]:
    from service.launchers.kubernetes.api import Namespace
    from service.launchers.kubernetes.launcher import KubernetesJobs

    name = f"launcher-{uuid.uuid4().hex[:8]}"
    kubectl("create", "namespace", name)
    kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    kubectl("apply", "-f", "-", namespace=name, given=yaml.safe_dump(config_map()))
    namespace = Namespace()
    namespace.name = name
    try:
        yield KubernetesJobs("job", namespace)
    finally:
        kubectl("delete", "namespace", name, "--wait=false")


def kubectl(*words: str, namespace: str = "default", given: str | None = None) -> str:
    command = ["kubectl", "--namespace", namespace, *words]
    return subprocess.run(command, input=given, capture_output=True, text=True, check=True).stdout


def config_map() -> dict[str, object]:
    labels = {
        "app.kubernetes.io/managed-by": "stock-backtest", "app.kubernetes.io/instance": "test",
        "app.kubernetes.io/component": "worker",
    }  # fmt: skip
    container = {
        "name": "worker", "image": "stock-backtest-worker:0.2.0", "command": ["python", "-c", PROGRAM],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }  # fmt: skip
    pod = {
        "restartPolicy": "Never", "terminationGracePeriodSeconds": 5, "containers": [container],
        "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
    }  # fmt: skip
    spec = {"backoffLimit": 0, "template": {"metadata": {"labels": labels}, "spec": pod}}
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "bt-", "labels": labels},
        "spec": spec,
    }
    return {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "job"}, "data": {"job.yaml": yaml.safe_dump(job)},
    }  # fmt: skip


@pytest.fixture(
    params=[local, pytest.param(kubernetes, marks=pytest.mark.cluster)],
    ids=lambda make: make.__name__,
)
def launcher(request: pytest.FixtureRequest) -> Iterator[Launcher]:
    if request.param is kubernetes and request.config.getoption("--kubeconfig"):
        os.environ["KUBECONFIG"] = str(request.config.getoption("--kubeconfig"))
    yield from request.param()


def asked(capital: float) -> BacktestRequest:
    return replace(REQUEST, run_id=str(uuid.uuid4()), initial_capital=float(capital))


def eventually(
    launcher: Launcher, run_id: str, holds: Callable[[JobState | None], bool]
) -> JobState | None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        state = launcher.jobs([run_id]).get(run_id)
        if holds(state):
            return state
        time.sleep(0.2)
    raise AssertionError(state)


def test_it_can_launch(launcher: Launcher) -> None:
    assert launcher.check() == ""
    assert launcher.jobs() == {}


def test_a_job_runs_and_is_removed(launcher: Launcher) -> None:
    request = asked(RUNS_ITSELF)
    launcher.launch(request, 1)
    launcher.launch(request, 1)
    jobs = launcher.jobs()
    assert list(jobs) == [request.run_id], "launched twice, it is one job"
    assert jobs[request.run_id].alive
    launcher.remove(request.run_id)
    eventually(launcher, request.run_id, lambda state: state is None)
    launcher.remove(request.run_id)


def test_how_a_job_ends_is_seen_with_the_launch_it_belongs_to(launcher: Launcher) -> None:
    bad, good = asked(ENDS_ITSELF), asked(0)
    launcher.launch(bad, 3)
    launcher.launch(good, 1)
    state = eventually(launcher, bad.run_id, lambda state: state is not None and not state.alive)
    assert state is not None
    assert (state.exit_code, state.launch, state.problem) == (64, 3, None)
    state = eventually(launcher, good.run_id, lambda state: state is not None and not state.alive)
    assert state is not None
    assert (state.exit_code, state.launch) == (0, 1)


def test_a_removed_job_may_be_launched_again(launcher: Launcher) -> None:
    request = asked(ENDS_ITSELF)
    launcher.launch(request, 1)
    eventually(launcher, request.run_id, lambda state: state is not None and not state.alive)
    launcher.remove(request.run_id)
    eventually(launcher, request.run_id, lambda state: state is None)
    launcher.launch(request, 2)
    assert launcher.jobs()[request.run_id].launch == 2
