"""The worker claims and performs a run, stores the result or the reason, and returns a code."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine, update
from sqlalchemy.exc import DataError

from rules.plugins import rules_digest
from rules.registry import rule_from_id
from scripts.logger_config import current_run_id, run_context
from service.contract.errors import NoData
from service.contract.request import BacktestRequest, parse_request
from service.contract.status import ExitCode, Reason, Status
from service.store.prices import PriceStore
from service.store.rows import CLAIM_SECONDS
from service.store.tables import runs as runs_table
from service.usecases.runs import Runs
from service.worker import holding
from service.worker import run as module
from service.worker.holding import Stopped
from service.worker.run import RunWorker, perform
from service.worker.software import Software
from tests.support.clocks import SteadyClock
from tests.support.outage import ERRORS, GONE, away_in, lost_answer
from tests.support.prices import series
from tests.support.requests import REQUEST, RUN_ID
from tests.support.stores import EveryStore


@pytest.fixture
def store(engine: Engine) -> EveryStore:
    return EveryStore(engine, patience_seconds=10)


@pytest.fixture
def prices(engine: Engine) -> PriceStore:
    return PriceStore(engine, patience_seconds=10)


@pytest.fixture
def worker(store: EveryStore, prices: PriceStore) -> RunWorker:
    return RunWorker(store, prices, Software("abc123", "image:1"))


@pytest.fixture
def request_(runs: Runs) -> BacktestRequest:
    import json

    return parse_request(json.loads(runs.submit({"run_id": RUN_ID, **REQUEST})[0].request))


def test_a_run_is_performed(
    worker: RunWorker, runs: Runs, request_: BacktestRequest, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        assert worker.work(request_) == ExitCode.DONE
    run = runs.run(RUN_ID)
    result = runs.result(run)
    assert run.status == Status.COMPLETED
    assert (
        run.total_return_pct == result.total_return_pct == pytest.approx(162.94554248685, rel=1e-9)
    )
    assert (run.num_trades, run.sharpe_ratio) == (result.num_trades, result.sharpe_ratio)
    assert result.run_id == RUN_ID
    assert result.provenance["code_revision"] == "abc123"
    assert result.provenance["image"] == "image:1"
    assert result.chart_base64 is not None
    assert result.canonical() == runs.result(run).canonical()
    messages = [record.getMessage() for record in caplog.records]
    assert messages == [
        "Backtest started: ticker=GOOG, rule=MA_CROSS_10_30",
        "Backtest completed: return=162.95%",
    ]


@pytest.mark.usefixtures("figures_drawn_anew")
def test_the_same_bytes_with_and_without_a_database(
    worker: RunWorker, runs: Runs, request_: BacktestRequest
) -> None:
    worker.work(request_)
    alone, _ = perform(request_, series("GOOG"), Software("other", "other"))
    assert runs.result(runs.run(RUN_ID)).reproducible() == alone.reproducible()


def test_a_run_that_has_ended_is_not_computed(
    worker: RunWorker, runs: Runs, request_: BacktestRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.work(request_)
    monkeypatch.setattr(module, "run_backtest", lambda *_: pytest.fail("computed again"))
    assert worker.work(request_) == ExitCode.DONE
    assert runs.run(RUN_ID).attempt == 1


def test_a_run_that_is_not_recorded_is_not_computed(worker: RunWorker) -> None:
    stranger = parse_request({**REQUEST, "run_id": RUN_ID})
    assert worker.work(stranger) == ExitCode.DONE


def test_it_waits_while_another_worker_holds_the_run(
    worker: RunWorker,
    runs: Runs,
    request_: BacktestRequest,
    steady_clock: SteadyClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs.run_store.claim(RUN_ID, "another")
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            steady_clock.now += CLAIM_SECONDS

    monkeypatch.setattr(holding.time, "sleep", sleep)
    assert worker.work(request_) == ExitCode.DONE
    assert len(waits) == 3
    assert (runs.run(RUN_ID).status, runs.run(RUN_ID).attempt) == (Status.COMPLETED, 2)


def test_a_result_of_a_run_that_was_taken_away_is_discarded(
    worker: RunWorker,
    runs: Runs,
    request_: BacktestRequest,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    real = module.run_backtest

    def slow(*words: Any) -> Any:
        run = runs.run(RUN_ID)
        runs.run_store.fail(run, "Timeout", "Too long.")
        return real(*words)

    monkeypatch.setattr(module, "run_backtest", slow)
    assert worker.work(request_) == ExitCode.DONE
    assert runs.run(RUN_ID).reason == "Timeout"
    assert runs.run_store.result(RUN_ID) is None
    assert "discarded" in caplog.text


@pytest.mark.parametrize(
    ("error", "code", "reason", "message"),
    [
        (
            RuntimeError("inner secret"),
            ExitCode.ENGINE_ERROR,
            Reason.ENGINE_ERROR,
            "The backtest failed inside the engine; the log has the trace.",
        ),
        (
            MemoryError(),
            ExitCode.ENGINE_ERROR,
            Reason.ENGINE_ERROR,
            "The backtest failed inside the engine; the log has the trace.",
        ),
    ],
)
def test_a_crash_is_a_reason_and_a_trace_in_the_log(
    worker: RunWorker,
    runs: Runs,
    request_: BacktestRequest,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    code: int,
    reason: Reason,
    message: str,
) -> None:
    def crash(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(module, "run_backtest", crash)
    assert worker.work(request_) == code
    run = runs.run(RUN_ID)
    assert (run.status, run.reason, run.message) == (Status.FAILED, reason, message)
    assert "Traceback" in caplog.text
    assert "inner secret" not in (run.message or "")


def test_bad_prices_and_bad_requests_are_named(
    worker: RunWorker, runs: Runs, request_: BacktestRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = replace(request_, end_date=request_.start_date.replace(day=20))
    assert worker.work(short) == ExitCode.NO_DATA
    assert runs.run(RUN_ID).reason == Reason.NO_DATA


def test_a_worker_without_the_rule_says_that_its_rules_differ(
    worker: RunWorker, runs: Runs, request_: BacktestRequest
) -> None:
    """The web had it: only then was the run accepted."""
    assert worker.work(replace(request_, rule_id="NOTHING")) == ExitCode.BAD_INPUT
    assert runs.run(RUN_ID).reason == Reason.RULES_MISMATCH


@pytest.fixture
def accepted_before(request_: BacktestRequest, engine: Engine) -> BacktestRequest:
    """The request of a run that was accepted by a release with other rules."""
    with engine.begin() as connection:
        connection.execute(update(runs_table).values(rules_digest="0" * 64))
    return request_


def test_other_rules_than_everybody_else_has(
    worker: RunWorker, runs: Runs, accepted_before: BacktestRequest
) -> None:
    assert replace(worker, expected_rules="1" * 64).work(accepted_before) == ExitCode.BAD_INPUT
    assert runs.run(RUN_ID).reason == Reason.RULES_MISMATCH
    assert (
        runs.run(RUN_ID).message
        == "The rules of the worker are not those that the run was accepted with."
    )


@pytest.mark.parametrize(
    "expected",
    [None, rules_digest(rule_from_id("RSI"))],
    ids=["by another release", "by this release"],
)
def test_a_run_that_waited_for_an_upgrade(
    worker: RunWorker,
    runs: Runs,
    accepted_before: BacktestRequest,
    expected: str | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is performed with the rules of today, and says so; no other run is answered from it."""
    (attached, _) = runs.submit(REQUEST)
    before = runs.run(RUN_ID)
    with caplog.at_level(logging.WARNING):
        assert replace(worker, expected_rules=expected).work(accepted_before) == ExitCode.DONE
    assert "The rules have changed since the run was accepted" in caplog.text
    for run_id in (RUN_ID, attached.run_id):
        run = runs.run(run_id)
        assert run.status == Status.COMPLETED
        assert (
            before.rules_digest != run.rules_digest == runs.result(run).provenance["rules_digest"]
        )
    again, _ = runs.submit(REQUEST)
    assert (again.status, again.reused_from) == (Status.PENDING, None)


