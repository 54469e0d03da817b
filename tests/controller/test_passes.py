"""Passes of a controller whose jobs depend on it: turns, slots, crashes."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import replace

import pytest

from service.contract.status import Reason, Status
from service.controller import dispatcher
from service.controller import reconciler as module
from service.controller.decisions import Decision
from service.controller.reconciler import Controller
from service.store.rows import CLAIM_SECONDS, Run
from service.usecases.runs import Runs
from tests.support.clocks import SteadyClock
from tests.support.controllers import submit
from tests.support.launchers import ByHand
from tests.support.requests import REQUEST
from tests.support.sample_rows import ended


def test_a_client_with_many_runs_does_not_keep_another_waiting(
    runs: Runs, launcher: ByHand, controller: Controller
) -> None:
    many = submit(runs, 4, "many")
    (of_one,) = submit(runs, 1, "one")
    controller.step()
    assert launcher.launched == [many[0], of_one]


def test_every_one_of_many_clients_has_its_turn(
    runs: Runs, launcher: ByHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "CLIENTS_PER_PASS", 3)
    ids = [submit(runs, 1, f"client{number}")[0] for number in range(8)]
    controller = Controller(runs.run_store, launcher, 99, 900)
    for _ in range(4):
        controller.step()
    assert sorted(launcher.launched) == sorted(ids)


def test_no_client_starves_however_many_there_are(
    runs: Runs, launcher: ByHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More clients than a pass looks at, each with more runs than it can have, and one slot."""
    monkeypatch.setattr(dispatcher, "CLIENTS_PER_PASS", 3)
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
    runs: Runs, launcher: ByHand, controller: Controller, steady_clock: SteadyClock
) -> None:
    (run_id,) = submit(runs)
    controller.step()
    runs.run_store.claim(run_id, "w")
    controller.step()
    steady_clock.now += CLAIM_SECONDS + 1
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
