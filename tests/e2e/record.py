"""Records what a real API server lists of four runs: `python -m tests.e2e.record <kubeconfig>`.

One completed, one was killed twice for want of memory, one fits on no node, one is at work.
tests/support/fake_cluster.py makes thousands of copies of them, with the same bytes; record them
anew when the Job's template changes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from scripts.config import ROOT
from tests.e2e.cluster import Namespace, Release
from tests.e2e.conftest import ONE_EACH, TINY
from tests.e2e.waiters import Object, job_ended, wait_until

RECORDED = ROOT / "tests" / "support" / "recorded"
WORKERS = "labelSelector=app.kubernetes.io/component%3Dworker"
ENOUGH = {"requests": {"memory": "64Mi"}, "limits": {"memory": "768Mi"}}
TIGHT = {"requests": {"memory": "32Mi"}, "limits": {"memory": "40Mi"}}
HUGE = {"requests": {"cpu": "1k"}, "limits": {"cpu": "1k"}}
SLOW = {"requests": {"cpu": "10m"}, "limits": {"cpu": "50m"}}


def at_work(job: Object) -> bool:
    return bool(job["status"].get("ready"))


def unschedulable(pod: Object) -> bool:
    return any(
        condition.get("reason") == "Unschedulable"
        for condition in pod["status"].get("conditions") or []
    )


def run(release: Release, resources: Object, number: int) -> str:
    """The name of the Job of a new run with such resources."""
    with release.upgrade(worker={"resources": resources}).web() as web:
        name = f"bt-{web.submit(rule_id=f'MA_CROSS_{10 + number}_30')}"
    wait_until(
        lambda: release.namespace.names("jobs"), lambda names: name in names, 60, f"{name} is there"
    )
    return name


def wait_for(release: Release, kind: str, good: Callable[[Object], object], job: str) -> None:
    """Waits until a Job, or a pod of it, is as wanted."""

    def has_good_one(objects: list[Object]) -> bool:
        own = [item for item in objects if item["metadata"]["name"].startswith(job)]
        return any(good(item) for item in own)

    what = f"{kind} of {job}: {good.__name__}"
    wait_until(lambda: release.namespace.objects(kind), has_good_one, 240, what)


def main(kubeconfig: str) -> None:
    """Makes a namespace of its own and deletes it."""
    namespace = Namespace("e2e-scale", kubeconfig)
    namespace.create()
    try:
        release = Release("bt", namespace, {**TINY, **ONE_EACH})
        release.install()
        wait_for(release, "jobs", job_ended, run(release, ENOUGH, 0))
        wait_for(release, "jobs", job_ended, run(release, TIGHT, 1))
        wait_for(release, "pods", unschedulable, run(release, HUGE, 2))
        wait_for(release, "jobs", at_work, run(release, SLOW, 3))
        for kind, path in (("jobs", "apis/batch/v1"), ("pods", "api/v1")):
            address = f"/{path}/namespaces/{namespace.name}/{kind}?{WORKERS}"
            (RECORDED / f"{kind}.json").write_text(namespace.kubectl("get", "--raw", address))
    finally:
        namespace.delete()


if __name__ == "__main__":
    main(sys.argv[1])
