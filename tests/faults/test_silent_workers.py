"""Workers that stand still past their lease, and wake up when somebody else has their run."""

from __future__ import annotations

import signal
import time
from dataclasses import replace

import pytest
from sqlalchemy import select

from scripts.config import Config
from service.store.database import connect
from service.store.tables import runs
from tests.faults.conftest import Scene
from tests.faults.processes import Worker, wait_until

pytestmark = pytest.mark.fault
LEASE = 3


def test_a_silent_worker_of_a_living_controller(scene: Scene) -> None:
    """It is killed before its run is given to another."""
    scene.start(LEASE_SECONDS=str(LEASE))
    scene.submit(6)
    worker = freeze_a_claimed_worker(scene)
    with scene.audit.fault("a worker frozen past its lease, its controller alive") as fault:
        wait_until(lambda: attempt(scene, worker) == 2, LEASE + 30, "another attempt")
        worker.signal(signal.SIGCONT)
    scene.close(fault)
    assert worker.pid not in [left.pid for left in scene.installation.workers()]


@pytest.mark.parametrize(
    "late", [False, True], ids=["while the other computes", "when the other is done"]
)
def test_an_orphan_wakes_up(scene: Scene, late: bool) -> None:
    """Nobody can kill the worker, whose controller is gone; the other attempt must stand."""
    scene.start(LEASE_SECONDS=str(LEASE))
    scene.submit(6)
    worker = freeze_a_claimed_worker(scene)
    controller = scene.installation.controllers[0]
    when = "done" if late else "computing"
    with scene.audit.fault(
        f"an orphan frozen past its lease, awake with the other {when}"
    ) as fault:
        controller.kill()
        controller.start()
        wait_until(lambda: attempt(scene, worker) == 2, LEASE + 30, "another attempt", pause=0.02)
        if late:
            wait_until(
                lambda: scene.audit.look()[worker.run_id].final, 60, "the other attempt is done"
            )
        assert worker.signal(signal.SIGCONT), "nobody killed it"
    scene.close(fault)
    wait_until(
        lambda: worker.pid not in [left.pid for left in scene.installation.workers()],
        30,
        "the orphan ends",
    )
    (row,) = [row for row in scene.audit.rows().values() if row.run_id == worker.run_id]
    assert (row.status, row.attempt) == ("completed", 2)


def test_a_process_that_stands_still_in_a_transaction(scene: Scene) -> None:
    """A frozen transaction, on a connection as every process opens it, stops nobody else.

    MySQL ends the transaction within a minute.
    """
    settings = {
        name.lower(): value for name, value in scene.server.environment(scene.database).items()
    }
    engine = connect(Config(**{**settings, "db_port": scene.server.port}))  # type: ignore[arg-type]
    scene.start(LEASE_SECONDS=str(LEASE))
    scene.submit(14)
    worker = freeze_a_claimed_worker(scene)
    with engine.connect() as connection, scene.audit.fault("a run's row locked for good") as fault:
        connection.execute(
            select(runs.c.run_id).where(runs.c.run_id == worker.run_id).with_for_update()
        )
        time.sleep(LEASE + 7)  # by now the controller wants the row
        before = launched(scene)
        wait_until(
            lambda: launched(scene) >= before + 2, 15, "others go on while one row is locked"
        )
        wait_until(
            lambda: attempt(scene, worker) == 2, 45, "the locked run is given to another worker"
        )
        connection.invalidate()
    engine.dispose()
    scene.close(fault)


def launched(scene: Scene) -> int:
    """The number of runs that have been launched so far."""
    return sum(row.launches > 0 for row in scene.audit.look().values())


def attempt(scene: Scene, worker: Worker) -> int:
    """Which attempt at the worker's run is the latest."""
    return scene.audit.look()[worker.run_id].attempt


def freeze_a_claimed_worker(scene: Scene) -> Worker:
    """Freezes a worker that holds its run and has not finished, as its row shows afterwards."""
    for _ in range(50):
        scene.wait_for_work()
        held = scene.running()
        for worker in scene.installation.workers():
            run_ids = [run_id for run_id in held if run_id.startswith(worker.run_id)]
            if run_ids and worker.signal(signal.SIGSTOP):
                time.sleep(0.1)  # what it had sent is done by now
                if run_ids[0] in scene.running():
                    return replace(worker, run_id=run_ids[0])
                worker.signal(signal.SIGCONT)
    raise AssertionError("no worker could be caught at work")
