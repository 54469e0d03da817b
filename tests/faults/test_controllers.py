"""Two controllers at once: one dispatches, the other takes over within ten seconds."""

from __future__ import annotations

import pytest

from tests.faults.conftest import Scene
from tests.faults.processes import Program, wait_until

pytestmark = pytest.mark.fault
TAKEOVER_SECONDS = 10


def test_one_of_two_is_active(scene: Scene) -> None:
    scene.start(controllers=2)
    with scene.audit.fault("two controllers at once") as fault:
        scene.submit(8)
        active = [
            sum(map(scene.installation.is_active, scene.installation.controllers))
            for _ in range(20)
        ]
    scene.close(fault)
    assert set(active) == {1}
    assert {row.launches for row in scene.audit.rows().values()} == {1}


def test_the_active_one_is_frozen(scene: Scene, note: list[str]) -> None:
    """It wakes up in the middle of a pass, as the one that it no longer is."""
    first, second = two_at_work(scene)
    with scene.audit.fault("the active of two controllers frozen, then resumed") as fault:
        with first.frozen():
            seconds = takeover(scene, second)
        note.append(f"takeover from a frozen controller: {seconds:.1f} s")
        wait_until(
            lambda: sum(map(scene.installation.is_active, (first, second))) == 1,
            10,
            "one is active",
        )
    scene.close(fault)


def test_the_active_one_is_killed(scene: Scene, note: list[str]) -> None:
    first, second = two_at_work(scene)
    with scene.audit.fault("the active of two controllers killed (-9)") as fault:
        first.kill()
        note.append(f"takeover from a killed controller: {takeover(scene, second):.1f} s")
    scene.close(fault)


def two_at_work(scene: Scene) -> tuple[Program, Program]:
    """The active one and the standby, with runs under way."""
    scene.start(controllers=2)
    scene.submit(10)
    scene.wait_for_work()
    active = scene.active()
    (standby,) = [
        controller for controller in scene.installation.controllers if controller is not active
    ]
    return active, standby


def takeover(scene: Scene, standby: Program) -> float:
    """Waits until the standby is active; returns the seconds that it took."""
    return wait_until(
        lambda: scene.installation.is_active(standby), TAKEOVER_SECONDS, "takeover", pause=0.05
    )
