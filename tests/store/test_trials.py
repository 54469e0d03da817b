"""The ledger of trials in the database: a fair sample of any number of entries, by one index."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from sqlalchemy import Engine, func, insert, select

from service.controller.earlier_trials import EarlierTrials
from service.store import trials as store_of_trials
from service.store.tables import trials
from service.store.trials import LARGEST_KEY, RECORD_BYTES, SPARE_RECORDS
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
        "records": b"records",
        "judged": None,
    }
    return {**columns, **changes}


def add(engine: Engine, *entries: dict[str, Any]) -> None:
    with engine.begin() as connection:
        rows = [{"run_id": str(uuid.uuid4()), **each} for each in entries]
        connection.execute(insert(trials), rows)


def test_what_a_run_tried_is_entered_once(engine: Engine, store: EveryStore) -> None:
    run_id = str(uuid.uuid4())
    both = [entry(judged="{}"), entry(7, ticker="SPY", records=b"\x00\xff")]
    for _ in range(2):
        store.enter_trials({run_id: both})
    assert {ticker: own.judged for ticker, own in store.trials_of(run_id).items()} == {
        "GOOG": "{}",
        "SPY": None,
    }
    (found,) = store.trials_on("SPY", "2016-01-04", "2016-01-08", 10).entries
    assert (found.head.lowest_key, found.records) == (7, b"\x00\xff")
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
    found = store.trials_on("GOOG", *days, 10)
    assert len(found.entries) == is_found
    assert found.cut == LARGEST_KEY


def test_of_many_entries_those_with_the_lowest_keys_are_read(
    engine: Engine, store: EveryStore
) -> None:
    add(engine, *(entry(key) for key in (50, 10, 40, 20, 30)))
    found = store.trials_on("GOOG", "2015-01-02", "2018-12-31", 10, most_sets=3)
    assert [each.head.lowest_key for each in found.entries] == [10, 20, 30]
    assert found.cut == 39
    whole = store.trials_on("GOOG", "2015-01-02", "2018-12-31", 10, most_sets=5)
    assert (len(whole.entries), whole.cut) == (5, LARGEST_KEY)


def test_the_same_trials_are_read_once_however_often_they_were_tried(
    engine: Engine, store: EveryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_of_trials, "HEADS_AT_ONCE", 4)
    monkeypatch.setattr(store_of_trials, "MAX_HEADS", 400)
    years = range(2001, 2031)
    repeated = [
        entry(5, first_day="2001-01-02", last_day=f"{year}-12-31", records=str(year).encode())
        for year in years
    ]
    add(engine, *repeated, entry(9))
    found = store.trials_on("GOOG", "2001-01-02", "2018-12-31", 10, most_sets=2)
    assert [each.head.lowest_key for each in found.entries] == [5, 9]
    assert found.cut == LARGEST_KEY
    assert found.entries[0].records == b"2018"
    assert found.entries[0].head.first_id == 1
    latest = store.trials_on("GOOG", "2002-01-02", "2018-12-31", 10).entries[0]
    assert latest.records == b"2030"
    assert store.trials_on("GOOG", "2002-01-02", "2018-12-31", 10, most_sets=1).cut == 8


def test_of_long_sets_only_what_is_needed_is_read(engine: Engine, store: EveryStore) -> None:
    record = b"r" * RECORD_BYTES
    many = [entry(key, trials=10**6, kept=1000, records=1000 * record) for key in range(3)]
    add(engine, *many)
    found = store.trials_on("GOOG", "2015-01-02", "2018-12-31", 1024)
    lengths = {len(each.records) // RECORD_BYTES for each in found.entries}
    assert lengths == {SPARE_RECORDS + 2}
    assert RECORD.itemsize == RECORD_BYTES


def test_the_index_answers(engine: Engine, store: EveryStore) -> None:
    add(engine, *(entry(key, ticker=f"T{key % 7}") for key in range(3000)))
    add(engine, entry(LARGEST_KEY))
    how = "FORMAT=TRADITIONAL" if MYSQL else "QUERY PLAN"
    statement = (
        f"EXPLAIN {how} SELECT id, trials FROM trials WHERE ticker = 'T3'"
        " AND first_day <= '2018-01-02' AND last_day >= '2017-01-02' AND trials > 0"
        " AND lowest_key >= 0 ORDER BY lowest_key, id LIMIT 4096"
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
