"""Migrations go forward only, may run at any time and more than once, and lose no data."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import Engine, func, inspect, select, text

from scripts.config import ROOT, Config
from service.contract.documents import canonical_json
from service.contract.request import parse_request
from service.contract.status import Status
from service.store import migrate as migration
from service.store.database import connect
from service.store.tables import metadata, runs
from tests.support.databases import MYSQL, database_environment
from tests.support.requests import REQUEST, RUN_ID
from tests.support.stores import EveryStore

RUNS = (
    "forward_records",
    "trials",
    "run_stars",
    "run_tags",
    "run_notes",
    "sweep_shards",
    "sweeps",
    "figures",
    "results",
    "runs",
)  # in an order in which they can be dropped


def test_migrations_make_what_the_tables_say(engine: Engine, tmp_path: Path) -> None:
    migration.check(engine)
    (tmp_path / "fresh.sqlite3").touch()
    fresh = connect(Config(sqlite_path=str(tmp_path / "fresh.sqlite3")))
    metadata.create_all(fresh)
    for table in metadata.tables:
        columns = {column["name"] for column in inspect(fresh).get_columns(table)}
        assert columns == {column["name"] for column in inspect(engine).get_columns(table)}
    fresh.dispose()


@pytest.mark.process
def test_migrating_again_does_nothing_and_two_at_once_are_safe(tmp_path: Path) -> None:
    path = tmp_path / "twice.sqlite3"
    path.touch()
    engine = connect(Config(sqlite_path=str(path)))
    assert migration.schema_problem(engine)
    command = [sys.executable, "-m", "service.store.migrate"]
    environment = {**os.environ, "DB_HOST": "", "SQLITE_PATH": str(path)}
    started = [subprocess.Popen(command, cwd=ROOT, env=environment) for _ in range(4)]
    assert [process.wait() for process in started] == [0, 0, 0, 0]
    migration.migrate(engine)
    assert not migration.schema_problem(engine)
    engine.dispose()


def test_a_migration_that_was_killed_goes_on(engine: Engine) -> None:
    """MySQL keeps what was made before; whatever part is there, the rest follows."""
    with engine.begin() as connection:
        connection.execute(text("DROP VIEW backtest_results"))
        for table in RUNS:
            connection.execute(text(f"DROP TABLE {table}"))
        connection.execute(text("DELETE FROM alembic_version"))
    migration.migrate(engine)
    migration.check(engine)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT * FROM backtest_results")).all() == []


@pytest.mark.parametrize("left", ["DELETE FROM alembic_version", "DROP TABLE alembic_version"])
def test_a_migration_killed_at_its_very_end_goes_on_too(engine: Engine, left: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(left))
    migration.migrate(engine)
    migration.check(engine)


def test_going_back_to_an_earlier_release_works(engine: Engine) -> None:
    """Later ones only add to the schema."""
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0999'"))
    assert not migration.schema_problem(engine)
    migration.migrate(engine)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "0999"


def test_a_database_that_does_not_answer_in_time_is_named(caplog: pytest.LogCaptureFixture) -> None:
    away = connect(Config(db_host="127.0.0.1", db_port=9, db_user="me"))
    with pytest.raises(
        migration.DatabaseRefused,
        match=r"127.0.0.1:9/stock_backtest.* cannot be used: Can't connect",
    ):
        migration.wait_for(away, 0)


@pytest.mark.skipif(not MYSQL, reason="MySQL only: SQLite's transaction does it there")
def test_migrations_wait_for_each_other_on_mysql(engine: Engine) -> None:
    environment = {**os.environ, **database_environment(engine)}
    with engine.begin() as connection:
        for table in (*RUNS, "leases", "tickers", "price_series", "alembic_version"):
            connection.execute(text(f"DROP TABLE {table}"))
    command = [sys.executable, "-m", "service.store.migrate"]
    started = [subprocess.Popen(command, cwd=ROOT, env=environment) for _ in range(4)]
    assert [process.wait() for process in started] == [0, 0, 0, 0]
    migration.check(engine)


SWEEP_ID = "22222222-2222-4222-8222-222222222222"
OTHER_ID = "33333333-3333-4333-8333-333333333333"
ASKED = parse_request({**REQUEST, "run_id": RUN_ID}).canonical()
INSERT_RUN = """
INSERT INTO runs (run_id, request, ticker, rule_id, prices_fingerprint, rules_digest, status,
                  attempt, launches, created_at, num_trades, kind)
