"""The Job made from the template, and what each answer of the API server becomes; tests/e2e has a real cluster."""

from __future__ import annotations

import copy
import math
from datetime import UTC, date, datetime
from typing import Any

import pytest
import yaml

from rules.plugins import digest_of
from service.contract.request import FIELDS, BacktestRequest, request_from_text
from service.contract.status import Reason
from service.launchers.kubernetes.api import Away, Busy, Object, Refused
from service.launchers.kubernetes.launcher import (
    InvalidTemplate,
    KubernetesJobs,
    filled_in,
    template_of,
)
from service.launchers.launcher import LaunchDelayed, LauncherAway, LaunchFailed, Problem, SweepWork
from tests.conftest import RUN_ID

REQUEST = BacktestRequest(
    RUN_ID, "^GSPC", "ALL(RSI,MA_CROSS)", date(2020, 1, 1), date(2021, 1, 1), {"period": 7}
)
LABELS = {
    "app.kubernetes.io/managed-by": "stock-backtest", "app.kubernetes.io/instance": "bt",
    "app.kubernetes.io/component": "worker",
}  # fmt: skip
JOB = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "bt-", "labels": LABELS},
    "spec": {
        "template": {
            "metadata": {"labels": LABELS},
            "spec": {"containers": [{"name": "worker", "env": [{"name": "TICKER", "value": "old"}, {"name": "A", "value": "b"}]}]},
        }
    },
}  # fmt: skip


def config_map(job: object = JOB) -> Object:
    return {
        "metadata": {"name": "bt-worker-job", "uid": "u"},
        "data": {"job.yaml": yaml.safe_dump(job)},
    }


class Cluster:
    """Keeps Jobs by name; `refuse` answers creations instead."""

    def __init__(self) -> None:
        self.created: dict[str, Object] = {}
        self.refuse: Exception | None = None
        self.template = config_map()
        self.deleted: list[str] = []
        self.completed: list[str] = []
        self.made: list[Object] = []
        self.asked: list[str] = []
        self.happened: list[Object] = []
        self.logs: dict[str, str] = {}
        self.clock = datetime(2026, 1, 1, 12, 10, tzinfo=UTC)

    def create_job(self, job: Object, dry_run: bool = False) -> None:
        if self.refuse:
            raise self.refuse
        name = job["metadata"]["name"]
        if name in self.created:
            raise Refused(409, f'jobs.batch "{name}" already exists')
        if not dry_run:
            self.created[name] = copy.deepcopy(job)
            self.created[name]["metadata"] |= {
                "creationTimestamp": "2026-01-01T12:00:00Z",
                "uid": name,
            }

    def now(self) -> datetime:
        return self.clock

    def job(self, name: str) -> Object:
        if name not in self.created:
            raise Refused(404, f'jobs.batch "{name}" not found')
        return self.created[name]

    def unfinished_jobs(self, labels: dict[str, str]) -> list[Object]:
        if self.refuse:
            raise self.refuse
        ours = [
            job
            for job in self.created.values()
            if labels.items() <= job["metadata"]["labels"].items()
        ]
        return [job for job in ours if job["metadata"]["name"] not in self.completed]

    def living_pods(self, labels: dict[str, str]) -> list[Object]:
        return [
            pod
            for pod in self.pods(labels)
            if pod.get("status", {}).get("phase") not in ("Failed", "Succeeded")
        ]

    def pods(self, labels: dict[str, str]) -> list[Object]:
        if self.refuse:
            raise self.refuse
        return [pod for pod in self.made if labels.items() <= pod["metadata"]["labels"].items()]

    def warnings(self, reason: str) -> list[Object]:
        self.asked.append(reason)
        return [event for event in self.happened if event["reason"] == reason]

    def events(self, name: str) -> list[Object]:
        return [event for event in self.happened if event["involvedObject"]["name"] == name]

    def log(self, pod: str, container: str, lines: int) -> str:
        if pod not in self.logs:
            raise Refused(400, "container is waiting to start")
        return self.logs[pod]

    def delete_pod(self, name: str) -> None:
        self.deleted.append(name)

    def delete_job(self, name: str) -> None:
        self.deleted.append(name)

    def config_map(self, name: str) -> Object:
        if isinstance(self.template, Exception):
            raise self.template
        return self.template


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def launcher(cluster: Cluster) -> KubernetesJobs:
    return KubernetesJobs("bt-worker-job", cluster)  # type: ignore[arg-type]


