"""What an operator should look at: /ready and the dashboard say the same."""

from __future__ import annotations

import shutil
from collections import namedtuple
from collections.abc import Callable
from dataclasses import replace

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine, update
from sqlalchemy.exc import OperationalError

from service.contract.status import NO_CONTROLLER, Reason, Status
from service.store import tables
from service.store.database import utc_in
from service.store.leases import CONTROLLER, LEADERSHIP_SECONDS, LeaseStore
from service.store.room import GIB, Room, RoomStore
from service.usecases.runs import Runs
from service.usecases.troubles import KEPT_SECONDS, Troubles
from service.web.factory import create_app
from tests.support.requests import REQUEST
from tests.support.web import completed, page

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def set_free(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets how many GiB are free on the disk of the database."""

    def set_to(gib: float) -> None:
        usage = Usage(9 * GIB, 0, int(gib * GIB))
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)

    set_to(5)
    return set_to


def troubles(runs: Runs, engine: Engine, mysql_gib: float = 0.0) -> list[str]:
    now = Troubles(runs.run_store, runs.leases, RoomStore(engine, mysql_gib)).now()
    return [str(trouble) for trouble in now]


def set_all(engine: Engine, **values: object) -> None:
    with engine.begin() as connection:
        connection.execute(update(tables.runs).values(values))


def web(runs: Runs, engine: Engine) -> FlaskClient:
    return create_app(runs, str, room_store=RoomStore(engine)).test_client()


def test_where_all_is_well_nothing_is_said(runs: Runs, engine: Engine, set_free: object) -> None:
    leased = replace(runs, leases=LeaseStore(engine))
    LeaseStore(engine).take(CONTROLLER, "c", LEADERSHIP_SECONDS)
    runs.submit(REQUEST)
    assert troubles(leased, engine) == []
    client = web(leased, engine)
    assert client.get("/ready").json == {"status": "ok", "missing": [], "warnings": []}
    assert 'class="warning" role="status"' not in page(client, "/")


def test_no_controller_is_said_at_once_and_until_there_is_one(runs: Runs, engine: Engine) -> None:
    client = web(replace(runs, leases=LeaseStore(engine)), engine)
    assert NO_CONTROLLER in client.get("/ready").json["warnings"]
    assert NO_CONTROLLER in page(client, "/")
    LeaseStore(engine).take(CONTROLLER, "c", LEADERSHIP_SECONDS)
    assert NO_CONTROLLER not in client.get("/ready").json["warnings"]
    assert NO_CONTROLLER not in page(client, "/")


def test_a_lease_that_cannot_be_honest_is_none(runs: Runs, engine: Engine) -> None:
    leases = LeaseStore(engine)
    leases.take(CONTROLLER, "c", LEADERSHIP_SECONDS)
    with engine.begin() as connection:
        connection.execute(update(tables.leases).values(until=utc_in(3600)))
    assert NO_CONTROLLER in troubles(replace(runs, leases=leases), engine)


def test_a_queue_that_stands(runs: Runs, engine: Engine, set_free: object) -> None:
    first, _ = runs.submit(REQUEST)
    runs.submit({**REQUEST, "initial_capital": 5})
    set_all(engine, created_at=utc_in(-1500))
    (said,) = troubles(runs, engine)
    assert said == "A run has waited for 25 minutes and none is at work; its page says why."
    assert runs.run_store.mark_launched(first.run_id)
    assert troubles(runs, engine) == []


@pytest.mark.parametrize(
    "values",
    [
        {"status": "garbage"},
        {"status": "aaa"},
        {"status": "pending "},
        {"status": Status.FAILED, "reason": Reason.BAD_ROW},
    ],
)
def test_rows_that_cannot_be_read(
    values: dict[str, str], client: FlaskClient, runs: Runs, engine: Engine, set_free: object
) -> None:
    completed(client, runs)
    set_all(engine, **values)
    (said,) = troubles(runs, engine)
    is_set_aside = "reason" in values
    assert said.startswith(
        "Runs set aside in the last day because their rows could not be read: 1."
        if is_set_aside
        else "Runs in the database that cannot be read: 1."
    )
    set_all(engine, finished_at=utc_in(-90_000))
    assert (troubles(runs, engine) == []) == is_set_aside


def test_each_state_there_is_can_be_read(
    client: FlaskClient, runs: Runs, engine: Engine, set_free: object
) -> None:
    completed(client, runs)
    for status in Status:
        set_all(engine, status=status)
        assert troubles(runs, engine) == []


def test_a_disk_that_is_nearly_full(
    runs: Runs, engine: Engine, set_free: Callable[[float], None]
) -> None:
    if engine.dialect.name != "sqlite":
        pytest.skip("of an SQLite file")
    set_free(0.9)
    (said,) = troubles(runs, engine)
    assert said.startswith("The database is nearly full: 0.0 of 0.9 GiB.")
    client = web(runs, engine)
    assert client.get("/ready").json["warnings"] == [said]
    assert said in page(client, "/")
    korean = page(client, "/?lang=ko")
    assert "데이터베이스가 거의 가득 찼습니다(0.9 GiB 중 0.0 GiB 사용)." in korean


def test_deleting_ends_the_warning(
    client: FlaskClient, runs: Runs, engine: Engine, set_free: Callable[[float], None]
) -> None:
    """SQLite keeps the pages that are free again in its file."""
    if engine.dialect.name != "sqlite":
        pytest.skip("of an SQLite file")
    run_ids = [completed(client, runs, initial_capital=1000 + number) for number in range(3)]
    store = RoomStore(engine)
    set_free(1 - store.room().used_bytes / GIB / 9)
    assert store.room().is_nearly_full
    runs.run_store.delete(run_ids)
    assert not store.room().is_nearly_full


@pytest.mark.parametrize("error", [OSError("denied"), OperationalError("s", {}, Exception("no"))])
def test_where_nobody_can_tell_the_room_all_else_goes_on(
    error: Exception, runs: Runs, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(store: RoomStore) -> Room:
        raise error

    monkeypatch.setattr(RoomStore, "room", fail)
    client = web(runs, engine)
    assert client.get("/ready").json["warnings"] == []
    assert page(client, "/")
    metrics = client.get("/metrics").text
    assert "stock_backtest_runs{" in metrics
    assert "stock_backtest_database_bytes" not in metrics


@pytest.mark.parametrize(
    ("used", "limit", "is_nearly_full"),
    [(84, 100, False), (86, 100, True), (200, 100, True), (10**9, None, False)],
)
def test_when_room_runs_out(used: int, limit: int | None, is_nearly_full: bool) -> None:
    assert Room(used, limit, 15).is_nearly_full == is_nearly_full


def test_the_size_of_the_database(
    client: FlaskClient, runs: Runs, engine: Engine, set_free: object
) -> None:
    store = RoomStore(engine, 2.0)
    before = store.room()
    for number in range(3):
        completed(client, runs, initial_capital=1000 + number)
    if engine.dialect.name == "mysql":
        # MySQL counts again when it has the time for it.
        with engine.begin() as connection:
            connection.exec_driver_sql("ANALYZE TABLE results, figures")
    after = store.room()
    assert after.used_bytes > before.used_bytes
    if engine.dialect.name == "sqlite":
        assert after.limit_bytes == after.used_bytes + 5 * GIB
    else:
        assert (after.limit_bytes, after.least_free_bytes) == (2 * GIB, int(0.3 * GIB))
        assert RoomStore(engine).room().limit_bytes is None


def test_a_full_mysql_says_so(runs: Runs, engine: Engine) -> None:
    if engine.dialect.name != "mysql":
        pytest.skip("of MySQL")
    (said,) = troubles(runs, engine, mysql_gib=1e-6)
    assert said.startswith("The database is nearly full:")


def test_the_database_is_asked_once_in_a_while(runs: Runs, engine: Engine) -> None:
    moments = iter([0.0, 0.0, 1.0, KEPT_SECONDS, KEPT_SECONDS, KEPT_SECONDS + 1])
    kept = Troubles(runs.run_store, clock=lambda: next(moments))
    runs.submit(REQUEST)
    assert kept.now() == []
    set_all(engine, status="garbage")
    assert kept.now() == []
    assert len(kept.now()) == 1
    assert len(kept.now()) == 1


def test_metrics_say_how_much_room_there_is(runs: Runs, engine: Engine) -> None:
    text = web(runs, engine).get("/metrics").text
    assert "stock_backtest_database_bytes " in text
    assert ("stock_backtest_database_limit_bytes " in text) == (engine.dialect.name == "sqlite")
