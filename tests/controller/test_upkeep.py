"""What is deleted from time to time, and what stays."""

from __future__ import annotations

import logging

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine, func, select, update

from service.controller.upkeep import GIB, SERIES_SECONDS, Retention, Upkeep
from service.prices.series import PriceSeries
from service.store import tables
from service.store.database import utc_in
from service.store.prices import PriceStore
from service.store.upkeep import SPARED_SECONDS, SWEEPS_AT_ONCE
from service.usecases.runs import Runs
from service.usecases.sweeps import Sweeps
from tests.support.prices import prices, series
from tests.support.requests import REQUEST, SWEEP
from tests.support.stores import EveryStore
from tests.support.web import completed

RUNS = tables.runs


@pytest.fixture
def store(engine: Engine) -> EveryStore:
    return EveryStore(engine)


def stored_bytes(engine: Engine, run_id: str) -> int | None:
    with engine.connect() as connection:
        return connection.scalar(select(RUNS.c.stored_bytes).where(RUNS.c.run_id == run_id))


def three_runs(client: FlaskClient, runs: Runs, engine: Engine) -> list[str]:
    """Three completed runs, the first of which ended first."""
    run_ids = [completed(client, runs, initial_capital=1000 + number) for number in range(3)]
    for number, run_id in enumerate(run_ids):
        ended = update(RUNS).where(RUNS.c.run_id == run_id)
        with engine.begin() as connection:
            connection.execute(ended.values(finished_at=utc_in(-600 + number)))
    return run_ids


def present(runs: Runs, run_ids: list[str]) -> list[bool]:
    return [runs.run_store.get(run_id) is not None for run_id in run_ids]


def other_series(bars: int) -> PriceSeries:
    """Prices of GOOG that end earlier."""
    return PriceSeries("GOOG", "other", prices("GOOG", bars))


def let_age(engine: Engine) -> None:
    """All price series were stored long ago."""
    with engine.begin() as connection:
        old = utc_in(-2 * SPARED_SECONDS)
        connection.execute(update(tables.price_series).values(created_at=old))


def is_stored(engine: Engine, fingerprint: str) -> bool:
    return PriceStore(engine).read(fingerprint) is not None


def look_again(upkeep: Upkeep) -> None:
    upkeep._next_series = 0.0
    upkeep.step()


def test_a_run_takes_what_its_columns_hold(
    client: FlaskClient, runs: Runs, engine: Engine, store: EveryStore
) -> None:
    run_id = completed(client, runs)
    waiting, _ = runs.submit({**REQUEST, "initial_capital": 5})
    assert store.stored_bytes() == 0
    assert store.measure(99) == 1
    with engine.connect() as connection:
        row = connection.execute(select(tables.results)).one()
        figure = connection.scalar(select(tables.figures.c.chart_base64))
    parts = (row.result.encode(), row.equity_csv, row.table_csv, row.overview or b"", figure)
    assert stored_bytes(engine, run_id) == sum(len(part) for part in parts)
    assert store.stored_bytes() == sum(len(part) for part in parts)
    assert stored_bytes(engine, waiting.run_id) is None
    assert store.measure(99) == 0


def test_runs_without_a_result_of_their_own_take_nothing(
    client: FlaskClient, runs: Runs, engine: Engine, store: EveryStore
) -> None:
    completed(client, runs)
    answered, _ = runs.submit(REQUEST)
    cancelled, _ = runs.submit({**REQUEST, "initial_capital": 5})
    runs.cancel(cancelled.run_id)
    assert store.measure(99) == 3
    assert stored_bytes(engine, answered.run_id) == stored_bytes(engine, cancelled.run_id) == 0


def test_the_oldest_go_until_the_rest_fits(
    client: FlaskClient,
    runs: Runs,
    engine: Engine,
    store: EveryStore,
    caplog: pytest.LogCaptureFixture,
) -> None:
    run_ids = three_runs(client, runs, engine)
    store.measure(99)
    everything = store.stored_bytes()
    Upkeep(store, Retention(gib=everything / GIB)).step()
    assert present(runs, run_ids) == [True, True, True]
    with caplog.at_level(logging.INFO):
        Upkeep(store, Retention(gib=(everything - 1) / GIB)).step()
    assert present(runs, run_ids) == [False, True, True]
    assert "Deleted the 1 oldest runs: results take more than" in caplog.text
    left = (everything - stored_bytes(engine, run_ids[2])) / GIB
    Upkeep(store, Retention(gib=left - 1 / GIB)).step()
    assert present(runs, run_ids) == [False, False, True]


