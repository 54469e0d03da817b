"""A hundred thousand runs wait when the controller starts."""

from __future__ import annotations

import itertools
import time
from statistics import median

import pytest

from tests.faults.client import variant
from tests.faults.conftest import Scene
from tests.faults.processes import wait_until

pytestmark = pytest.mark.fault
PENDING, LOOKED_AT = 100_000, 12
PASS_SECONDS, POLL_SECONDS = 1.0, 0.25
COPY = """
INSERT INTO runs (run_id, request, ticker, rule_id, prices_fingerprint, rules_digest, status, attempt, launches, created_at)
WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < {count})
SELECT CONCAT(LPAD(LOWER(HEX(i)), 8, '0'), '-0000-4000-8000-000000000000'),
       REPLACE(request, run_id, CONCAT(LPAD(LOWER(HEX(i)), 8, '0'), '-0000-4000-8000-000000000000')),
       ticker, rule_id, prices_fingerprint, rules_digest, status, attempt, launches, created_at
FROM runs CROSS JOIN n WHERE runs.id = (SELECT MIN(id) FROM runs) ORDER BY i
"""


def test_a_hundred_thousand_pending_runs(scene: Scene, note: list[str]) -> None:
    scene.installation.start_webs(1)
    assert scene.client.submit(scene.installation.urls[0], variant(0)) == 202
    copy_the_run(scene, PENDING)
    scene.installation.start_controllers(1)
    scene.active()
    passes = pass_seconds(scene)
    wait_until(lambda: len(started(scene)) >= LOOKED_AT, 120, f"{LOOKED_AT} runs have been started")
    order = started(scene)
    assert order == sorted(order)[: len(order)], "first in, first out"
    note.append(f"a pass over {PENDING} pending runs: median {median(passes):.3f} s, longest {max(passes):.3f} s")
    assert median(passes) < PASS_SECONDS


def copy_the_run(scene: Scene, count: int) -> None:
    """That often, under other run_ids, in the order of arrival."""
    scene.server.ask(f"SET GLOBAL cte_max_recursion_depth = {count + 1}")
    scene.server.ask(COPY.format(count=count), database=scene.database)


def started(scene: Scene) -> list[int]:
    """The rows of launched runs, in the order of their launch."""
    query = "SELECT id FROM runs WHERE launched_at IS NOT NULL ORDER BY launched_at, id"
    return [row[0] for row in scene.server.ask(query, database=scene.database)]


def pass_seconds(scene: Scene, count: int = 15) -> list[float]:
    """How long passes take: each one begins with a new end of the controller's lease, a pause after the last."""
    ends: list[float] = []
    deadline = time.monotonic() + 60
    while len(ends) <= count:
        assert time.monotonic() < deadline, f"only {len(ends)} passes in a minute"
        (until,) = scene.server.ask("SELECT until FROM leases WHERE name = 'controller'", database=scene.database)[0]
        if not ends or until.timestamp() != ends[-1]:
            ends.append(until.timestamp())
        time.sleep(0.02)
    return [later - earlier - POLL_SECONDS for earlier, later in itertools.pairwise(ends)]
