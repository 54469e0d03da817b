"""Passes of a controller whose jobs outlive it: quotas, pauses, dead nodes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from service.contract.request import BacktestRequest
from service.contract.status import Reason, Status
from service.controller import reconciler as module
from service.controller.decisions import Patience
from service.controller.reconciler import Controller
from service.launchers.launcher import (
    JobState,
    LaunchDelayed,
    LauncherAway,
)
from service.store.rows import StoredResult
from service.usecases.runs import Runs
from tests.support.controllers import submit
from tests.support.launchers import OnACluster
from tests.support.sample_rows import ended


def test_a_run_is_cancelled_once_its_job_is_gone(
    runs: Runs, cluster: OnACluster, remote: Controller
) -> None:
    launched, waiting = submit(runs, 2)
    remote.dispatcher.max_active = 1
    remote.step()
    assert runs.cancel(waiting).status == Status.CANCELLED, "it never had a job"
    assert runs.cancel(launched).status == Status.CANCELLING
    remote.step()
    assert runs.run(launched).status == Status.CANCELLING
    assert cluster.removed == [launched]
    del cluster.states[launched]
    remote.step()
    row = runs.run(launched)
    assert (row.status, row.reason) == (Status.CANCELLED, Reason.CANCELLED_BY_USER)
    assert cluster.launched == [launched]


def test_a_worker_cannot_finish_a_run_that_is_being_cancelled(
    runs: Runs, cluster: OnACluster, remote: Controller
) -> None:
    (run_id,) = submit(runs)
    remote.step()
    runs.run_store.claim(run_id, "w")
    runs.cancel(run_id)
    assert not runs.run_store.renew(run_id, 1)
    assert not runs.run_store.finish(run_id, 1, StoredResult("{}", "", None), {})
    assert runs.run_store.claim(run_id, "another") is None


def test_a_quota_holds_the_queue_and_spends_no_launch(
    clock: list[float], runs: Runs, cluster: OnACluster, remote: Controller
) -> None:
    first, second = submit(runs, 2)
    cluster.delay = LaunchDelayed("exceeded quota: small", Reason.QUOTA_EXCEEDED)
    remote.step()
    row = runs.run(first)
    assert (row.status, row.reason, row.launches, row.launched_at) == (
        Status.PENDING,
        "QuotaExceeded",
        0,
        None,
    )
    assert runs.run(second).reason is None, "nothing else was tried"
    assert "quota" in str(runs.status(runs.run(first)).hint)
    cluster.delay = None
    remote.step()
    assert cluster.launched == [], "the cluster is left alone for a second"
    clock[0] += 1.1
    remote.step()
    assert cluster.launched == [first, second]
    assert runs.run(first).reason is None


def test_who_refuses_again_and_again_is_asked_more_and_more_seldom(
    clock: list[float],
    runs: Runs,
    cluster: OnACluster,
    remote: Controller,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    submit(runs)
    moments: list[float] = []

    def refuse(request: BacktestRequest, number: int) -> None:
        moments.append(clock[0] - 1000)
        raise LaunchDelayed("busy")

    monkeypatch.setattr(cluster, "launch", refuse)
    for _ in range(1000):
        remote.step()
        clock[0] += 0.1
    assert [round(second) for second in moments] == [0, 1, 3, 7, 15, 31, 61, 91]


def test_a_run_does_not_wait_for_a_quota_for_ever(runs: Runs, cluster: OnACluster) -> None:
    (run_id,) = submit(runs)
    cluster.delay = LaunchDelayed("exceeded quota: small", Reason.QUOTA_EXCEEDED)
    Controller(runs.run_store, cluster, 2, 900, patience=Patience(quota=0)).step()
    row = runs.run(run_id)
    assert (row.status, row.reason, row.message) == (
        Status.FAILED,
        "QuotaExceeded",
        "exceeded quota: small",
    )


def test_jobs_are_made_five_a_second(clock: list[float], runs: Runs, cluster: OnACluster) -> None:
    submit(replace(runs, max_pending=999), 40)
    controller = Controller(runs.run_store, cluster, 99, 900)
    launches = []
    for _ in range(30):
        controller.step()
        launches.append(len(cluster.launched))
        clock[0] += 0.1
    assert launches[0] == 5, "at once"
    assert launches[-1] == 5 + 14, "and then by the clock"


def test_a_quiet_cluster_is_looked_at_every_five_seconds(
    clock: list[float], runs: Runs, cluster: OnACluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller = Controller(runs.run_store, cluster, 2, 900, look_seconds=5)
    looks: list[float] = []
    real = cluster.jobs
    monkeypatch.setattr(
        cluster, "jobs", lambda expected: looks.append(clock[0] - 1000) or real(expected)
    )
    _, second, third = submit(runs, 3)
    for _ in range(11):
        controller.step()
        clock[0] += 1
    assert looks == [0, 5, 10], "no slot is free for the third"
    runs.cancel(second)
    controller.step()
    assert looks[3:] == [11], "somebody waits"
    del cluster.states[second]
    controller.step()
    assert runs.run(second).status == Status.CANCELLED
    controller.step()
    assert third in cluster.launched, "a slot is free"


def test_a_job_that_may_not_be_removed_stops_nobody_else(
    runs: Runs, cluster: OnACluster, remote: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_FAILED_JOBS", 0)
    in_the_way, other = submit(runs, 2)
    cluster.states = {in_the_way: JobState(alive=True, launch=7), "old": ended(70)}
    monkeypatch.setattr(cluster, "remove", lambda run_id, force=False: 1 / 0)
    remote.step()
    assert cluster.launched == [other]


def test_one_call_without_an_answer_stops_nobody_else(
    runs: Runs, cluster: OnACluster, remote: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = submit(runs, 2)
    remote.step()
    for run_id in ids:
        runs.cancel(run_id)
    real = cluster.remove

    def remove(run_id: str, force: bool = False) -> None:
        if run_id == ids[0]:
            raise LauncherAway("a webhook is down")
        real(run_id, force)

    monkeypatch.setattr(cluster, "remove", remove)
    (waiting,) = submit(runs)
    remote.dispatcher.max_active = 3
    remote.step()
    assert cluster.removed == [ids[1]]
    assert cluster.launched[-1] == waiting


def test_one_run_that_must_wait_keeps_nobody_else_waiting(
    runs: Runs, cluster: OnACluster, remote: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = submit(runs, 2)
    real = cluster.launch

    def launch(request: BacktestRequest, number: int) -> None:
        if request.run_id == first:
            raise LaunchDelayed("its last Job is not gone", everybody=False)
        real(request, number)

    monkeypatch.setattr(cluster, "launch", launch)
    remote.step()
    assert cluster.launched == [second]
    assert runs.run(first).launched_at is None


def test_a_cancelled_run_is_cancelled_whatever_was_decided_before(
    runs: Runs, cluster: OnACluster, remote: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run_id,) = submit(runs)
    remote.step()
    cluster.states[run_id] = ended(70)
    with monkeypatch.context() as patch:
        patch.setattr(runs.run_store, "fail", lambda *words, **more: 1 / 0)
        remote.step()
    runs.cancel(run_id)
    del cluster.states[run_id]
    remote.step()
    assert runs.run(run_id).status == Status.CANCELLED


def test_very_many_failed_jobs_do_not_stay(
    runs: Runs, cluster: OnACluster, remote: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_FAILED_JOBS", 3)
    monkeypatch.setattr(module, "MAX_REMOVALS_PER_PASS", 2)
    cluster.states = {f"r{age}": replace(ended(70), age=float(age)) for age in range(7)}
    submit(runs)
    remote.step()
    assert set(cluster.removed) == {"r5", "r6"}
    remote.step()
    assert set(cluster.removed) == {"r3", "r4", "r5", "r6"}


def test_a_job_on_a_dead_node_is_forced_out_and_its_run_starts_again(
    runs: Runs, cluster: OnACluster, remote: Controller
) -> None:
    (run_id,) = submit(runs)
    remote.step()
    runs.run_store.claim(run_id, "w")
    cluster.states[run_id] = replace(cluster.states[run_id], lost=True)
    remote.step()
    row = runs.run(run_id)
    assert (row.status, row.reason, row.launches) == (Status.PENDING, "Disrupted", 0)
    remote.step()
    assert cluster.forced == [run_id]
    del cluster.states[run_id]
    remote.step()
    assert cluster.launched == [run_id] * 2


def test_a_run_is_not_launched_again_while_its_last_job_leaves(
    runs: Runs, cluster: OnACluster, remote: Controller
) -> None:
    (run_id,) = submit(runs)
    remote.step()
    cluster.states[run_id] = replace(ended(137))
    remote.step()
    assert runs.run(run_id).launched_at is None
    remote.step()
    assert cluster.launched == [run_id]
    del cluster.states[run_id]
    remote.step()
    assert cluster.launched == [run_id] * 2
    assert runs.run(run_id).launches == 2
