"""Starred runs go on with newer prices: bit for bit what a fresh run makes of them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Engine, delete, select, update

from rules.registry import BUILT_IN
from service.contract.status import FORWARD, Status
from service.controller.forward import ForwardRecords
from service.prices.series import PriceSeries
from service.store.database import utc_in
from service.store.forward import ForwardStore
from service.store.rows import Run
from service.store.tables import forward_records, run_stars
from service.store.tables import runs as runs_table
from service.usecases.runs import Runs
from service.worker import forward as forward_worker
from service.worker.forward import ForwardWorker
from service.worker.run import RunWorker
from service.worker.software import Software
from tests.support.prices import series
from tests.support.stores import EveryStore

CUT = 1500  # bars that there are when runs are asked for
LAST_DAY = "2030-12-31"

WHOLE = series("GOOG")
Step = Callable[[], list[str]]


def first_bars(count: int) -> PriceSeries:
    return replace(WHOLE, data=WHOLE.data.iloc[:count])


@pytest.fixture
def asked(runs: Runs) -> Callable[..., Run]:
    """Performs a run on the first bars, and stars it."""
    runs.price_store.save(first_bars(CUT))

    def perform(is_starred: bool = True, **changes: Any) -> Run:
        days = {"start_date": "2013-01-02", "end_date": LAST_DAY}
        document = {"ticker": "GOOG", "rule_id": "MA_CROSS_10_30", **days, **changes}
        run, _ = runs.submit(document)
        request, _ = runs.request_and_rule(run)
        RunWorker(runs.run_store, runs.price_store, Software()).work(request)  # type: ignore[arg-type]
        if is_starred:
            runs.run_store.star([run.id], is_starred=True)
        return runs.run(run.run_id)

    return perform


@pytest.fixture
def step(engine: Engine, runs: Runs) -> Step:
    """One look of the controller, and the work that it leads to; the tickers."""

    def look() -> list[str]:
        store = EveryStore(engine)
        ForwardRecords(store).step()
        waiting = [run for run in store.queued(20) if run.kind == FORWARD]
        for run in waiting:
            assert store.mark_launched(run.run_id)
            worker = ForwardWorker(ForwardStore(engine), runs.price_store)
            assert worker.work(run.run_id) == 0
            ended = store.get(run.run_id)
            assert ended is not None
            assert ended.status == Status.COMPLETED, ended.message
        return [run.ticker for run in waiting]

    return look


def record(runs: Runs, run: Run) -> dict[str, Any]:
    found = runs.run_store.forward_of(run.id)
    assert found is not None
    return dict(found.record)


def fresh_equity(runs: Runs, run: Run) -> pd.DataFrame:
    """The table of the same run, asked for today."""
    request = {**json.loads(run.request), "end_date": LAST_DAY}
    del request["run_id"]
    again, _ = runs.submit(request, force=True)
    parsed, _ = runs.request_and_rule(again)
    RunWorker(runs.run_store, runs.price_store, Software()).work(parsed)  # type: ignore[arg-type]
    table = runs.equity_csv(runs.run(again.run_id))
    return pd.read_csv(io.StringIO(table), index_col="date")


@pytest.mark.parametrize("more", [1, 30, 250])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"rule_id": "RSI_14_30_70", "allow_short": True, "commission_rate": 0.0},
        {"rule_id": "ALL(MA_CROSS_10_30,BB_20_2)", "lot_size": 1},
        {"start_date": "2013-06-03", "end_date": "2016-12-30"},
    ],
)
def test_a_record_has_the_bits_of_a_fresh_run(
    runs: Runs, asked: Callable[..., Run], step: Step, more: int, changes: dict[str, Any]
) -> None:
    run = asked(**changes)
    known = WHOLE.data.index[CUT - 1]
    runs.price_store.save(first_bars(CUT + more))
    assert step() == ["GOOG"]
    found = record(runs, run)
    table = fresh_equity(runs, run)
    table.index = pd.DatetimeIndex(table.index)
    assert table.index[-1] == WHOLE.data.index[CUT + more - 1]
    since = table[table.index >= known]
    bits = [float(found[name]).hex() for name in ("equity_before", "equity_now")]
    assert bits == [float(since["equity"].iloc[place]).hex() for place in (0, -1)]
    assert (found["bars"], found["asked_until"]) == (more, str(known.date()))
    assert found["first_bar"] == str(since.index[1].date())
    assert found["last_bar"] == str(since.index[-1].date())
    for name, column in (("return_pct", "equity"), ("holding_pct", "buy_and_hold")):
        grown = 100 * (since[column].iloc[-1] / since[column].iloc[0] - 1)
        assert found[name] == float(f"{grown:.6g}")
    assert (found["is_same_past"], found["is_same_rule"]) == (True, True)
    if more >= 20:
        returns = since["equity"].pct_change().to_numpy()[1:]
        sharpe = returns.mean() / returns.std(ddof=1) * np.sqrt(252)
        assert found["sharpe_ratio"] == pytest.approx(sharpe, rel=1e-5)
    else:
        assert found["sharpe_ratio"] is None
    is_inside = found["low_pct"] <= found["return_pct"] <= found["high_pct"]
    assert found["is_inside"] == is_inside


def test_only_starred_runs_that_newer_prices_extend(
    runs: Runs, asked: Callable[..., Run], step: Step
) -> None:
    run = asked()
    other = asked(is_starred=False, rule_id="RSI_14_30_70")
    assert step() == []
    runs.price_store.save(first_bars(CUT + 5))
    assert step() == ["GOOG"]
    assert step() == []
    assert record(runs, run)["bars"] == 5
    assert runs.run_store.forward_of(other.id) is None
    runs.run_store.star([other.id], is_starred=True)
    assert step() == ["GOOG"]
    assert record(runs, other)["bars"] == 5
    runs.price_store.save(first_bars(CUT + 6))
    assert step() == ["GOOG"]
    assert [record(runs, each)["bars"] for each in (run, other)] == [6, 6]


def test_the_same_record_again(runs: Runs, asked: Callable[..., Run], step: Step) -> None:
    run = asked()
    runs.price_store.save(first_bars(CUT + 40))
    step()
    before = record(runs, run)
    with runs.run_store._engine.begin() as connection:
        connection.execute(delete(forward_records))
    assert step() == ["GOOG"]
    assert record(runs, run) == before


def test_prices_that_changed_their_past_are_said(
    runs: Runs, asked: Callable[..., Run], step: Step
) -> None:
    run = asked()
    data = WHOLE.data.iloc[: CUT + 5].copy()
    data.iloc[700:] *= 0.5
    runs.price_store.save(replace(WHOLE, data=data))
    step()
    assert record(runs, run)["is_same_past"] is False
    shorter = WHOLE.data.iloc[: CUT - 5]
    runs.price_store.save(replace(WHOLE, data=shorter))
    step()
    assert record(runs, run)["bars"] == 0


def test_a_rule_that_is_gone_or_fails_stops_no_other(
    runs: Runs,
    asked: Callable[..., Run],
    step: Step,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone, failing, lost, good = (asked(rule_id=f"MA_CROSS_{fast}_30") for fast in (5, 6, 7, 8))
    with engine.begin() as connection:
        is_lost = runs_table.c.id == lost.id
        change = {"prices_fingerprint": "0" * 64}
        connection.execute(update(runs_table).where(is_lost).values(change))
        is_gone = runs_table.c.id == gone.id
        request = gone.request.replace("MA_CROSS_5_30", "GONE_5_30")
        connection.execute(update(runs_table).where(is_gone).values(request=request))
    real = forward_worker.forward_of

    def fail_for_one(request: Any, *arguments: Any) -> Any:
        return 1 / 0 if request.rule_id == "MA_CROSS_6_30" else real(request, *arguments)

    monkeypatch.setattr(forward_worker, "forward_of", fail_for_one)
    runs.price_store.save(first_bars(CUT + 5))
    step()
    assert "There is no rule" in record(runs, gone)["problem"]
    assert record(runs, failing)["problem"] == forward_worker.FAILED_PROBLEM
    assert record(runs, lost)["problem"] == forward_worker.FAILED_PROBLEM
    assert record(runs, good)["bars"] == 5


def test_prices_that_the_data_gate_refuses_are_the_problem(
    runs: Runs, asked: Callable[..., Run], step: Step
) -> None:
    run = asked()
    data = WHOLE.data.iloc[: CUT + 5].copy()
    data.iloc[700, :4] = -1.0
    runs.price_store.save(replace(WHOLE, data=data))
    assert step() == ["GOOG"]
    assert "cannot be backtested" in record(runs, run)["problem"]
    assert step() == []


@pytest.mark.parametrize("more", [1, 40])
def test_a_rule_that_knows_the_future_of_the_new_bars_is_refused(
    runs: Runs, asked: Callable[..., Run], step: Step, monkeypatch: pytest.MonkeyPatch, more: int
) -> None:
    class Peek(BUILT_IN["MA_CROSS"]):  # type: ignore[misc]
        def generate_signals(self, data: pd.DataFrame) -> pd.Series:
            given = super().generate_signals(data)
            if len(data) > CUT:
                given.iloc[CUT - 5] = 1 if data["Close"].iloc[-1] > data["Close"].iloc[-2] else -1
            return given

    run = asked()
    monkeypatch.setattr(forward_worker, "rule_of", lambda *_, **__: Peek(fast=10, slow=30))
    runs.price_store.save(first_bars(CUT + more))
    step()
    assert "looks ahead" in record(runs, run)["problem"]


def test_prices_that_go_back_take_the_record_back(
    runs: Runs, asked: Callable[..., Run], step: Step
) -> None:
    run = asked()
    runs.price_store.save(first_bars(CUT + 30))
    step()
    assert record(runs, run)["bars"] == 30
    runs.price_store.save(first_bars(CUT))
    assert step() == ["GOOG"]
    assert record(runs, run)["bars"] == 0


def test_one_job_for_each_ticker_that_takes_the_newest_prices(
    runs: Runs, asked: Callable[..., Run], engine: Engine
) -> None:
    run = asked()
    runs.price_store.save(replace(first_bars(CUT), ticker="SPY2"))
    runs.run_store.star([asked(ticker="SPY2").id], is_starred=True)
    store = EveryStore(engine)
    for more in (5, 6, 7):
        runs.price_store.save(first_bars(CUT + more))
        assert store.record_forward_runs(20) == (["GOOG"] if more == 5 else [])
    runs.price_store.save(replace(first_bars(CUT + 9), ticker="SPY2"))
    assert store.record_forward_runs(20) == ["SPY2"]
    for job in [each for each in store.queued(20) if each.kind == FORWARD]:
        assert store.mark_launched(job.run_id)
        assert ForwardWorker(ForwardStore(engine), runs.price_store).work(job.run_id) == 0
    assert record(runs, run)["bars"] == 7
    assert store.record_forward_runs(20) == []


def test_a_worker_that_died_of_a_run_passes_it_by(
    runs: Runs, asked: Callable[..., Run], engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, deadly, last = (asked(rule_id=f"MA_CROSS_{fast}_30") for fast in (5, 6, 7))
    real = forward_worker.forward_of

    def die_of_one(request: Any, *arguments: Any) -> Any:
        if request.rule_id == "MA_CROSS_6_30":
            raise MemoryError
        return real(request, *arguments)

    monkeypatch.setattr(forward_worker, "forward_of", die_of_one)
    runs.price_store.save(first_bars(CUT + 5))
    store = EveryStore(engine)
    for _ in range(3):
        with engine.begin() as connection:
            # An hour later.
            is_failed = runs_table.c.status == Status.FAILED
            connection.execute(
                update(runs_table).where(is_failed).values(finished_at=utc_in(-7200))
            )
        if store.record_forward_runs(20):
            (job,) = (each for each in store.queued(20) if each.kind == FORWARD)
            assert store.mark_launched(job.run_id)
            ForwardWorker(ForwardStore(engine), runs.price_store).work(job.run_id)
    assert record(runs, first)["bars"] == 5
    assert record(runs, deadly)["problem"] == forward_worker.UNFINISHED_PROBLEM
    assert record(runs, last)["bars"] == 5
    assert store.record_forward_runs(20) == []


def test_a_run_that_is_cancelled_stores_nothing_more_and_is_left_alone_for_an_hour(
    runs: Runs, asked: Callable[..., Run], engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = asked()
    runs.price_store.save(first_bars(CUT + 5))
    store = EveryStore(engine)
    store.record_forward_runs(20)
    (job,) = (each for each in store.queued(20) if each.kind == FORWARD)
    assert store.mark_launched(job.run_id)
    real = forward_worker.forward_of

    def cancel_meanwhile(*arguments: Any) -> Any:
        store.cancel(job.run_id)
        return real(*arguments)

    monkeypatch.setattr(forward_worker, "forward_of", cancel_meanwhile)
    ForwardWorker(ForwardStore(engine), runs.price_store).work(job.run_id)
    assert runs.run_store.forward_of(run.id) is None
    with engine.begin() as connection:
        is_it = runs_table.c.run_id == job.run_id
        values = {"status": Status.CANCELLED, "finished_at": utc_in(-60)}
        connection.execute(update(runs_table).where(is_it).values(values))
    assert store.record_forward_runs(20) == []


def test_the_release_before_leaves_the_job_to_this_one(
    runs: Runs, asked: Callable[..., Run], engine: Engine
) -> None:
    """It looks for the numbers of a backtest in each request, and knows no such kind."""
    asked()
    runs.price_store.save(first_bars(CUT + 5))
    store = EveryStore(engine)
    store.record_forward_runs(20)
    (job,) = (each for each in store.queued(20) if each.kind == FORWARD)
    request = json.loads(job.request)
    assert {"initial_capital", "commission_rate", "slippage_rate"} <= request.keys()
    assert {"start_date", "end_date"} <= request.keys()


def test_a_job_that_failed_is_not_tried_again_at_once(
    runs: Runs, asked: Callable[..., Run], engine: Engine
) -> None:
    asked()
    runs.price_store.save(first_bars(CUT + 5))
    store = EveryStore(engine)
    assert store.record_forward_runs(20) == ["GOOG"]
    assert store.record_forward_runs(20) == [], "one is recorded already"
    (run,) = (each for each in store.queued(20) if each.kind == FORWARD)
    assert store.mark_launched(run.run_id)
    attempt = store.claim(run.run_id, "worker")
    assert attempt is not None
    store.fail_attempt(run.run_id, attempt, "EngineError", "why")
    assert store.record_forward_runs(20) == []
    with engine.begin() as connection:
        is_it = runs_table.c.run_id == run.run_id
        connection.execute(update(runs_table).where(is_it).values(finished_at=utc_in(-3700)))
    assert store.record_forward_runs(20) == ["GOOG"], "an hour later"
    store.drop_forward_runs(600)
    assert store.get(run.run_id) is not None
    with engine.begin() as connection:
        connection.execute(update(runs_table).where(is_it).values(finished_at=utc_in(-90_000)))
    store.drop_forward_runs(600)
    assert store.get(run.run_id) is None, "a day later"


def test_runs_that_extended_records_leave_and_records_of_deleted_runs_too(
    runs: Runs, asked: Callable[..., Run], step: Step, engine: Engine
) -> None:
    run = asked()
    runs.price_store.save(first_bars(CUT + 5))
    step()
    store = EveryStore(engine)
    done = [each for each in _all(engine) if each.kind == FORWARD]
    assert [each.status for each in done] == [Status.COMPLETED]
    assert FORWARD not in {each.kind for each in store.latest(50)}
    store.drop_forward_runs(3600)
    assert len(_all(engine)) == 2
    store.drop_forward_runs(-60)
    assert [each.run_id for each in _all(engine)] == [run.run_id]
    store.delete([run.run_id])
    with engine.connect() as connection:
        assert connection.execute(select(forward_records)).all() == []
        assert connection.execute(select(run_stars)).all() == []


def _all(engine: Engine) -> list[Run]:
    return EveryStore(engine)._select(runs_table.c.id > 0)
