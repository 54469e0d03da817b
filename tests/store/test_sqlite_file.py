"""The file of an SQLite database: deleted, replaced, locked by somebody else."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from scripts.config import Config
from service.store import database as module
from service.store.database import connect
from service.store.migrate import DatabaseRefused, migrate
from service.usecases.runs import Runs
from tests.support.databases import MYSQL
from tests.support.requests import REQUEST
from tests.support.stores import EveryStore
from tests.support.web import refused

pytestmark = pytest.mark.skipif(bool(MYSQL), reason="about SQLite")

LISTS = ("/runs", "/status/11111111-1111-4111-8111-111111111111")


def test_a_deleted_file_is_noticed_and_nothing_is_accepted(
    client: FlaskClient, database: Path
) -> None:
    assert client.post("/backtest", json=REQUEST).status_code == 202
    database.unlink()
    for path in LISTS:
        refused(client.get(path), 503, "DatabaseAway", "cannot be reached")
    refused(client.post("/backtest", json=REQUEST), 503, "DatabaseAway", "cannot be reached")
    assert client.get("/ready").status_code == 503
    assert client.get("/health").status_code == 200
    assert not database.exists(), "nobody has made an empty one"


def test_a_file_that_is_put_back_is_used_again(
    engine: Engine, client: FlaskClient, runs: Runs, database: Path, tmp_path: Path
) -> None:
    run, _ = runs.submit(dict(REQUEST))
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    copy = shutil.copyfile(database, tmp_path / "copy")
    database.unlink()
    assert client.get("/runs").status_code == 503
    copy.rename(database)
    assert client.get(f"/status/{run.run_id}").status_code == 200
    assert client.post("/backtest", json=REQUEST).status_code == 202
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (2,)


def test_only_a_migration_makes_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a database %20?.sqlite3"
    engine = connect(Config(sqlite_path=str(path)))
    with pytest.raises(OperationalError, match="unable to open"):
        EveryStore(engine).latest(1)
    assert not path.exists()
    migrate(engine)
    assert EveryStore(engine).latest(1) == []
    engine.dispose()


def test_a_file_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "a.sqlite3"
    with pytest.raises(DatabaseRefused, match=f"{path} cannot be used: No such file"):
        migrate(connect(Config(sqlite_path=str(path))))


class Lock:
    """Another program that holds the lock for writing."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.execute("BEGIN IMMEDIATE")

    def release(self) -> None:
        self._connection.execute("COMMIT")
        self._connection.close()


def test_who_writes_waits_for_the_lock_and_holds_no_connection(
    engine: Engine, database: Path
) -> None:
    lock = Lock(database)
    pauses: list[float] = []
    waiting = threading.Event()

    def pause(seconds: float) -> None:
        assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
        pauses.append(seconds)
        if len(pauses) == 3:
            lock.release()
        waiting.set()

    store = EveryStore(engine)
    store._pause = pause
    assert not store.cancel("nobody")
    assert len(pauses) == 3
    assert waiting.is_set()


def test_who_reads_does_not_wait(client: FlaskClient, database: Path) -> None:
    lock = Lock(database)
    with ThreadPoolExecutor(1) as pool:
        submitted = pool.submit(lambda: client.post("/backtest", json=REQUEST).status_code)
        for path in ("/runs", "/", "/ready", "/health", "/metrics"):
            assert client.get(path).status_code == 200
        assert not submitted.done()
        lock.release()
        assert submitted.result(30) == 202


def test_a_lock_that_nobody_gives_back_is_an_error(
    engine: Engine, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.1)
    lock = Lock(database)
    with pytest.raises(OperationalError, match="locked"):
        EveryStore(engine).cancel("nobody")
    lock.release()
