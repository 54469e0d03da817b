"""Rows and jobs that do not fit each other, and answers that were lost."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from itertools import chain, repeat

import pytest

from service.contract.status import Reason, Status
from service.controller.reconciler import Controller
from service.launchers.launcher import (
    JobState,
    LauncherAway,
    Problem,
)
from service.usecases.runs import Runs
from tests.support.controllers import submit
from tests.support.launchers import OnACluster
from tests.support.sample_rows import ALIVE, ended


def test_jobs_that_are_over_stay_to_be_looked_at(
    runs: Runs, cluster: OnACluster, remote: Controller
) -> None:
    (run_id,) = submit(runs)
    remote.step()
    cluster.states[run_id] = ended(70)
    remote.step()
    remote.step()
    assert runs.run(run_id).reason == Reason.ENGINE_ERROR
    assert cluster.removed == [], "the cluster removes them in time"


def test_stopping_leaves_independent_jobs_alone(
    runs: Runs, cluster: OnACluster, remote: Controller
) -> None:
    (run_id,) = submit(runs)
    remote.step()
    remote.stop()
    assert cluster.removed == []
    assert runs.run(run_id).launched_at is not None


def test_what_keeps_a_job_from_starting_stands_at_the_run(
    runs: Runs, cluster: OnACluster, remote: Controller
) -> None:
    (run_id,) = submit(runs)
    remote.step()
    problem = Problem(Reason.UNSCHEDULABLE, "No node takes the worker: 0/1 nodes", 3)
    cluster.states[run_id] = replace(cluster.states[run_id], problem=problem)
    remote.step()
    row = runs.run(run_id)
    assert (row.status, row.reason, row.message) == (
        Status.PENDING,
        "Unschedulable",
        problem.message,
    )
    assert "No node has room" in str(runs.status(runs.run(run_id)).hint)
    cluster.states[run_id] = replace(cluster.states[run_id], problem=None)
    remote.step()
    assert runs.run(run_id).reason is None
    cluster.states[run_id] = replace(cluster.states[run_id], problem=problem)
    remote.step()
    runs.run_store.claim(run_id, "w")
    remote.step()
    assert runs.run(run_id).reason is None, "it runs"


def test_a_launch_whose_answer_was_lost_is_taken_up_by_what_is_there(
    runs: Runs, cluster: OnACluster, remote: Controller
) -> None:
    (run_id,) = submit(runs)
    cluster.delay = LauncherAway("timed out")
    with pytest.raises(LauncherAway):
        remote.step()
    assert runs.run(run_id).launched_at is not None, "there may be a job"
    cluster.states[run_id] = JobState(alive=True, launch=1)
    cluster.delay = None
    remote.step()
    runs.run_store.claim(run_id, "w")
    remote.step()
    assert cluster.removed == []
    assert runs.run(run_id).status == Status.RUNNING


def test_a_dead_node_gives_its_slots_back(
    runs: Runs, cluster: OnACluster, remote: Controller
) -> None:
    ids = submit(runs, 4)
    remote.step()
    for run_id in ids[:2]:
        runs.cancel(run_id)
    remote.step()
    assert cluster.launched == ids[:2], "they may still be at work"
    for run_id in ids[:2]:
        cluster.states[run_id] = replace(cluster.states[run_id], leaving=121.0)
    remote.dispatcher.max_active = 4
    remote.step()
    assert set(cluster.forced) == set(ids[:2])
    assert cluster.launched == ids


def test_a_job_in_the_way_of_a_queued_run_is_told_to_go(
    runs: Runs, cluster: OnACluster, remote: Controller
) -> None:
    (run_id,) = submit(runs)
    cluster.states[run_id] = JobState(alive=True, launch=7)
    remote.step()
    assert (cluster.removed, cluster.launched) == ([run_id], [])
    del cluster.states[run_id]
    remote.step()
    assert cluster.launched == [run_id]


def test_a_verdict_outlives_a_database_that_is_away(
    runs: Runs, cluster: OnACluster, remote: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job is gone by then, as if somebody had deleted it, and its lease runs out, too."""
    (run_id,) = submit(runs)
    remote.step()
    runs.run_store.claim(run_id, "w")
    cluster.states[run_id] = replace(ALIVE, problem=Problem(Reason.IMAGE_PULL, "No image.", 999))
    with monkeypatch.context() as patch:
        patch.setattr(runs.run_store, "fail", lambda *words, **more: 1 / 0)
        remote.step()
    assert cluster.removed == [run_id]
    del cluster.states[run_id]
    for held in (
        [False],
        [True, False],
    ):  # before the run is looked at, and after its evidence was gathered
        with monkeypatch.context() as patch:
            patch.setattr(remote, "_may_act", iter([*held, False]).__next__)
            remote.step()
    remote.step()
    assert runs.run(run_id).reason == Reason.IMAGE_PULL
    assert remote._unmarked == {}