def test_accepted_anew_by_others_than_the_worker(
    worker: RunWorker, runs: Runs, request_: BacktestRequest
) -> None:
    """A worker of the previous release, whose rules are those of the run, performs it."""
    assert replace(worker, expected_rules="1" * 64).work(request_) == ExitCode.DONE


def test_sigterm_gives_the_run_back(
    worker: RunWorker, runs: Runs, request_: BacktestRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: Any) -> Any:
        raise Stopped

    monkeypatch.setattr(module, "run_backtest", stopped)
    assert worker.work(request_) == ExitCode.STOPPED
    assert runs.run(RUN_ID).status == Status.PENDING
    assert [run.run_id for run in runs.run_store.queued(1)] == [RUN_ID]


@pytest.mark.parametrize("error", [ValueError("Invalid bounding box"), NoData("There are 0 bars.")])
def test_sigterm_gives_the_run_back_when_a_library_makes_another_error_of_it(
    worker: RunWorker,
    runs: Runs,
    request_: BacktestRequest,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    def stopped(*_: Any) -> Any:
        worker.stopping.set()
        raise error

    monkeypatch.setattr(module, "run_backtest", stopped)
    assert worker.work(request_) == ExitCode.STOPPED
    assert runs.run(RUN_ID).status == Status.PENDING


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("method", ["claim", "get", "finish"])
def test_the_database_may_be_away_for_a_while(
    worker: RunWorker,
    runs: Runs,
    store: EveryStore,
    request_: BacktestRequest,
    method: str,
    error: str,
) -> None:
    with away_in(store, method, 1, ERRORS[error]):
        assert worker.work(request_) == ExitCode.DONE
    assert (runs.run(RUN_ID).status, runs.run(RUN_ID).attempt) == (Status.COMPLETED, 1)


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("method", ["finish", "claim", "get"])
def test_the_database_stays_away(
    worker: RunWorker,
    runs: Runs,
    engine: Engine,
    request_: BacktestRequest,
    method: str,
    error: str,
) -> None:
    store = EveryStore(engine, patience_seconds=0.3)
    with away_in(store, method, 99, ERRORS[error]):
        assert replace(worker, claims=store).work(request_) == ExitCode.DATABASE_AWAY
    assert not runs.run(RUN_ID).status.final, "it is tried again"


def test_the_prices_may_be_away_for_a_while(
    worker: RunWorker, runs: Runs, prices: PriceStore, request_: BacktestRequest
) -> None:
    with away_in(prices, "read", 1):
        assert worker.work(request_) == ExitCode.DONE
    assert runs.run(RUN_ID).status == Status.COMPLETED


def test_what_the_database_means_is_not_tried_again(
    worker: RunWorker,
    runs: Runs,
    store: EveryStore,
    request_: BacktestRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[str] = []

    def finish(*_: Any) -> bool:
        calls.append("finish")
        raise DataError("insert", {}, Exception("too long"))

    monkeypatch.setattr(store, "finish", finish)
    assert worker.work(request_) == ExitCode.ENGINE_ERROR
    assert calls == ["finish"]
    assert runs.run(RUN_ID).reason == Reason.ENGINE_ERROR


def test_a_claim_whose_answer_was_lost_is_its_own(
    worker: RunWorker, runs: Runs, store: EveryStore, request_: BacktestRequest
) -> None:
    """Waiting for its own lease to run out would take a minute."""
    with lost_answer(store):
        assert worker.work(request_) == ExitCode.DONE
    assert (runs.run(RUN_ID).status, runs.run(RUN_ID).attempt) == (Status.COMPLETED, 1)


def test_stopped_while_the_database_is_away(
    worker: RunWorker, store: EveryStore, request_: BacktestRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: Any) -> Any:
        raise Stopped

    monkeypatch.setattr(module, "run_backtest", stopped)
    with away_in(store, "release", 1):
        assert worker.work(request_) == ExitCode.STOPPED


def test_the_lease_is_renewed_while_computing(
    runs: Runs, request_: BacktestRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    renewed = threading.Event()
    store = runs.run_store
    answers = iter([GONE])

    def renew(self: EveryStore, run_id: str, attempt: int) -> bool:
        error = next(answers, None)
        if error:
            raise error
        renewed.set()
        return True

    monkeypatch.setattr(EveryStore, "renew", renew)
    attempt = store.claim(RUN_ID, "w")
    assert attempt is not None
    with holding.lease(lambda: store.renew(RUN_ID, attempt), 0.03):
        assert renewed.wait(5), "renewed again after a failure"


def test_a_worker_whose_run_was_taken_away_leaves_at_once(
    runs: Runs, request_: BacktestRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = runs.run_store.claim(RUN_ID, "w")
    assert attempt is not None
    runs.run_store.fail(runs.run(RUN_ID), "Timeout", "Too long.")
    left = threading.Event()
    seen: list[str] = []

    def lost() -> None:
        seen.append(current_run_id())
        left.set()

    with (
        run_context(RUN_ID),
        holding.lease(lambda: runs.run_store.renew(RUN_ID, attempt), 0.03, lost),
    ):
        assert left.wait(5)
    assert seen[0] == RUN_ID, "its lines carry the run_id"


def test_leaving_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []
    monkeypatch.setattr(holding.os, "_exit", codes.append)
    holding.leave()
    assert codes == [ExitCode.DONE]
