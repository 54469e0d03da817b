"""Submitting records one row or none, and the same request gives the same answer."""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine, update

from service.contract.errors import (
    InvalidRequest,
    NoData,
    NoResult,
    QueueFull,
    RunConflict,
    RunNotFound,
    TooManyRequests,
    UnknownTicker,
    UserError,
)
from service.contract.status import NO_CONTROLLER, Status
from service.store.database import utc_in
from service.store.leases import CONTROLLER, LEADERSHIP_SECONDS, LeaseStore
from service.store.prices import PriceStore
from service.store.rows import StoredResult
from service.store.tables import runs as table
from service.usecases.runs import Runs
from tests.support.requests import REQUEST, RUN_ID
from tests.support.stores import EveryStore


def test_a_request_becomes_a_pending_row(runs: Runs) -> None:
    run, new = runs.submit(dict(REQUEST))
    assert new
    assert uuid.UUID(run.run_id).version == 4
    assert (run.status, run.ticker, run.rule_id) == (Status.PENDING, "GOOG", "MA_CROSS_10_30")
    assert json.loads(run.request)["commission_rate"] == 0.001
    assert len(run.prices_fingerprint) == len(run.rules_digest) == 64


def test_the_row_has_the_rule_id_as_performed(runs: Runs) -> None:
    run, _ = runs.submit({**REQUEST, "rule_id": "RSI", "params": {"period": 7}})
    assert run.rule_id == "RSI_7_30_70"


def test_the_same_id_with_the_same_request_gives_the_same_row(runs: Runs) -> None:
    first, new = runs.submit({"run_id": RUN_ID, **REQUEST})
    again, newer = runs.submit({"run_id": RUN_ID, **REQUEST, "initial_capital": 100_000})
    assert (new, newer) == (True, False)
    assert first == again


def test_the_same_id_with_another_request_is_a_conflict(runs: Runs) -> None:
    runs.submit({"run_id": RUN_ID, **REQUEST})
    with pytest.raises(RunConflict, match=RUN_ID):
        runs.submit({"run_id": RUN_ID, **REQUEST, "ticker": "SPY"})


