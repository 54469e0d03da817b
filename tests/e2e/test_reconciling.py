"""What a cluster does to Jobs, provoked for real, all at once: every run ends with a reason."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest

from tests.e2e.cluster import Namespace, Release
from tests.e2e.conftest import ONE_EACH
from tests.e2e.template import Change, Job, changed, ends, performs, pod_of, program, worker_of
from tests.e2e.waiters import wait_until
from tests.e2e.web import FINAL, Web

pytestmark = pytest.mark.cluster

WAITS = 20  # for a node or an image, instead of minutes
LOOKS = 30  # what may be added to a budget until it is seen
PATIENT = {
    "config": {"leaseSeconds": 30},
    "worker": {"maxActive": 30, "imagePullSeconds": WAITS, "unschedulableSeconds": WAITS},
}


def image(name: str) -> Change:
    return lambda job: worker_of(job).update(image=name)


def never_pulled(job: Job) -> None:
    worker_of(job).update(image="stock-backtest-worker:0.0.0-missing", imagePullPolicy="Never")


def in_pod(**fields: Any) -> Change:
    return lambda job: pod_of(job).update(fields)


def secret_in_environment(job: Job) -> None:
    worker_of(job)["envFrom"].append({"secretRef": {"name": "nowhere"}})


def secret_in_volume(job: Job) -> None:
    pod_of(job)["volumes"].append({"name": "x", "secret": {"secretName": "nowhere"}})
    worker_of(job)["volumeMounts"].append({"name": "x", "mountPath": "/x"})


def deadline(job: Job) -> None:
    pod_of(job)["activeDeadlineSeconds"] = 8
    program("import time; print('still at it', flush=True); time.sleep(600)")(job)


def little_memory(job: Job) -> None:
    worker_of(job)["resources"] = {"limits": {"memory": "40Mi"}, "requests": {"memory": "32Mi"}}


def gone_in_a_moment(job: Job) -> None:
    """Past the chart's schema: the cluster removes the Job as soon as it has ended."""
    job["spec"]["ttlSecondsAfterFinished"] = 0


# A C function that keeps Python's lock: no other thread runs, so that nobody renews the lease.
FREEZE = "__import__('ctypes').PyDLL(None).sleep(600)"


def dies_and_is_gone(job: Job) -> None:
    gone_in_a_moment(job)
    job["spec"]["backoffLimit"] = 0
    performs("os._exit(1)")(job)


@dataclass(frozen=True)
class Case:
    """A change of the Job, the run's reason, its sentence, the longest time, and its evidence.

    `may_complete`: where the failed Job is seen before it is gone, the run is launched again.
    """

    change: Change
    reasons: str  # alternatives; empty: it completes
    message: str
    seconds: float
    evidence: str = ""
    may_complete: bool = False


CASES = {
    "image that nobody has": Case(
        image("stock-backtest-worker:0.0.0-missing"),
        "ImagePull",
        "0.0.0-missing",
        WAITS + LOOKS,
        "Failed to pull",
    ),
    "image that may not be pulled": Case(
        never_pulled, "ImagePull", "0.0.0-missing: ErrImageNeverPull", LOOKS
    ),
    "invalid image name": Case(image("NO IMAGE"), "ImagePull", "NO IMAGE: InvalidImageName", LOOKS),
    "Secret of the environment missing": Case(
        secret_in_environment, "ConfigError", 'secret "nowhere" not found', 60 + LOOKS
    ),
    "Secret of a volume missing": Case(
        secret_in_volume, "ConfigError", 'secret "nowhere" not found', 60 + LOOKS
    ),
    "service account missing": Case(
        in_pod(serviceAccountName="nobody"),
        "ConfigError",
        'serviceaccount "nobody" not found',
        60 + LOOKS,
    ),
    "Pod Security refuses": Case(
        in_pod(hostNetwork=True),
        "AdmissionDenied",
        "violates PodSecurity",
        60 + LOOKS,
        "FailedCreate",
    ),
    "the API server refuses": Case(
        in_pod(restartPolicy="Always"),
        "AdmissionDenied",
        "The cluster refuses the worker's Job: .*restartPolicy",
        LOOKS,
    ),
    "no node fits": Case(
        in_pod(nodeSelector={"nowhere": "true"}),
        "Unschedulable",
        "No node takes the worker: 0/",
        WAITS + LOOKS,
        "FailedScheduling",
    ),
    "deadline of the pod": Case(
        deadline, "Timeout", "The worker's deadline passed", 8 + 30 + LOOKS
    ),
    "out of memory": Case(
        little_memory, "OutOfMemory", "want of memory", 60 + LOOKS, '"exit_code": 137'
    ),
    "exit 64": Case(
        ends(64), "BadInput", "The worker refused the request", LOOKS, "the worker says 64"
    ),
    "exit 65": Case(ends(65), "NoData", "found no prices", LOOKS, "the worker says 65"),
    "exit 70": Case(ends(70), "EngineError", "The engine failed", LOOKS, "the worker says 70"),
    "exit 1, twice": Case(
        ends(1),
        "RetriesExhausted",
        "the last time with exit code 1",
        60 + LOOKS,
        "the worker says 1",
    ),
    "complete without a result": Case(
        ends(0), "NoResultWritten", "ended without a result", 30 + LOOKS
    ),
    "engine fails": Case(
        performs("raise RuntimeError('boom')"),
        "EngineError",
        "failed inside the engine",
        LOOKS,
        "The engine failed",
    ),
    "result there, Job failed": Case(
        program("import sys, worker; worker.main(); sys.exit(70)"), "", "", 60
    ),
    "TTL of 0 s": Case(gone_in_a_moment, "", "", 60),
    "killed and gone by its TTL": Case(
        dies_and_is_gone, "JobLost|RetriesExhausted", "", 60 + LOOKS, may_complete=True
    ),
    # the last ones: the Jobs of their second launch are as the chart makes them
    "exit 75, database away": Case(ends(75), "", "", 120),
    "exit 143, stopped": Case(ends(143), "", "", 120),
    "worker frozen past its lease": Case(performs(FREEZE), "", "", 240),
}


