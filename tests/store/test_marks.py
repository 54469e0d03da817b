"""Stars, tags and notes: shared, and never lost between two writers."""

from __future__ import annotations

import threading
import uuid

import pytest
from sqlalchemy import Engine, func, select

from service.store.marks import Marks
from service.store.tables import run_notes, run_stars, run_tags
from tests.support.stored_runs import add_run
from tests.support.stores import EveryStore


@pytest.fixture
def store(engine: Engine) -> EveryStore:
    return EveryStore(engine)


def new_run(store: EveryStore) -> int:
    run = store.get(add_run(store, str(uuid.uuid4())))
    assert run is not None
    return run.id


def test_marks_are_set_and_taken_and_twice_is_once(store: EveryStore) -> None:
    one, other = new_run(store), new_run(store)
    for _ in range(2):
        store.star([one], is_starred=True)
        store.tag([one, other], added=["idea", "좋음"], removed=[])
    store.tag([other], added=["Idea"], removed=["idea"])
    assert store.marks_of([one, other]) == {
        one: Marks(True, ["idea", "좋음"]),
        other: Marks(False, ["Idea", "좋음"]),
    }
    assert store.tags_in_use() == {"좋음": 2, "Idea": 1, "idea": 1}
    store.star([one], is_starred=False)
    assert not store.marks_of([one])[one].is_starred
    assert store.marks_of([]) == {}


def test_the_second_of_two_writers_is_told(store: EveryStore) -> None:
    run = new_run(store)
    assert store.write_note(run, "first", 0)
    assert not store.write_note(run, "of one who saw no note", 0)
    assert store.write_note(run, "second", 1)
    assert not store.write_note(run, "of one who saw the first", 1)
    assert store.marks_of([run])[run] == Marks(tags=[], note="second", version=2)


def test_of_many_writers_at_once_one_wins(store: EveryStore) -> None:
    run = new_run(store)
    won: list[str] = []

    def write(name: str) -> None:
        if store.write_note(run, name, 0):
            won.append(name)

    threads = [threading.Thread(target=write, args=(str(number),)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [store.marks_of([run])[run].note] == won


def test_the_same_marks_at_the_same_moment_are_no_error(store: EveryStore) -> None:
    """A double click on a star; MySQL lets both look before either has written."""
    one, gone = new_run(store), 10**6
    errors: list[Exception] = []

    def mark() -> None:
        try:
            for _ in range(10):
                store.star([one, gone], is_starred=True)
                store.tag([one, gone], added=["idea"], removed=[])
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=mark) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert store.marks_of([one])[one] == Marks(is_starred=True, tags=["idea"])


def test_marks_go_with_their_run(store: EveryStore, engine: Engine) -> None:
    run = store.get(add_run(store, str(uuid.uuid4())))
    assert run is not None
    store.star([run.id], is_starred=True)
    store.tag([run.id], added=["idea"], removed=[])
    store.write_note(run.id, "note", 0)
    assert store.cancel(run.run_id)
    assert store.delete([run.run_id]) == 1
    with engine.connect() as connection:
        for table in (run_stars, run_tags, run_notes):
            assert connection.scalar(select(func.count()).select_from(table)) == 0
