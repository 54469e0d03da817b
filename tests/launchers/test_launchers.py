"""The same tests for every launcher: local processes and, marked `cluster`, a real cluster."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from functools import partial

import pytest
import yaml

from service.launchers.launcher import JobState, Launcher, Work
from service.launchers.local_process import LocalProcess
from tests.support.controllers import execute

PROGRAM = """
import os, signal, sys, time
print("run", os.environ["RUN_ID"], flush=True)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
time.sleep(float(os.environ["SLEEP_SECONDS"]))
sys.exit(int(os.environ["EXIT_CODE"]))
"""
PATIENCE_SECONDS = 60


def local() -> Iterator[Launcher]:
    launcher = LocalProcess(partial(execute, sys.executable, "-c", PROGRAM))
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
        "app.kubernetes.io/managed-by": "stock-backtest",
        "app.kubernetes.io/instance": "test",
        "app.kubernetes.io/component": "worker",
    }
    container = {
        "name": "worker",
        "image": "stock-backtest-worker:0.3.0",
        "command": ["python", "-c", PROGRAM],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    pod = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 5,
        "containers": [container],
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "bt-", "labels": labels},
        "spec": {
            "backoffLimit": 0,
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "job"},
        "data": {"job.yaml": yaml.safe_dump(job)},
    }


@pytest.fixture(
    params=[local, pytest.param(kubernetes, marks=pytest.mark.cluster)],
    ids=lambda make: make.__name__,
)
def launcher(request: pytest.FixtureRequest) -> Iterator[Launcher]:
    if request.param is kubernetes and request.config.getoption("--kubeconfig"):
        os.environ["KUBECONFIG"] = str(request.config.getoption("--kubeconfig"))
    yield from request.param()


def work(sleep_seconds: int = 0, exit_code: int = 0) -> Work:
    run_id = str(uuid.uuid4())
    environment = {
        "RUN_ID": run_id,
        "SLEEP_SECONDS": str(sleep_seconds),
        "EXIT_CODE": str(exit_code),
    }
    return Work(run_id, environment)


def wait_until(
    launcher: Launcher, run_id: str, is_reached: Callable[[JobState | None], bool]
) -> JobState | None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    state = None
    while time.monotonic() < deadline:
        state = launcher.jobs([run_id]).get(run_id)
        if is_reached(state):
            return state
        time.sleep(0.2)
    raise AssertionError(state)


def ended(launcher: Launcher, run_id: str) -> JobState:
    state = wait_until(launcher, run_id, lambda state: state is not None and not state.alive)
    assert state is not None
    return state


def test_it_can_launch(launcher: Launcher) -> None:
    assert launcher.check() == ""
    assert launcher.jobs() == {}


def test_a_job_runs_and_is_removed(launcher: Launcher) -> None:
    endless = work(sleep_seconds=60)
    launcher.launch(endless, 1)
    launcher.launch(endless, 1)
    jobs = launcher.jobs()
    assert list(jobs) == [endless.run_id], "launched twice, it is one job"
    assert jobs[endless.run_id].alive
    launcher.remove(endless.run_id)
    wait_until(launcher, endless.run_id, lambda state: state is None)
    launcher.remove(endless.run_id)


def test_how_a_job_ends_is_seen_with_the_launch_it_belongs_to(launcher: Launcher) -> None:
    bad = work(exit_code=64)
    good = work(exit_code=0)
    launcher.launch(bad, 3)
    launcher.launch(good, 1)
    state = ended(launcher, bad.run_id)
    assert (state.exit_code, state.launch, state.problem) == (64, 3, None)
    state = ended(launcher, good.run_id)
    assert (state.exit_code, state.launch) == (0, 1)


def test_a_removed_job_may_be_launched_again(launcher: Launcher) -> None:
    failing = work(exit_code=64)
    launcher.launch(failing, 1)
    ended(launcher, failing.run_id)
    launcher.remove(failing.run_id)
    wait_until(launcher, failing.run_id, lambda state: state is None)
    launcher.launch(failing, 2)
    assert launcher.jobs()[failing.run_id].launch == 2
