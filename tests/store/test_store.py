"""The stores: every change is compare-and-set, results survive, tables and migrations agree."""

from __future__ import annotations

import threading
import uuid

import pytest
from sqlalchemy import Engine, select, text

from scripts.config import Config
from service.contract.status import Status
from service.store import database
from service.store.database import connect, utc_in
from service.store.leases import LeaseStore
from service.store.prices import PriceStore
from service.store.rows import CLAIM_SECONDS, StoredResult
from service.store.tables import metadata
from tests.support.clocks import SteadyClock
from tests.support.prices import series
from tests.support.requests import RUN_ID
from tests.support.stored_runs import add_run
from tests.support.stores import EveryStore

STORED = StoredResult('{"a":1}', "date,equity\n2020-01-01,1.0\n", "data:image/png;base64,AAAA")
HEADLINE = {
    "total_return_pct": 1.23456789012345678,
    "sharpe_ratio": None,
    "max_drawdown_pct": 0.1,
    "num_trades": 2,
}


@pytest.fixture
def store(engine: Engine) -> EveryStore:
    return EveryStore(engine)


def test_a_run_is_recorded_once(store: EveryStore) -> None:
    add_run(store)
    assert not store.add(
        {
            "run_id": RUN_ID,
            "request": "",
            "ticker": "X",
            "rule_id": "",
            "prices_fingerprint": "",
            "rules_digest": "",
        }
    )
    run = store.get(RUN_ID)
    assert run is not None
    assert (run.status, run.attempt, run.launches, run.ticker) == (Status.PENDING, 0, 0, "GOOG")
    assert store.get("nobody") is None


def test_claim_finish_and_read_back(store: EveryStore) -> None:
    add_run(store)
    assert store.claim(RUN_ID, "a") == 1
    assert store.claim(RUN_ID, "b") is None
    assert store.finish(RUN_ID, 1, STORED, HEADLINE)
    run = store.get(RUN_ID)
    assert run is not None
    assert run.status == Status.COMPLETED
    assert run.total_return_pct == 1.23456789012345678
    assert run.started_at is not None
    assert run.finished_at is not None
    assert run.finished_at >= run.started_at
    assert store.result(RUN_ID) == STORED


def test_a_result_without_a_figure(store: EveryStore) -> None:
    add_run(store)
    store.claim(RUN_ID, "a")
    plain = StoredResult("{}", "", None)
    assert store.finish(RUN_ID, 1, plain, {})
    assert store.result(RUN_ID) == plain
    assert store.result("nobody") is None


def test_terminal_rows_never_change(store: EveryStore) -> None:
    add_run(store)
    store.claim(RUN_ID, "a")
    running = store.get(RUN_ID)
    assert running is not None
    assert store.fail_attempt(RUN_ID, 1, "EngineError", "broken")
    failed = store.get(RUN_ID)
    changes = [
        store.finish(RUN_ID, 1, STORED, HEADLINE),
        store.claim(RUN_ID, "b"),
        store.release(RUN_ID, 1),
        store.renew(RUN_ID, 1),
        store.requeue(running),
        store.fail(running, "x", "y"),
        store.mark_launched(RUN_ID),
        store.fail_attempt(RUN_ID, 1, "x", "y"),
    ]
    assert not any(changes)
    assert store.get(RUN_ID) == failed
    assert store.result(RUN_ID) is None


def test_an_expired_lease_can_be_taken_over(store: EveryStore, steady_clock: SteadyClock) -> None:
    add_run(store)
    assert store.claim(RUN_ID, "a") == 1
    assert store.claim(RUN_ID, "b") is None
    steady_clock.now += CLAIM_SECONDS
    assert store.claim(RUN_ID, "b") == 2
    assert not store.renew(RUN_ID, 1)
    assert not store.finish(RUN_ID, 1, STORED, HEADLINE)
    assert store.result(RUN_ID) is None
    assert store.renew(RUN_ID, 2)
    assert store.finish(RUN_ID, 2, STORED, HEADLINE)


def test_release_gives_the_run_back(store: EveryStore) -> None:
    add_run(store)
    store.mark_launched(RUN_ID)
    store.claim(RUN_ID, "a")
    assert store.release(RUN_ID, 1)
    assert store.queued(9) == [], "its job still has it"
    (run,) = store.active()
    assert (run.status, run.attempt, run.launches, run.claimed_by) == (Status.PENDING, 1, 1, "a")
    assert store.claim(RUN_ID, "b") == 2