def test_what_others_were_answered_from_stays_and_the_next_goes(
    client: FlaskClient, runs: Runs, engine: Engine, store: EveryStore
) -> None:
    run_ids = three_runs(client, runs, engine)
    answered, _ = runs.submit({**REQUEST, "initial_capital": 1000})
    assert answered.reused_from == run_ids[0]
    upkeep = Upkeep(store, Retention(gib=1 / GIB))
    upkeep.step()
    assert present(runs, [*run_ids, answered.run_id]) == [True, False, False, True]
    runs.run_store.delete([answered.run_id])
    upkeep._next_size = 0.0
    upkeep.step()
    assert present(runs, [*run_ids, answered.run_id]) == [False, False, False, False]


def test_an_heir_takes_what_it_inherits(
    client: FlaskClient, runs: Runs, engine: Engine, store: EveryStore
) -> None:
    leader = completed(client, runs)
    heir, _ = runs.submit(REQUEST)
    store.measure(99)
    before = store.stored_bytes()
    store.delete([leader])
    assert store.measure(99) == 1
    assert stored_bytes(engine, heir.run_id) == store.stored_bytes() == before


@pytest.mark.parametrize("status", ["garbage", "running"])
def test_a_row_that_cannot_go_keeps_no_other(
    status: str, client: FlaskClient, runs: Runs, engine: Engine, store: EveryStore
) -> None:
    run_ids = three_runs(client, runs, engine)
    store.measure(99)
    with engine.begin() as connection:
        oldest = update(RUNS).where(RUNS.c.run_id == run_ids[0])
        connection.execute(oldest.values(status=status, stored_bytes=10**15))
    Upkeep(store, Retention(gib=1.0)).step()
    assert present(runs, run_ids) == [True, False, False]


def test_what_is_no_number_stops_nothing(
    client: FlaskClient, runs: Runs, engine: Engine, store: EveryStore
) -> None:
    run_ids = three_runs(client, runs, engine)
    store.measure(99)
    with engine.begin() as connection:
        is_first = RUNS.c.run_id == run_ids[0]
        connection.execute(update(RUNS).where(is_first).values(stored_bytes=2**63 - 1))
        is_second = RUNS.c.run_id == run_ids[1]
        connection.execute(update(RUNS).where(is_second).values(stored_bytes=2**63 - 1))
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("UPDATE runs SET stored_bytes = 'abc' WHERE id = 3")
    Upkeep(store, Retention(gib=1.0)).step()
    assert present(runs, run_ids) == [False, False, True]


def test_runs_that_take_nothing_make_no_room(
    client: FlaskClient, runs: Runs, engine: Engine, store: EveryStore
) -> None:
    failed, _ = runs.submit({**REQUEST, "initial_capital": 5})
    runs.cancel(failed.run_id)
    run_ids = three_runs(client, runs, engine)
    store.measure(99)
    Upkeep(store, Retention(gib=1 / GIB)).step()
    assert present(runs, [failed.run_id, *run_ids]) == [True, False, False, False]


def test_deleting_goes_on_where_it_stopped(
    client: FlaskClient, runs: Runs, engine: Engine, store: EveryStore
) -> None:
    run_ids = three_runs(client, runs, engine)
    store.measure(99)
    first_bytes = stored_bytes(engine, run_ids[0])
    assert first_bytes is not None
    deleted, after = store.drop_oldest(first_bytes, 3, None)
    assert (deleted, present(runs, run_ids)) == (1, [False, True, True])
    deleted, after = store.drop_oldest(1, 3, after)
    assert (deleted, present(runs, run_ids)) == (1, [False, False, True])


def test_without_limits_nothing_goes(
    client: FlaskClient, runs: Runs, engine: Engine, store: EveryStore
) -> None:
    run_ids = three_runs(client, runs, engine)
    upkeep = Upkeep(store)
    look_again(upkeep)
    look_again(upkeep)
    assert present(runs, run_ids) == [True, True, True]