@pytest.fixture(scope="module")
def release(helm_release: Callable[..., Release]) -> Release:
    return helm_release(**ONE_EACH, **PATIENT)


@pytest.fixture(scope="module")
def web(release: Release) -> Iterator[Web]:
    with release.web() as web:
        yield web


def has_job(namespace: Namespace, run_id: str) -> bool:
    return "NotFound" not in namespace.shown("get", "job", f"bt-{run_id}", "-o", "name")


def start(release: Release, web: Web, change: Change, **changes: object) -> str:
    """A run whose first Job is different; the next ones are as the chart makes them."""
    with changed(release, change):
        run_id = web.submit(**changes)

        def is_launched() -> bool:
            return has_job(release.namespace, run_id) or web.status(run_id)["status"] in FINAL

        wait_until(is_launched, bool, 30, f"the Job of {run_id} is made")
    return run_id


@pytest.fixture(scope="module")
def started(release: Release, web: Web) -> dict[str, str]:
    """The runs of all cases, by name; they wait for their time limits at the same time."""
    return {name: start(release, web, case.change) for name, case in CASES.items()}


def seconds_of(status: dict[str, Any]) -> float:
    moments = [datetime.fromisoformat(status[name]) for name in ("created_at", "finished_at")]
    return (moments[1] - moments[0]).total_seconds()


@pytest.mark.parametrize("name", CASES)
def test_the_run_ends(
    name: str, web: Web, started: dict[str, str], record_property: Callable[..., None]
) -> None:
    case = CASES[name]
    run_id = started[name]
    status = web.wait(run_id, seconds=case.seconds + 120)
    record_property(
        "fault", f"{name}: {status['reason'] or status['status']} after {seconds_of(status):.0f} s"
    )
    result = web.result(run_id)
    if not case.reasons or (case.may_complete and status["status"] == "completed"):
        assert status["status"] == "completed", (status, result["error_message"])
    else:
        assert status["status"] == "failed", status
        assert status["reason"] in case.reasons.split("|"), result["error_message"]
        assert re.search(case.message, result["error_message"]), result["error_message"]
        assert status["hint"]
    assert seconds_of(status) <= case.seconds


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.evidence])
def test_what_was_seen_stands_at_the_run(name: str, web: Web, started: dict[str, str]) -> None:
    run_id = started[name]
    web.wait(run_id, seconds=180)

    def evidence() -> str:
        return json.dumps(web.result(run_id)["provenance"].get("evidence", {}))

    seen = wait_until(evidence, lambda text: CASES[name].evidence in text, 20, CASES[name].evidence)
    assert "  File " not in seen, "stack traces stay in the log"
    page = web.page(f"/result/{run_id}")
    assert "What was seen of the worker" in page


def pods_of(namespace: Namespace, run_id: str) -> list[dict[str, Any]]:
    listed = json.loads(
        namespace.kubectl("get", "pods", "-o", "json", "-l", f"stock-backtest/run-id={run_id}")
    )
    return sorted(listed["items"], key=lambda pod: str(pod["metadata"]["creationTimestamp"]))


