"""What each answer of the API server becomes; tests/e2e has a real cluster."""

from __future__ import annotations

import math

import pytest

from service.contract.status import Reason
from service.launchers.kubernetes.api import Away, Busy, Refused
from service.launchers.kubernetes.launcher import KubernetesJobs
from service.launchers.kubernetes.objects import Object
from service.launchers.kubernetes.template import RUN_LABEL
from service.launchers.launcher import LaunchDelayed, LauncherAway, LaunchFailed, Problem
from tests.support.fake_namespace import (
    JOB_NAME,
    RELEASE_LABELS,
    SWEEP_WORK,
    WORK,
    FakeNamespace,
    changed_template,
    config_map,
)
from tests.support.requests import RUN_ID

UNSCHEDULABLE = {
    "conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes"}]
}


def event(
    name: str, kind: str = "Job", moment: str = "2026-01-01T12:00:01Z", **more: object
) -> Object:
    return {
        "reason": "Killing",
        "message": "Stopping",
        "involvedObject": {"kind": kind, "name": name},
        "lastTimestamp": moment,
        **more,
    }


def waiting(reason: str) -> Object:
    """The status of a pod whose worker waits for that reason."""
    container = {"name": "worker", "image": "x", "state": {"waiting": {"reason": reason}}}
    return {"containerStatuses": [container]}


def problem_seconds(jobs: KubernetesJobs) -> float:
    problem = jobs.jobs()[RUN_ID].problem
    assert problem is not None
    return problem.seconds


def test_the_controller_of_before_expects_nothing_of_the_workers_of_after(
    jobs: KubernetesJobs, namespace: FakeNamespace
) -> None:
    """In an upgrade the template changes first; its workers' rules may have changed with them."""

    def use_image(image: str) -> None:
        containers = [{"name": "worker", "image": image}]
        template = changed_template("spec.template.spec.containers", containers)
        namespace.template = config_map(template)

    def launched_environment(number: int) -> set[str]:
        jobs.launch(WORK, number)
        job = namespace.jobs_by_name.pop(JOB_NAME)
        (worker,) = job["spec"]["template"]["spec"]["containers"]
        return {variable["name"] for variable in worker["env"]}

    use_image("before")
    assert launched_environment(1) == {"RUN_ID", "RULES_DIGEST"}
    use_image("after")
    assert launched_environment(2) == {"RUN_ID"}
    assert launched_environment(3) == {"RUN_ID"}
    use_image("before")
    assert launched_environment(4) == {"RUN_ID", "RULES_DIGEST"}


def test_launching_twice_gives_one_job(jobs: KubernetesJobs, namespace: FakeNamespace) -> None:
    jobs.launch(WORK, 1)
    jobs.launch(WORK, 1)
    assert list(namespace.jobs_by_name) == [JOB_NAME]
    assert jobs.jobs()[RUN_ID].launch == 1


def test_the_job_of_an_earlier_launch_must_go_first(
    jobs: KubernetesJobs, namespace: FakeNamespace
) -> None:
    jobs.launch(WORK, 1)
    with pytest.raises(LaunchDelayed) as caught:
        jobs.launch(WORK, 2)
    assert not caught.value.everybody
    assert namespace.deleted == [JOB_NAME]
    namespace.jobs_by_name[JOB_NAME]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    with pytest.raises(LaunchDelayed):
        jobs.launch(WORK, 1)


def test_a_job_that_is_not_ours_is_left_alone(
    jobs: KubernetesJobs, namespace: FakeNamespace
) -> None:
    jobs.launch(WORK, 1)
    labels = namespace.jobs_by_name[JOB_NAME]["metadata"]["labels"]
    labels["app.kubernetes.io/instance"] = "theirs"
    with pytest.raises(LaunchFailed) as caught:
        jobs.launch(WORK, 1)
    assert caught.value.reason == Reason.NAME_CONFLICT
    assert jobs.jobs() == {}
    assert namespace.deleted == []


@pytest.mark.parametrize(
    ("failure", "error", "reason"),
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
    failure: Exception,
    error: type[LaunchFailed | LaunchDelayed],
    reason: Reason | None,
    jobs: KubernetesJobs,
    namespace: FakeNamespace,
) -> None:
    namespace.failure = failure
    with pytest.raises(error, match=str(failure).split(":")[0]) as caught:
        jobs.launch(WORK, 1)
    assert caught.value.reason == reason


