"""The Job of a run, made from the template in the ConfigMap."""

from __future__ import annotations

import pytest

from rules.plugins import digest_of
from service.contract.request import parse_request, request_from_text
from service.controller.work import work_of_fetch, work_of_request, work_of_sweep
from service.launchers.kubernetes.launcher import KubernetesJobs
from service.launchers.kubernetes.objects import Object
from service.launchers.kubernetes.template import InvalidTemplate, job_of, read_template
from service.launchers.launcher import LaunchFailed
from tests.support.fake_namespace import (
    JOB_TEMPLATE,
    RELEASE_LABELS,
    WORK,
    FakeNamespace,
    changed_template,
    config_map,
)
from tests.support.requests import RUN_ID

REQUEST = parse_request(
    {
        "run_id": RUN_ID,
        "ticker": "^GSPC",
        "rule_id": "ALL(RSI,MA_CROSS)",
        "start_date": "2020-01-01",
        "end_date": "2021-01-01",
        "params": {"period": 7},
    }
)
SPEC = {
    "completions": 1,
    "parallelism": 2,
    "backoffLimit": 1,
    "activeDeadlineSeconds": 3000,
    "podFailurePolicy": {
        "rules": [{"action": "Ignore"}, {"action": "FailJob", "onExitCodes": {"values": [64]}}]
    },
    "template": {
        "metadata": {"labels": RELEASE_LABELS},
        "spec": {"containers": [{"name": "worker"}], "activeDeadlineSeconds": 900},
    },
}


def environment_in(job: Object) -> dict[str, str]:
    """The environment of the worker in a Job, without the variable of the template itself."""
    (worker,) = job["spec"]["template"]["spec"]["containers"]
    names = [variable["name"] for variable in worker["env"]]
    assert len(names) == len(set(names))
    return {
        variable["name"]: variable["value"] for variable in worker["env"] if variable["name"] != "A"
    }


def test_the_request_travels_in_the_environment_and_comes_back_whole() -> None:
    template = read_template(config_map())
    job = job_of(template, work_of_request(REQUEST), 2)
    environment = environment_in(job)
    assert environment.pop("RULES_DIGEST") == digest_of("RSI")
    fields = {name.lower(): text for name, text in environment.items()}
    assert request_from_text(fields) == REQUEST
    assert job["metadata"]["name"] == f"bt-{RUN_ID}"
    assert template["metadata"]["name"] == "bt-", "the template stays as it was"


def test_rule_and_ticker_are_annotations_for_they_are_no_label_values() -> None:
    job = job_of(read_template(config_map()), work_of_request(REQUEST), 2)
    for metadata in (job["metadata"], job["spec"]["template"]["metadata"]):
        assert metadata["labels"] == {
            **RELEASE_LABELS,
            "stock-backtest/run-id": RUN_ID,
            "stock-backtest/launch": "2",
        }
        assert metadata["annotations"] == {
            "stock-backtest/ticker": "^GSPC",
            "stock-backtest/rule": "ALL(RSI,MA_CROSS)",
        }
    (owner,) = job["metadata"]["ownerReferences"]
    assert owner == {"apiVersion": "v1", "kind": "ConfigMap", "name": "bt-worker-job", "uid": "u"}


def test_a_fetch_has_a_label_by_which_it_may_leave_the_cluster() -> None:
    job = job_of(read_template(config_map()), work_of_fetch(RUN_ID, "BRK-B", "yahoo"), 1)
    for metadata in (job["metadata"], job["spec"]["template"]["metadata"]):
        assert metadata["labels"]["stock-backtest/kind"] == "prices"
        assert metadata["annotations"]["stock-backtest/ticker"] == "BRK-B"
    environment = {"RUN_ID": RUN_ID, "RUN_KIND": "prices", "RULES_DIGEST": ""}
    assert environment_in(job).items() >= environment.items()


@pytest.mark.parametrize(("shards", "parallelism", "rounds"), [(1, 1, 1), (2, 2, 1), (5, 2, 3)])
def test_a_sweep_is_one_indexed_job(shards: int, parallelism: int, rounds: int) -> None:
    template = read_template(config_map({**JOB_TEMPLATE, "spec": SPEC}))
    job = job_of(template, work_of_sweep(RUN_ID, "GOOG", "MA_CROSS", shards), 2)
    spec = job["spec"]
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == shards
    assert spec["parallelism"] == parallelism
    assert spec["backoffLimitPerIndex"] == 1
    assert "backoffLimit" not in spec
    assert spec["activeDeadlineSeconds"] == 3000 + (rounds - 1) * 2 * 900
    assert [rule["action"] for rule in spec["podFailurePolicy"]["rules"]] == ["Ignore", "FailIndex"]
    assert environment_in(job) == {
        "RUN_ID": RUN_ID,
        "RUN_KIND": "sweep",
        "RULES_DIGEST": digest_of("MA_CROSS"),
    }
    assert job["metadata"]["labels"]["stock-backtest/run-id"] == RUN_ID
    assert "completionMode" not in job_of(template, WORK, 1)["spec"], "the template stays as it was"


def test_a_sweep_from_the_template_of_an_earlier_chart() -> None:
    work = work_of_sweep(RUN_ID, "GOOG", "MA_CROSS", 3)
    job = job_of(read_template(config_map()), work, 1)
    assert job["spec"]["completions"] == 3
    assert job["spec"]["parallelism"] == 1


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("a text", "is no Job"),
        (None, "is no Job"),
        (changed_template("kind", "CronJob"), "kind CronJob"),
        (changed_template("metadata.labels", {}), "labels missing"),
        (
            changed_template("spec.template.spec.containers", [{"name": "main"}]),
            'no container "worker", only main',
        ),
        (changed_template("spec.template", {}), "is no Job"),
        (changed_template("metadata.name", None), "cannot be filled in"),
        (
            changed_template("spec.template.spec.containers", [{"name": "worker", "env": [{}]}]),
            "cannot be filled in",
        ),
    ],
)
def test_a_broken_template_is_named(
    template: object, message: str, jobs: KubernetesJobs, namespace: FakeNamespace
) -> None:
    namespace.template = config_map(template)
    assert message in jobs.check()
    assert "ConfigMap bt-worker-job" in jobs.check()
    with pytest.raises(LaunchFailed, match="ConfigMap bt-worker-job"):
        jobs.launch(WORK, 1)
    namespace.template = config_map()
    assert jobs.check() == "", "mended without a restart"


def test_a_template_that_is_not_yaml() -> None:
    broken = {"metadata": {"name": "n", "uid": "u"}, "data": {"job.yaml": "a: [b"}}
    with pytest.raises(InvalidTemplate, match="is no Job: ParserError|is no Job: ScannerError"):
        read_template(broken)
