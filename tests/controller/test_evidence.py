"""What is seen of a failed run's job stands in its row."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from service.contract.status import Reason
from service.controller.reconciler import Controller
from service.launchers.launcher import JobState, Problem
from service.usecases.runs import Runs
from tests.support.controllers import submit
from tests.support.launchers import OnACluster
from tests.support.sample_rows import ended


def test_what_the_worker_wrote_stands_at_the_run_that_it_failed(
    clock: list[float],
    runs: Runs,
    cluster: OnACluster,
    remote: Controller,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster, "evidence", lambda run_id: {"log": ["why"], "events": []})
    first, second = submit(runs, 2)
    remote.step()
    for run_id in (first, second):
        runs.run_store.claim(run_id, "w")
        runs.run_store.fail_attempt(run_id, 1, "EngineError", "x")
    remote.step()
    assert runs.run(first).evidence is None, "its Job has not ended"
    cluster.states[first] = ended(70)
    remote.step()
    seen = {"exit_code": 70, "launch": 1, "retried": False, "log": ["why"], "events": []}
    assert runs.result(runs.run(first)).provenance == {"evidence": seen}
    clock[0] += 61
    remote.step()
    assert remote.evidence.waiting == {}, "it is not waited for ever"
    cluster.states[second] = ended(70)
    remote.step()
    assert runs.run(second).evidence is None


def test_a_proxy_that_outlives_the_worker_hides_no_evidence_and_takes_no_slot(
    runs: Runs, cluster: OnACluster, remote: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "evidence", lambda run_id: {"removed": list(cluster.removed)})
    first, second, third = submit(runs, 3)
    remote.step()
    runs.run_store.claim(first, "w")
    runs.run_store.fail_attempt(first, 1, "EngineError", "x")
    runs.run_store.claim(second, "w")
    held_up = JobState(alive=True, exit_code=70, idle_pods=("p",), held_up=True)
    cluster.states[first] = held_up
    remote.step()
    assert cluster.launched == [first, second, third], "its slot is free at once"
    assert runs.result(runs.run(first)).provenance["evidence"]["removed"] == []
    remote.step()
    assert cluster.removed == [first], "once what it wrote was read"


def test_a_pass_without_time_keeps_a_held_up_job_until_its_evidence_is_read(
    runs: Runs, cluster: OnACluster, remote: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run_id,) = submit(runs)
    remote.step()
    runs.run_store.claim(run_id, "w")
    monkeypatch.setattr(cluster, "evidence", lambda run_id: {"removed": list(cluster.removed)})
    held_up = JobState(alive=True, exit_code=70, idle_pods=("p",), held_up=True)
    cluster.states[run_id] = held_up
    with monkeypatch.context() as patch:
        patch.setattr(remote.evidence, "_has_time", lambda: False)
        remote.step()
    assert runs.run(run_id).status == "failed"
    assert cluster.removed == []
    remote.step()
    assert runs.result(runs.run(run_id)).provenance["evidence"]["removed"] == []
    remote.step()
    assert cluster.removed == [run_id]


def test_the_evidence_is_taken_before_the_job_goes(
    runs: Runs, cluster: OnACluster, remote: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run_id,) = submit(runs)
    remote.step()
    monkeypatch.setattr(cluster, "evidence", lambda run_id: {"removed": list(cluster.removed)})
    problem = Problem(Reason.IMAGE_PULL, "No image.", 999)
    cluster.states[run_id] = replace(cluster.states[run_id], problem=problem)
    remote.step()
    assert cluster.removed == [run_id]
    assert runs.result(runs.run(run_id)).provenance["evidence"]["removed"] == []


def test_evidence_that_cannot_be_had_keeps_no_run_from_ending(
    runs: Runs, cluster: OnACluster, remote: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "evidence", lambda run_id: 1 / 0)
    first, second = submit(runs, 2)
    remote.step()
    runs.run_store.claim(first, "w")
    runs.run_store.fail_attempt(first, 1, "EngineError", "x")
    cluster.states[first] = ended(70)
    cluster.states[second] = ended(65)
    (third,) = submit(runs)
    remote.step()
    assert runs.run(second).reason == Reason.NO_DATA
    assert json.loads(str(runs.run(second).evidence)) == {
        "exit_code": 65,
        "launch": 1,
        "retried": False,
    }
    assert cluster.launched[-1] == third


def asking_slowly(
    runs: Runs, cluster: OnACluster, clock: list[float], seconds: float
) -> Controller:
    """A controller whose cluster takes so long for the evidence of one run."""

    def evidence(run_id: str) -> dict[str, Any]:
        clock[0] += seconds
        return {"log": ["why"]}

    cluster.evidence = evidence  # type: ignore[method-assign]
    return Controller(runs.run_store, cluster, max_active=9, timeout_seconds=900)


def test_evidence_takes_ten_seconds_of_a_pass(
    clock: list[float], runs: Runs, cluster: OnACluster
) -> None:
    """Hundreds may fail at once: all end in this pass, and are explained by and by."""
    remote = asking_slowly(runs, cluster, clock, 4)
    ids = submit(runs, 5)
    for _ in range(2):
        remote.step()
        clock[0] += 5
    assert len(cluster.launched) == 5
    cluster.states = {run_id: ended(70) for run_id in ids}
    before = clock[0]
    remote.step()
    assert clock[0] - before == 12
    assert [runs.run(run_id).reason for run_id in ids] == [Reason.ENGINE_ERROR] * 5
    assert ["log" in str(runs.run(run_id).evidence) for run_id in ids] == [True] * 3 + [False] * 2
    remote.step()
    assert ["log" in str(runs.run(run_id).evidence) for run_id in ids] == [True] * 5


def test_what_workers_said_is_read_in_several_passes(
    clock: list[float], runs: Runs, cluster: OnACluster
) -> None:
    remote = asking_slowly(runs, cluster, clock, 6)
    ids = submit(runs, 4)
    remote.step()
    for run_id in ids:
        runs.run_store.claim(run_id, "w")
        runs.run_store.fail_attempt(run_id, 1, "EngineError", "x")
    cluster.states = {run_id: ended(70) for run_id in ids}
    explained = []
    for _ in range(2):
        remote.step()
        explained.append(sum(runs.run(run_id).evidence is not None for run_id in ids))
    assert explained == [2, 4]