VALUES (:run_id, :request, 'GOOG', 'RSI', 'f', 'd', 'completed', 1, 1,
        '2026-01-02 03:04:05.678901', 7, :kind)
"""


@pytest.fixture
def old(engine: Engine) -> Engine:
    """The schema of release 0.2.0 with a run and a sweep in it."""
    with engine.begin() as connection:
        connection.execute(text("DROP VIEW backtest_results"))
        for table in RUNS:
            connection.execute(text(f"DROP TABLE {table}"))
        connection.execute(text("DELETE FROM alembic_version"))
    upgrade(engine, "0003")
    with engine.begin() as connection:
        for run_id, kind in ((RUN_ID, "backtest"), (SWEEP_ID, "sweep")):
            connection.execute(text(INSERT_RUN), {"run_id": run_id, "kind": kind, "request": ASKED})
            row = {"run_id": run_id, "result": '{"a": 1}', "table": b"zlib"}
            columns = "run_id, result, equity_csv"
            connection.execute(
                text(f"INSERT INTO results ({columns}) VALUES (:run_id, :result, :table)"), row
            )
        connection.execute(text(f"INSERT INTO figures VALUES ('{RUN_ID}', 'data:')"))
    return engine


def upgrade(engine: Engine, revision: str) -> None:
    settings = migration._settings()
    with engine.connect().execution_options(begin="BEGIN IMMEDIATE") as connection:
        settings.attributes["connection"] = connection
        command.upgrade(settings, revision)
        connection.commit()


def test_data_of_the_release_before_is_kept(old: Engine) -> None:
    assert migration.schema_problem(old)
    migration.migrate(old)
    migration.check(old)
    run = EveryStore(old).get(RUN_ID)
    assert run is not None
    assert (run.status, run.num_trades, run.client, run.reused_from) == (
        Status.COMPLETED,
        7,
        "",
        None,
    )
    with old.connect() as connection:
        (row,) = connection.execute(
            text("SELECT run_id, metrics, chart_base64, created_at FROM backtest_results")
        ).all()
    assert row[:3] == (RUN_ID, '{"a": 1}', "data:")
    assert str(row.created_at) == "2026-01-02 03:04:05.678901"


def test_runs_of_the_release_before_are_found_by_what_they_asked_for(old: Engine) -> None:
    """Also more of them than are filled at once, and one that cannot be read."""
    asked = canonical_json(
        {
            "start_date": "2013-01-02",
            "end_date": "2020-02-07",
            "commission_rate": 0.001,
            "slippage_rate": 0.0005,
        }
    )
    with old.begin() as connection:
        connection.execute(text("UPDATE runs SET request = :asked"), {"asked": asked})
        connection.execute(text(f"UPDATE runs SET id = 2500 WHERE run_id = '{RUN_ID}'"))
        connection.execute(text(f"UPDATE runs SET request = 'x' WHERE run_id = '{SWEEP_ID}'"))
        document = canonical_json({"metrics": {"buy_and_hold_return_pct": 12.5}})
        statement = "UPDATE results SET result = :document WHERE run_id = :run_id"
        connection.execute(text(statement), {"document": document, "run_id": RUN_ID})
    migration.migrate(old)
    run = EveryStore(old).get(RUN_ID)
    assert run is not None
    asked_for = (run.start_date, run.end_date, run.costs_pct, run.buy_and_hold_return_pct)
    assert asked_for == ("2013-01-02", "2020-02-07", 0.15, 12.5)
    unreadable = EveryStore(old).get(SWEEP_ID)
    assert unreadable is not None
    assert unreadable.start_date is None


def test_rows_that_an_older_release_left_behind_keep_nobody_waiting(old: Engine) -> None:
    """A failed run leads its work no longer; an attached run with a result of its own keeps it."""
    with old.begin() as connection:
        connection.execute(text("UPDATE runs SET leads = run_id, reused_from = 'other'"))
        connection.execute(text(f"UPDATE runs SET leads = 'done' WHERE run_id = '{SWEEP_ID}'"))
        connection.execute(text(f"UPDATE runs SET status = 'failed' WHERE run_id = '{RUN_ID}'"))
    migration.migrate(old)
    with old.connect() as connection:
        rows = connection.execute(text("SELECT run_id, leads, reused_from FROM runs")).all()
    assert {tuple(row) for row in rows} == {(RUN_ID, None, None), (SWEEP_ID, "done", None)}


def test_the_tables_of_sweeps_are_copied_to_their_own_column(old: Engine) -> None:
    migration.migrate(old)
    with old.connect() as connection:
        rows = connection.execute(text("SELECT run_id, equity_csv, table_csv FROM results")).all()
    tables = {row.run_id: (row.equity_csv, row.table_csv) for row in rows}
    assert tables == {RUN_ID: (b"zlib", None), SWEEP_ID: (b"zlib", b"zlib")}


@pytest.mark.parametrize("after", range(0, 16, 3))
def test_an_upgrade_killed_after_any_statement_goes_on(
    old: Engine, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """MySQL commits each change of a table by itself."""
    from alembic import op

    left = iter([True] * after)

    def stopping(name: str) -> None:
        real = getattr(op, name)

        def change(*words: object, **more: object) -> None:
            if not next(left, False):
                raise KeyboardInterrupt
            real(*words, **more)

        patch.setattr(op, name, change)

    with monkeypatch.context() as patch:
        for name in ("add_column", "create_index", "drop_index", "create_table", "execute"):
            stopping(name)
        with pytest.raises(KeyboardInterrupt):
            migration.migrate(old)
    migration.migrate(old)
    migration.check(old)
    assert EveryStore(old).get(RUN_ID) is not None


def test_the_release_before_works_on_the_new_schema(old: Engine) -> None:
    """Its inserts do not name the new columns: an upgrade can be taken back."""
    migration.migrate(old)
    with old.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO runs (run_id, request, ticker, rule_id, prices_fingerprint,"
                " rules_digest, status, attempt, launches, created_at) VALUES"
                " (:run_id, :request, 'SPY', 'RSI', 'f', 'd', 'pending', 0, 0, '2026-01-02')"
            ),
            {"run_id": OTHER_ID, "request": ASKED},
        )
    assert [run.run_id for run in EveryStore(old).queued(9)] == [OTHER_ID]


def test_a_schema_that_this_release_cannot_work_with_is_refused(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '1001'"))
    assert migration.schema_problem(engine)
    with pytest.raises(
        migration.DatabaseRefused, match="at revision 1001, this program knows 0010"
    ):
        migration.migrate(engine)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "1001"


def test_nothing_migrates_backwards(engine: Engine) -> None:
    settings = migration._settings()
    for revision in ("0001", "base"):
        with engine.connect() as connection:
            settings.attributes["connection"] = connection
            with pytest.raises(NotImplementedError, match="restore a backup"):
                command.downgrade(settings, revision)
    migration.check(engine)


@pytest.mark.process
def test_ten_at_once_migrate_the_release_before(old: Engine) -> None:
    environment = {**os.environ, **database_environment(old)}
    command_ = [sys.executable, "-m", "service.store.migrate"]
    started = [subprocess.Popen(command_, cwd=ROOT, env=environment) for _ in range(10)]
    assert [process.wait() for process in started] == [0] * 10
    migration.check(old)
    with old.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(runs)) == 2