def test_a_row_whose_end_is_no_moment_stops_nothing(
    client: FlaskClient, runs: Runs, engine: Engine, store: EveryStore
) -> None:
    if engine.dialect.name != "sqlite":
        pytest.skip("MySQL keeps anything but a moment out of this column")
    run_ids = three_runs(client, runs, engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE runs SET finished_at = 'zzz' WHERE id = 1")
    upkeep = Upkeep(store, Retention(days=30, gib=1 / GIB))
    for _ in range(3):
        upkeep._next_size = 0.0
        upkeep.step()
    assert present(runs, run_ids) == [False, False, False]


def test_old_prices_go_once_nothing_refers_to_them(engine: Engine, store: EveryStore) -> None:
    price_store = PriceStore(engine)
    old = price_store.save(other_series(300))
    current = price_store.save(series("GOOG"))
    let_age(engine)
    upkeep = Upkeep(store)
    upkeep.step()
    assert is_stored(engine, old), "a request may be planned with it at this moment"
    look_again(upkeep)
    assert not is_stored(engine, old)
    assert is_stored(engine, current)
    assert is_stored(engine, series("SPY").fingerprint)


def test_the_second_look_comes_later(engine: Engine, store: EveryStore) -> None:
    price_store = PriceStore(engine)
    old = price_store.save(other_series(300))
    price_store.save(series("GOOG"))
    let_age(engine)
    upkeep = Upkeep(store)
    for _ in range(5):
        upkeep.step()
    assert is_stored(engine, old)
    assert SERIES_SECONDS >= 600, "longer than any request is answered"


@pytest.mark.parametrize("reference", ["run", "benchmark", "sweep"])
def test_prices_of_what_is_stored_stay(
    reference: str, engine: Engine, runs: Runs, sweeps: Sweeps, store: EveryStore
) -> None:
    price_store = PriceStore(engine)
    old = price_store.save(other_series(1200))
    request = {**REQUEST, "start_date": "2014-01-02", "end_date": "2016-01-04"}
    if reference == "run":
        runs.submit(request)
    elif reference == "benchmark":
        runs.submit({**request, "ticker": "SPY", "benchmark": "GOOG"})
    else:
        dates = {"start_date": "2014-01-02", "end_date": "2016-01-04"}
        sweeps.submit({**SWEEP, **dates, "tickers": ["SPY", "GOOG"]})
    price_store.save(series("GOOG"))
    let_age(engine)
    upkeep = Upkeep(store)
    for _ in range(3):
        look_again(upkeep)
    assert is_stored(engine, old)
    with engine.begin() as connection:
        connection.execute(tables.runs.delete())
    look_again(upkeep)
    look_again(upkeep)
    assert not is_stored(engine, old)


def test_many_searches_are_looked_through_in_slices(
    engine: Engine, sweeps: Sweeps, store: EveryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert SWEEPS_AT_ONCE >= 100
    monkeypatch.setattr("service.store.upkeep.SWEEPS_AT_ONCE", 2)
    price_store = PriceStore(engine)
    bars = (1200, 1210, 1220, 1230, 1240)
    olds = [price_store.save(other_series(count)) for count in bars]
    dates = {"start_date": "2014-01-02", "end_date": "2016-01-04"}
    for count in bars[1:]:
        price_store.save(other_series(count))
        sweeps.submit({**SWEEP, **dates, "tickers": ["SPY", "GOOG"]}, force=True)
    price_store.save(series("GOOG"))
    assert store.unreferenced_series() == {olds[0]}


def test_prices_that_are_referred_to_between_two_looks_stay(
    engine: Engine, runs: Runs, store: EveryStore
) -> None:
    price_store = PriceStore(engine)
    old = price_store.save(other_series(1200))
    price_store.save(series("GOOG"))
    let_age(engine)
    upkeep = Upkeep(store)
    upkeep.step()
    price_store.save(other_series(1200))
    look_again(upkeep)
    assert is_stored(engine, old)
    price_store.save(series("GOOG"))
    look_again(upkeep)
    look_again(upkeep)
    assert is_stored(engine, old), "it was current a moment ago, and a request may be under way"
    with engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(tables.price_series)) == 3