def test_a_job_that_goes_on_is_looked_at_anew(
    runs: Runs, cluster: OnACluster, remote: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was to be removed, which nobody answered; now its image has come."""
    (run_id,) = submit(runs)
    remote.step()
    cluster.states[run_id] = replace(ALIVE, problem=Problem(Reason.IMAGE_PULL, "No image.", 999))
    with monkeypatch.context() as patch:
        patch.setattr(cluster, "remove", lambda *words, **more: 1 / 0)
        remote.step()
    runs.run_store.claim(run_id, "w")
    cluster.states[run_id] = ALIVE
    remote.step()
    assert runs.run(run_id).status == Status.RUNNING


def test_a_controller_that_lost_the_lease_while_it_marked_leaves_the_job_alone(
    runs: Runs, cluster: OnACluster, remote: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By now it may be that of the next launch."""
    (run_id,) = submit(runs)
    remote.step()
    runs.run_store.claim(run_id, "w")
    cluster.states[run_id] = ended(75)
    monkeypatch.setattr(remote, "_may_act", chain([True], repeat(False)).__next__)
    monkeypatch.setattr(remote.dispatcher, "_may_act", lambda: False)
    remote.step()
    assert (runs.run(run_id).status, cluster.removed) == (Status.PENDING, [])


def test_the_job_of_a_run_that_starts_again_goes_once_its_row_says_so(
    runs: Runs, cluster: OnACluster, remote: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the next controller, who knows nothing of why, would call it deleted by hand."""
    (run_id,) = submit(runs)
    remote.step()
    runs.run_store.claim(run_id, "w")
    cluster.states[run_id] = ended(75)
    with monkeypatch.context() as patch:
        patch.setattr(runs.run_store, "requeue", lambda *words, **more: 1 / 0)
        remote.step()
    assert cluster.removed == []
    following = Controller(runs.run_store, cluster, max_active=2, timeout_seconds=900)
    following.step()
    assert (runs.run(run_id).status, cluster.removed[:1]) == (Status.PENDING, [run_id])
    assert cluster.launched == [run_id], "its last job is not gone yet"
    del cluster.states[run_id]
    following.step()
    assert cluster.launched == [run_id] * 2


def test_what_a_controller_saw_of_an_earlier_launch_changes_nothing(
    runs: Runs, cluster: OnACluster, remote: Controller
) -> None:
    """It stood still in between; a launch that did not count gives its number to the next one."""
    (run_id,) = submit(runs)
    remote.step()
    (seen,) = runs.run_store.active()
    assert runs.run_store.requeue(seen, counted_launches=0)
    assert runs.run_store.mark_launched(run_id)
    assert runs.run(run_id).launches == seen.launches
    assert not runs.run_store.fail(seen, "Timeout", "x")
    assert not runs.run_store.requeue(seen)


def test_an_idle_controller_looks_for_forgotten_jobs_every_five_minutes(
    clock: list[float], runs: Runs, cluster: OnACluster
) -> None:
    controller = Controller(runs.run_store, cluster, 2, 900, look_seconds=5)
    looks: list[float] = []
    real = cluster.jobs
    cluster.jobs = lambda expected: looks.append(clock[0] - 1000) or real(expected)
    cluster.states["nobody's"] = JobState(alive=True)
    for _ in range(91):
        controller.step()
        clock[0] += 10
    assert looks == [0, 300, 600, 900]
    assert cluster.removed == ["nobody's"], "after ten minutes in which nobody waited for it"


def test_nothing_is_decided_while_nothing_is_known_of_the_jobs(
    runs: Runs, cluster: OnACluster, remote: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run_id,) = submit(runs)
    remote.step()

    def away(expected: Collection[str]) -> Mapping[str, JobState]:
        raise LauncherAway("the API is away")

    monkeypatch.setattr(cluster, "jobs", away)
    with pytest.raises(LauncherAway):
        remote.step()
    assert runs.run(run_id).launched_at is not None
    (waiting,) = submit(runs)
    with pytest.raises(LauncherAway):
        remote.step()
    row = runs.run(waiting)
    assert (row.status, row.reason, row.message) == (
        Status.PENDING,
        "ClusterAway",
        "the API is away.",
    )
    assert runs.status(runs.run(waiting)).hint
    monkeypatch.undo()
    remote.step()
    assert (runs.run(waiting).reason, cluster.launched) == (None, [run_id, waiting])
