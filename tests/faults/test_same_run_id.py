"""One run_id sent to three replicas at the same instant."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.faults.client import variant
from tests.faults.conftest import Scene

pytestmark = pytest.mark.fault
WEBS = 3
ROUNDS = 60


def test_three_replicas_and_one_run_id(scene: Scene) -> None:
    """The same body three times has one answer and one row; of three bodies, one is recorded."""
    scene.installation.start_webs(WEBS)
    instant = threading.Barrier(WEBS)
    rounds = 0
    with (
        ThreadPoolExecutor(WEBS) as pool,
        scene.audit.fault(f"one run_id to 3 webs at once, {2 * ROUNDS} times"),
    ):
        for rounds in range(ROUNDS):
            assert at_once(scene, pool, instant, [variant(rounds)] * WEBS) == [202] * WEBS
            differing = [variant(1000 + 3 * rounds + web) for web in range(WEBS)]
            assert at_once(scene, pool, instant, differing) == [202] + [409] * (WEBS - 1)
    rows = scene.audit.rows()
    assert len(rows) == 2 * ROUNDS
    assert rows.keys() == scene.client.accepted.keys()
    recorded = {run_id: capital_recorded(scene, run_id) for run_id in rows}
    assert recorded == {
        run_id: request["initial_capital"] for run_id, request in scene.client.accepted.items()
    }


def at_once(
    scene: Scene,
    pool: ThreadPoolExecutor,
    instant: threading.Barrier,
    requests: list[dict[str, Any]],
) -> list[int]:
    """The statuses, in ascending order."""
    run_id = str(uuid.uuid4())

    def send(url: str, request: dict[str, Any]) -> int:
        instant.wait(30)
        return scene.client.submit(url, request, run_id)

    return sorted(pool.map(send, scene.installation.urls, requests))


def capital_recorded(scene: Scene, run_id: str) -> float:
    """The capital in the request that the row has recorded."""
    query = "SELECT JSON_EXTRACT(request, '$.initial_capital') FROM runs WHERE run_id = %s"
    return float(scene.server.ask(query, run_id, database=scene.database)[0][0])
