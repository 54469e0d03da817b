"""The controller with real processes."""

from __future__ import annotations

import errno
import sys
import time
import uuid
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Engine, update

from service.contract.request import parse_request
from service.contract.status import Reason, Status
from service.controller.reconciler import Controller
from service.controller.work import work_of_request
from service.launchers.launcher import (
    LaunchFailed,
)
from service.launchers.local_process import LocalProcess
from service.store.tables import runs as runs_table
from service.usecases.runs import Runs
from tests.support.controllers import (
    RELEASES,
    execute,
    submit,
    until_final,
    with_environment,
)
from tests.support.databases import database_environment
from tests.support.launchers import ByHand
from tests.support.requests import REQUEST
from tests.support.sample_rows import ended


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
    local._children[run_id].process.kill()
    local._children[run_id].process.join()
    (row,) = until_final(controller, runs, [run_id])
    assert (row.status, row.launches) == (Status.COMPLETED, 2)


def test_a_hanging_worker_times_out(runs: Runs) -> None:
    (run_id,) = submit(runs)
    sleeper = LocalProcess(partial(time.sleep, 60))
    controller = Controller(runs.run_store, sleeper, 2, 0.5)
    (row,) = until_final(controller, runs, [run_id], 20)
    assert row.reason == Reason.TIMEOUT
    assert sleeper.jobs() == {}


def test_a_slow_worker_that_gives_its_run_back_when_told_to_end_still_times_out(
    runs: Runs, engine: Engine
) -> None:
    """The release on SIGTERM must not undo the controller's verdict."""
    (run_id,) = submit(runs)
    program = partial(execute, sys.executable, "-c", RELEASES)
    slow = LocalProcess(partial(with_environment, database_environment(engine), program))
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
    ignore = "import signal, time; signal.signal(15, signal.SIG_IGN)"
    code = f"{ignore}; open({str(up)!r}, 'w'); time.sleep(60)"
    stubborn = LocalProcess(partial(execute, sys.executable, "-c", code))
    (run_id,) = submit(runs)
    controller = Controller(runs.run_store, stubborn, 1, 900)
    controller.step()
    child = stubborn._children[run_id].process
    while not up.exists():
        assert child.exitcode is None
        time.sleep(0.05)
    controller.stop()
    assert child.exitcode == -9
    assert stubborn.jobs() == {}
    stubborn.remove(run_id)


def test_a_machine_that_starts_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher = LocalProcess()

    def refuse() -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr("multiprocessing.forkserver._forkserver.ensure_running", refuse)
    work = work_of_request(parse_request({"run_id": str(uuid.uuid4()), **REQUEST}))
    with pytest.raises(LaunchFailed, match="temporarily unavailable"):
        launcher.launch(work, 1)
    assert launcher.jobs() == {}


def test_launching_a_run_twice_gives_one_job() -> None:
    launcher = LocalProcess(partial(execute, "true"))
    work = work_of_request(parse_request({"run_id": str(uuid.uuid4()), **REQUEST}))
    launcher.launch(work, 1)
    first = launcher._children[work.run_id]
    launcher.launch(work, 2)
    assert launcher._children[work.run_id] is first
    first.process.join()
    assert launcher.jobs()[work.run_id] == ended(0)
    launcher.remove(work.run_id)
