"""A web and a worker whose clocks are ten minutes ahead: only the database's clock counts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import pytest
import requests

from tests.faults.conftest import Scene
from tests.faults.installation import AHEAD
from tests.faults.processes import wait_until

pytestmark = [pytest.mark.fault, pytest.mark.slow]
MINUTES = timedelta(minutes=9, seconds=30)


def test_web_and_workers_are_ten_minutes_ahead(scene: Scene) -> None:
    """With a lease of 10 s and a run's time limited to 60 s they would be far over either."""
    scene.installation.start_webs(1)
    scene.installation.start_webs(1, **AHEAD)
    scene.installation.start_controllers(
        workers_ahead=True, LEASE_SECONDS="10", RUN_TIMEOUT_SECONDS="60"
    )
    scene.active()
    assert web_clock(scene.installation.urls[1]) - web_clock(scene.installation.urls[0]) > MINUTES
    with scene.audit.fault("a web and the workers 10 minutes ahead") as fault:
        scene.submit(8)
        wait_until(lambda: logged_ahead(scene), 30, "a worker logs, ten minutes ahead")
    figures = scene.close(fault)
    assert figures.settled < 5
    now = datetime.now(UTC).replace(tzinfo=None)
    rows = scene.audit.rows().values()
    assert all(abs(row.finished_at - now) < timedelta(minutes=2) for row in rows), (
        "by the database's clock"
    )
    assert {row.attempt for row in rows} == {1}
    status = requests.get(
        f"{scene.installation.urls[1]}/status/{next(iter(rows)).run_id}", timeout=10
    ).json()
    assert status["status"] == "completed"


def web_clock(url: str) -> datetime:
    """The time that the server of the web gives in its answers."""
    return parsedate_to_datetime(requests.get(f"{url}/health", timeout=10).headers["Date"])


def logged_ahead(scene: Scene) -> bool:
    """Whether a worker's line carries the wrong time."""
    lines = [line for line in scene.installation.logs().splitlines() if "Backtest started" in line]
    now = datetime.now(UTC).replace(tzinfo=None)
    return any(datetime.fromisoformat(line[:19]) - now > MINUTES for line in lines)
