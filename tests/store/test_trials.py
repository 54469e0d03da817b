"""The ledger of trials in the database: a fair sample of any number of entries, by one index."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from sqlalchemy import Engine, func, insert, select

from service.controller.earlier_trials import EarlierTrials
from service.store.tables import trials
from service.store.trials import LARGEST_KEY
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
        "lowest_key": key,
        "complete_to": LARGEST_KEY,
        "trials": 1,
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
    both = [entry(), entry(7, ticker="SPY", records=b"\x00\xff")]
    for _ in range(2):
        store.enter_trials({run_id: both})
    found = store.trials_of(run_id)
    assert {ticker: stored.records for ticker, stored in found.items()} == {
        "GOOG": b"records",
        "SPY": b"\x00\xff",
    }
    assert found["SPY"].lowest_key == 7
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
    assert [each.ticker for each in found.entries] == ["GOOG"] * is_found
    assert found.cut == LARGEST_KEY


def test_of_many_entries_those_with_the_lowest_keys_are_read(
    engine: Engine, store: EveryStore
) -> None:
    add(engine, *(entry(key) for key in (50, 10, 40, 20, 30)))
    found = store.trials_on("GOOG", "2015-01-02", "2018-12-31", limit=3)
    assert [each.lowest_key for each in found.entries] == [10, 20, 30]
    assert found.cut == 39
    whole = store.trials_on("GOOG", "2015-01-02", "2018-12-31", limit=5)
    assert (len(whole.entries), whole.cut) == (5, LARGEST_KEY)


def test_the_index_answers(engine: Engine, store: EveryStore) -> None:
    add(engine, *(entry(key, ticker=f"T{key % 7}") for key in range(3000)))
    add(engine, entry(LARGEST_KEY))
    how = "FORMAT=TRADITIONAL" if MYSQL else "QUERY PLAN"
    statement = (
        f"EXPLAIN {how} SELECT * FROM trials WHERE ticker = 'T3' AND first_day <= '2018-01-02'"
        " AND last_day >= '2017-01-02' ORDER BY lowest_key LIMIT 2049"
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
    assert [bool(store.trials_of(each)) for each in (bad, sweep, untraded, good)] == [
        False,
        False,
        False,
        True,
    ]
    assert caplog.text.count("is not in the ledger") == 2
