"""The controller: every line of its decision table, its passes with a hand-made launcher, and real processes."""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, update

from scripts.config import Config, load_config
from service.contract.request import BacktestRequest
from service.contract.status import Reason, Status
from service.controller import __main__ as program
from service.controller import dispatcher
from service.controller import reconciler as module
from service.controller.__main__ import main
from service.controller.decisions import FORGET, REQUEUE, WAIT, Decision, Patience, decide
from service.controller.leadership import Leadership
from service.controller.reconciler import Controller
from service.launchers.launcher import (
    JobState,
    LaunchDelayed,
    Launcher,
    LauncherAway,
    LaunchFailed,
    Problem,
)
from service.launchers.local_process import COMMAND, LocalProcess
from service.store.database import utc_in
from service.store.leases import LeaseStore
from service.store.run_store import Run, StoredResult
from service.store.tables import runs as runs_table
from service.usecases.runs import Runs
from tests.conftest import REQUEST, database_environment

NOW = datetime(2026, 1, 1, 12, 0, 0)
TIMEOUT = timedelta(minutes=15)
ALIVE = JobState(alive=True)

ROW = Run(
    id=1, run_id="r", request="", ticker="GOOG", rule_id="RSI_14_30_70", prices_fingerprint="", rules_digest="",
    status=Status.RUNNING, reason=None, message=None, attempt=1, launches=1, claimed_by="w",
    lease_until=NOW + timedelta(seconds=40), created_at=NOW, launched_at=NOW - timedelta(seconds=20), started_at=NOW,
    finished_at=None, total_return_pct=None, sharpe_ratio=None, max_drawdown_pct=None, num_trades=None,
)  # fmt: skip
PENDING = replace(ROW, status=Status.PENDING, lease_until=None, claimed_by=None, attempt=0)
SILENT = replace(ROW, lease_until=NOW - timedelta(seconds=1))
OLD = {"launched_at": NOW - timedelta(minutes=16)}


def ended(code: int) -> JobState:
    return JobState(alive=False, exit_code=code)


@pytest.mark.parametrize(
    ("run", "job", "expected"),
    [
        (None, ALIVE, FORGET),
        (None, ended(0), FORGET),
        (ROW, ALIVE, WAIT),
        (PENDING, ALIVE, WAIT),
        (replace(ROW, **OLD), ALIVE, Reason.TIMEOUT),
        (replace(PENDING, **OLD), ALIVE, Reason.TIMEOUT),
        (SILENT, ALIVE, REQUEUE),
        (replace(SILENT, launches=3), ALIVE, Reason.WORKER_LOST),
        (ROW, None, WAIT),
        (replace(ROW, **OLD), None, Reason.TIMEOUT),
        (replace(PENDING, **OLD), None, Reason.TIMEOUT),
        (SILENT, None, REQUEUE),
        (replace(ROW, lease_until=None), None, REQUEUE),
        (replace(SILENT, launches=3), None, Reason.WORKER_LOST),
        (PENDING, None, WAIT),
        (replace(PENDING, launched_at=NOW - timedelta(seconds=31)), None, REQUEUE),
        (replace(PENDING, launched_at=NOW - timedelta(seconds=31), launches=3), None, Reason.WORKER_LOST),
        (ROW, ended(64), Reason.BAD_INPUT),
        (ROW, ended(65), Reason.NO_DATA),
        (ROW, ended(70), Reason.ENGINE_ERROR),
        (ROW, ended(0), Reason.NO_RESULT_WRITTEN),
        (ROW, ended(-9), REQUEUE),
        (ROW, ended(137), REQUEUE),
        (replace(ROW, launches=2), ended(-9), Reason.OUT_OF_MEMORY),
        (ROW, ended(75), REQUEUE),
        (ROW, ended(143), REQUEUE),
        (PENDING, ended(1), REQUEUE),
        (replace(ROW, launches=2), ended(1), REQUEUE),
        (replace(ROW, launches=3), ended(1), Reason.RETRIES_EXHAUSTED),
    ],
)  # fmt: skip
def test_decisions(run: Run | None, job: JobState | None, expected: Decision | Reason) -> None:
    decision = decide(run, job, NOW, TIMEOUT)
    if isinstance(expected, Reason):
        assert (decision.action, decision.reason) == ("fail", expected)
        assert decision.message.endswith(".")
    else:
        assert decision is expected


