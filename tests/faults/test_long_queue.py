"""A hundred thousand runs wait when the controller starts."""

from __future__ import annotations

import pytest

from tests.faults.client import variant
from tests.faults.conftest import Scene
from tests.faults.processes import wait_until

pytestmark = [pytest.mark.fault, pytest.mark.slow]
PENDING = 100_000
LOOKED_AT = 12
PASS_SECONDS = 1.0
PASS = "stock_backtest_controller_pass_seconds"
COPY = """
INSERT INTO runs (run_id, request, ticker, rule_id, prices_fingerprint, rules_digest, status,
                  attempt, launches, created_at, client)
WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < {count})
SELECT CONCAT(LPAD(LOWER(HEX(i)), 8, '0'), '-0000-4000-8000-000000000000'),
       REPLACE(request, run_id,
               CONCAT(LPAD(LOWER(HEX(i)), 8, '0'), '-0000-4000-8000-000000000000')),
       ticker, rule_id, prices_fingerprint, rules_digest, status, attempt, launches, created_at,
       client
FROM runs CROSS JOIN n WHERE runs.id = (SELECT MIN(id) FROM runs) ORDER BY i
"""


def test_a_hundred_thousand_pending_runs(scene: Scene, note: list[str]) -> None:
    scene.installation.start_webs(1)
    assert scene.client.submit(scene.installation.urls[0], variant(0)) == 202
    copy_the_run(scene, PENDING)
    scene.installation.start_controllers(1)
    scene.active()
    wait_until(lambda: len(started(scene)) >= LOOKED_AT, 180, f"{LOOKED_AT} runs have been started")
    order = started(scene)
    assert order == sorted(order)[: len(order)] == list(range(order[0], order[0] + len(order))), (
        "first in, first out"
    )
    count, seconds, short = passes(scene)
    note.append(
        f"{count:.0f} passes over {PENDING} pending runs: {seconds / count:.3f} s each, "
        f"{short:.0f} under 1 s"
    )
    assert seconds / count < PASS_SECONDS


def copy_the_run(scene: Scene, count: int) -> None:
    """Copies the run so many times, with other run_ids, in the order of arrival."""
    scene.server.ask(f"SET GLOBAL cte_max_recursion_depth = {count + 1}")
    scene.server.ask(COPY.format(count=count), database=scene.database)


def started(scene: Scene) -> list[int]:
    """The rows of launched runs, in the order of their launch."""
    query = "SELECT id FROM runs WHERE launched_at IS NOT NULL ORDER BY launched_at, id"
    return [row[0] for row in scene.server.ask(query, database=scene.database)]


def passes(scene: Scene) -> tuple[float, float, float]:
    """The number of passes so far, their seconds together, and how many took less than 1 s."""
    metrics = scene.installation.metrics(scene.installation.controllers[0])
    return metrics[f"{PASS}_count"], metrics[f"{PASS}_sum"], metrics[f'{PASS}_bucket{{le="1.0"}}']
