"""Disturbances of runs that compute: a cancellation, a deleted Job, a killed controller."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from tests.e2e.cluster import Release
from tests.e2e.waiters import pod_ready, wait_until

pytestmark = pytest.mark.cluster

SLOW = "SPY"
# The worker as it is, but its computation takes a minute more for one ticker.
SLEEPER = f"""
import os, sys, time
import service.worker.run, worker
perform = service.worker.run.perform
def slowly(*asked, **options):
    time.sleep(60 if os.environ["TICKER"] == "{SLOW}" else 0)
    return perform(*asked, **options)
service.worker.run.perform = slowly
sys.exit(worker.main())
"""


@pytest.fixture(scope="module")
def release(helm_release: Callable[..., Release]) -> Release:
    """A release whose worker computes for a while on one ticker."""
    plain = helm_release(worker={"maxActive": 4})
    template = plain.namespace.object("configmap", plain.name_of("configmap", "worker"))["data"][
        "job.yaml"
    ]
    (container,) = yaml.safe_load(template)["spec"]["template"]["spec"]["containers"]
    slow = {**container, "command": ["python", "-c", SLEEPER]}
    return plain.upgrade(
        worker={"jobOverrides": {"spec": {"template": {"spec": {"containers": [slow]}}}}}
    )


def pods_of(release: Release, run_id: str) -> list[Any]:
    """The pods of one run's Job, those that are being deleted, too."""
    return [
        pod
        for pod in release.namespace.objects("pods")
        if pod["metadata"]["name"].startswith(f"bt-{run_id}-")
    ]


def test_a_cancelled_run_takes_its_job_along(release: Release) -> None:
    with release.web() as web:
        run_id = web.submit(ticker=SLOW)
        web.wait(run_id, "running")
        assert f"bt-{run_id}" in release.namespace.names("jobs")
        assert len(pods_of(release, run_id)) == 1
        assert web.ask(f"/runs/{run_id}/cancel", {})["status"] == "cancelling"
        status = web.wait(run_id, seconds=60)
        assert (status["status"], status["reason"]) == ("cancelled", "CancelledByUser")
        assert f"bt-{run_id}" not in release.namespace.names("jobs")
        assert pods_of(release, run_id) == []
        assert "has ended already" not in json.dumps(web.ask(f"/runs/{run_id}/cancel", {})), (
            "twice changes nothing"
        )


def test_a_run_that_was_not_claimed_yet_is_cancelled_too(release: Release) -> None:
    with release.web() as web:
        run_ids = [
            web.submit(ticker=SLOW, rule_id=f"MA_CROSS_{fast}_30") for fast in (4, 5, 6, 7, 8)
        ]
        assert web.ask(f"/runs/{run_ids[-1]}/cancel", {})["status"] in ("cancelled", "cancelling")
        for run_id in run_ids[:-1]:
            web.ask(f"/runs/{run_id}/cancel", {})
        assert [web.wait(run_id)["status"] for run_id in run_ids] == ["cancelled"] * 5
        named = {f"bt-{run_id}" for run_id in run_ids}
        wait_until(
            lambda: release.namespace.names("jobs") & named,
            lambda left: not left,
            30,
            "their Jobs are gone",
        )


def test_a_run_whose_job_is_deleted_says_so(release: Release) -> None:
    with release.web() as web:
        run_id = web.submit(ticker=SLOW)
        web.wait(run_id, "running")
        release.namespace.kubectl("delete", "job", f"bt-{run_id}")
        status = web.wait(run_id, seconds=60)
        assert (status["status"], status["reason"]) == ("failed", "JobLost")
        assert (
            web.result(run_id)["error_message"] == "The run's Job was deleted before it had ended."
        )
        assert status["hint"]


def active_controller(release: Release) -> str:
    """The pod of the active controller, by its metrics; "" while the lease changes hands."""
    metrics = "u.urlopen('http://127.0.0.1:8000/metrics')"
    program = f"import urllib.request as u; print({metrics}.read().decode())"
    pods = release.namespace.objects("pods", **release.labels("controller"))
    ready = [str(pod["metadata"]["name"]) for pod in pods if pod_ready(pod)]
    says_so = re.compile("^stock_backtest_controller_active 1", re.MULTILINE)
    active = [pod for pod in ready if says_so.search(release.namespace.python(pod, program))]
    assert len(active) < 2, "two controllers start Jobs"
    return active[0] if active else ""


def test_the_standby_takes_over_from_a_killed_controller(release: Release) -> None:
    with release.web() as web:
        run_ids = [web.submit(rule_id=f"MA_CROSS_{fast}_30") for fast in range(4, 16)]
        killed = active_controller(release)
        assert killed
        release.namespace.kubectl("delete", "pod", killed, "--force", "--grace-period=0")
        assert {web.wait(run_id, seconds=120)["status"] for run_id in run_ids} == {"completed"}
        assert {web.status(run_id)["attempt"] for run_id in run_ids} == {1}
    taken = wait_until(lambda: active_controller(release), bool, 30, "one controller is active")
    assert taken != killed