def test_the_request_travels_in_the_environment_and_comes_back_whole() -> None:
    template = template_of(config_map())
    job = filled_in(template, REQUEST, 2)
    (worker,) = job["spec"]["template"]["spec"]["containers"]
    names = [variable["name"] for variable in worker["env"]]
    assert len(names) == len(set(names))
    sent = {
        variable["name"].lower(): variable["value"]
        for variable in worker["env"]
        if variable["name"] != "A"
    }
    assert sent.pop("rules_digest") == digest_of("RSI")
    assert request_from_text(sent) == REQUEST
    assert job["metadata"]["name"] == f"bt-{RUN_ID}"
    assert template["metadata"]["name"] == "bt-", "the template stays as it was"


def test_the_controller_of_before_expects_nothing_of_the_workers_of_after(
    launcher: KubernetesJobs, cluster: Cluster
) -> None:
    """In an upgrade the template changes first; its workers' rules may have changed with them."""

    def sent(number: int) -> set[str]:
        launcher.launch(REQUEST, number)
        job = cluster.created.pop(f"bt-{RUN_ID}")
        return {
            variable["name"] for variable in job["spec"]["template"]["spec"]["containers"][0]["env"]
        }

    before, after = (
        broken("spec.template.spec.containers", [{"name": "worker", "image": name}])
        for name in "ab"
    )
    cluster.template = config_map(before)
    assert "RULES_DIGEST" in sent(1)
    cluster.template = config_map(after)
    assert sent(2) == sent(3) == {name.upper() for name in FIELDS}
    cluster.template = config_map(before)
    assert "RULES_DIGEST" in sent(4)


def test_rule_and_ticker_are_annotations_for_they_are_no_label_values() -> None:
    job = filled_in(template_of(config_map()), REQUEST, 2)
    for metadata in (job["metadata"], job["spec"]["template"]["metadata"]):
        assert metadata["labels"] == {
            **LABELS,
            "stock-backtest/run-id": RUN_ID,
            "stock-backtest/launch": "2",
        }
        assert metadata["annotations"] == {
            "stock-backtest/ticker": "^GSPC",
            "stock-backtest/rule": "ALL(RSI,MA_CROSS)",
        }
    (owner,) = job["metadata"]["ownerReferences"]
    assert owner == {"apiVersion": "v1", "kind": "ConfigMap", "name": "bt-worker-job", "uid": "u"}


POLICY = {
    "completions": 1, "parallelism": 2, "backoffLimit": 1, "activeDeadlineSeconds": 3000,
    "podFailurePolicy": {"rules": [{"action": "Ignore"}, {"action": "FailJob", "onExitCodes": {"values": [64]}}]},
}  # fmt: skip


@pytest.mark.parametrize(("shards", "at_once", "rounds"), [(1, 1, 1), (2, 2, 1), (5, 2, 3)])
def test_a_sweep_is_one_indexed_job(shards: int, at_once: int, rounds: int) -> None:
    pod = {
        **JOB["spec"]["template"],
        "spec": {**JOB["spec"]["template"]["spec"], "activeDeadlineSeconds": 900},
    }  # type: ignore[index]
    template = template_of(config_map({**JOB, "spec": {**POLICY, "template": pod}}))
    job = filled_in(template, SweepWork(RUN_ID, "GOOG", "MA_CROSS", shards), 2)
    spec = job["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == (
        "Indexed",
        shards,
        at_once,
    )
    assert (spec["backoffLimitPerIndex"], "backoffLimit" in spec) == (1, False)
    assert spec["activeDeadlineSeconds"] == 3000 + (rounds - 1) * 2 * 900
    assert [rule["action"] for rule in spec["podFailurePolicy"]["rules"]] == ["Ignore", "FailIndex"]
    (worker,) = spec["template"]["spec"]["containers"]
    sent = {variable["name"]: variable["value"] for variable in worker["env"]}
    assert (sent["RUN_ID"], sent["RUN_KIND"]) == (RUN_ID, "sweep")
    assert job["metadata"]["labels"]["stock-backtest/run-id"] == RUN_ID
    assert "completionMode" not in filled_in(template, REQUEST, 1)["spec"], (
        "the template stays as it was"
    )