def test_launching_is_first_in_first_out(store: EveryStore) -> None:
    ids = [add_run(store, str(uuid.uuid4())) for _ in range(4)]
    assert [run.run_id for run in store.queued(3)] == ids[:3]
    assert store.mark_launched(ids[0])
    assert not store.mark_launched(ids[0])
    assert [run.run_id for run in store.queued(9)] == ids[1:]
    assert [run.run_id for run in store.active()] == ids[:1]
    last = store.get(ids[3])
    assert last is not None
    assert store.queue_position(last) == 2, "the launched one is no longer in the queue"
    assert store.queued_count() == 3
    assert store.queued_count(limit=2) == 2
    (active,) = store.active()
    assert store.requeue(active)
    assert store.mark_launched(ids[0])
    assert not store.requeue(active), "the row is no longer as it was seen"


def test_many_claim_at_once_and_one_wins(store: EveryStore) -> None:
    add_run(store)
    won: list[int | None] = []
    threads = [
        threading.Thread(target=lambda name=i: won.append(store.claim(RUN_ID, str(name))))
        for i in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won, key=str) == [1, *[None] * 7]


def test_the_latest_runs_come_first(store: EveryStore) -> None:
    ids = [add_run(store, str(uuid.uuid4()), client="c" if i % 2 else "d") for i in range(6)]
    assert [run.run_id for run in store.latest(2)] == ids[:3:-1]
    assert store.latest(9, kind="sweep") == []
    latest = store.latest_of("d")
    assert latest is not None
    assert latest.run_id == ids[4]
    assert store.latest_of("nobody") is None


def test_listing_and_polling_never_touch_results(store: EveryStore, engine: Engine) -> None:
    add_run(store)
    seen: list[str] = []
    from sqlalchemy import event

    event.listen(
        engine, "before_cursor_execute", lambda c, cur, statement, *rest: seen.append(statement)
    )
    store.get(RUN_ID)
    store.latest(10)
    assert len([statement for statement in seen if statement.startswith("SELECT")]) == 2
    assert not any("results" in statement or "figures" in statement for statement in seen)


def test_leases_are_held_by_one(engine: Engine) -> None:
    leases = LeaseStore(engine)
    assert not leases.is_held("controller")
    assert leases.take("controller", "a", 6)
    assert leases.take("controller", "a", 6)
    assert not leases.take("controller", "b", 6)
    assert leases.is_held("controller")
    leases.drop("controller", "b")
    assert leases.is_held("controller")
    leases.drop("controller", "a")
    assert leases.take("controller", "b", 6), "free again"
    assert not leases.take("controller", "a", 0), "it has just begun to watch"
    assert leases.take("controller", "a", 0), "b has not renewed it"


def test_the_database_clock_is_utc_and_can_look_ahead(engine: Engine) -> None:
    with engine.connect() as connection:
        now, later = connection.execute(select(utc_in(), utc_in(90))).one()
        stamp = connection.scalar(text("SELECT CURRENT_TIMESTAMP"))
    assert abs((later - now).total_seconds() - 90) < 1
    assert str(now)[:16] == str(stamp)[:16]


def test_prices_are_stored_once_and_read_the_same(engine: Engine) -> None:
    store = PriceStore(engine)
    fingerprint = store.save(series("AMD"))
    assert store.save(series("AMD")) == fingerprint
    again = store.read(fingerprint)
    assert again is not None
    assert again.fingerprint == fingerprint
    ticker = store.ticker("AMD")
    assert ticker is not None
    assert (str(ticker.first_day), str(ticker.last_day), ticker.bars) == (
        "2009-02-09",
        "2020-02-07",
        2769,
    )
    assert [known.ticker for known in store.tickers()] == ["AMD", "GOOG", "SPY"]
    assert store.ticker("NONE") is None
    assert store.read("nothing") is None


def test_a_newer_series_leaves_the_old_one_readable(engine: Engine) -> None:
    store = PriceStore(engine)
    old = series("GOOG")
    newer = type(old)("GOOG", "newer", old.data.iloc[:-1])
    store.save(newer)
    ticker = store.ticker("GOOG")
    assert ticker is not None
    assert ticker.fingerprint == newer.fingerprint
    assert store.read(old.fingerprint) is not None


