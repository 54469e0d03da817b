"""Rows that cannot be read: they are shown as such, every run ends, and all else goes on."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from typing import Any

import pytest
from flask.testing import FlaskClient
from prometheus_client import REGISTRY
from sqlalchemy import Engine, insert, select, text

from service.contract.status import Reason, Status
from service.controller.reconciler import Controller
from service.store.prices import PriceStore
from service.store.tables import metadata
from service.store.tables import runs as runs_table
from service.usecases.runs import Runs
from tests.support.controllers import submit
from tests.support.databases import MYSQL
from tests.support.launchers import ByHand
from tests.support.requests import REQUEST
from tests.support.web import BROWSER, completed, page, refused, swept

pytestmark = pytest.mark.skipif(bool(MYSQL), reason="MySQL refuses what is not of a column's type")

# What tools, disks and other releases leave behind.
GARBAGE: list[Any] = [
    "garbage",
    b"\xff\xfe\x00",
    7,
    "",
    "9999-99-99 99:99:99",
    float("inf"),
    "[1]",
    "2024-01-01T00:00:00Z",
    "한" * 20_000,
    '{"initial_capital": 1e999, "start_date": "2013-01-02", "end_date": "2020-02-07"}',
]
LISTS = ("/", "/runs", "/sweeps", "/runs?sort=-asked", "/runs?sort=sharpe_ratio", "/runs?q=star")
SPARED = ("id", "leads", "reused_from", "batch_id")
COLUMNS = [column.name for column in runs_table.columns if column.name not in SPARED]


def spoil(engine: Engine, column: str, value: Any, run_id: str, table: str = "runs") -> None:
    """As another program would, which knows no rules."""
    with closing(sqlite3.connect(str(engine.url.database))) as connection, connection:
        connection.execute(f"UPDATE {table} SET {column} = ? WHERE run_id = ?", (value, run_id))


def copies_of(engine: Engine, run_id: str) -> dict[str, str]:
    """A copy of the run for each column."""
    with engine.begin() as connection:
        query = select(runs_table).where(runs_table.c.run_id == run_id)
        row = {**connection.execute(query).one()._mapping, "leads": None}
        del row["id"]
        reused_from = run_id if row["status"] == Status.COMPLETED else None
        copies = {column: str(uuid.uuid4()) for column in COLUMNS}
        for copied in copies.values():
            values = {**row, "run_id": copied, "reused_from": reused_from}
            connection.execute(insert(runs_table).values(values))
    return copies


def all_pages_answer(client: FlaskClient, *run_ids: str) -> None:
    for address in (*LISTS, "/metrics", "/health", "/ready", "/tickers", "/openapi.json"):
        for headers in ({}, BROWSER):
            answer = client.get(address, headers=headers)
            assert answer.status_code == 200, f"{address}: {answer.text[:300]}"
    for run_id in run_ids:
        for address in (f"/status/{run_id}", f"/result/{run_id}"):
            for headers in ({}, BROWSER):
                answer = client.get(address, headers=headers, follow_redirects=True)
                assert answer.status_code in (200, 202, 404), f"{address}: {answer.text[:300]}"


@pytest.mark.parametrize("value", GARBAGE)
def test_queued_rows_that_cannot_be_read_stop_nothing(
    engine: Engine,
    client: FlaskClient,
    runs: Runs,
    controller: Controller,
    launcher: ByHand,
    value: Any,
) -> None:
    """One for each column."""
    (first,) = submit(runs)
    bad = copies_of(engine, first)
    for column, run_id in bad.items():
        spoil(engine, column, value, run_id)
    spoil(engine, "client", "somebody", first)
    all_pages_answer(client, first, bad["created_at"], bad["request"])
    controller.dispatcher.max_active = 100
    for _ in range(12):
        controller.step()
    assert first in launcher.launched
    all_pages_answer(client, *bad.values())
    with engine.connect() as connection:
        query = text("SELECT count(*) FROM runs WHERE status = 'pending' AND launched_at IS NULL")
        query = text(f"{query.text} AND kind IN ('backtest', 'sweep')")
        assert connection.scalar(query) == 0, "every one of them was launched or has ended"


def test_the_first_fault(
    engine: Engine, client: FlaskClient, runs: Runs, controller: Controller, launcher: ByHand
) -> None:
    """One row with created_at='garbage': nothing started any more, four pages were 500."""
    (bad,) = submit(runs)
    (good,) = submit(runs)
    spoil(engine, "created_at", "garbage", bad)
    before = REGISTRY.get_sample_value("stock_backtest_bad_rows_total") or 0.0
    run = runs.run(bad)
    assert (run.status, run.reason) == (Status.FAILED, Reason.BAD_ROW)
    assert run.message == "The row of this run cannot be read: created_at."
    controller.step()
    assert launcher.launched == [good]
    assert REGISTRY.get_sample_value("stock_backtest_bad_rows_total") == before + 1
    with engine.connect() as connection:
        query = text("SELECT status, reason, evidence FROM runs WHERE run_id = :run_id")
        row = connection.execute(query, {"run_id": bad}).one()
    assert (row.status, row.reason) == ("failed", "BadRow")
    assert json.loads(row.evidence) == {"row": {"created_at": "garbage"}}
    assert not runs.run(bad).bad_columns, "it can be read from now on"
    shown = page(client, f"/result/{bad}")
    assert "BadRow" in shown
    assert "<code>created_at</code>: <code>garbage</code>" in shown
    assert "cannot be read" in page(client, "/runs")
    assert 'stock_backtest_failed_runs{reason="BadRow"} 1.0' in client.get("/metrics").text


def test_a_row_at_work_that_cannot_be_read_ends(
    engine: Engine, client: FlaskClient, runs: Runs, controller: Controller, launcher: ByHand
) -> None:
    for column in ("created_at", "lease_until", "launched_at", "launches"):
        (run_id,) = submit(runs)
        controller.step()
        assert runs.run_store.claim(run_id, "w") == 1
        spoil(engine, column, "garbage", run_id)
        controller.step()
        with engine.connect() as connection:
            query = text("SELECT status, reason FROM runs WHERE run_id = :run_id")
            row = tuple(connection.execute(query, {"run_id": run_id}).one())
        assert row == ("failed", "BadRow"), column
        all_pages_answer(client, run_id)


def test_a_moment_with_a_zone_is_one(engine: Engine, runs: Runs, controller: Controller) -> None:
    (run_id,) = submit(runs)
    spoil(engine, "created_at", "2024-01-01T09:00:00+09:00", run_id)
    assert runs.run(run_id).created_at == datetime(2024, 1, 1)
    controller.step()
    spoil(engine, "started_at", "2024-01-01T00:00:00Z", run_id)
    assert runs.run_store.claim(run_id, "w") == 1
    controller.step()
    runs.run_store.fail_attempt(run_id, 1, "BadInput", "")
    controller.step()
    (other,) = submit(runs)
    controller.step()
    assert runs.run(other).launched_at is not None


@pytest.mark.parametrize("name", ["CAST('blob' AS BLOB)", "CAST(x'80' AS TEXT)", "'a' || x'ff'"])
def test_a_client_without_a_readable_name_keeps_nobody_waiting(
    engine: Engine, runs: Runs, controller: Controller, launcher: ByHand, name: str
) -> None:
    (served,) = submit(runs)
    controller.step()
    bad, good = submit(runs), submit(runs)
    with closing(sqlite3.connect(str(engine.url.database))) as connection, connection:
        statement = f"UPDATE runs SET client = {name} WHERE run_id = ?"
        connection.execute(statement, bad)
        connection.execute("UPDATE runs SET client = '김' WHERE run_id = ?", good)
    controller.step()
    assert launcher.launched == [served, *good]
    controller.step()
    with engine.connect() as connection:
        query = text("SELECT reason FROM runs WHERE run_id = :run_id")
        assert connection.scalar(query, {"run_id": bad[0]}) == "BadRow"


def test_a_kind_of_a_later_release_is_left_to_it(
    engine: Engine, runs: Runs, controller: Controller, launcher: ByHand
) -> None:
    (run_id,) = submit(runs)
    spoil(engine, "kind", "portfolio", run_id)
    controller.step()
    assert launcher.launched == []
    spoil(engine, "kind", "backtest", run_id)
    controller.step()
    assert launcher.launched == [run_id]
    spoil(engine, "kind", "portfolio", run_id)
    controller.step()
    assert launcher.removed == [], "a later release has launched it"


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO run_tags VALUES (1, x'ff')",
        "INSERT INTO run_notes VALUES (1, x'ff', 1)",
        "UPDATE tickers SET ticker = x'ff' WHERE ticker = 'SPY'",
        "UPDATE tickers SET source = x'ff' WHERE ticker = 'SPY'",
    ],
)
def test_what_belongs_to_runs_and_tickers(
    engine: Engine, client: FlaskClient, runs: Runs, statement: str
) -> None:
    run_id, other = completed(client, runs), completed(client, runs, initial_capital=5)
    with closing(sqlite3.connect(str(engine.url.database))) as connection, connection:
        connection.execute(statement)
    all_pages_answer(client, run_id)
    assert client.get(f"/compare?run={run_id}&run={other}").status_code == 200
    assert client.get(f"/runs/{run_id}/marks").status_code in (200, 405)


def test_a_state_of_a_later_release_is_left_as_it_is(
    engine: Engine, client: FlaskClient, runs: Runs, controller: Controller
) -> None:
    run_id = completed(client, runs)
    spoil(engine, "status", "paused", run_id)
    controller.step()
    all_pages_answer(client, run_id)
    assert 'stock_backtest_runs{status="unreadable"} 1.0' in client.get("/metrics").text
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT status FROM runs")) == "paused"
    spoil(engine, "status", "completed", run_id)
    assert client.get(f"/result/{run_id}").json["status"] == "completed"


@pytest.mark.parametrize("kind", [completed, swept])
def test_completed_rows(
    engine: Engine, client: FlaskClient, runs: Runs, kind: Callable[..., str]
) -> None:
    run_id = kind(client, runs)
    bad = copies_of(engine, run_id)
    for column, copied in bad.items():
        spoil(engine, column, f"garbage {column}", copied)
    all_pages_answer(client, run_id, *bad.values())


@pytest.mark.parametrize(
    ("table", "column"),
    [("results", "result"), ("results", "table_csv"), ("results", "overview")],
)
@pytest.mark.parametrize("value", [b"\xff\xfe", "garbage", "[]", "{}"])
def test_a_result_that_cannot_be_read_is_said_to_be_so(
    engine: Engine, client: FlaskClient, runs: Runs, table: str, column: str, value: Any
) -> None:
    run_id, other = completed(client, runs), completed(client, runs, initial_capital=5)
    spoil(engine, column, value, run_id, table)
    all_pages_answer(client, other)
    seen = set()
    for address in ("", "/report", "/chart.json", "/equity.csv", "/trades.csv", "/figure.png"):
        for headers in ({}, BROWSER):
            answer = client.get(f"/result/{run_id}{address}", headers=headers)
            seen.add(answer.status_code)
            if answer.status_code == 500 and not headers:
                refused(answer, 500, "BadRow", "What is stored of this cannot be read")
    assert seen <= {200, 500}
    compared = client.get(f"/compare?run={run_id}&run={other}")
    assert compared.status_code in (200, 500)


def test_a_bad_run_is_named_where_it_is_to_be_compared(
    engine: Engine, client: FlaskClient, runs: Runs
) -> None:
    run_id, other = completed(client, runs), completed(client, runs, initial_capital=5)
    spoil(engine, "created_at", "garbage", run_id)
    answer = client.get(f"/compare?run={run_id}&run={other}&format=json")
    refused(answer, 400, "BadInput", f"Run {run_id} cannot be read")


@pytest.mark.parametrize("column", ["first_day", "last_day", "bars", "source"])
def test_a_ticker_that_cannot_be_read_leaves_the_others(
    engine: Engine, client: FlaskClient, runs: Runs, column: str
) -> None:
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE tickers SET {column} = 'garbage' WHERE ticker = 'SPY'"))
    all_pages_answer(client)
    assert client.post("/backtest", json=REQUEST).status_code == 202
    if column != "source":
        refused(client.post("/backtest", json={**REQUEST, "ticker": "SPY"}), 500, "BadRow", "")


def test_prices_that_cannot_be_read_end_their_run(
    engine: Engine, client: FlaskClient, runs: Runs
) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE price_series SET content = x'ff'"))
    refused(client.post("/backtest", json=REQUEST), 500, "BadRow", "What is stored of this")
    assert PriceStore(engine).tickers()
    assert metadata.tables