def test_a_sweep_from_the_template_of_an_earlier_chart() -> None:
    spec = filled_in(template_of(config_map()), SweepWork(RUN_ID, "GOOG", "MA_CROSS", 3), 1)["spec"]
    assert (spec["completions"], spec["parallelism"]) == (3, 1)


def broken(path: str, value: Any) -> Object:
    job = copy.deepcopy(JOB)
    *parents, last = path.split(".")
    at: Any = job
    for name in parents:
        at = at[name]
    at[last] = value
    return job


@pytest.mark.parametrize(
    ("job", "message"),
    [
        ("a text", "is no Job"),
        (None, "is no Job"),
        (broken("kind", "CronJob"), "kind CronJob"),
        (broken("metadata.labels", {}), "labels missing"),
        (
            broken("spec.template.spec.containers", [{"name": "main"}]),
            'no container "worker", only main',
        ),
        (broken("spec.template", {}), "is no Job"),
        (broken("metadata.name", None), "cannot be filled in"),
        (
            broken("spec.template.spec.containers", [{"name": "worker", "env": [{}]}]),
            "cannot be filled in",
        ),
    ],
)
def test_a_broken_template_is_named(
    job: object, message: str, launcher: KubernetesJobs, cluster: Cluster
) -> None:
    cluster.template = config_map(job)
    assert message in launcher.check()
    assert "ConfigMap bt-worker-job" in launcher.check()
    with pytest.raises(LaunchFailed, match="ConfigMap bt-worker-job"):
        launcher.launch(REQUEST, 1)
    cluster.template = config_map()
    assert launcher.check() == "", "mended without a restart"


def test_a_template_that_is_not_yaml() -> None:
    with pytest.raises(InvalidTemplate, match="is no Job: ParserError|is no Job: ScannerError"):
        template_of({"metadata": {"name": "n", "uid": "u"}, "data": {"job.yaml": "a: [b"}})


def test_launching_twice_gives_one_job(launcher: KubernetesJobs, cluster: Cluster) -> None:
    launcher.launch(REQUEST, 1)
    launcher.launch(REQUEST, 1)
    assert list(cluster.created) == [f"bt-{RUN_ID}"]
    assert launcher.jobs()[RUN_ID].launch == 1


def test_the_job_of_an_earlier_launch_must_go_first(
    launcher: KubernetesJobs, cluster: Cluster
) -> None:
    launcher.launch(REQUEST, 1)
    with pytest.raises(LaunchDelayed) as caught:
        launcher.launch(REQUEST, 2)
    assert not caught.value.everybody
    assert cluster.deleted == [f"bt-{RUN_ID}"]
    cluster.created[f"bt-{RUN_ID}"]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    with pytest.raises(LaunchDelayed):
        launcher.launch(REQUEST, 1)


def test_a_job_that_is_not_ours_is_left_alone(launcher: KubernetesJobs, cluster: Cluster) -> None:
    launcher.launch(REQUEST, 1)
    cluster.created[f"bt-{RUN_ID}"]["metadata"]["labels"]["app.kubernetes.io/instance"] = "theirs"
    with pytest.raises(LaunchFailed) as caught:
        launcher.launch(REQUEST, 1)
    assert caught.value.reason == Reason.NAME_CONFLICT
    assert launcher.jobs() == {}
    assert cluster.deleted == []