class ByHand(Launcher):
    """Jobs that do what the test says."""

    def __init__(self) -> None:
        self.states: dict[str, JobState] = {}
        self.launched: list[str] = []
        self.removed: list[str] = []
        self.refuse = False

    def launch(self, request: BacktestRequest, number: int) -> None:
        if self.refuse:
            raise LaunchFailed("no room")
        self.launched.append(request.run_id)
        self.states[request.run_id] = JobState(alive=True, launch=number)

    def jobs(self, expected: Collection[str] = ()) -> Mapping[str, JobState]:
        return dict(self.states)

    def remove(self, run_id: str, force: bool = False) -> None:
        self.removed.append(run_id)
        self.states.pop(run_id, None)


def after(rounds: int) -> threading.Event:
    """Set once the loop has turned so often."""

    class Stop(threading.Event):
        turned = 0

        def wait(self, timeout: float | None = None) -> bool:
            self.turned += timeout != 1  # the pause after an error is no turn
            return self.turned > rounds

    return Stop()


def config_of(engine: Engine, **settings: Any) -> Config:
    """The settings of a process on the same database."""
    environment = dict(pair.split("=", 1) for pair in database_environment(engine))
    return replace(load_config(environment), **settings)


@pytest.fixture
def launcher() -> ByHand:
    return ByHand()


@pytest.fixture
def controller(runs: Runs, launcher: ByHand) -> Controller:
    return Controller(runs.run_store, launcher, max_active=2, timeout_seconds=900)


def submit(runs: Runs, count: int = 1, client: str = "") -> list[str]:
    return [runs.submit(dict(REQUEST), client, force=True)[0].run_id for _ in range(count)]


def test_a_client_with_many_runs_does_not_keep_another_waiting(
    runs: Runs, launcher: ByHand, controller: Controller
) -> None:
    many = submit(runs, 4, "many")
    (one,) = submit(runs, 1, "one")
    controller.step()
    assert launcher.launched == [many[0], one]


def test_every_one_of_many_clients_has_its_turn(
    runs: Runs, launcher: ByHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "CLIENTS_A_PASS", 3)
    ids = [submit(runs, 1, f"client{number}")[0] for number in range(8)]
    controller = Controller(runs.run_store, launcher, 99, 900)
    for _ in range(4):
        controller.step()
    assert sorted(launcher.launched) == sorted(ids)


