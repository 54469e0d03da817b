"""kill -9, at moments nobody chose."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from tests.faults.client import variant
from tests.faults.conftest import Scene
from tests.faults.processes import wait_until

pytestmark = pytest.mark.fault
KILLS = 3


@pytest.mark.slow  # chaos has it too
def test_webs_are_killed_while_they_take_runs(scene: Scene) -> None:
    scene.start(webs=2)
    with scene.audit.fault("web replicas killed (-9) while they take runs") as fault:
        runs = threading.Thread(target=submit_until_accepted, args=(scene, 12))
        runs.start()
        for _ in range(KILLS):
            time.sleep(scene.random.uniform(0.1, 0.8))
            web = scene.random.choice(scene.installation.webs)
            web.kill()
            time.sleep(scene.random.uniform(0.1, 0.5))
            web.start()
        runs.join()
    assert len(scene.client.accepted) == 12
    scene.close(fault)


def submit_until_accepted(scene: Scene, count: int) -> None:
    """Each run goes on from the replica that it was lost with to the other."""
    for number in range(count):
        scene.client.submit_until_accepted(scene.installation.urls, variant(number))


def test_the_controller_is_killed_and_started_again(scene: Scene) -> None:
    scene.start()
    scene.submit(12)
    with scene.audit.fault("controller killed (-9) and started again") as fault:
        for _ in range(KILLS):
            time.sleep(scene.random.uniform(0.5, 3))
            scene.active().kill()
            scene.installation.controllers[0].start()
    scene.close(fault)


@pytest.mark.slow  # chaos has it too
def test_workers_are_killed(scene: Scene) -> None:
    """Each worker is killed once: a run whose worker is killed twice fails as out of memory."""
    scene.start()
    scene.submit(12)
    killed: set[str] = set()
    with scene.audit.fault("workers killed (-9)") as fault:
        while len(killed) < 2 * KILLS:
            time.sleep(scene.random.uniform(0.1, 1.2))
            fresh = [
                worker for worker in scene.installation.workers() if worker.run_id not in killed
            ]
            if fresh and fresh[0].signal(signal.SIGKILL):
                killed.add(fresh[0].run_id)
    scene.close(fault)


def test_a_run_whose_worker_is_killed_again_says_so(scene: Scene) -> None:
    scene.start()
    scene.submit(1)
    with scene.audit.fault("one run's worker killed (-9) twice") as fault:
        for attempt in (1, 2):
            wait_until(
                lambda n=attempt: [row.attempt for row in scene.audit.in_flight()] == [n],
                60,
                "an attempt",
            )
            (worker,) = scene.installation.workers()
            worker.signal(signal.SIGKILL)
    scene.close(fault, "OutOfMemory")
    (row,) = scene.audit.rows().values()
    assert (row.status, row.reason) == ("failed", "OutOfMemory")