@pytest.mark.parametrize(
    ("answer", "error", "reason"),
    [
        (
            Refused(403, 'jobs.batch "x" is forbidden: exceeded quota: q'),
            LaunchDelayed,
            Reason.QUOTA_EXCEEDED,
        ),
        (
            Refused(403, 'jobs.batch is forbidden: User "u" cannot create'),
            LaunchFailed,
            Reason.ADMISSION_DENIED,
        ),
        (Refused(422, "Job is invalid: spec.template"), LaunchFailed, Reason.ADMISSION_DENIED),
        (Busy("too many requests"), LaunchDelayed, None),
    ],
)
def test_what_a_refusal_means(
    answer: Exception, error: type[LaunchFailed | LaunchDelayed], reason: Reason | None,
    launcher: KubernetesJobs, cluster: Cluster,
) -> None:  # fmt: skip
    cluster.refuse = answer
    with pytest.raises(error, match=str(answer).split(":")[0]) as caught:
        launcher.launch(REQUEST, 1)
    assert caught.value.reason == reason


def test_a_list_that_fails_says_nothing_about_jobs(
    launcher: KubernetesJobs, cluster: Cluster
) -> None:
    launcher.launch(REQUEST, 1)
    for answer in (Refused(403, "no"), Away("away")):
        cluster.refuse = answer
        with pytest.raises(LauncherAway):
            launcher.jobs()


def test_the_check_leaves_no_job(launcher: KubernetesJobs, cluster: Cluster) -> None:
    assert launcher.check() == ""
    assert cluster.created == {}
    cluster.refuse = Refused(403, 'User "u" cannot create resource "jobs"')
    assert launcher.check() == 'Jobs cannot be created: User "u" cannot create resource "jobs"'
    cluster.template = Refused(404, "not found")  # type: ignore[assignment]
    assert "ConfigMap bt-worker-job with the worker's Job cannot be read" in launcher.check()