def test_evictions_do_not_eat_the_retries(release: Release, web: Web) -> None:
    """Twice evicted, then a crash: the Job's one retry is still there."""
    namespace = release.namespace
    run_id = start(release, web, performs("time.sleep(8)"), rule_id="MA_CROSS_5_30")
    for attempt in (1, 2):
        wait_until(
            lambda: web.status(run_id),
            lambda it, n=attempt: it["attempt"] == n,
            60,
            f"attempt {attempt}",
        )
        namespace.evict(str(pods_of(namespace, run_id)[-1]["metadata"]["name"]))
    wait_until(lambda: web.status(run_id), lambda it: it["attempt"] == 3, 60, "attempt 3")
    namespace.kubectl(
        "delete", "pod", str(pods_of(namespace, run_id)[-1]["metadata"]["name"]), "--force"
    )
    status = web.wait(run_id, seconds=90)
    assert (status["status"], status["attempt"]) == ("completed", 4)
    job = namespace.object("job", f"bt-{run_id}")
    assert job["status"]["failed"] == 1, "only the pod that was deleted by hand counts"


def test_a_run_whose_image_is_looked_for_is_cancelled(release: Release, web: Web) -> None:
    run_id = start(
        release, web, image("stock-backtest-worker:0.0.0-missing"), rule_id="MA_CROSS_6_30"
    )
    web.ask(f"/runs/{run_id}/cancel", {})
    assert web.wait(run_id, seconds=60)["status"] == "cancelled"
    assert not has_job(release.namespace, run_id)
    assert pods_of(release.namespace, run_id) == []


def foreign_job(name: str) -> dict[str, Any]:
    container = {"name": "worker", "image": "stock-backtest-worker:0.3.0"}
    spec = {
        "template": {"spec": {"restartPolicy": "Never", "containers": [container]}},
        "suspend": True,
    }
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec}


def test_a_job_of_somebody_else_has_the_name(release: Release, web: Web) -> None:
    run_id = str(uuid.uuid4())
    release.namespace.apply(foreign_job(f"bt-{run_id}"))
    web.submit(run_id=run_id, rule_id="MA_CROSS_7_30")
    status = web.wait(run_id)
    assert (status["status"], status["reason"]) == ("failed", "NameConflict")
    assert "send a new run_id" in status["hint"]
    assert has_job(release.namespace, run_id), "it is not ours to delete"


MARK_LAUNCHED = """
import sys
from scripts.config import load_config
from service.store.database import connect
from service.store.queue import QueueStore
assert QueueStore(connect(load_config())).mark_launched(sys.argv[1])
"""


def test_a_job_whose_creation_was_never_answered_is_adopted(release: Release, web: Web) -> None:
    """The controller dies between the creation of a Job and its answer.

    The row says that it is launched, and the Job is there.
    """
    from service.contract.request import parse_request
    from service.controller.work import work_of_request
    from service.launchers.kubernetes.template import job_of, read_template
    from tests.support.requests import REQUEST

    namespace = release.namespace
    name = release.name_of("deployment", "controller")
    namespace.kubectl("scale", f"deployment/{name}", "--replicas=0")
    wait_until(lambda: release.pods("controller"), lambda pods: not pods, 60, "no controller")
    time.sleep(3)
    run_id = web.submit(rule_id="MA_CROSS_8_30")
    (pod, *_) = release.pods("web")
    namespace.python(pod, MARK_LAUNCHED, run_id)
    template = read_template(namespace.object("configmap", release.name_of("configmap", "worker")))
    request = parse_request({**REQUEST, "rule_id": "MA_CROSS_8_30", "run_id": run_id})
    work = work_of_request(request)
    namespace.kubectl("create", "-f", "-", given=json.dumps(job_of(template, work, 1)))
    namespace.kubectl("scale", f"deployment/{name}", "--replicas=1")
    status = web.wait(run_id)
    assert (status["status"], status["attempt"]) == ("completed", 1)
    assert len(pods_of(namespace, run_id)) == 1


def test_rights_are_taken_away_and_given_back(release: Release, web: Web) -> None:
    namespace = release.namespace
    name = release.name_of("deployment", "controller")
    running = start(release, web, performs("time.sleep(15)"), rule_id="MA_CROSS_9_30")
    web.wait(running, "running")
    with namespace.without("rolebinding", name):
        waiting = web.submit(rule_id="MA_CROSS_10_31")
        status = wait_until(
            lambda: web.status(waiting), lambda status: status["reason"], 60, "it says why it waits"
        )
        assert (status["status"], status["reason"]) == ("pending", "ClusterAway")
        assert web.wait(running, seconds=60)["status"] == "completed", "who runs needs nobody"
    assert web.wait(waiting, seconds=60)["status"] == "completed"