def test_a_template_that_cannot_be_read_for_now_delays_the_launch(
    jobs: KubernetesJobs, namespace: FakeNamespace
) -> None:
    for failure in (Away("timed out"), Busy("too many requests")):
        namespace.template = failure
        with pytest.raises(LaunchDelayed, match=str(failure)) as caught:
            jobs.launch(WORK, 1)
        assert caught.value.everybody
        assert jobs.check() == str(failure)
    assert namespace.jobs_by_name == {}


def test_a_list_that_fails_says_nothing_about_jobs(
    jobs: KubernetesJobs, namespace: FakeNamespace
) -> None:
    jobs.launch(WORK, 1)
    for failure in (Refused(403, "no"), Away("away")):
        namespace.failure = failure
        with pytest.raises(LauncherAway):
            jobs.jobs()


def test_the_check_leaves_no_job(jobs: KubernetesJobs, namespace: FakeNamespace) -> None:
    assert jobs.check() == ""
    assert namespace.jobs_by_name == {}
    namespace.failure = Refused(403, 'User "u" cannot create resource "jobs"')
    assert jobs.check() == 'Jobs cannot be created: User "u" cannot create resource "jobs"'
    for harmless in (Refused(409, "already exists"), Refused(403, "exceeded quota: q")):
        namespace.failure = harmless
        assert jobs.check() == ""
    namespace.template = Refused(404, "not found")
    assert "ConfigMap bt-worker-job with the worker's Job cannot be read" in jobs.check()