def test_after_a_reply_that_was_lost_the_job_is_looked_for(
    launcher: KubernetesJobs, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A webhook that is down answers every creation with 500: its run waits on, and no launch is spent."""
    cluster.refuse = Away("timed out")
    with pytest.raises(LaunchDelayed, match="timed out") as caught:
        launcher.launch(REQUEST, 1)
    assert caught.value.everybody
    cluster.refuse = None
    launcher.launch(REQUEST, 1)
    cluster.refuse = Away("timed out")
    launcher.launch(REQUEST, 1)
    monkeypatch.setattr(cluster, "job", lambda name: (_ for _ in ()).throw(Away("nobody there")))
    with pytest.raises(LauncherAway):
        launcher.launch(REQUEST, 1)
    assert list(cluster.created) == [f"bt-{RUN_ID}"]


def test_completed_jobs_are_left_out_of_the_list_and_found_by_name(
    launcher: KubernetesJobs, cluster: Cluster
) -> None:
    launcher.launch(REQUEST, 1)
    cluster.completed.append(f"bt-{RUN_ID}")
    cluster.created[f"bt-{RUN_ID}"]["status"] = {
        "conditions": [{"type": "Complete", "status": "True"}]
    }
    assert launcher.jobs() == {}
    found = launcher.jobs([RUN_ID, "11111111-1111-4111-8111-222222222222"])
    assert {run_id: (job.alive, job.exit_code) for run_id, job in found.items()} == {
        RUN_ID: (False, 0)
    }


def test_a_job_that_will_not_go_loses_its_pods(launcher: KubernetesJobs, cluster: Cluster) -> None:
    launcher.launch(REQUEST, 1)
    labels = cluster.created[f"bt-{RUN_ID}"]["metadata"]["labels"]
    cluster.made = [
        {"metadata": {"name": "theirs", "labels": LABELS}},
        {"metadata": {"name": "pod", "labels": labels}},
    ]
    launcher.remove(RUN_ID)
    assert cluster.deleted == [f"bt-{RUN_ID}"]
    launcher.remove(RUN_ID, force=True)
    assert cluster.deleted == [f"bt-{RUN_ID}", f"bt-{RUN_ID}", "pod"]


def test_events_are_asked_for_only_where_something_is_missing(
    launcher: KubernetesJobs, cluster: Cluster
) -> None:
    launcher.launch(REQUEST, 1)
    launcher.jobs()
    assert cluster.asked == ["FailedCreate"]
    labels = cluster.created[f"bt-{RUN_ID}"]["metadata"]["labels"]
    waiting = {"name": "worker", "state": {"waiting": {"reason": "ContainerCreating"}}}
    status = {"containerStatuses": [waiting], "startTime": "2026-01-01T12:00:00Z"}
    metadata = {"name": "pod", "labels": labels, "creationTimestamp": "2026-01-01T12:00:00Z"}
    cluster.made = [{"metadata": metadata, "status": status}]
    launcher.jobs()
    assert cluster.asked == ["FailedCreate", "FailedMount"]
    cluster.made[0]["status"] = {}
    launcher.jobs()
    assert cluster.asked == ["FailedCreate", "FailedMount"]


def test_a_problem_is_timed_by_the_watch_of_who_sees_it(
    clock: list[float], launcher: KubernetesJobs, cluster: Cluster
) -> None:
    """A Job that was at work for ten minutes has lacked a pod for a moment; and clocks of nodes may be wrong."""
    launcher.launch(REQUEST, 1)
    about = {"kind": "Job", "name": "x", "uid": f"bt-{RUN_ID}"}
    refused = {
        "reason": "FailedCreate",
        "message": "Error creating: failed calling webhook",
        "involvedObject": about,
    }
    cluster.happened = [{**refused, "lastTimestamp": "2026-01-01T12:09:59Z"}]
    seen = []
    for pause in (0, 59, 5, 61):
        clock[0] += pause
        seen.append(launcher.jobs()[RUN_ID].problem)
    assert seen == [
        Problem(Reason.ADMISSION_DENIED, "failed calling webhook", seconds, f"bt-{RUN_ID}")
        for seconds in (0, 59, 64, 0)
    ], "the last look was long ago"
    cluster.happened = []
    assert launcher.jobs()[RUN_ID].problem is None
    cluster.happened = [{**refused, "lastTimestamp": "2026-01-01T12:09:59Z"}]
    found = launcher.jobs()[RUN_ID].problem
    assert found is not None
    assert found.seconds == 0, "it is another one"


def test_each_pod_has_a_wait_of_its_own(
    clock: list[float], launcher: KubernetesJobs, cluster: Cluster
) -> None:
    """A sweep with room for one worker goes on although its next one always waits."""
    launcher.launch(SweepWork(RUN_ID, "GOOG", "MA_CROSS", 3), 1)
    unschedulable = {"type": "PodScheduled", "status": "False", "message": "0/1 nodes"}
    seen = []
    for minute, name in enumerate(("first", "first", "second")):
        pod_of(launcher, cluster, name, minute)
        cluster.made[0]["metadata"]["uid"] = name
        cluster.made[0]["status"] = {"conditions": [unschedulable]}
        clock[0] += 30
        problem = launcher.jobs()[RUN_ID].problem
        assert problem is not None
        seen.append(problem.seconds)
    assert seen == [0, 30, 0]


def test_another_problem_of_a_pod_has_a_time_of_its_own(
    clock: list[float], launcher: KubernetesJobs, cluster: Cluster
) -> None:
    """It has found its node after a while; and what no waiting mends has stood for ever at once."""
    launcher.launch(REQUEST, 1)
    pod_of(launcher, cluster, "pod")
    unschedulable = {
        "conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes"}]
    }
    pulling, invalid = (
        {
            "containerStatuses": [
                {"name": "worker", "image": "x", "state": {"waiting": {"reason": reason}}}
            ]
        }
        for reason in ("ErrImagePull", "InvalidImageName")
    )
    seen = []
    for status in (unschedulable, unschedulable, pulling, pulling, invalid):
        cluster.made[0]["status"] = status
        clock[0] += 30
        problem = launcher.jobs()[RUN_ID].problem
        assert problem is not None
        seen.append(problem.seconds)
    assert seen == [0, 30, 0, 30, math.inf]


def test_a_sweep_with_a_pod_is_seen_after_its_first_shard_has_ended(
    launcher: KubernetesJobs, cluster: Cluster
) -> None:
    """The list leaves out Jobs with a success, and nobody expects a sweep that went back to the queue."""
    launcher.launch(SweepWork(RUN_ID, "GOOG", "MA_CROSS", 3), 1)
    cluster.completed.append(f"bt-{RUN_ID}")
    assert launcher.jobs() == {}
    pod_of(launcher, cluster, "pod")
    cluster.made[0]["metadata"]["deletionTimestamp"] = "2026-01-01T12:09:00Z"
    assert launcher.jobs()[RUN_ID].lost


def test_a_template_made_anew_owns_the_next_job(launcher: KubernetesJobs, cluster: Cluster) -> None:
    launcher.check()
    cluster.template["metadata"]["uid"] = "another"
    launcher.launch(REQUEST, 1)
    (owner,) = cluster.created[f"bt-{RUN_ID}"]["metadata"]["ownerReferences"]
    assert owner["uid"] == "another"


def pod_of(launcher: KubernetesJobs, cluster: Cluster, name: str, minute: int = 0) -> None:
    labels = cluster.created[f"bt-{RUN_ID}"]["metadata"]["labels"]
    created = f"2026-01-01T12:{minute:02}:00Z"
    cluster.made.insert(
        0, {"metadata": {"name": name, "labels": labels, "creationTimestamp": created}}
    )


def event(
    name: str, kind: str = "Job", moment: str = "2026-01-01T12:00:01Z", **more: object
) -> Object:
    about = {"involvedObject": {"kind": kind, "name": name}, "lastTimestamp": moment}
    return {"reason": "Killing", "message": "Stopping", **about, **more}


def test_the_evidence_is_the_log_of_the_last_pod_and_what_happened(
    launcher: KubernetesJobs, cluster: Cluster
) -> None:
    launcher.launch(REQUEST, 1)
    pod_of(launcher, cluster, "first", 0)
    pod_of(launcher, cluster, "second", 1)
    cluster.logs = {"first": "one\n", "second": "two\nthree\n"}
    cluster.happened = [
        event("second", "Pod", "2026-01-01T12:02:00Z", count=3),
        event(f"bt-{RUN_ID}"),
        event("other"),
    ]
    assert launcher.evidence(RUN_ID) == {
        "events": [
            f"2026-01-01T12:00:01Z Job bt-{RUN_ID}: Killing: Stopping",
            "2026-01-01T12:02:00Z Pod second: Killing: Stopping (3 times)",
        ],
        "log": ["two", "three"],
    }


def test_evidence_that_cannot_be_had_stops_nothing(
    launcher: KubernetesJobs, cluster: Cluster
) -> None:
    launcher.launch(REQUEST, 1)
    assert launcher.evidence(RUN_ID) == {"events": [], "log": []}
    pod_of(launcher, cluster, "pod", minute=1)
    assert launcher.evidence(RUN_ID)["log"] == [
        "It could not be read: container is waiting to start"
    ]
    pod_of(launcher, cluster, "earlier", minute=0)
    cluster.logs = {"earlier": "the last one that has a log"}
    assert launcher.evidence(RUN_ID)["log"] == ["the last one that has a log"]
    for answer in (Refused(403, "no right"), Away("away")):
        cluster.refuse = answer
        assert launcher.evidence(RUN_ID) == {"events": [f"They could not be read: {answer}"]}


def test_the_exit_code_of_a_failed_pod_is_looked_up_where_somebody_waits(
    launcher: KubernetesJobs, cluster: Cluster
) -> None:
    """The list of pods has the living ones only: thousands of failed ones may be kept."""
    launcher.launch(REQUEST, 1)
    pod_of(launcher, cluster, "pod")
    ended = {"name": "worker", "state": {"terminated": {"exitCode": 70}}}
    cluster.made[0]["status"] = {"phase": "Failed", "containerStatuses": [ended]}
    cluster.created[f"bt-{RUN_ID}"]["status"] = {
        "failed": 1,
        "conditions": [{"type": "Failed", "status": "True"}],
    }
    assert launcher.jobs()[RUN_ID].exit_code is None
    assert launcher.jobs([RUN_ID])[RUN_ID].exit_code == 70
