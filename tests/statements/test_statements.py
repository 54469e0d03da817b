"""A fault at every statement of every change: all of it is done or nothing, and it can be redone.

The connection breaks, or the process is killed, before and after each statement and each commit.
What is stored then is what was stored before, or what the change makes of it: nothing between.
Whoever did not get the answer asks again; after that all is as if nothing had happened.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from tests.statements.points import Points, die
from tests.statements.scene import CHANGES, Action, Scene

Rows = dict[str, Any]
# What renews a lease changes a moment only: before and after look alike.
ONLY_MOMENTS = ("renew",)


@pytest.fixture
def scene(engine: Engine) -> Scene:
    return Scene(engine)


def prepared(scene: Scene, name: str) -> Action:
    scene.clear()
    return CHANGES[name](scene)


def expected(scene: Scene, name: str) -> tuple[Rows, Rows, list[str]]:
    """What is stored before the change and after it, and the places that it passes."""
    action = prepared(scene, name)
    before = scene.dump()
    points = Points(scene.engine)
    with points.watched():
        action()
    return before, scene.dump(), points.passed


def faults(scene: Scene, name: str, strike: Callable[[Action, int], None]) -> Iterator[str]:
    """Strikes at each place, and checks what is there then and after the change is redone."""
    before, after, places = expected(scene, name)
    assert (before == after) == (name in ONLY_MOMENTS)
    assert len(places) >= 4, places
    for number, place in enumerate(places):
        action = prepared(scene, name)
        strike(action, number)
        assert scene.dump() in (before, after), f"half done {place}"
        action()
        assert scene.dump() == after, f"not redone {place}"
        yield place


@pytest.mark.parametrize("name", CHANGES)
def test_the_connection_breaks_at_every_place(scene: Scene, name: str) -> None:
    def break_connection(action: Action, number: int) -> None:
        with Points(scene.engine, number).watched(), pytest.raises(OperationalError):
            action()

    places = list(faults(scene, name, break_connection))
    assert any(place == "after COMMIT" for place in places)


@pytest.mark.process
@pytest.mark.parametrize("name", CHANGES)
def test_the_process_is_killed_at_every_place(scene: Scene, name: str) -> None:
    def kill(action: Action, number: int) -> None:
        # A connection belongs to one process.
        scene.engine.dispose()

        def act() -> None:
            with Points(scene.engine, number, die).watched():
                action()
            os._exit(0)

        process = multiprocessing.get_context("fork").Process(target=act)
        process.start()
        process.join()
        assert process.exitcode == -9

    places = list(faults(scene, name, kill))
    assert any(place == "after COMMIT" for place in places)