def test_a_lost_race_for_the_id_is_settled_by_the_row(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody records the same run_id between the look and the insert."""
    winner, _ = runs.submit({"run_id": RUN_ID, **REQUEST})
    real = runs.run_store.get
    looks = iter([None])
    monkeypatch.setattr(runs.run_store, "get", lambda run_id: next(looks, real(run_id)))
    run, new = runs.submit({"run_id": RUN_ID, **REQUEST})
    assert (run, new) == (winner, False)


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        ({"ticker": "GOOGL"}, UnknownTicker, 'There are no prices of "GOOGL".'),
        ({"rule_id": "RSX"}, InvalidRequest, "Did you mean RSI_14_30_70?"),
        (
            {"rule_id": "MA_CROSS", "params": {"fast": 40}},
            InvalidRequest,
            "fast must be below slow, got 40 and 30.",
        ),
        (
            {"end_date": "2013-01-02", "start_date": "2012-01-01"},
            NoData,
            "GOOG has 1 bars from 2012-01-01 to 2013-01-02; "
            "its prices are from 2013-01-02 to 2023-09-21.",
        ),
        ({"start_date": "1990-01-01", "end_date": "1991-01-01"}, NoData, "GOOG has 0 bars"),
        ({"start_date": "2030-01-01", "end_date": "2031-01-01"}, NoData, "GOOG has 0 bars"),
        (
            {"end_date": "2013-01-31"},
            NoData,
            "MA_CROSS_10_30 needs 31 bars, GOOG has 21 from 2013-01-02 to 2013-01-31",
        ),
        ({"rule_id": "VALUE_3000_0"}, NoData, "VALUE_3000_0 needs 3002 bars"),
        ({"initial_capital": 0}, InvalidRequest, "initial_capital must be"),
        ({"run_id": "1"}, InvalidRequest, "run_id must be"),
    ],
)
def test_refusals_store_nothing(
    runs: Runs, change: dict[str, Any], error: type[UserError], sentence: str
) -> None:
    with pytest.raises(error, match=re.escape(sentence)):
        runs.submit({**REQUEST, **change})
    assert runs.run_store.latest(1) == []


def test_exactly_enough_bars_are_accepted(runs: Runs) -> None:
    bars = runs.price_store.read(runs.price_store.ticker("GOOG").fingerprint).data.index
    run, _ = runs.submit({**REQUEST, "end_date": str(bars[30].date())})
    assert run.status == Status.PENDING
    with pytest.raises(NoData):
        runs.submit({**REQUEST, "end_date": str(bars[29].date())})


@pytest.mark.parametrize(
    ("ticker", "near"), [("GOOGL", ("GOOG",)), ("SPYX", ("SPY",)), ("ZZZZ", ("GOOG", "SPY"))]
)
def test_an_unknown_ticker_is_refused_with_the_nearest(
    runs: Runs, ticker: str, near: tuple[str, ...]
) -> None:
    with pytest.raises(UnknownTicker) as refused:
        runs.submit({**REQUEST, "ticker": ticker})
    assert (refused.value.ticker, refused.value.near) == (ticker, near)


def test_without_any_prices_no_ticker_is_near(tmp_path: Any) -> None:
    from scripts.config import Config
    from service.store.database import connect
    from service.store.migrate import migrate

    empty = connect(Config(sqlite_path=str(tmp_path / "empty.sqlite3")))
    migrate(empty)
    with pytest.raises(UnknownTicker) as refused:
        Runs(EveryStore(empty), PriceStore(empty)).submit(dict(REQUEST))
    assert refused.value.near == ()
    empty.dispose()


def test_a_full_queue_refuses(engine: Engine) -> None:
    small = Runs(EveryStore(engine), PriceStore(engine), max_pending=2)
    small.submit(dict(REQUEST))
    small.submit(dict(REQUEST), force=True)
    with pytest.raises(QueueFull, match="2 runs are waiting"):
        small.submit(dict(REQUEST), force=True)
    assert small.submit(dict(REQUEST))[0].attached, "what costs nothing need not wait"


def test_the_status_says_where_waiting_and_failed_runs_stand(runs: Runs) -> None:
    first, _ = runs.submit(dict(REQUEST))
    run, _ = runs.submit(dict(REQUEST), force=True)
    status = runs.status(runs.run(run.run_id))
    assert (status.status, status.queue_position, status.poll_after_s) == ("pending", 1, 1.0)
    assert status.created_at is not None
    assert status.created_at.endswith("+00:00")
    runs.run_store.fail(run, "Timeout", "Too long.")
    failed = runs.status(runs.run(run.run_id))
    assert (failed.status, failed.reason, failed.queue_position, failed.poll_after_s) == (
        "failed",
        "Timeout",
        None,
        None,
    )
    assert failed.hint is not None
    assert "RUN_TIMEOUT_SECONDS" in failed.hint
    assert runs.result(runs.run(run.run_id)).error_message == "Too long."
    assert runs.status(runs.run(first.run_id)).hint is None


def test_a_waiting_run_says_when_nobody_starts_runs(runs: Runs, engine: Engine) -> None:
    leases = LeaseStore(engine)
    watched = replace(runs, leases=leases)
    run, _ = watched.submit(dict(REQUEST))
    assert watched.status(watched.run(run.run_id)).hint == NO_CONTROLLER
    leases.take(CONTROLLER, "somebody", LEADERSHIP_SECONDS)
    assert watched.status(watched.run(run.run_id)).hint is None
    leases.drop(CONTROLLER, "somebody")
    runs.run_store.mark_launched(run.run_id)
    assert watched.status(watched.run(run.run_id)).hint is None, "somebody did"


def test_results_come_back_as_they_were_stored(runs: Runs) -> None:
    run, _ = runs.submit(dict(REQUEST))
    assert runs.run_store.claim(run.run_id, "w") == 1
    text = '{"run_id":"a","status":"completed","num_trades":3}'
    runs.run_store.finish(
        run.run_id, 1, StoredResult(text, "csv", "data:image/png;base64,AA=="), {}
    )
    done = runs.run(run.run_id)
    result = runs.result(done)
    assert (result.num_trades, result.chart_base64) == (3, "data:image/png;base64,AA==")
    assert runs.equity_csv(done) == "csv"


def test_unknown_runs_and_missing_results_are_named(runs: Runs) -> None:
    for ask in (runs.run, runs.cancel):
        with pytest.raises(RunNotFound, match="There is no run nobody"):
            ask("nobody")
    run, _ = runs.submit(dict(REQUEST))
    with pytest.raises(NoResult, match="it is pending"):
        runs.equity_csv(run)


def test_each_client_has_a_rate_of_its_own(engine: Engine) -> None:
    limited = Runs(EveryStore(engine), PriceStore(engine), rate_limit=2)
    first, _ = limited.submit(dict(REQUEST), "me")
    limited.submit(dict(REQUEST), "me")
    with pytest.raises(TooManyRequests, match="2 runs a minute"):
        limited.submit(dict(REQUEST), "me")
    assert limited.submit({**REQUEST, "run_id": first.run_id}, "me") == (first, False), (
        "nothing new is asked for"
    )
    assert limited.submit(dict(REQUEST), "you")[1]
    with engine.begin() as connection:
        connection.execute(update(table).values(created_at=utc_in(-61)))
    assert limited.submit(dict(REQUEST), "me")[1]
