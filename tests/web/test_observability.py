"""What operators see: metrics of the runs, /ready, and lines of what nobody caught."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from scripts.config import ROOT
from service.contract.status import NO_CONTROLLER
from service.store.leases import CONTROLLER, LEADERSHIP_SECONDS, LeaseStore
from service.store.migrate import schema_problem
from service.usecases.runs import Runs
from service.usecases.troubles import Troubles
from service.web.factory import create_app, put_behind
from service.web.middleware.metrics import KEPT_SECONDS, _Runs
from tests.support.stores import EveryStore


class Counted(EveryStore):
    """A store that says what it is told to."""

    def __init__(self, length: int = 0, age: float | None = None) -> None:
        self.asked = 0
        self.length = length
        self.age = age

    def counts(self) -> dict[str, int]:
        self.asked += 1
        return {"pending": self.asked}

    def failures(self) -> dict[str, int]:
        return {"Timeout": 3}

    def queue(self) -> tuple[int, float | None]:
        return self.length, self.age


class Away(Counted):
    def counts(self) -> dict[str, int]:
        raise OperationalError("select", {}, Exception("gone"))


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def scraped(collector: _Runs) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(collector)
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {sample.name: sample.value for family in families for sample in family.samples}


def test_the_database_is_asked_once_in_a_while() -> None:
    store = Counted(7, 12.5)
    clock = Clock()
    collector = _Runs(store, Troubles(store), clock)
    registry = CollectorRegistry()
    registry.register(collector)
    for clock.now in (0.0, 5.0, KEPT_SECONDS - 0.1):
        answer = generate_latest(registry).decode()
        assert 'stock_backtest_runs{status="pending"} 1.0' in answer
        assert 'stock_backtest_failed_runs{reason="Timeout"} 3.0' in answer
        assert "stock_backtest_queue_length 7.0" in answer
        assert "stock_backtest_queue_age_seconds 12.5" in answer
    assert store.asked == 1
    clock.now = KEPT_SECONDS
    assert 'stock_backtest_runs{status="pending"} 2.0' in generate_latest(registry).decode()


def test_an_empty_queue_has_no_age() -> None:
    assert scraped(_Runs(Counted(), Troubles(Counted())))["stock_backtest_queue_age_seconds"] == 0


def test_requests_are_counted_while_the_database_is_away(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert scraped(_Runs(Away(), Troubles(Away()))) == {}
    monkeypatch.setattr(type(runs.run_store), "counts", Away.counts)
    client = create_app(runs, str).test_client()
    client.get("/health")
    metrics = client.get("/metrics")
    assert metrics.status_code == 200
    assert 'route="/health"' in metrics.text
    assert "stock_backtest_runs{" not in metrics.text


def ready(
    runs: Runs, schema_problem: Callable[[], str] = str, database_name: str = "the database"
) -> tuple[int, dict[str, object]]:
    app = create_app(runs, schema_problem, database_name=database_name)
    answer = app.test_client().get("/ready")
    assert isinstance(answer.json, dict)
    return answer.status_code, answer.json


def test_what_only_slows_users_down_is_a_warning(engine: Engine, runs: Runs) -> None:
    leased = replace(runs, leases=LeaseStore(engine))
    status, document = ready(leased)
    assert (status, document["missing"]) == (200, [])
    assert document["warnings"] == [NO_CONTROLLER]
    LeaseStore(engine).take(CONTROLLER, "somebody", LEADERSHIP_SECONDS)
    assert ready(leased)[1]["warnings"] == []


def test_no_prices_yet_until_there_are_some(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    app = create_app(runs, str)
    queries: list[int] = []

    def tickers(known: list[str], self: object) -> list[str]:
        queries.append(1)
        return known

    for known, warned in (([], True), (["GOOG"], False), (["GOOG"], False)):
        monkeypatch.setattr(
            type(runs.price_store), "tickers", lambda self, known=known: tickers(known, self)
        )
        answer = app.test_client().get("/ready")
        assert answer.status_code == 200
        assert bool(answer.json and answer.json["warnings"]) is warned
    assert len(queries) == 2, "once there are some, nobody asks again"


def at_revision(engine: Engine, revision: str | None) -> None:
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM alembic_version"))
        if revision:
            connection.execute(
                text("INSERT INTO alembic_version VALUES (:revision)"), {"revision": revision}
            )


def test_a_schema_that_is_behind_is_named(engine: Engine, runs: Runs) -> None:
    with engine.connect() as connection:
        newest = connection.scalar(text("SELECT version_num FROM alembic_version"))
    assert schema_problem(engine) == ""
    at_revision(engine, None)
    status, document = ready(runs, schema_problem=partial(schema_problem, engine))
    assert status == 503
    assert document["missing"] == [
        f"The database is at revision none, this program needs {newest}: "
        "run python -m service.store.migrate."
    ]
    assert document["warnings"] == []


def test_the_database_that_is_away_is_named_without_its_password(runs: Runs) -> None:
    def away() -> str:
        raise OperationalError("select", {}, Exception("Can't connect as u with s3cret"))

    status, document = ready(
        runs, schema_problem=away, database_name="the database stocks on db.example:3306"
    )
    assert (status, document["missing"]) == (
        503,
        ["the database stocks on db.example:3306 cannot be reached"],
    )
    assert "s3cret" not in json.dumps(document)


CRASHES: dict[str, tuple[str, str]] = {
    "a crash": ("raise KeyError('two\\nlines')", "crash"),
    "a thread's crash": (
        "import threading; t = threading.Thread(target=lambda: 1 / 0, name='x'); "
        "t.start(); t.join()",
        "crash",
    ),
    "a warning": ("import warnings; warnings.warn('old', UserWarning)", "py.warnings"),
}


@pytest.mark.parametrize(("code", "logger"), CRASHES.values(), ids=CRASHES.keys())
@pytest.mark.parametrize("form", ["json", "text"])
def test_what_nobody_caught_is_a_line_like_any_other(code: str, logger: str, form: str) -> None:
    set_up = f"from scripts.logger_config import *; set_up_logging('INFO', {form!r})"
    program = f"{set_up}\nwith run_context('abc'):\n    {code}"
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", program], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stderr == ""
    if form == "text":
        first = done.stdout.splitlines()[0]
        assert f" {logger} [run_id=" in first
        return
    (line,) = map(json.loads, done.stdout.splitlines())
    assert (line["logger"], line["time"][-1]) == (logger, "Z")
    assert ("trace" in line) is (logger == "crash")


def test_times_are_utc_whatever_the_machine_says() -> None:
    program = (
        "import logging; from scripts.logger_config import *; set_up_logging('INFO', 'text')\n"
        "record = logging.LogRecord('x', 20, '', 1, 'm', (), None)\n"
        "record.created = 1000000000.0004\n"
        "logging.getLogger().handle(record)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={"TZ": "Asia/Seoul"},
    )
    assert done.stdout == "2001-09-09T01:46:40.000Z INFO x [run_id=-] m\n"


def test_the_language_is_remembered_for_our_pages_only(runs: Runs) -> None:
    for root, path in (("/bt", "Path=/bt/"), ("", "Path=/")):
        app = create_app(runs, str)
        put_behind(app, root, 0)
        cookies = app.test_client().get(f"{root}/?lang=ko").headers.getlist("Set-Cookie")
        assert [path in cookie.split("; ") for cookie in cookies] == [True]
