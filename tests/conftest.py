"""Prices, stores and a client that every test may ask for."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from sqlalchemy import Engine, make_url

from scripts.config import ROOT, Config
from service.prices.series import PriceSeries, read_csv
from service.store.database import connect
from service.store.migrate import migrate, schema_problem
from service.store.prices import PriceStore
from service.usecases.runs import Runs
from service.web.factory import create_app
from tests.support.openapi_check import CheckedClient
from tests.support.stores import EveryStore

MYSQL = os.environ.get("TEST_MYSQL", "")
TICKERS = sorted(path.stem for path in (ROOT / "data").glob("*.csv"))
# The same examples in every run; `make test-random` draws new ones. No test depends on how fast the machine is.
hypothesis_settings.register_profile(
    "deterministic",
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
hypothesis_settings.register_profile(
    "random", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("deterministic")

RUN_ID = "11111111-1111-4111-8111-111111111111"
REQUEST = {
    "ticker": "GOOG",
    "rule_id": "MA_CROSS_10_30",
    "start_date": "2013-01-02",
    "end_date": "2020-02-07",
}
SWEEP = {
    "tickers": ["GOOG"], "rule_id": "MA_CROSS", "grid": {"fast": "5:25:5", "slow": [10, 30, 60]},
    "start_date": "2015-01-02", "end_date": "2018-12-31",
}  # fmt: skip


@cache
def series(ticker: str) -> PriceSeries:
    """One of the bundled price series."""
    return read_csv(ROOT / "data" / f"{ticker}.csv", ticker, source=f"{ticker}.csv")


def prices(ticker: str = "GOOG", bars: int | None = None) -> pd.DataFrame:
    """A copy of its bars."""
    return series(ticker).data.iloc[:bars].copy()


def random_walk(bars: int, seed: int, sigma: float) -> pd.DataFrame:
    """The seeded OHLCV walk that the research figures use: `bars` business days from 2014 on."""
    random = np.random.Generator(np.random.PCG64(seed))
    close = 100.0 * np.exp(np.cumsum(random.normal(0.0, sigma, bars)))
    open_ = np.concatenate([[100.0], close[:-1]]) * np.exp(random.normal(0.0, sigma / 4, bars))
    high = np.maximum(open_, close) * np.exp(np.abs(random.normal(0.0, sigma / 3, bars)))
    low = np.minimum(open_, close) * np.exp(-np.abs(random.normal(0.0, sigma / 3, bars)))
    volume = random.integers(1_000, 1_000_000, bars).astype(float)
    columns = {"Open": open_, "High": high, "Low": low, "Close": close, "Volume": volume}
    return pd.DataFrame(columns, index=pd.bdate_range("2014-01-01", periods=bars))


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "test.sqlite3"


@pytest.fixture
def engine(database: Path) -> Iterator[Engine]:
    """A migrated database with the prices of GOOG and SPY: SQLite, or a new one of the MySQL named by TEST_MYSQL."""
    config = mysql_config() if MYSQL else Config(sqlite_path=str(database))
    if MYSQL:
        _as_root(f"CREATE DATABASE {config.db_name}")
    engine = connect(config)
    migrate(engine)
    for ticker in ("GOOG", "SPY"):
        PriceStore(engine).save(series(ticker))
    yield engine
    engine.dispose()
    if MYSQL:
        _as_root(f"DROP DATABASE {config.db_name}")


def database_environment(engine: Engine) -> list[str]:
    """NAME=value of a process that uses the same database."""
    url = engine.url
    if url.get_backend_name() == "sqlite":
        return ["DB_HOST=", f"SQLITE_PATH={url.database}"]
    return [
        f"DB_HOST={url.host}", f"DB_PORT={url.port}", f"DB_NAME={url.database}", f"DB_USER={url.username}",
        f"DB_PASSWORD={url.password}",
    ]  # fmt: skip


def mysql_config() -> Config:
    """A database of its own on the server `root:<password>@<host>:<port>` of TEST_MYSQL."""
    url = make_url(f"mysql://{MYSQL}")
    name = f"test_{uuid.uuid4().hex[:12]}"
    given = {
        "db_user": url.username,
        "db_password": str(url.password),
        "db_host": url.host,
        "db_port": url.port,
    }
    return Config(db_name=name, **given)  # type: ignore[arg-type]


def _as_root(statement: str) -> None:
    server = connect(replace(mysql_config(), db_name="mysql"))
    with server.begin() as connection:
        connection.exec_driver_sql(statement)
    server.dispose()


@pytest.fixture
def runs(engine: Engine) -> Runs:
    return Runs(EveryStore(engine), PriceStore(engine), max_pending=20)


@pytest.fixture
def client(engine: Engine, runs: Runs) -> FlaskClient:
    """Holds every answer against /openapi.json."""
    app = create_app(runs, partial(schema_problem, engine))
    app.test_client_class = CheckedClient
    return app.test_client()


# The lanes that whole folders and files belong to; single tests are marked where they stand.
LANES = {
    "tests/chart/": "chart",
    "tests/web/test_bad_requests": "hostile",
    "tests/web_server/": "process",
    "tests/worker/test_worker": "process",
    "tests/controller/test_processes": "process",
    "tests/scripts/test_verify_mvp": "process",
    "tests/scripts/test_qa_prices": "process",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks each test with the lane of its folder."""
    for item in items:
        path = item.path.relative_to(ROOT).as_posix()
        for prefix, lane in LANES.items():
            if path.startswith(prefix):
                item.add_marker(lane)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What became of the runs, and after how long, as tests recorded it."""
    reports = [
        report
        for found in terminalreporter.stats.values()
        for report in found
        if hasattr(report, "user_properties")
    ]
    lines = sorted(
        str(value)
        for report in reports
        for name, value in report.user_properties
        if name == "fault"
    )
    if lines:
        terminalreporter.section("faults on the cluster")
        for line in dict.fromkeys(lines):
            terminalreporter.write_line(line)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic clock in the hand of the test."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now