def test_no_client_starves_however_many_there_are(
    runs: Runs, launcher: ByHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More clients than a pass looks at, each with more runs than it can have, and one slot."""
    monkeypatch.setattr(dispatcher, "CLIENTS_A_PASS", 3)
    for number in range(5):
        for _ in range(4):
            row = runs.run(submit(runs, 1, f"client{number}")[0]) if number < 1 else None
            if row is None:
                replace(runs, max_pending=99).submit(dict(REQUEST), f"client{number}", force=True)
    controller = Controller(runs.run_store, launcher, 1, 900)
    for _ in range(10):
        controller.step()
        run = runs.run(launcher.launched[-1])
        runs.run_store.fail(run, "Timeout", "Over.")
        launcher.states.clear()
    turns = Counter(runs.run(run_id).client for run_id in launcher.launched)
    assert sorted(turns.values()) == [2] * 5


def test_dispatch_is_first_in_first_out_and_bounded(
    runs: Runs, launcher: ByHand, controller: Controller
) -> None:
    ids = submit(runs, 5)
    controller.step()
    controller.step()
    assert launcher.launched == ids[:2]
    runs.run_store.claim(ids[0], "w")
    runs.run_store.fail_attempt(ids[0], 1, "EngineError", "x")
    launcher.states[ids[0]] = ended(70)
    controller.step()
    assert launcher.launched == ids[:3]
    assert launcher.removed == [ids[0]]


def test_slots_count_runs_of_a_controller_that_is_gone(
    runs: Runs, launcher: ByHand, controller: Controller
) -> None:
    ids = submit(runs, 3)
    runs.run_store.mark_launched(ids[0])
    runs.run_store.claim(ids[0], "an orphan still at work")
    controller.step()
    assert launcher.launched == [ids[1]]


def test_a_crashed_worker_is_tried_three_times(
    runs: Runs, launcher: ByHand, controller: Controller, caplog: pytest.LogCaptureFixture
) -> None:
    (run_id,) = submit(runs)
    with caplog.at_level(logging.WARNING):
        for _ in range(6):
            controller.step()
            launcher.states = {
                known: replace(job, alive=False, exit_code=1)
                for known, job in launcher.states.items()
            }
    assert launcher.launched == [run_id] * 3
    run = runs.run(run_id)
    assert (run.status, run.reason) == (Status.FAILED, Reason.RETRIES_EXHAUSTED)
    assert run.message == "The worker failed, the last time with exit code 1."
    assert "RetriesExhausted" in caplog.text


def test_a_finished_run_is_left_alone_whatever_its_job_says(
    runs: Runs, launcher: ByHand, controller: Controller
) -> None:
    (run_id,) = submit(runs)
    controller.step()
    runs.run_store.claim(run_id, "w")
    runs.run_store.fail_attempt(run_id, 1, "NoData", "x")
    controller.step()
    assert launcher.removed == [], "the job may still be writing its last lines"
    launcher.states[run_id] = ended(1)
    controller.step()
    assert runs.run(run_id).reason == "NoData"
    assert launcher.removed == [run_id]


def test_a_silent_worker_is_killed_before_the_run_is_marked(
    runs: Runs, launcher: ByHand, controller: Controller, engine: Engine
) -> None:
    (run_id,) = submit(runs)
    controller.step()
    runs.run_store.claim(run_id, "w")
    with engine.begin() as connection:
        connection.execute(update(runs_table).values(lease_until=utc_in(-1)))
    controller.step()
    assert set(launcher.removed) == {run_id}
    controller.step()
    assert launcher.launched == [run_id] * 2


def test_a_job_that_cannot_be_started_fails_its_run(
    runs: Runs, launcher: ByHand, controller: Controller
) -> None:
    (run_id,) = submit(runs)
    launcher.refuse = True
    controller.step()
    assert runs.run(run_id).reason == Reason.LAUNCH_FAILED


def test_one_bad_row_stops_nobody_else(
    runs: Runs,
    launcher: ByHand,
    controller: Controller,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    first, second = submit(runs, 2)
    controller.step()
    launcher.states = {first: ended(70), second: ended(65)}
    real = module.decide

    def fails_for_one(run: Run | None, *rest: object) -> Decision:
        if run is not None and run.run_id == first:
            raise RuntimeError("a bad row")
        return real(run, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "decide", fails_for_one)
    controller.step()
    assert runs.run(second).reason == Reason.NO_DATA
    assert "a bad row" in caplog.text


class OnACluster(ByHand):
    """Jobs that outlive their controller and leave slowly."""

    independent = True

    def __init__(self) -> None:
        super().__init__()
        self.delay: LaunchDelayed | LauncherAway | None = None
        self.forced: list[str] = []

    def launch(self, request: BacktestRequest, number: int) -> None:
        if self.delay:
            raise self.delay
        super().launch(request, number)

    def remove(self, run_id: str, force: bool = False) -> None:
        self.removed.append(run_id)
        self.forced += [run_id] if force else []
        if run_id in self.states:
            self.states[run_id] = replace(
                self.states[run_id], leaving=self.states[run_id].leaving or 1.0
            )


@pytest.fixture
def cluster() -> OnACluster:
    return OnACluster()


@pytest.fixture
def remote(runs: Runs, cluster: OnACluster) -> Controller:
    return Controller(runs.run_store, cluster, max_active=2, timeout_seconds=900)


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
    asked: list[float] = []

    def refuse(request: BacktestRequest, number: int) -> None:
        asked.append(clock[0] - 1000)
        raise LaunchDelayed("busy")

    monkeypatch.setattr(cluster, "launch", refuse)
    for _ in range(1000):
        remote.step()
        clock[0] += 0.1
    assert [round(second) for second in asked] == [0, 1, 3, 7, 15, 31, 61, 91]


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
    made = []
    for _ in range(30):
        controller.step()
        made.append(len(cluster.launched))
        clock[0] += 0.1
    assert made[0] == 5, "at once"
    assert made[-1] == 5 + 14, "and then by the clock"


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
    assert remote.explainer.waiting == {}, "it is not waited for ever"
    cluster.states[second] = ended(70)
    remote.step()
    assert runs.run(second).evidence is None


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
    cluster.states[first], cluster.states[second] = ended(70), ended(65)
    (third,) = submit(runs)
    remote.step()
    assert runs.run(second).reason == Reason.NO_DATA
    assert json.loads(str(runs.run(second).evidence)) == {
        "exit_code": 65,
        "launch": 1,
        "retried": False,
    }
    assert cluster.launched[-1] == third


def test_a_job_that_may_not_be_removed_stops_nobody_else(
    runs: Runs, cluster: OnACluster, remote: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT_FAILED", 0)
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
        patch.setattr(runs.run_store, "fail", lambda *given, **more: 1 / 0)
        remote.step()
    runs.cancel(run_id)
    del cluster.states[run_id]
    remote.step()
    assert runs.run(run_id).status == Status.CANCELLED


def test_very_many_failed_jobs_do_not_stay(
    runs: Runs, cluster: OnACluster, remote: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT_FAILED", 3)
    monkeypatch.setattr(module, "REMOVED_A_PASS", 2)
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
    """The job is gone by then, which would look as if somebody had deleted it. The lease runs out meanwhile."""
    (run_id,) = submit(runs)
    remote.step()
    runs.run_store.claim(run_id, "w")
    cluster.states[run_id] = replace(ALIVE, problem=Problem(Reason.IMAGE_PULL, "No image.", 999))
    with monkeypatch.context() as patch:
        patch.setattr(runs.run_store, "fail", lambda *given, **more: 1 / 0)
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
        patch.setattr(cluster, "remove", lambda *given, **more: 1 / 0)
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
    monkeypatch.setattr(remote, "_may_act", iter([True, False]).__next__)
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
        patch.setattr(runs.run_store, "requeue", lambda *given, **more: 1 / 0)
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
    assert runs.run_store.requeue(seen, spent=0)
    assert runs.run_store.mark_launched(run_id)
    assert runs.run(run_id).launches == seen.launches
    assert not runs.run_store.fail(seen, "Timeout", "x")
    assert not runs.run_store.requeue(seen)


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


def test_a_pass_that_fails_is_not_the_last(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Leadership, "held", True)
    steps: list[bool] = []

    def step(self: Controller) -> None:
        steps.append(True)
        if len(steps) == 1:
            raise KeyError("status")

    monkeypatch.setattr(Controller, "step", step)
    main(config_of(engine), after(3))
    assert "The pass failed" in caplog.text
    assert len(steps) == 3


def test_an_idle_controller_looks_for_forgotten_jobs_every_five_minutes(
    clock: list[float], runs: Runs, cluster: OnACluster
) -> None:
    controller = Controller(runs.run_store, cluster, 2, 900, look_seconds=5)
    looks: list[float] = []
    real = cluster.jobs
    cluster.jobs = lambda expected: looks.append(clock[0] - 1000) or real(expected)  # type: ignore[method-assign]
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


# the same over real processes


@pytest.fixture
def local(engine: Engine) -> Iterator[LocalProcess]:
    launcher = LocalProcess(["env", *database_environment(engine), "LOG_LEVEL=WARNING", *COMMAND])
    yield launcher
    for run_id in list(launcher.jobs()):
        launcher.remove(run_id)


def until_final(
    controller: Controller, runs: Runs, ids: list[str], seconds: float = 60
) -> list[Run]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        controller.step()
        rows = [runs.run(run_id) for run_id in ids]
        if all(row.status.final for row in rows):
            return rows
        time.sleep(0.05)
    raise AssertionError(rows)


def test_runs_complete_in_processes_of_their_own(runs: Runs, local: LocalProcess) -> None:
    ids = submit(runs, 3)
    rows = until_final(Controller(runs.run_store, local, 2, 900), runs, ids)
    assert {row.status for row in rows} == {Status.COMPLETED}
    assert len({row.claimed_by for row in rows}) == 3
    assert all(runs.result(row).chart_base64 for row in rows)


def test_a_killed_worker_is_tried_again(runs: Runs, local: LocalProcess) -> None:
    (run_id,) = submit(runs)
    controller = Controller(runs.run_store, local, 2, 900)
    controller.step()
    local._children[run_id].kill()
    local._children[run_id].wait()
    (row,) = until_final(controller, runs, [run_id])
    assert (row.status, row.launches) == (Status.COMPLETED, 2)


def test_a_hanging_worker_times_out(runs: Runs) -> None:
    (run_id,) = submit(runs)
    sleeper = LocalProcess([sys.executable, "-c", "import time; time.sleep(60)"])
    controller = Controller(runs.run_store, sleeper, 2, 0.5)
    (row,) = until_final(controller, runs, [run_id], 20)
    assert row.reason == Reason.TIMEOUT
    assert sleeper.jobs() == {}


RELEASES = """
import os, signal, time
from scripts.config import load_config
from service.store.database import connect
from service.store.run_store import RunStore
store, run_id = RunStore(connect(load_config())), os.environ["RUN_ID"]
attempt = store.claim(run_id, "slow")
def stop(*_):
    store.release(run_id, attempt)
    os._exit(143)
signal.signal(signal.SIGTERM, stop)
time.sleep(60)
"""


def test_a_slow_worker_that_gives_its_run_back_when_told_to_end_still_times_out(
    runs: Runs, engine: Engine
) -> None:
    """The release on SIGTERM must not undo the controller's verdict."""
    (run_id,) = submit(runs)
    slow = LocalProcess(["env", *database_environment(engine), sys.executable, "-c", RELEASES])
    controller = Controller(runs.run_store, slow, 1, timeout_seconds=4)
    (row,) = until_final(controller, runs, [run_id], 30)
    assert (row.reason, row.attempt, row.launches) == (Reason.TIMEOUT, 1, 1)


def test_runs_of_a_controller_that_is_stopped_go_back_to_the_queue(
    runs: Runs, launcher: ByHand, controller: Controller
) -> None:
    """Also those whose worker had not claimed them yet."""
    ids = submit(runs, 2)
    controller.step()
    runs.run_store.claim(ids[0], "w")
    controller.stop()
    waiting = runs.run_store.queued(9)
    assert [run.run_id for run in waiting] == ids
    assert [run.launches for run in waiting] == [0, 0], "the stop was not their fault"


def test_a_job_of_an_earlier_launch_says_nothing_about_its_run(
    runs: Runs, launcher: ByHand, controller: Controller
) -> None:
    """This controller was paused; another took over, launched the run anew and died."""
    (run_id,) = submit(runs)
    controller.step()
    seen = runs.run(run_id)
    launcher.states[run_id] = ended(-9)
    assert runs.run_store.requeue(seen)
    assert runs.run_store.mark_launched(run_id)
    assert runs.run_store.claim(run_id, "the other's worker") == 1
    controller.step()
    assert launcher.removed == [run_id]
    assert (runs.run(run_id).status, runs.run(run_id).launches) == (Status.RUNNING, 2)


def test_a_stored_request_that_the_contract_refuses_today_fails_alone(
    runs: Runs, launcher: ByHand, controller: Controller, engine: Engine
) -> None:
    first, second = submit(runs, 2)
    with engine.begin() as connection:
        old = runs.run(first).request.replace(
            '"initial_capital":100000.0', '"initial_capital":0.001'
        )
        connection.execute(
            update(runs_table).where(runs_table.c.run_id == first).values(request=old)
        )
    controller.step()
    assert (runs.run(first).status, runs.run(first).reason) == (Status.FAILED, Reason.BAD_INPUT)
    assert launcher.launched == [second]


def test_a_worker_that_ignores_sigterm_is_killed(
    monkeypatch: pytest.MonkeyPatch, runs: Runs, tmp_path: Path
) -> None:
    monkeypatch.setattr("service.launchers.local_process.GRACE_SECONDS", 0.2)
    up = tmp_path / "up"
    code = f"import signal, time; signal.signal(15, signal.SIG_IGN); open({str(up)!r}, 'w'); time.sleep(60)"
    stubborn = LocalProcess([sys.executable, "-c", code])
    (run_id,) = submit(runs)
    controller = Controller(runs.run_store, stubborn, 1, 900)
    controller.step()
    child = stubborn._children[run_id]
    while not up.exists():
        assert child.poll() is None
        time.sleep(0.05)
    controller.stop()
    assert child.returncode == -9
    assert stubborn.jobs() == {}
    stubborn.remove(run_id)


def test_a_command_that_is_not_there() -> None:
    from service.contract.request import parse_request

    with pytest.raises(LaunchFailed):
        LocalProcess(["/nowhere/python"]).launch(
            parse_request({"run_id": str(uuid.uuid4()), **REQUEST}), 1
        )


def test_launching_a_run_twice_gives_one_job() -> None:
    from service.contract.request import parse_request

    launcher = LocalProcess([sys.executable, "-c", "pass"])
    request = parse_request({"run_id": str(uuid.uuid4()), **REQUEST})
    launcher.launch(request, 1)
    first = launcher._children[request.run_id]
    launcher.launch(request, 2)
    assert launcher._children[request.run_id] is first
    first.wait()
    assert launcher.jobs()[request.run_id] == ended(0)
    launcher.remove(request.run_id)


def test_main_steps_while_it_holds_the_lease(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, steps, checked = (
        iter([False, False, False, False, True, True, True, True]),
        list[bool](),
        list[bool](),
    )
    monkeypatch.setattr(Leadership, "held", property(lambda self: next(held)))
    monkeypatch.setattr(Controller, "step", lambda self: steps.append(True))
    monkeypatch.setattr(program, "installed_rules", checked.append)
    main(config_of(engine), after(4))
    assert checked == [True], "plug-ins are validated when it starts"
    assert len(steps) == 2, "two rounds as a standby"
    assert not LeaseStore(engine).is_held("controller")


def test_the_database_may_go_away(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from sqlalchemy.exc import OperationalError

    monkeypatch.setattr(Leadership, "held", True)
    answers = iter([OperationalError("x", {}, Exception("gone")), None, None])

    def step(self: Controller) -> None:
        answer = next(answers)
        if answer:
            raise answer

    monkeypatch.setattr(Controller, "step", step)
    main(config_of(engine), after(3))
    assert "The database is away" in caplog.text
    assert next(answers, "used up") == "used up"