def test_after_a_reply_that_was_lost_the_job_is_looked_for(
    jobs: KubernetesJobs, namespace: FakeNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A webhook that is down answers every creation with 500; no launch is spent on that."""
    namespace.failure = Away("timed out")
    with pytest.raises(LaunchDelayed, match="timed out") as caught:
        jobs.launch(WORK, 1)
    assert caught.value.everybody
    namespace.failure = None
    jobs.launch(WORK, 1)
    namespace.failure = Away("timed out")
    jobs.launch(WORK, 1)

    def fail(name: str) -> Object:
        raise Away("nobody there")

    monkeypatch.setattr(namespace, "job", fail)
    with pytest.raises(LauncherAway):
        jobs.launch(WORK, 1)
    assert list(namespace.jobs_by_name) == [JOB_NAME]


def test_completed_jobs_are_left_out_of_the_list_and_found_by_name(
    jobs: KubernetesJobs, namespace: FakeNamespace
) -> None:
    jobs.launch(WORK, 1)
    namespace.succeeded.append(JOB_NAME)
    complete = {"conditions": [{"type": "Complete", "status": "True"}]}
    namespace.jobs_by_name[JOB_NAME]["status"] = complete
    assert jobs.jobs() == {}
    states = jobs.jobs([RUN_ID, "11111111-1111-4111-8111-222222222222"])
    assert list(states) == [RUN_ID]
    assert not states[RUN_ID].alive
    assert states[RUN_ID].exit_code == 0


def test_a_job_that_will_not_go_loses_its_pods(
    jobs: KubernetesJobs, namespace: FakeNamespace
) -> None:
    jobs.launch(WORK, 1)
    namespace.add_pod("pod")
    namespace.all_pods.append({"metadata": {"name": "theirs", "labels": RELEASE_LABELS}})
    jobs.remove(RUN_ID)
    assert namespace.deleted == [JOB_NAME]
    jobs.remove(RUN_ID, force=True)
    assert namespace.deleted == [JOB_NAME, JOB_NAME, "pod"]


def test_events_are_asked_for_only_where_something_is_missing(
    jobs: KubernetesJobs, namespace: FakeNamespace
) -> None:
    jobs.launch(WORK, 1)
    jobs.jobs()
    assert namespace.warning_reasons == ["FailedCreate"]
    pod = namespace.add_pod("pod")
    pod["status"] = waiting("ContainerCreating")
    jobs.jobs()
    assert namespace.warning_reasons == ["FailedCreate", "FailedMount"]
    pod["status"] = {}
    jobs.jobs()
    assert namespace.warning_reasons == ["FailedCreate", "FailedMount"]


def test_a_problem_is_timed_by_the_watch_of_who_sees_it(
    clock: list[float], jobs: KubernetesJobs, namespace: FakeNamespace
) -> None:
    """The age of the Job says nothing about it, and the clocks of nodes may be wrong."""
    jobs.launch(WORK, 1)
    refused = {
        "reason": "FailedCreate",
        "message": "Error creating: failed calling webhook",
        "involvedObject": {"kind": "Job", "name": "x", "uid": JOB_NAME},
        "lastTimestamp": "2026-01-01T12:09:59Z",
    }
    namespace.all_events = [refused]
    problems = []
    for pause in (0, 59, 5, 61):
        clock[0] += pause
        problems.append(jobs.jobs()[RUN_ID].problem)
    assert problems == [
        Problem(Reason.ADMISSION_DENIED, "failed calling webhook", seconds, JOB_NAME)
        for seconds in (0, 59, 64, 0)
    ], "the last look was long ago"
    namespace.all_events = []
    assert jobs.jobs()[RUN_ID].problem is None
    namespace.all_events = [refused]
    assert problem_seconds(jobs) == 0, "it is another one"


def test_each_pod_has_a_wait_of_its_own(
    clock: list[float], jobs: KubernetesJobs, namespace: FakeNamespace
) -> None:
    """A sweep with room for one worker goes on although its next one always waits."""
    jobs.launch(SWEEP_WORK, 1)
    seconds = []
    for minute, name in enumerate(("first", "first", "second")):
        namespace.add_pod(name, minute)["status"] = UNSCHEDULABLE
        clock[0] += 30
        seconds.append(problem_seconds(jobs))
    assert seconds == [0, 30, 0]


def test_another_problem_of_a_pod_has_a_time_of_its_own(
    clock: list[float], jobs: KubernetesJobs, namespace: FakeNamespace
) -> None:
    """It has found its node after a while; and what no waiting mends has stood for ever at once."""
    jobs.launch(WORK, 1)
    pod = namespace.add_pod("pod")
    pulling = waiting("ErrImagePull")
    seconds = []
    for status in (UNSCHEDULABLE, UNSCHEDULABLE, pulling, pulling, waiting("InvalidImageName")):
        pod["status"] = status
        clock[0] += 30
        seconds.append(problem_seconds(jobs))
    assert seconds == [0, 30, 0, 30, math.inf]


def test_a_sweep_with_a_pod_is_seen_after_its_first_shard_has_ended(
    jobs: KubernetesJobs, namespace: FakeNamespace
) -> None:
    """The list lacks Jobs with a success, and no pass expects a sweep that was requeued."""
    jobs.launch(SWEEP_WORK, 1)
    namespace.succeeded.append(JOB_NAME)
    assert jobs.jobs() == {}
    pod = namespace.add_pod("pod")
    pod["metadata"]["deletionTimestamp"] = "2026-01-01T12:09:00Z"
    assert jobs.jobs()[RUN_ID].lost


def test_a_template_made_anew_owns_the_next_job(
    jobs: KubernetesJobs, namespace: FakeNamespace
) -> None:
    jobs.check()
    template = config_map()
    template["metadata"]["uid"] = "another"
    namespace.template = template
    jobs.launch(WORK, 1)
    (owner,) = namespace.jobs_by_name[JOB_NAME]["metadata"]["ownerReferences"]
    assert owner["uid"] == "another"


def test_the_evidence_is_the_log_of_the_last_pod_and_what_happened(
    jobs: KubernetesJobs, namespace: FakeNamespace
) -> None:
    jobs.launch(WORK, 1)
    namespace.add_pod("first", 0)
    namespace.add_pod("second", 1)
    namespace.logs = {"first": "one\n", "second": "two\nthree\n"}
    namespace.all_events = [
        event("second", "Pod", "2026-01-01T12:02:00Z", count=3),
        event(JOB_NAME),
        event("other"),
    ]
    assert jobs.evidence(RUN_ID) == {
        "events": [
            f"2026-01-01T12:00:01Z Job {JOB_NAME}: Killing: Stopping",
            "2026-01-01T12:02:00Z Pod second: Killing: Stopping (3 times)",
        ],
        "log": ["two", "three"],
    }


def test_evidence_that_cannot_be_had_stops_nothing(
    jobs: KubernetesJobs, namespace: FakeNamespace
) -> None:
    jobs.launch(WORK, 1)
    assert jobs.evidence(RUN_ID) == {"events": [], "log": []}
    namespace.add_pod("pod", minute=1)
    unreadable = ["It could not be read: container is waiting to start"]
    assert jobs.evidence(RUN_ID)["log"] == unreadable
    namespace.add_pod("earlier", minute=0)
    namespace.logs = {"earlier": "the last one that has a log"}
    assert jobs.evidence(RUN_ID)["log"] == ["the last one that has a log"]
    for failure in (Refused(403, "no right"), Away("away")):
        namespace.failure = failure
        assert jobs.evidence(RUN_ID) == {"events": [f"They could not be read: {failure}"]}


COUNTED = (
    "jobs.batch is forbidden: exceeded quota: few-jobs, requested: count/jobs.batch=1, "
    "used: count/jobs.batch=9, limited: count/jobs.batch=9"
)
OF_PODS = (
    "exceeded quota: few-pods, requested: count/pods=1, used: count/pods=9, limited: count/pods=9"
)
OF_CPU = "exceeded quota: small, requested: cpu=1, used: cpu=9,count/pods=3, limited: cpu=9"


def add_job(namespace: FakeNamespace, name: str, *conditions: str, minute: int = 0) -> str:
    """The run_id of a Job of this release, created so many minutes after twelve."""
    run_id = f"run-{name}"
    namespace.jobs_by_name[name] = {
        "metadata": {
            "name": name,
            "labels": {**RELEASE_LABELS, RUN_LABEL: run_id},
            "creationTimestamp": f"2026-01-01T12:{minute:02}:00Z",
        },
        "status": {"conditions": [{"type": each, "status": "True"} for each in conditions]},
    }
    return run_id


@pytest.mark.parametrize("said", [COUNTED, OF_PODS, OF_CPU])
def test_ended_jobs_make_room_where_a_quota_counts_them(
    said: str, jobs: KubernetesJobs, namespace: FakeNamespace
) -> None:
    """Those that ended longest ago go first; a quota of processors has nothing of them."""
    counts = said != OF_CPU
    for minute in range(12):
        add_job(namespace, f"done-{minute:02}", "Complete", minute=minute)
    kept = add_job(namespace, "kept", "Failed", minute=0)
    add_job(namespace, "at-work", minute=0)
    namespace.jobs_by_name["theirs"] = {"metadata": {"name": "theirs", "labels": {}}}
    assert jobs.make_room({kept}) == 0, "nobody has refused anything"
    with pytest.raises(LaunchDelayed) as caught:
        refuse_creation(namespace, jobs, said)
    filled = (
        "1 of this platform at work, 13 of this platform that have ended, which go first, and 1"
    )
    assert (filled in str(caught.value)) is counts
    assert jobs.make_room({kept}) == (10 if counts else 0)
    assert namespace.deleted == ([f"done-{minute:02}" for minute in range(10)] if counts else [])
    assert jobs.make_room({kept}) == 0, "until it is refused again"


def refuse_creation(namespace: FakeNamespace, jobs: KubernetesJobs, message: str) -> None:
    def refuse(job: Object, dry_run: bool = False) -> None:
        raise Refused(403, message)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(namespace, "create_job", refuse)
        jobs.launch(WORK, 1)


def test_ended_jobs_make_room_for_the_pod_of_one_that_has_none(
    jobs: KubernetesJobs, namespace: FakeNamespace
) -> None:
    """A quota of `count/pods` counts pods that have ended, and refuses no Job."""
    jobs.launch(WORK, 1)
    add_job(namespace, "done", "Complete")
    namespace.all_events = [
        {
            "reason": "FailedCreate",
            "message": f"Error creating: pods is forbidden: {OF_PODS}",
            "involvedObject": {"kind": "Job", "name": "x", "uid": JOB_NAME},
            "lastTimestamp": "2026-01-01T12:09:59Z",
        }
    ]
    problem = jobs.jobs()[RUN_ID].problem
    assert problem is not None
    assert problem.reason == Reason.QUOTA_EXCEEDED
    assert jobs.make_room({RUN_ID}) == 1
    assert namespace.deleted == ["done"]
    jobs.jobs()
    assert jobs.make_room({RUN_ID}) == 0, "the same event is read for minutes"


def test_pods_are_told_to_end_in_their_own_time(
    jobs: KubernetesJobs, namespace: FakeNamespace
) -> None:
    jobs.end_pods(("one", "two"))
    assert (namespace.ended, namespace.deleted) == (["one", "two"], [])


def test_the_exit_code_of_a_failed_pod_is_looked_up_where_somebody_waits(
    jobs: KubernetesJobs, namespace: FakeNamespace
) -> None:
    """The list of pods has the living ones only: thousands of failed ones may be kept."""
    jobs.launch(WORK, 1)
    terminated = {"name": "worker", "state": {"terminated": {"exitCode": 70}}}
    pod = namespace.add_pod("pod")
    pod["status"] = {"phase": "Failed", "containerStatuses": [terminated]}
    failed = {"failed": 1, "conditions": [{"type": "Failed", "status": "True"}]}
    namespace.jobs_by_name[JOB_NAME]["status"] = failed
    assert jobs.jobs()[RUN_ID].exit_code is None
    assert jobs.jobs([RUN_ID])[RUN_ID].exit_code == 70
