"""Fixtures for all tests: a database, the use cases, a client, a clock; and the test lanes."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from sqlalchemy import Engine

from scripts.config import ROOT, Config
from service.search import plan
from service.store import watching
from service.store.migrate import migrate, schema_problem
from service.store.prices import PriceStore
from service.usecases.runs import Runs
from service.usecases.sweeps import Sweeps
from service.web.factory import create_app
from service.worker.software import Software
from service.worker.sweep import SweepWorker
from tests.support.clocks import SteadyClock
from tests.support.databases import MYSQL, Template, connected, migrated_database
from tests.support.figures import draw_anew, draw_once
from tests.support.openapi_check import CheckedClient
from tests.support.prices import series
from tests.support.stores import EveryStore
from tests.support.templates import compile_once

# The same examples in every run; `make test-random` draws new ones. There is no deadline: no test
# depends on how fast the machine is.
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


@pytest.fixture(scope="session")
def template_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file with the prices of GOOG and SPY, to be copied."""
    path = tmp_path_factory.mktemp("template") / "template.sqlite3"
    with connected(Config(sqlite_path=str(path))) as engine:
        migrate(engine)
        _save_prices(engine)
    return path


@pytest.fixture(scope="session")
def mysql_template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Template | None]:
    """The same on the MySQL server of TEST_MYSQL, where there is one."""
    if not MYSQL:
        yield None
        return
    with migrated_database(tmp_path_factory.mktemp("mysql")) as engine:
        _save_prices(engine)
        yield Template.of(engine)


@pytest.fixture
def steady_clock(monkeypatch: pytest.MonkeyPatch) -> SteadyClock:
    """The clock by which leases are watched, where the test moves it."""
    clock = SteadyClock()
    monkeypatch.setattr(watching, "time", clock)
    return clock


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """The SQLite file of `engine`."""
    return tmp_path / "test.sqlite3"


@pytest.fixture
def engine(
    database: Path, template_database: Path, mysql_template: Template | None
) -> Iterator[Engine]:
    """A migrated database of the test's own with the prices of GOOG and SPY."""
    if mysql_template is not None:
        with mysql_template.copy() as engine:
            yield engine
        return
    shutil.copyfile(template_database, database)
    with connected(Config(sqlite_path=str(database))) as engine:
        yield engine


def _save_prices(engine: Engine) -> None:
    for ticker in ("GOOG", "SPY"):
        PriceStore(engine).save(series(ticker))


@pytest.fixture(scope="session", autouse=True)
def _repeated_work_done_once() -> Iterator[None]:
    """Figures are drawn and templates compiled once in a session."""
    with pytest.MonkeyPatch.context() as patch:
        draw_once(patch)
        compile_once(patch)
        yield


@pytest.fixture
def figures_drawn_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of the bytes of figures."""
    draw_anew(monkeypatch)


@pytest.fixture
def runs(engine: Engine) -> Runs:
    return Runs(EveryStore(engine), PriceStore(engine), max_pending=20)


@pytest.fixture
def sweeps(runs: Runs) -> Sweeps:
    return Sweeps(runs)


@pytest.fixture
def sweep_worker(runs: Runs) -> SweepWorker:
    return SweepWorker(runs.run_store, runs.price_store, Software("abc", "image:1"))


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four rows each: 22 rows make six, one of which has rows of both tickers."""
    monkeypatch.setattr(plan, "SHARD_ROWS", 4)


@pytest.fixture
def client(engine: Engine, runs: Runs) -> FlaskClient:
    """A client that checks every answer against /openapi.json."""
    app = create_app(runs, partial(schema_problem, engine), price_vendors=["yahoo"])
    app.test_client_class = CheckedClient
    return app.test_client()


# The lanes of whole folders and files; single tests are marked in their files.
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
    """Prints what tests recorded as the property "fault": how runs ended, and after how long."""
    lines: set[str] = set()
    for reports in terminalreporter.stats.values():
        for report in reports:
            properties = getattr(report, "user_properties", ())
            lines.update(str(value) for name, value in properties if name == "fault")
    if lines:
        terminalreporter.section("faults on the cluster")
        for line in sorted(lines):
            terminalreporter.write_line(line)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic clock, in a list of one number of seconds that the test may change."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now
