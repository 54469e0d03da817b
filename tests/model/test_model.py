"""The platform in any order of events: no run is lost, doubled, changed or left hanging.

Then each mend is taken back: the model must find the fault that it mended.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import insert, or_, update

from scripts.config import Config
from service.controller.ages import Ages, Times, waited_seconds
from service.store.database import _WatchedFile, connect, utc_in
from service.store.leases import LeaseStore
from service.store.migrate import migrate
from service.store.rows import ActiveRun, _Column
from service.store.tables import leases
from tests.model.world import Worker, World
from tests.support.databases import MYSQL

pytestmark = pytest.mark.skipif(bool(MYSQL), reason="on SQLite, where rows can hold anything")

HOUR = 3600.0
JUMPS = (-24 * HOUR, -HOUR, -30.0, 30.0, HOUR, 24 * HOUR)
CLIENTS = ("kim", "lee", "park")
CONTROLLERS = ("first", "second")
GARBAGE = {
    "created_at": "garbage",
    "launched_at": "garbage",
    "lease_until": "garbage",
    "request": "{}",
    "attempt": "many",
    "status": "paused",
}
EXAMPLES = 15
MANY_EXAMPLES = 100
MOST_EXAMPLES = 300
STEPS = 40


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "template.sqlite3"
    engine = connect(Config(sqlite_path=str(path)))
    migrate(engine)
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    engine.dispose()
    return path


class Platform(RuleBasedStateMachine):
    """Events in any order; `template` is an empty database, `folder` has those of the examples."""

    template: Path
    folder: Path

    @initialize()
    def create(self) -> None:
        self.world = World(self.template, self.folder)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            try:
                self.world.heal()
            finally:
                self.world.close()

    def _run(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(self.world.promises.clients)))

    def _worker(self, data: st.DataObject) -> Worker:
        return data.draw(st.sampled_from(self.world.workers))

    def has_runs(self) -> bool:
        return bool(self.world.promises.clients)

    def has_workers(self) -> bool:
        return bool(self.world.workers)

    @rule(client=st.sampled_from(CLIENTS), count=st.integers(1, 6))
    def submit(self, client: str, count: int) -> None:
        for _ in range(count):
            if not self.world.submit(client):
                break

    @precondition(has_runs)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        self.world.cancel(self._run(data))

    @rule(name=st.sampled_from(CONTROLLERS))
    def take_turn(self, name: str) -> None:
        self.world.take_turn(name)

    @rule(order=st.permutations(CONTROLLERS), rounds=st.integers(1, 5))
    def work(self, order: list[str], rounds: int) -> None:
        """What mostly happens: the controllers look, jobs start, a second passes."""
        for _ in range(rounds):
            for name in order:
                self.world.take_turn(name)
            self.world.jobs_leave()
            self.world.begin()
            self.world.pass_time(1)

    @rule(name=st.sampled_from(CONTROLLERS))
    def restart_controller(self, name: str) -> None:
        self.world.start_controller(name)

    @rule()
    def lose_an_answer(self) -> None:
        self.world.cluster.loses_answers = True

    @rule()
    def begin(self) -> None:
        self.world.begin()

    @precondition(has_workers)
    @rule(
        data=st.data(),
        how=st.sampled_from([World.finish, World.deliver_twice, World.fail, World.kill]),
    )
    def end_worker(self, data: st.DataObject, how: Callable[[World, Worker], None]) -> None:
        how(self.world, self._worker(data))

    @precondition(has_workers)
    @rule(data=st.data())
    def freeze(self, data: st.DataObject) -> None:
        self.world.freeze(self._worker(data))

    @rule()
    def jobs_leave(self) -> None:
        self.world.jobs_leave()

    @precondition(has_runs)
    @rule(data=st.data())
    def delete_job(self, data: st.DataObject) -> None:
        self.world.delete_job(self._run(data))

    @rule(seconds=st.sampled_from([1, 5, 30, 120]))
    def pass_time(self, seconds: int) -> None:
        self.world.pass_time(seconds)

    @rule(seconds=st.sampled_from(JUMPS))
    def jump(self, seconds: float) -> None:
        self.world.jump(seconds)

    @precondition(has_runs)
    @rule(data=st.data(), column=st.sampled_from(sorted(GARBAGE)))
    def spoil(self, data: st.DataObject, column: str) -> None:
        self.world.spoil(self._run(data), column, GARBAGE[column])

    @rule(client=st.sampled_from(CLIENTS))
    def delete_file(self, client: str) -> None:
        self.world.delete_file(client)

    @invariant()
    def holds(self) -> None:
        if hasattr(self, "world"):
            self.world.check()


def explore(template: Path, folder: Path, examples: int, steps: int = STEPS) -> None:
    """Raises what breaks a promise."""

    class Here(Platform):
        pass

    Here.template, Here.folder = template, folder
    chosen = settings(
        max_examples=examples,
        stateful_step_count=steps,
        phases=[Phase.explicit, Phase.generate],
    )
    run_state_machine_as_test(Here, settings=chosen)


def test_no_order_of_events_loses_doubles_or_changes_a_run(template: Path, tmp_path: Path) -> None:
    explore(template, tmp_path, EXAMPLES)


def take_by_clock(self: LeaseStore, name: str, holder: str, seconds: int) -> bool:
    """As it was: free once its end has passed, by the database's clock."""
    values = {"holder": holder, "until": utc_in(seconds)}
    is_free = or_(leases.c.holder == holder, leases.c.until < utc_in())
    renewal = update(leases).where(leases.c.name == name, is_free).values(values)
    if self._write(lambda connection: connection.execute(renewal).rowcount):
        return True
    if self._read(lambda connection: connection.scalar(leases.select())):
        return False
    first = insert(leases).values(name=name, **values)
    self._write(lambda connection: connection.execute(first))
    return True


def times_by_clock(self: Ages, run: ActiveRun, now: datetime) -> Times:
    """As it was: moments of rows compared with the database's clock."""
    launched = 0.0 if run.launched_at is None else (now - run.launched_at).total_seconds()
    silent = 0.0 if run.lease_until is None else 60 + (now - run.lease_until).total_seconds()
    return Times(launched, silent, waited_seconds(run, now))


def no_shares(held: Any, client: str, more: int, limit: int) -> bool:
    return bool(sum(held.values()) + more <= limit)


TAKEN_BACK: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "rows are read as they are": lambda: patch.object(_Column, "may_have", lambda *_: True),
    "durations by the database's clock": lambda: patch.object(Ages, "times", times_by_clock),
    "leases by the database's clock": lambda: patch.object(LeaseStore, "take", take_by_clock),
    "one limit for all clients": lambda: patch("service.usecases.runs.may_have", no_shares),
    "a deleted file is written on": lambda: patch.object(_WatchedFile, "check", lambda *_: None),
}


@pytest.mark.process
def test_nor_does_any_of_many_more(template: Path, tmp_path: Path) -> None:
    explore(template, tmp_path, MANY_EXAMPLES)


@pytest.mark.process
@pytest.mark.parametrize("mend", TAKEN_BACK)
def test_the_model_finds_the_fault_where_its_mend_is_taken_back(
    template: Path, tmp_path: Path, mend: str
) -> None:
    with TAKEN_BACK[mend](), pytest.raises((AssertionError, ValueError)):
        explore(template, tmp_path, MOST_EXAMPLES)
