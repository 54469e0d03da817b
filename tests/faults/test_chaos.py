"""Five hundred runs, three replicas, two controllers, and no quiet minute for more than five."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pymysql
import pytest

from tests.faults.chaos import Chaos
from tests.faults.client import variant
from tests.faults.conftest import SEED, Scene
from tests.faults.readers import read_at_random

pytestmark = pytest.mark.fault
RUNS = int(os.environ.get("CHAOS_RUNS", "500"))
SECONDS = float(os.environ.get("CHAOS_SECONDS", "305"))
CLIENTS = 4
READERS = 3
DIFFERENT = 25
REUSED = 0.1  # of the runs may be answered from an identical one, the others compute
MAY_FAIL = (
    "OutOfMemory",
    "WorkerLost",
    "RetriesExhausted",
)  # hit again and again; no other reason is one of chaos


def test_chaos(scene: Scene, note: list[str]) -> None:
    print(f"CHAOS_SEED={SEED}")  # also when it fails
    scene.start(webs=3, controllers=2, LEASE_SECONDS="10")
    chaos = Chaos(scene.installation, scene.server, SEED)
    over = threading.Event()
    with (
        scene.audit.fault(f"chaos, seed {SEED}") as fault,
        ThreadPoolExecutor(CLIENTS + READERS + 1) as pool,
    ):
        threads = [pool.submit(submit_a_share, scene, number) for number in range(CLIENTS)]
        threads.append(pool.submit(watch, scene, over))
        for number in range(READERS):
            chance = random.Random(SEED + 100 + number)
            urls = scene.installation.urls
            threads.append(pool.submit(read_at_random, urls, scene.client, over, chance))
        try:
            chaos.run(SECONDS)
        finally:
            over.set()
        fault.over()
        fault.in_flight.update({row.run_id: row for row in scene.audit.in_flight()})
        for thread in threads:
            thread.result()
    figures = scene.close(fault, *MAY_FAIL)
    ends = Counter(row.reason or row.status for row in scene.audit.rows().values())
    completed = ends.pop("completed", 0)
    failed = dict(ends)
    refused = Counter(scene.client.refused)
    note += [
        f"chaos: seed {SEED}, {figures.seconds:.0f} s, faults {dict(chaos.done)}, "
        f"refused meanwhile {dict(refused)}",
        f"chaos: accepted {len(scene.client.accepted)}, completed {completed}, "
        f"failed {failed or 0}, "
        "lost 0, doubled 0, hanging 0",
        f"chaos: {len(scene.client.history.calls)} calls, none contradicts another",
    ]  # the audit fails where one of the zeros is none
    assert len(scene.client.accepted) == RUNS
    assert completed > 0.9 * RUNS
    assert max(row.launches for row in scene.audit.rows().values()) > 1, "workers were hit at work"


def watch(scene: Scene, over: threading.Event) -> None:
    """Remembers every end as it was first seen, whenever the database answers."""
    while not over.wait(2):
        with suppress(pymysql.MySQLError):
            scene.audit.look()


def submit_a_share(scene: Scene, client: int) -> None:
    """Over most of the time of the faults, each run by the same run_id until it is accepted."""
    chance = random.Random(SEED + client)
    share = len(range(client, RUNS, CLIENTS))
    started = time.monotonic()
    for number in range(share):
        time.sleep(max(0.0, started + 0.8 * SECONDS * number / share - time.monotonic()))
        urls = chance.sample(scene.installation.urls, 3)
        request = variant(chance.randrange(DIFFERENT))
        force = chance.random() > REUSED
        scene.client.submit_until_accepted(urls, request, force)
