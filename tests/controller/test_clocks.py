"""Clocks that are set forward and back: no run ends by them, and none waits for them for ever."""

from __future__ import annotations

from dataclasses import replace

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine, select, update

from service.contract.errors import TooManyRequests
from service.contract.status import Reason, Status
from service.controller.leadership import LEADERSHIP_SECONDS, Leadership
from service.controller.reconciler import Controller
from service.controller.upkeep import Retention, Upkeep
from service.launchers.launcher import JobState
from service.store import tables
from service.store.claims import ClaimStore
from service.store.database import utc_in
from service.store.leases import CONTROLLER, LeaseStore
from service.store.rows import CLAIM_SECONDS
from service.usecases.runs import Runs
from tests.support.clocks import SteadyClock, set_forward
from tests.support.controllers import submit
from tests.support.launchers import ByHand, OnACluster
from tests.support.requests import REQUEST
from tests.support.web import completed

HOUR = 3600.0
JUMPS = [HOUR, -HOUR, 400 * 24 * HOUR, -400 * 24 * HOUR]


@pytest.mark.parametrize("seconds", JUMPS)
def test_a_launched_run_outlives_a_jump(
    engine: Engine, runs: Runs, launcher: ByHand, controller: Controller, seconds: float
) -> None:
    (run_id,) = submit(runs)
    controller.step()
    controller.step()
    set_forward(engine, seconds)
    controller.step()
    assert runs.run(run_id).status == Status.PENDING
    assert runs.run_store.claim(run_id, "w") == 1
    set_forward(engine, seconds)
    controller.step()
    run = runs.run(run_id)
    assert (run.status, run.attempt, launcher.removed) == (Status.RUNNING, 1, [])


@pytest.mark.parametrize("seconds", JUMPS)
def test_a_worker_that_renews_keeps_its_run(
    engine: Engine,
    runs: Runs,
    cluster: OnACluster,
    remote: Controller,
    steady_clock: SteadyClock,
    seconds: float,
) -> None:
    (run_id,) = submit(runs)
    remote.step()
    assert runs.run_store.claim(run_id, "w") == 1
    remote.step()
    for _ in range(20):
        steady_clock.now += CLAIM_SECONDS / 3
        set_forward(engine, seconds)
        remote.step()
        assert runs.run_store.renew(run_id, 1)
        remote.step()
    assert (runs.run(run_id).status, cluster.removed) == (Status.RUNNING, [])


@pytest.mark.parametrize("seconds", [0.0, *JUMPS])
def test_a_silent_worker_is_replaced_after_its_lease_whatever_the_clock_says(
    engine: Engine,
    runs: Runs,
    launcher: ByHand,
    controller: Controller,
    steady_clock: SteadyClock,
    seconds: float,
) -> None:
    (run_id,) = submit(runs)
    controller.step()
    assert runs.run_store.claim(run_id, "w") == 1
    controller.step()
    set_forward(engine, seconds)
    steady_clock.now += CLAIM_SECONDS - 2
    controller.step()
    assert launcher.removed == []
    steady_clock.now += 4
    controller.step()
    assert set(launcher.removed) == {run_id}


def test_a_local_run_ends_after_its_time_by_a_clock_that_nobody_sets(
    engine: Engine, runs: Runs, controller: Controller, steady_clock: SteadyClock
) -> None:
    (run_id,) = submit(runs)
    controller.step()
    controller.step()
    set_forward(engine, -400 * 24 * HOUR)
    steady_clock.now += 890
    runs.run_store.claim(run_id, "w")
    controller.step()
    assert runs.run(run_id).status == Status.RUNNING
    steady_clock.now += 20
    controller.step()
    assert runs.run(run_id).reason == Reason.TIMEOUT


def test_what_a_controller_saw_of_runs_that_ended_is_forgotten(
    runs: Runs, launcher: ByHand, controller: Controller
) -> None:
    (run_id,) = submit(runs)
    for _ in range(2):
        controller.step()
    assert controller._ages._launches._sightings
    launcher.states[run_id] = JobState(alive=False, exit_code=64, launch=1)
    for _ in range(3):
        controller.step()
    assert runs.run(run_id).status.final
    assert not controller._ages._launches._sightings


def lead(leases: LeaseStore, name: str) -> bool:
    return leases.take(CONTROLLER, name, LEADERSHIP_SECONDS)


@pytest.mark.parametrize("seconds", [0.0, *JUMPS])
def test_a_dead_controller_is_replaced_whatever_the_clock_says(
    engine: Engine, steady_clock: SteadyClock, seconds: float
) -> None:
    first, second = LeaseStore(engine), LeaseStore(engine)
    assert lead(first, "first")
    set_forward(engine, seconds)
    assert not lead(second, "second"), "it has just begun to watch"
    steady_clock.now += LEADERSHIP_SECONDS - 0.5
    assert not lead(second, "second")
    steady_clock.now += 1
    assert lead(second, "second")
    assert not lead(first, "first")


