"""Everything that a MySQL can do to its users."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from tests.faults.audit import Fault
from tests.faults.client import variant
from tests.faults.conftest import Scene
from tests.faults.mysql_server import MySQLServer

pytestmark = [pytest.mark.fault, pytest.mark.slow]
Block = Callable[[MySQLServer], AbstractContextManager[None]]


def disturb(scene: Scene, name: str, block: Block, seconds: float, runs: int = 10) -> Fault:
    """The fault hits half of the runs queued or at work, and the other half on its way in."""
    scene.start(webs=2)
    scene.submit(runs // 2)
    scene.wait_for_work()
    with scene.audit.fault(name) as fault:
        with block(scene.server):
            late = threading.Thread(target=submit_the_others, args=(scene, runs - runs // 2))
            late.start()
            time.sleep(seconds)
        fault.over()
        late.join()  # the web may still be answering what was asked meanwhile
    return fault


def submit_the_others(scene: Scene, count: int) -> None:
    for number in range(count):
        scene.client.submit_until_accepted(scene.installation.urls, variant(1000 + number))


def test_stopped_for_half_a_minute(scene: Scene) -> None:
    fault = disturb(scene, "MySQL stopped for 30 s", MySQLServer.stopped, 30)
    scene.close(fault)
    assert 503 in scene.client.refused, "the fault was felt"


def test_frozen(scene: Scene) -> None:
    scene.close(disturb(scene, "MySQL frozen for 15 s", MySQLServer.frozen, 15))


def test_read_only(scene: Scene) -> None:
    fault = disturb(scene, "MySQL read-only for 15 s", MySQLServer.read_only, 15)
    scene.close(fault)
    assert 503 in scene.client.refused, "the fault was felt"


def test_killed(scene: Scene) -> None:
    scene.start(webs=2)
    scene.submit(12)
    with scene.audit.fault("mysqld killed (-9) three times") as fault:
        for _ in range(3):
            time.sleep(scene.random.uniform(0.5, 3))
            scene.server.kill()
    scene.close(fault)


def test_connections_killed(scene: Scene) -> None:
    scene.start(webs=2)
    scene.submit(6)
    killed = 0
    with scene.audit.fault("all connections killed, 24 times in 12 s") as fault:
        for number in range(24):
            killed += scene.server.kill_connections()
            if number % 4 == 0:
                scene.client.submit_until_accepted(scene.installation.urls, variant(1000 + number))
            time.sleep(scene.random.uniform(0.1, 0.9))
    scene.close(fault)
    assert killed > 24, "the fault was felt"


def test_disk_full(scene: Scene) -> None:
    fault = disturb(scene, "MySQL's disk full for 30 s", MySQLServer.full_disk, 30, runs=16)
    scene.close(fault)
    assert "is full" in scene.installation.logs(), "the fault was felt"