def test_a_message_of_any_length_is_kept_in_part(store: EveryStore) -> None:
    add_run(store)
    store.mark_launched(RUN_ID)
    (run,) = store.active()
    assert store.fail(run, "AdmissionDenied", "x" * 100_000)
    kept = store.get(RUN_ID)
    assert kept is not None
    assert kept.message == "x" * 3997 + "..."


def test_a_note_comes_too_late_for_a_run_that_was_claimed(store: EveryStore) -> None:
    add_run(store)
    store.mark_launched(RUN_ID)
    (seen,) = store.active()
    assert store.note(seen, "Unschedulable", "No node.")
    assert store.claim(RUN_ID, "w") == 1
    assert not store.note(seen, "Unschedulable", "No node.")
    assert store.finish(RUN_ID, 1, STORED, HEADLINE)
    run = store.get(RUN_ID)
    assert run is not None
    assert (run.status, run.reason, run.message) == (Status.COMPLETED, None, None)


def test_tls_as_it_is_asked_for() -> None:
    def settings_of(**settings: str) -> dict[str, object]:
        return database._mysql_tls(Config(db_host="db", **settings))  # type: ignore[arg-type]

    assert settings_of() == {}
    assert settings_of(db_tls="required") == {
        "ssl": {"check_hostname": False, "verify_mode": "none"}
    }
    verified = {"ssl_ca": "/ca.pem", "ssl_verify_cert": True, "ssl_verify_identity": True}
    assert settings_of(db_tls="verify", db_tls_ca="/ca.pem") == verified


def test_cancelling(store: EveryStore) -> None:
    first, second, third = (add_run(store, str(uuid.uuid4())) for _ in range(3))
    store.mark_launched(second)
    assert [store.cancel(first), store.cancel(second), store.cancel("nothing")] == [
        True,
        True,
        False,
    ]
    assert store.finish_cancelling(second)
    assert not store.finish_cancelling(third)
    assert store.counts() == {"cancelled": 2, "pending": 1}
    assert not store.cancel(first), "it has ended"
    assert not store.mark_launched(first)


def test_the_view_that_the_specification_names(store: EveryStore, engine: Engine) -> None:
    add_run(store)
    store.claim(RUN_ID, "a")
    store.finish(RUN_ID, 1, STORED, HEADLINE)
    with engine.connect() as connection:
        row = connection.execute(text("SELECT * FROM backtest_results")).one()
    named = {
        "run_id": RUN_ID,
        "ticker": "GOOG",
        "status": "completed",
        "metrics": '{"a":1}',
        "chart_base64": STORED.chart_base64,
    }
    assert {name: getattr(row, name) for name in named} == named
    assert {"rule_id", "created_at"} <= set(row._fields)


def test_mysql_needs_no_other_code() -> None:
    """Statements compile for MySQL; the password never stands in the URL of the settings."""
    from sqlalchemy.dialects import mysql
    from sqlalchemy.schema import CreateTable

    config = Config(db_host="db", db_password="p@ss/word")
    assert "p@ss" not in config.database_url
    assert "p@ss" not in repr(config)
    engine = connect(config)
    assert engine.url.password == "p@ss/word"
    compiled = str(
        select(utc_in(60)).compile(dialect=mysql.dialect(), compile_kwargs={"literal_binds": True})
    )
    assert "UTC_TIMESTAMP(6) + INTERVAL 60 SECOND" in compiled
    for table in metadata.sorted_tables:
        ddl = str(CreateTable(table).compile(dialect=mysql.dialect()))
        assert "utf8mb4" in ddl
        assert "FLOAT" not in ddl


def test_the_same_prices_may_be_imported_by_several_at_once(engine: Engine) -> None:
    """Every web pod fills an empty store when it starts."""
    store = PriceStore(engine)
    failures = []
    wanted = [series(ticker) for ticker in ("AAPL", "AMD", "BA")]
    barrier = threading.Barrier(4)

    def load() -> None:
        barrier.wait()
        for one in wanted:
            try:
                store.save(one)
            except Exception as error:
                failures.append(error)

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert [ticker.ticker for ticker in store.tickers()] == ["AAPL", "AMD", "BA", "GOOG", "SPY"]
