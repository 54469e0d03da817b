"""The ledger of trials in the database: a fair sample of any number of entries, by one index."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from sqlalchemy import Engine, func, insert, literal, select

from service.controller.earlier_trials import EarlierTrials
from service.store.tables import trials
from service.store.trials import LARGEST_KEY, RECORD_BYTES
from service.trials.records import RECORD
from tests.support.databases import MYSQL
from tests.support.stored_runs import add_run
from tests.support.stores import EveryStore


@pytest.fixture
def store(engine: Engine) -> EveryStore:
    return EveryStore(engine)


def entry(key: int = 5, **changes: Any) -> dict[str, Any]:
    """What a run tried on GOOG."""
    columns = {
        "ticker": "GOOG",
        "first_day": "2015-01-02",
        "last_day": "2018-12-31",
        "set_key": key,
        "lowest_key": key,
        "complete_to": LARGEST_KEY,
        "trials": 1,
        "kept": 1,
        "records": b"r" * RECORD_BYTES,
        "judged": None,
    }
    return {**columns, **changes}


def add(engine: Engine, *entries: dict[str, Any]) -> None:
    with engine.begin() as connection:
        rows = [{"run_id": str(uuid.uuid4()), **each} for each in entries]
        connection.execute(insert(trials), rows)


def test_what_a_run_tried_is_entered_once(engine: Engine, store: EveryStore) -> None:
    run_id = str(uuid.uuid4())
    content = bytes(range(RECORD_BYTES))
    both = [entry(judged="{}"), entry(7, ticker="SPY", records=content)]
    for _ in range(2):
        store.enter_trials({run_id: both})
    assert {ticker: own.judged for ticker, own in store.trials_of(run_id).items()} == {
        "GOOG": "{}",
        "SPY": None,
    }
    (found,) = store.trials_on("SPY", "2016-01-04", "2016-01-08").heads
    assert (found.lowest_key, found.size) == (7, RECORD_BYTES)
    assert store.trial_records([found.id], 9) == {found.id: content}
    with engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(trials)) == 2


@pytest.mark.parametrize(
    ("days", "is_found"),
    [
        (("2018-12-31", "2020-01-02"), True),
        (("2010-01-04", "2015-01-02"), True),
        (("2016-01-04", "2016-01-08"), True),
        (("2010-01-04", "2020-01-02"), True),
        (("2019-01-02", "2020-01-02"), False),
        (("2010-01-04", "2015-01-01"), False),
    ],
)
def test_dates_must_overlap(
    engine: Engine, store: EveryStore, days: tuple[str, str], is_found: bool
) -> None:
    add(engine, entry(), entry(ticker="SPY"))
    found = store.trials_on("GOOG", *days)
    assert len(found.heads) == is_found
    assert found.cut == LARGEST_KEY


def test_of_many_entries_those_with_the_lowest_keys_are_read(
    engine: Engine, store: EveryStore
) -> None:
    add(engine, *(entry(key) for key in (50, 10, 40, 20, 30)))
    found = store.trials_on("GOOG", "2015-01-02", "2018-12-31", most_sets=3)
    assert [each.lowest_key for each in found.heads] == [10, 20, 30]
    assert found.cut == 39
    whole = store.trials_on("GOOG", "2015-01-02", "2018-12-31", most_sets=5)
    assert (len(whole.heads), whole.cut) == (5, LARGEST_KEY)


def test_the_same_trials_are_read_once_however_often_they_were_tried(
    engine: Engine, store: EveryStore
) -> None:
    repeated = [
        entry(5, first_day="2001-01-02", last_day=f"{year}-12-31") for year in range(2001, 2031)
    ]
    add(engine, *repeated, entry(9), entry(5, set_key=6))
    found = store.trials_on("GOOG", "2001-01-02", "2018-12-31", most_sets=3)
    assert [(each.lowest_key, each.set_key) for each in found.heads] == [(5, 5), (5, 6), (9, 9)]
    assert found.cut == LARGEST_KEY
    same = found.heads[0]
    assert (same.last_day, same.first_id) == ("2018-12-31", 1)
    (last, *_) = store.trials_on("GOOG", "2002-01-02", "2018-12-31").heads
    assert (last.last_day, last.first_id) == ("2030-12-31", 2)
    assert store.trials_on("GOOG", "2002-01-02", "2018-12-31", most_sets=2).cut == 8


@pytest.mark.parametrize(
    "change", [{"records": b"x"}, {"complete_to": -1}, {"kept": 2}, {"trials": 0}]
)
def test_an_entry_that_cannot_be_sound_gives_its_place_to_another_one(
    engine: Engine, store: EveryStore, change: dict[str, Any]
) -> None:
    add(engine, entry(), entry(**change))
    (found,) = store.trials_on("GOOG", "2016-01-04", "2016-01-08").heads
    assert (found.id, found.is_sound) == (1, True)
    add(engine, entry(8, **change))
    assert len(store.trials_on("GOOG", "2016-01-04", "2016-01-08").heads) == 1


def test_a_ticker_with_thousands_of_repeats_keeps_its_other_tries(
    engine: Engine, store: EveryStore
) -> None:
    add(engine, *(entry(5, last_day=f"2018-{month}-28") for month in range(10, 13)))
    with engine.begin() as connection:
        columns = [column for column in trials.c if column.name not in ("id", "run_id")]
        for number in range(12):
            copies = select(literal(f"{number}-") + func.hex(trials.c.id), *columns)
            names = ["run_id", *(column.name for column in columns)]
            connection.execute(insert(trials).from_select(names, copies))
    add(engine, *(entry(key) for key in range(6, 26)))
    found = store.trials_on("GOOG", "2015-01-02", "2018-12-31")
    assert (len(found.heads), found.cut) == (21, LARGEST_KEY)


def test_the_index_answers(engine: Engine, store: EveryStore) -> None:
    add(engine, *(entry(key, ticker=f"T{key % 7}") for key in range(3000)))
    add(engine, entry(LARGEST_KEY))
    how = "FORMAT=TRADITIONAL" if MYSQL else "QUERY PLAN"
    statement = (
        f"EXPLAIN {how} SELECT lowest_key, min(id), max(id) FROM trials WHERE ticker = 'T3'"
        " AND first_day <= '2018-01-02' AND last_day >= '2017-01-02'"
        " GROUP BY lowest_key, set_key ORDER BY lowest_key, set_key LIMIT 2049"
    )
    with engine.connect() as connection:
        plan = str(connection.exec_driver_sql(statement).mappings().all())
    assert "ix_trials_ticker" in plan
    assert "filesort" not in plan
    assert "TEMP B-TREE" not in plan


def test_what_was_tried_outlives_the_run(store: EveryStore) -> None:
    run_id = add_run(store, str(uuid.uuid4()), status="completed")
    store.enter_trials({run_id: [entry()]})
    store.delete([run_id])
    assert store.get(run_id) is None
    assert list(store.trials_of(run_id)) == ["GOOG"]


def test_a_run_that_cannot_be_read_stops_no_other(
    store: EveryStore, caplog: pytest.LogCaptureFixture
) -> None:
    ended = {"status": "completed", "num_trades": 3, "sharpe_ratio": 0.7}
    bad = add_run(store, str(uuid.uuid4()), **{**ended, "request": "{"})
    sweep = add_run(store, str(uuid.uuid4()), **{**ended, "kind": "sweep"})
    untraded = add_run(store, str(uuid.uuid4()), **{**ended, "num_trades": 0})
    good = add_run(store, str(uuid.uuid4()), **ended)
    earlier = EarlierTrials(store)
    for _ in range(3):
        earlier.step()
    EarlierTrials(store).step()
    entered = [bool(store.trials_of(each)) for each in (bad, sweep, untraded, good)]
    assert entered == [False, False, False, True]
    assert caplog.text.count("is not in the ledger") == 2, "each of them once"


def test_the_store_knows_how_long_a_record_is() -> None:
    assert RECORD.itemsize == RECORD_BYTES
