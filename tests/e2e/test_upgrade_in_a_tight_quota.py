"""An upgrade from the release before, where a quota has no room for one pod more than there are."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from tests.e2e import earlier_release
from tests.e2e.cluster import CHART, Namespace, Release
from tests.e2e.conftest import TINY
from tests.e2e.pods import IMAGE
from tests.e2e.waiters import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

PODS = 5  # of a release: two of the web, two controllers, MySQL
WITHOUT_SURGE = {"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}}


def test_the_old_pod_goes_before_the_new_one_comes(namespace: Namespace) -> None:
    earlier_release.require()
    earlier_release.put_into(os.environ.get("CLUSTER", "stock-backtest"))
    before = Release("bt", namespace, TINY, chart=str(earlier_release.PACKAGE))
    before.install()
    with before.web() as web:
        first = web.completed()["run_id"]
    spec = {"hard": {"pods": str(PODS)}}
    metadata = {"name": "tight"}
    namespace.apply(
        {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": spec}
    )
    wait_until(
        lambda: namespace.object("resourcequota", "tight").get("status", {}).get("used"),
        {"pods": str(PODS)}.__eq__,
        90,
        "the quota is full",
    )
    after = replace(before, chart=str(CHART))
    after = after.upgrade(web=WITHOUT_SURGE, controller=WITHOUT_SURGE)
    for part in ("web", "controller"):
        pods = namespace.objects("pods", **after.labels(part))
        assert {container["image"] for pod in pods for container in pod["spec"]["containers"]} == {
            IMAGE
        }
    with after.web() as web:
        waiting = web.submit(rule_id="MA_CROSS_11_40")
        status = wait_until(
            lambda: web.status(waiting), lambda status: status["reason"], 120, "it says why"
        )
        assert status["reason"] == "QuotaExceeded"
        namespace.kubectl("delete", "resourcequota", "tight")
        assert web.wait(waiting, seconds=120)["status"] == "completed"
        assert web.result(first)["status"] == "completed"