@pytest.mark.parametrize("seconds", JUMPS)
def test_there_are_never_two_leaders(
    engine: Engine, steady_clock: SteadyClock, seconds: float
) -> None:
    first, second = LeaseStore(engine), LeaseStore(engine)
    assert lead(first, "first")
    for _ in range(20):
        set_forward(engine, seconds)
        assert not lead(second, "second")
        steady_clock.now += 1
        assert lead(first, "first")


def test_a_lease_that_is_no_moment_is_taken_after_its_time(
    engine: Engine, steady_clock: SteadyClock
) -> None:
    if engine.dialect.name != "sqlite":
        pytest.skip("MySQL refuses what is no moment")
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO leases VALUES ('controller', 'x', 'garbage')")
    leases = LeaseStore(engine)
    assert not lead(leases, "me")
    steady_clock.now += LEADERSHIP_SECONDS + 1
    assert lead(leases, "me")


@pytest.mark.parametrize(("seconds", "held"), [(0.0, True), (HOUR, False), (-HOUR, False)])
def test_a_lease_that_ends_in_the_far_future_does_not_count(
    engine: Engine, seconds: float, held: bool
) -> None:
    """The web says so: nobody renews it."""
    leadership = Leadership(LeaseStore(engine), "first", lambda: True)
    leadership.take()
    set_forward(engine, seconds)
    assert LeaseStore(engine).is_held(CONTROLLER) == held


@pytest.mark.parametrize("seconds", [0.0, HOUR, -HOUR])
def test_another_worker_takes_a_run_over_after_its_lease(
    engine: Engine, runs: Runs, steady_clock: SteadyClock, seconds: float
) -> None:
    (run_id,) = submit(runs)
    first, second = ClaimStore(engine), ClaimStore(engine)
    assert first.claim(run_id, "first") == 1
    set_forward(engine, seconds)
    for turn in range(1, 11):
        assert second.claim(run_id, "second") is None
        steady_clock.now += CLAIM_SECONDS / 3
        # Each renewal is seen by the end of the lease, which is later by as much.
        set_forward(engine, seconds + turn * CLAIM_SECONDS / 3)
        assert first.renew(run_id, 1)
    assert second.claim(run_id, "second") is None
    steady_clock.now += CLAIM_SECONDS - 1
    assert second.claim(run_id, "second") is None
    steady_clock.now += 2
    assert second.claim(run_id, "second") == 2
    assert not first.renew(run_id, 1)


def test_two_renewals_that_did_not_come_are_enough_where_the_clock_agrees(
    engine: Engine, runs: Runs, steady_clock: SteadyClock
) -> None:
    (run_id,) = submit(runs)
    first, second = ClaimStore(engine), ClaimStore(engine)
    assert first.claim(run_id, "first") == 1
    set_forward(engine, CLAIM_SECONDS + 1)
    assert second.claim(run_id, "second") is None
    steady_clock.now += 2 * CLAIM_SECONDS / 3 + 1
    assert second.claim(run_id, "second") == 2


@pytest.mark.parametrize("seconds", [HOUR, -HOUR])
def test_a_controller_that_takes_over_after_a_jump_leaves_healthy_runs_alone(
    engine: Engine, runs: Runs, cluster: OnACluster, remote: Controller, seconds: float
) -> None:
    (run_id,) = submit(runs)
    remote.step()
    assert runs.run_store.claim(run_id, "w") == 1
    set_forward(engine, seconds)
    other = Controller(runs.run_store, cluster, max_active=2, timeout_seconds=900)
    for _ in range(3):
        other.step()
    assert (runs.run(run_id).status, cluster.removed) == (Status.RUNNING, [])


def test_a_jump_forward_deletes_nothing(
    engine: Engine, client: FlaskClient, runs: Runs, caplog: pytest.LogCaptureFixture
) -> None:
    run_id = completed(client, runs)
    upkeep = Upkeep(runs.run_store, Retention(days=30))
    upkeep.step()
    set_forward(engine, 400 * 24 * HOUR)
    upkeep._next_expiry = 0.0
    upkeep.step()
    assert runs.run(run_id).status == Status.COMPLETED
    assert "nothing is deleted by age for a day" in caplog.text


def test_a_clock_that_was_set_back_refuses_nobody(engine: Engine, runs: Runs) -> None:
    limited = replace(runs, rate_limit=3)
    for number in range(3):
        limited.submit({**REQUEST, "run_id": f"{number}" * 8 + "-0000-4000-8000-000000000000"})
    other = {**REQUEST, "run_id": "99999999-0000-4000-8000-000000000000"}
    with pytest.raises(TooManyRequests):
        limited.submit(other)
    set_forward(engine, -HOUR)
    assert limited.submit(other)[1]


def test_no_duration_is_negative(engine: Engine, runs: Runs) -> None:
    (run_id,) = submit(runs)
    with engine.begin() as connection:
        is_it = tables.runs.c.run_id == run_id
        values = {
            "status": Status.FAILED,
            "started_at": utc_in(60),
            "finished_at": utc_in(30),
            "created_at": utc_in(90),
        }
        connection.execute(update(tables.runs).where(is_it).values(values))
        assert connection.scalar(select(tables.runs.c.id).where(is_it))
    (ended,) = runs.run_store.ended([run_id])
    assert (ended.waited, ended.seconds) == (0.0, 0.0)
