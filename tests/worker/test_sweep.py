"""A sweep in the service: cut into shards, claimed and lost and found again, put together to the same bytes."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import tracemalloc
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Engine, text

from backtest.engine import BacktestEngine
from backtest.metrics import bar_returns
from rules.registry import rule_from_id
from scripts.config import ROOT
from service.contract.errors import UserError
from service.contract.status import SWEEP as KIND
from service.contract.status import ExitCode, Reason, Status
from service.contract.sweep import parse_sweep
from service.controller.upkeep import Upkeep
from service.controller.work import work_of_sweep
from service.engine.adapter import run_backtest
from service.search import plan as plans
from service.search.cross_validation import cross_validate
from service.search.luck import deflated_sharpe_ratio, p_value
from service.search.plan import SweepPlan
from service.search.walk_forward import walk_forward
from service.store.rows import Run
from service.store.shards import LOST_MESSAGE
from service.usecases.runs import Runs
from service.usecases.sweeps import Sweeps, asked_of
from service.worker import holding, software
from service.worker import sweep as module
from service.worker.holding import Stopped
from service.worker.software import Software
from service.worker.sweep import SweepWorker
from tests.conftest import RUN_ID, SWEEP, database_environment, series
from tests.support.outage import away_in
from tests.support.stores import EveryStore

TWO = {**SWEEP, "tickers": ["GOOG", "SPY"]}


@pytest.fixture
def sweeps(runs: Runs) -> Sweeps:
    return Sweeps(runs)


@pytest.fixture
def worker(runs: Runs) -> SweepWorker:
    return SweepWorker(runs.run_store, runs.price_store, Software("abc", "image:1"))


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four rows each: 22 rows make six, one of which has rows of both tickers."""
    monkeypatch.setattr(plans, "SHARD_ROWS", 4)


def asked(sweeps: Sweeps, document: object = SWEEP) -> Run:
    """Recorded and launched."""
    run, _ = sweeps.submit(document)
    assert sweeps.runs.run_store.mark_launched(run.run_id)
    return run


def table(sweeps: Sweeps, run_id: str) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(sweeps.table_csv(sweeps.sweep(run_id))))


def test_every_row_is_a_single_run_bit_for_bit(
    sweeps: Sweeps, worker: SweepWorker, small_shards: None
) -> None:
    run = asked(sweeps, TWO)
    assert run.kind == KIND
    assert worker.work(run.run_id) == ExitCode.DONE
    rows = table(sweeps, run.run_id)
    assert list(rows["ticker"]) == ["GOOG"] * 11 + ["SPY"] * 11
    for _, row in rows.iterrows():
        params = {"fast": int(row["fast"]), "slow": int(row["slow"])}
        request = sweeps.single(run, row["ticker"], params)
        alone = run_backtest(
            request, series(row["ticker"]), rule_from_id("MA_CROSS", params), "x"
        ).result
        for name in ("total_return_pct", "sharpe_ratio", "max_drawdown_pct", "num_trades"):
            assert row[name] == getattr(alone, name), (row["ticker"], params, name)


def test_what_it_says_of_the_best(sweeps: Sweeps, worker: SweepWorker) -> None:
    run = asked(sweeps, {**TWO, "folds": 3, "reality_check": True})
    worker.work(run.run_id)
    run = sweeps.sweep(run.run_id)
    result, rows = sweeps.result(run), table(sweeps, run.run_id)
    assert (result.combinations, result.skipped, result.failed) == (11, 4, [])
    for found in result.tickers:
        mine = rows[rows["ticker"] == found["ticker"]]
        best = mine.loc[mine["sharpe_ratio"].idxmax()]
        assert found["best"]["params"] == {"fast": best["fast"], "slow": best["slow"]}
        assert found["best"]["metrics"]["sharpe_ratio"] == best["sharpe_ratio"]
        assert (
            found["statistics"]["deflated_sharpe_ratio"]
            < found["statistics"]["probabilistic_sharpe_ratio"]
        )
        assert 0 < found["statistics"]["reality_check_p"] <= 1
        assert len(found["walk_forward"]["folds"]) == 3
        assert found["cross_validation"]["out_of_sample"] <= found["cross_validation"]["in_sample"]
        assert "probability" in found["sentence"]
    assert result.across is not None
    ranks = rows.groupby(["fast", "slow"])["median_rank"].first()
    assert result.across["median_rank"] == ranks.min()
    assert (run.total_return_pct, run.num_trades) == (
        result.tickers[0]["best"]["metrics"]["total_return_pct"],
        result.tickers[0]["best"]["metrics"]["num_trades"],
    )


def test_the_same_bytes_however_it_is_cut(
    sweeps: Sweeps, worker: SweepWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for length in (1000, 4, 1):
        monkeypatch.setattr(plans, "SHARD_ROWS", length)
        run, _ = sweeps.submit({**TWO, "folds": 3}, force=True)
        sweeps.runs.run_store.mark_launched(run.run_id)
        worker.work(run.run_id)
        run = sweeps.sweep(run.run_id)
        found.append((sweeps.result(run).reproducible(), sweeps.table_csv(run)))
    assert len(set(found)) == 1


@pytest.mark.parametrize(("metric", "anchored"), [("sharpe_ratio", False), ("omega_ratio", True)])
def test_folds_computed_in_shards_are_those_computed_at_once(
    sweeps: Sweeps, worker: SweepWorker, small_shards: None, metric: str, anchored: bool
) -> None:
    run = asked(sweeps, {**TWO, "folds": 4, "metric": metric, "anchored": anchored})
    assert worker.work(run.run_id) == ExitCode.DONE
    plan = SweepPlan(asked_of(run), series)
    for found in sweeps.result(sweeps.sweep(run.run_id)).tickers:
        search = plan.search(found["ticker"])
        numbers = search.numbers()
        walk = walk_forward(search, numbers)
        validated = cross_validate(search, numbers)
        assert [fold["rule_id"] for fold in found["walk_forward"]["folds"]] == [
            step.rule.rule_id for step in walk.steps
        ]
        assert found["walk_forward"]["efficiency"] == walk.efficiency
        assert found["walk_forward"]["sharpe_ratio"] == walk.result["sharpe_ratio"]
        assert found["cross_validation"]["in_sample"] == validated.in_sample
        assert found["cross_validation"]["out_of_sample"] == validated.out_of_sample


def test_no_fold_takes_a_row_that_was_lost(
    sweeps: Sweeps, worker: SweepWorker, small_shards: None
) -> None:
    run, store = asked(sweeps, {**SWEEP, "folds": 4}), sweeps.runs.run_store
    store.start_sweep(run.run_id, "w")
    for shard in (0, 1):
        attempt = store.claim_shard(run, shard, "w")
        assert attempt
        assert store.fail_shard(run.run_id, shard, attempt, Reason.ENGINE_ERROR, "died")
    assert worker.work(run.run_id) == ExitCode.DONE
    (found,) = sweeps.result(sweeps.sweep(run.run_id)).tickers
    plan = SweepPlan(asked_of(run), series)
    known = {plan.grid.rule_at(row).rule_id for row in (8, 9, 10)}
    assert {fold["rule_id"] for fold in found["walk_forward"]["folds"]} <= known


def test_shards_are_shorter_where_a_row_costs_more(
    sweeps: Sweeps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plans, "SHARD_CELLS", 20_000)
    changes: list[dict[str, Any]] = [
        {},
        {"folds": 4},
        {"folds": 4, "anchored": True},
        {"metric": "omega_ratio"},
    ]
    requests = [asked_of(sweeps.submit({**TWO, **change})[0]) for change in changes]
    counts = [len(SweepPlan(request, series).shards()) for request in requests]
    assert counts == sorted(set(counts))


def test_the_same_sweep_is_answered_from_the_one_that_did_it(
    sweeps: Sweeps, worker: SweepWorker
) -> None:
    run = asked(sweeps)
    waiting, _ = sweeps.submit(SWEEP)
    assert waiting.reused_from == run.run_id
    worker.work(run.run_id)
    later, _ = sweeps.submit(SWEEP)
    for twin in (sweeps.sweep(waiting.run_id), later):
        assert (twin.status, twin.reused_from) == (Status.COMPLETED, run.run_id)
        assert sweeps.table_csv(twin) == sweeps.table_csv(sweeps.sweep(run.run_id))
        assert sweeps.result(twin).run_id == twin.run_id
    other, _ = sweeps.submit({**SWEEP, "metric": "cagr_pct"})
    assert other.reused_from is None


def test_indexes_share_the_work_and_the_last_one_ends_it(
    sweeps: Sweeps, worker: SweepWorker, small_shards: None
) -> None:
    run = asked(sweeps, TWO)
    for index in (3, 0, 1, 2, 5):
        assert worker.work(run.run_id, index) == ExitCode.DONE
        assert sweeps.sweep(run.run_id).status == Status.RUNNING
    assert sweeps.progress(run) == (5, 6)
    assert worker.work(run.run_id, 4) == ExitCode.DONE
    assert sweeps.sweep(run.run_id).status == Status.COMPLETED
    store = sweeps.runs.run_store
    Upkeep(store, 0).step()
    shards = store.shards(run.run_id, with_numbers=True)
    assert [shard.numbers for shard in shards] == [None] * 6, "the table is stored"
    assert worker.work(run.run_id, 4) == ExitCode.DONE  # its Job's retry has nothing to do


def silent(engine: Engine) -> None:
    """Every lease has run out."""
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE sweep_shards SET lease_until = '2020-01-01' WHERE status = 'running'")
        )


def test_a_shard_whose_worker_died_is_tried_once_more_then_named(
    sweeps: Sweeps, worker: SweepWorker, small_shards: None, engine: Engine
) -> None:
    run, store = asked(sweeps, TWO), sweeps.runs.run_store
    store.start_sweep(run.run_id, "first")
    for name in ("first", "second"):
        assert store.claim_shard(run, 2, name)
        silent(engine)
    assert worker.work(run.run_id) == ExitCode.DONE
    result, rows = sweeps.result(sweeps.sweep(run.run_id)), table(sweeps, run.run_id)
    why = {"reason": "WorkerLost", "message": LOST_MESSAGE}
    assert result.failed == [
        {
            "ticker": "GOOG",
            "combinations": 3,
            "first": "MA_CROSS_20_60",
            "last": "MA_CROSS_25_60",
            **why,
        },
        {
            "ticker": "SPY",
            "combinations": 1,
            "first": "MA_CROSS_5_10",
            "last": "MA_CROSS_5_10",
            **why,
        },
    ]
    assert list(rows.index[rows["note"] == "failed: WorkerLost"]) == [8, 9, 10, 11]
    assert list(rows.index[rows["sharpe_ratio"].isna()]) == [8, 9, 10, 11]


def test_a_shard_whose_worker_died_once_is_computed(
    sweeps: Sweeps, worker: SweepWorker, engine: Engine
) -> None:
    run, store = asked(sweeps), sweeps.runs.run_store
    store.start_sweep(run.run_id, "first")
    first = store.claim_shard(run, 0, "first")
    assert first
    assert store.claim_shard(run, 0, "second") is None
    silent(engine)
    assert worker.work(run.run_id) == ExitCode.DONE
    assert not store.finish_shard(run.run_id, 0, first, b"")
    assert sweeps.result(sweeps.sweep(run.run_id)).failed == []


def test_a_stopped_worker_gives_its_shard_back(
    sweeps: Sweeps, worker: SweepWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As often as it likes: being stopped is no try."""
    run = asked(sweeps)

    def stopped(*_: Any) -> bytes:
        raise Stopped

    with monkeypatch.context() as patched:
        patched.setattr(SweepPlan, "compute_shard", stopped)
        for _ in range(3):
            assert worker.work(run.run_id) == ExitCode.STOPPED
    assert worker.work(run.run_id) == ExitCode.DONE
    assert sweeps.sweep(run.run_id).status == Status.COMPLETED


@pytest.mark.parametrize("place", ["compute_shard", "numbers_by_ticker"])
def test_what_fails_after_the_stop_is_the_stop(
    sweeps: Sweeps, worker: SweepWorker, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    run = asked(sweeps)

    def stopped(*_: Any) -> Any:
        worker.stopping.set()
        raise ValueError("what a library made of it")

    with monkeypatch.context() as patched:
        patched.setattr(SweepPlan, place, stopped)
        assert worker.work(run.run_id) == ExitCode.STOPPED
    worker.stopping.clear()
    assert worker.work(run.run_id) == ExitCode.DONE
    assert sweeps.sweep(run.run_id).status == Status.COMPLETED


def test_an_engine_that_fails_on_some_rows(
    sweeps: Sweeps, worker: SweepWorker, small_shards: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, real = asked(sweeps), SweepPlan.compute_shard

    def crash(plan: SweepPlan, rows: slice) -> bytes:
        if rows.start == 4:
            raise ZeroDivisionError
        return real(plan, rows)

    monkeypatch.setattr(SweepPlan, "compute_shard", crash)
    assert worker.work(run.run_id, 1) == ExitCode.ENGINE_ERROR
    assert worker.work(run.run_id) == ExitCode.DONE
    (lost,) = sweeps.result(sweeps.sweep(run.run_id)).failed
    assert (lost["reason"], lost["combinations"]) == (Reason.ENGINE_ERROR, 4)


def test_one_that_fails_on_all_of_them_fails(
    sweeps: Sweeps, worker: SweepWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = asked(sweeps)
    monkeypatch.setattr(SweepPlan, "compute_shard", lambda *_: 1 / 0)
    worker.work(run.run_id)
    run = sweeps.sweep(run.run_id)
    assert (run.status, run.reason) == (Status.FAILED, Reason.ENGINE_ERROR)
    assert sweeps.result(run).error_message == module.SWEEP_FAILED_MESSAGE


def test_a_ticker_without_numbers_leaves_the_others(
    sweeps: Sweeps, worker: SweepWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All rows of SPY are one shard, and that is lost; nobody else is answered with what is left."""
    monkeypatch.setattr(plans, "SHARD_ROWS", 11)
    run, real = asked(sweeps, TWO), SweepPlan.compute_shard
    attached, _ = sweeps.submit(TWO)

    def crash(plan: SweepPlan, rows: slice) -> bytes:
        return real(plan, rows) if rows.start == 0 else 1 / 0  # type: ignore[return-value]

    with monkeypatch.context() as patched:
        patched.setattr(SweepPlan, "compute_shard", crash)
        assert worker.work(run.run_id) == ExitCode.DONE
    result = sweeps.result(sweeps.sweep(run.run_id))
    assert [found["ticker"] for found in result.tickers] == ["GOOG"]
    assert result.across is None
    assert [(lost["ticker"], lost["reason"]) for lost in result.failed] == [("SPY", "EngineError")]
    assert result.undefined == []
    assert sweeps.sweep(attached.run_id).status == Status.COMPLETED
    again, _ = sweeps.submit(TWO)
    assert (again.status, again.reused_from) == (Status.PENDING, None)


SILENT = {
    **TWO,
    "rule_id": "RSI",
    "grid": {"period": [14], "oversold": [20], "overbought": [70, 80]},
}


def test_a_ticker_without_the_metric_is_named_and_its_numbers_stand(
    sweeps: Sweeps, worker: SweepWorker
) -> None:
    """RSI never falls so low on GOOG in these years, so that nothing is traded there; the answer is the same again."""
    run = asked(sweeps, SILENT)
    worker.work(run.run_id)
    run = sweeps.sweep(run.run_id)
    result, rows = sweeps.result(run), table(sweeps, run.run_id)
    assert (result.failed, result.undefined) == ([], ["GOOG"])
    assert [found["ticker"] for found in result.tickers] == ["SPY"]
    assert rows[rows["ticker"] == "GOOG"]["num_trades"].tolist() == [0, 0]
    assert (run.total_return_pct, run.num_trades) == (None, None), "the row is that of GOOG"
    again, _ = sweeps.submit(SILENT)
    assert (again.status, again.reused_from) == (Status.COMPLETED, run.run_id)


def test_lost_rows_were_not_tried(
    sweeps: Sweeps, worker: SweepWorker, monkeypatch: pytest.MonkeyPatch, small_shards: None
) -> None:
    """The statistics are those of the rows that were computed, the reality check among them."""
    run, real = asked(sweeps, {**SWEEP, "reality_check": True}), SweepPlan.compute_shard

    def crash(plan: SweepPlan, rows: slice) -> bytes:
        return 1 / 0 if rows.start == 8 else real(plan, rows)  # type: ignore[return-value]

    monkeypatch.setattr(SweepPlan, "compute_shard", crash)
    assert worker.work(run.run_id) == ExitCode.DONE
    ((found,), rows) = sweeps.result(sweeps.sweep(run.run_id)).tickers, table(sweeps, run.run_id)
    kept = rows[rows["num_trades"].notna()]
    assert (len(rows), len(kept)) == (11, 8)
    plan = SweepPlan(asked_of(run), series)
    best = series("GOOG").data.loc[found["first_bar"] : found["last_bar"]]
    rule = rule_from_id(found["best"]["rule_id"])
    equity = (
        BacktestEngine(commission_rate=plan.request.commission_rate)
        .run(best, rule.generate_signals)
        .equity
    )
    tried = kept["sharpe_ratio"].to_numpy() / np.sqrt(252)
    expected = deflated_sharpe_ratio(bar_returns(equity.to_numpy()), tried)
    assert found["statistics"]["deflated_sharpe_ratio"] == pytest.approx(expected, rel=1e-9)
    assert found["statistics"]["reality_check_p"] == p_value(
        plan.search("GOOG").reality_check(slice(0, 8))
    )


def test_the_memory_of_many_tickers_is_that_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Indicators of a ticker are of no use for the next one."""
    request = parse_sweep(
        {
            **SWEEP,
            "run_id": RUN_ID,
            "tickers": ["GOOG", "SPY", "AAPL", "MSFT"],
            "grid": {"fast": "2:200:1", "slow": 250},
        }
    )
    plan = SweepPlan(request, series)
    plan.check()
    tracemalloc.start()
    plan.compute_shard(slice(0, plan.rows))
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 2**20, "an indicator has 8 KiB, and each ticker has 200"


@pytest.mark.parametrize("folds", [0, 5, 20])
def test_a_shard_fits_its_field(folds: int) -> None:
    """MEDIUMBLOB takes 16 MiB, of however short a time."""
    grid = {"period": 5, "oversold": "1:49:0.5", "overbought": "51:99:0.1"}
    change = {
        "run_id": RUN_ID,
        "rule_id": "RSI",
        "grid": grid,
        "folds": folds,
        "start_date": "2017-09-01",
    }
    plan = SweepPlan(parse_sweep({**SWEEP, **change, "metric": "cagr_pct"}), series)
    with np.load(io.BytesIO(plan.compute_shard(slice(0, 3)))) as found:
        a_row = sum(found[name].nbytes for name in found.files) / 3
    assert 2**23 * (folds > 0) < plan.shards()[0].stop * a_row < 2**24 - 4096


def test_a_sweep_that_starts_again_without_blame_spends_no_try(
    sweeps: Sweeps, worker: SweepWorker, engine: Engine
) -> None:
    """Its node is gone, three times; then it is told to go and its workers give back what they had."""
    run, store = asked(sweeps), sweeps.runs.run_store
    for number in range(3):
        store.start_sweep(run.run_id, f"w{number}")
        assert store.claim_shard(run, 0, f"w{number}")
        (active,) = store.active()
        assert store.requeue(active, counted_launches=0)
        assert store.mark_launched(run.run_id)
    for number in range(2):
        store.start_sweep(run.run_id, f"v{number}")
        attempt = store.claim_shard(run, 0, f"v{number}")
        assert attempt
        (active,) = store.active()
        assert store.requeue(active, counted_launches=1)
        assert store.release_shard(run.run_id, 0, attempt)
        assert store.mark_launched(run.run_id)
    worker.work(run.run_id)
    assert sweeps.result(sweeps.sweep(run.run_id)).failed == []


def test_a_worker_of_a_launch_that_was_taken_back_does_not_start_the_sweep(
    sweeps: Sweeps, worker: SweepWorker
) -> None:
    """Its Job is told to go; a sweep at work without a launch would have nobody who looks after it."""
    run, store = asked(sweeps), sweeps.runs.run_store
    (active,) = store.active()
    assert store.requeue(active, counted_launches=0)
    assert worker.work(run.run_id) == ExitCode.DONE
    assert sweeps.sweep(run.run_id).status == Status.PENDING
    assert [queued.run_id for queued in store.queued(5)] == [run.run_id]


def test_a_launch_that_could_not_be_made_gives_no_shard_another_try(
    sweeps: Sweeps, worker: SweepWorker, engine: Engine
) -> None:
    run, store = asked(sweeps), sweeps.runs.run_store
    store.start_sweep(run.run_id, "w")
    for name in ("first", "second"):
        assert store.claim_shard(run, 0, name)
        silent(engine)
    (active,) = store.active()
    assert store.requeue(active, counted_launches=1)
    assert store.mark_launched(run.run_id)
    (active,) = store.active()
    assert store.requeue(active, counted_launches=0), "the old Job is still there"
    assert store.mark_launched(run.run_id)
    worker.work(run.run_id)
    run = sweeps.sweep(run.run_id)
    assert (run.status, run.message) == (Status.FAILED, LOST_MESSAGE)


def test_the_second_pod_of_an_index_is_another_worker() -> None:
    """It has the name of the first one, and its program the same process number."""
    code = "from service.worker.holding import this_worker; print(this_worker().rpartition(':')[2])"
    run = partial(
        subprocess.run,
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run().stdout != run().stdout


def test_a_shard_that_ended_a_moment_ago_is_not_taken_away(
    sweeps: Sweeps, small_shards: None
) -> None:
    run, store = asked(sweeps), sweeps.runs.run_store
    store.start_sweep(run.run_id, "w")
    attempt = store.claim_shard(run, 0, "w")
    assert attempt
    assert store.finish_shard(run.run_id, 0, attempt, b"x")
    assert store.renew_shard(run.run_id, 0, attempt)
    assert not store.renew_shard(run.run_id, 0, attempt + 1)


def test_whole_numbers_may_have_a_point(sweeps: Sweeps) -> None:
    run, _ = sweeps.submit({**SWEEP, "folds": 5.0})
    assert '"folds":5,' in run.request
    assert sweeps.submit({**SWEEP, "folds": 5})[0].reused_from == run.run_id


def test_an_attached_sweep_is_as_far_as_the_one_that_does_it(
    sweeps: Sweeps, worker: SweepWorker, small_shards: None
) -> None:
    run = asked(sweeps)
    attached, _ = sweeps.submit(SWEEP)
    worker.work(run.run_id, 1)
    assert sweeps.progress(attached) == sweeps.progress(run) == (1, 3)


def test_a_metric_that_no_row_has(sweeps: Sweeps, worker: SweepWorker) -> None:
    """Without a closed trade there is no profit factor."""
    dates = {"start_date": "2018-11-01", "end_date": "2018-12-31"}
    run = asked(
        sweeps, {**SWEEP, **dates, "metric": "profit_factor", "grid": {"fast": [2], "slow": [35]}}
    )
    assert worker.work(run.run_id) == ExitCode.BAD_INPUT
    run = sweeps.sweep(run.run_id)
    assert (run.status, run.reason) == (Status.FAILED, Reason.BAD_INPUT)
    assert run.message == "profit_factor is undefined for every combination."


def test_a_training_in_which_nothing_was_traded(sweeps: Sweeps, worker: SweepWorker) -> None:
    """The search itself stands."""
    change = {"rule_id": "RSI", "grid": {"period": [14], "oversold": [20, 25], "overbought": [80]}}
    run = asked(sweeps, {**SWEEP, **change, "start_date": "2013-01-02", "folds": 20})
    assert worker.work(run.run_id) == ExitCode.DONE
    (found,) = sweeps.result(sweeps.sweep(run.run_id)).tickers
    assert found["walk_forward"] is None
    assert found["cross_validation"] is not None


def test_other_rules_than_everybody_else_has(
    sweeps: Sweeps, worker: SweepWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = asked(sweeps)
    monkeypatch.setattr(software, "rules_digest", lambda _: "another")
    assert replace(worker, expected_rules=run.rules_digest).work(run.run_id) == ExitCode.BAD_INPUT
    assert sweeps.sweep(run.run_id).reason == Reason.RULES_MISMATCH


def test_an_upgrade_in_the_middle_starts_it_again(
    sweeps: Sweeps, worker: SweepWorker, small_shards: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No result is made of two rules: what the old ones computed is forgotten, and their workers are shut out."""
    run, store = asked(sweeps), sweeps.runs.run_store
    assert worker.work(run.run_id, 0) == ExitCode.DONE
    held, running = store.claim_shard(run, 1, "old"), store.get(run.run_id)
    assert held
    assert running
    monkeypatch.setattr(software, "rules_digest", lambda _: "b" * 64)
    assert replace(worker, expected_rules="b" * 64).work(run.run_id, 2) == ExitCode.DONE
    assert [shard.status for shard in store.shards(run.run_id)] == [
        "pending",
        "pending",
        "completed",
    ]
    assert not store.finish_shard(run.run_id, 1, held, b"")
    assert store.claim_shard(running, 0, "old") is None
    assert not store.fail_attempt(
        run.run_id, running.attempt, Reason.ENGINE_ERROR, "from the old one"
    )
    assert worker.work(run.run_id) == ExitCode.DONE
    done = sweeps.result(sweeps.sweep(run.run_id))
    assert (done.provenance["rules_digest"], done.failed, len(table(sweeps, run.run_id))) == (
        "b" * 64,
        [],
        11,
    )
    assert sweeps.submit(SWEEP)[0].reused_from is None


def test_shards_of_another_release_are_computed_again(
    sweeps: Sweeps, worker: SweepWorker, small_shards: None, engine: Engine
) -> None:
    """A sweep at work while the release before is being replaced: that one names its arrays otherwise."""
    run = asked(sweeps)
    for index in (0, 1):
        assert worker.work(run.run_id, index) == ExitCode.DONE
    old_layout = io.BytesIO()
    np.savez_compressed(old_layout, sharpe_ratio=np.ones(4), block_sums=np.ones((4, 10)))
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE sweep_shards SET numbers = :numbers WHERE shard = 0"),
            {"numbers": old_layout.getvalue()},
        )
    assert worker.work(run.run_id, 2) == ExitCode.DONE
    assert sweeps.sweep(run.run_id).status == Status.COMPLETED
    assert table(sweeps, run.run_id)["sharpe_ratio"].notna().all()


def test_an_upgrade_after_which_the_grid_is_another(
    sweeps: Sweeps, worker: SweepWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = asked(sweeps)
    monkeypatch.setattr(software, "rules_digest", lambda _: "b" * 64)
    monkeypatch.setattr(SweepPlan, "rows", 10)
    assert worker.work(run.run_id) == ExitCode.BAD_INPUT
    assert sweeps.sweep(run.run_id).reason == Reason.RULES_MISMATCH


def test_a_database_that_is_away_and_comes_back(
    sweeps: Sweeps, worker: SweepWorker, engine: Engine
) -> None:
    run = asked(sweeps)
    store = EveryStore(engine, patience_seconds=0.3)
    with away_in(store, "finish_shard", 99):
        assert replace(worker, claims=store).work(run.run_id) == ExitCode.DATABASE_AWAY
    holder = holding.this_worker()
    assert sweeps.runs.run_store.attempt_of(run.run_id, 0, holder)
    assert worker.work(run.run_id) == ExitCode.DONE  # the same process has it still
    assert sweeps.sweep(run.run_id).status == Status.COMPLETED


def test_waiting_for_another_worker(
    sweeps: Sweeps, worker: SweepWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which ends the shard, or is cancelled with the sweep."""
    run, store = asked(sweeps), sweeps.runs.run_store
    store.start_sweep(run.run_id, "other")
    assert store.claim_shard(run, 0, "other")
    monkeypatch.setattr(holding.time, "sleep", lambda _: store.cancel(run.run_id))
    assert worker.work(run.run_id) == ExitCode.DONE
    assert sweeps.sweep(run.run_id).status == Status.CANCELLING
    assert worker.work(run.run_id) == ExitCode.DONE


def test_the_lease_of_a_shard_ends_with_its_sweep(sweeps: Sweeps) -> None:
    run, store = asked(sweeps), sweeps.runs.run_store
    store.start_sweep(run.run_id, "w")
    attempt = store.claim_shard(run, 0, "w")
    assert attempt
    assert store.renew_shard(run.run_id, 0, attempt)
    left = threading.Event()
    with holding.lease(lambda: store.renew_shard(run.run_id, 0, attempt), 0.03, left.set):
        store.cancel(run.run_id)
        assert left.wait(5)


def test_a_sweep_that_was_cancelled_keeps_no_numbers(
    sweeps: Sweeps, worker: SweepWorker, small_shards: None
) -> None:
    run, store = asked(sweeps), sweeps.runs.run_store
    other = asked(sweeps, TWO)
    for each in (run, other):
        worker.work(each.run_id, 0)
    store.cancel(run.run_id)
    store.finish_cancelling(run.run_id)
    Upkeep(store, 0).step()
    kept = [
        [shard.numbers is not None for shard in store.shards(each.run_id, with_numbers=True)]
        for each in (run, other)
    ]
    assert kept == [[False] * 3, [True] + [False] * 5]


def test_two_workers_at_once_give_one_result(
    sweeps: Sweeps, small_shards: None, runs: Runs
) -> None:
    run = asked(sweeps, TWO)
    codes: list[int] = []

    def go(index: int) -> None:
        made = SweepWorker(runs.run_store, runs.price_store, Software())
        codes.append(made.work(run.run_id, index))

    threads = [threading.Thread(target=go, args=(index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0] * 6
    assert sweeps.sweep(run.run_id).status == Status.COMPLETED
    assert table(sweeps, run.run_id)["sharpe_ratio"].notna().all()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"grid": {}}, "grid must be an object of 1 to 16 parameters"),
        ({"grid": {"fats": [5]}}, "Did you mean fast"),
        ({"grid": {"fast": "5:50:0"}}, "fast: a step of 0 never leads from 5 to 50."),
        ({"grid": {"fast": "50:5:5"}}, "fast: a step of 5 never leads from 50 to 5."),
        (
            {"grid": {"fast": []}},
            "grid.fast must be a finite number, a list of them, or a text such as 5:50:5",
        ),
        ({"grid": {"fast": [float("nan")]}}, "grid.fast must be a finite number"),
        (
            {"grid": {"fast": "1:900:1", "slow": "2:901:1"}},
            "The grid has 810000 combinations, at most 100000",
        ),
        ({"grid": {"fast": [50], "slow": [20]}}, "None of the 1 combinations is a rule"),
        (
            {"grid": {"fast": [5], "slow": [900]}, "end_date": "2015-06-01"},
            "needs 901 bars, there are",
        ),
        ({"metric": "sharp"}, "There is no metric sharp; choose one of"),
        ({"tickers": []}, "tickers must be a list of 1 to 20 different tickers"),
        ({"tickers": ["GOOG", "goog"]}, "tickers.1 must be 1 to 15 of A-Z"),
        ({"tickers": ["GOGG"]}, 'There are no prices of "GOGG"'),
        (
            {"tickers": ["GOOG", "SPY"], "grid": {"fast": "1:251:1", "slow": "252:451:1"}},
            "at most 50000",
        ),
        ({"rule_id": "ALL(RSI,BB)"}, "A search takes one rule by its name"),
        ({"rule_id": "MA_CROS"}, "Did you mean MA_CROSS"),
        ({"folds": 1}, "folds must be 0, or a whole number from 3 to 20"),
        ({"folds": 20, "start_date": "2018-10-01"}, "With 20 folds a training has"),
        (
            {"folds": 20, "start_date": "2018-12-20", "grid": {"fast": [1], "slow": [2]}},
            "A walk forward of 20 folds",
        ),
        ({"start_date": "2030-01-01", "end_date": "2031-01-01"}, "There are 0 bars in these dates"),
        ({"gird": {}}, 'There is no field "gird". Did you mean grid?'),
        (
            {"grid": {"fast": [1.0 * 10**9 + n for n in range(4000)], "slow": "5:10:1"}},
            "must be between",
        ),
    ],
)
def test_refused_before_anything_is_recorded(
    sweeps: Sweeps, change: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UserError) as refused:
        sweeps.submit({**SWEEP, **change})
    assert sentence in str(refused.value)
    assert sweeps.runs.run_store.latest(9) == []


def test_a_grid_that_no_column_holds(sweeps: Sweeps) -> None:
    values = [1 + n / 10**9 for n in range(9000)]
    with pytest.raises(
        UserError, match=r"The grid is too long; write its values as start:stop:step\."
    ):
        sweeps.submit({**SWEEP, "rule_id": "BB", "grid": {"width": values}})


def test_rows_that_are_too_short_say_so(sweeps: Sweeps, worker: SweepWorker) -> None:
    change = {
        "start_date": "2018-06-01",
        "end_date": "2018-12-31",
        "grid": {"fast": [5], "slow": [10, 900]},
    }
    run = asked(sweeps, {**SWEEP, **change})
    worker.work(run.run_id)
    rows = table(sweeps, run.run_id)
    assert list(rows["note"].fillna("")) == ["", "needs 901 bars"]
    assert sweeps.result(sweeps.sweep(run.run_id)).tickers[0]["too_short"] == 1


def test_a_column_of_numbers_in_the_name_stands_where_the_grid_says_nothing(
    sweeps: Sweeps, worker: SweepWorker
) -> None:
    run = asked(sweeps, {**SWEEP, "rule_id": "MA_CROSS_7_50", "grid": {"fast": "5,9"}})
    worker.work(run.run_id)
    assert set(table(sweeps, run.run_id)["slow"]) == {50}
    assert asked_of(run).grid == {"fast": "5,9"}


def test_it_expires_with_all_that_belongs_to_it(
    sweeps: Sweeps, worker: SweepWorker, engine: Engine
) -> None:
    run = asked(sweeps)
    worker.work(run.run_id)
    with engine.begin() as connection:
        connection.execute(text("UPDATE runs SET finished_at = '2020-01-01'"))
    assert sweeps.runs.run_store.expire(30, 10, None)[0] == 1
    with engine.connect() as connection:
        for name in ("runs", "sweeps", "sweep_shards", "results", "figures"):
            assert connection.scalar(text(f"SELECT count(*) FROM {name}")) == 0, name


@pytest.mark.process
def test_a_process_takes_it_from_its_environment(sweeps: Sweeps, engine: Engine) -> None:
    run = asked(sweeps)
    work = work_of_sweep(run.run_id, "GOOG", "MA_CROSS", 1).environment
    more = dict(pair.split("=", 1) for pair in database_environment(engine))
    done = subprocess.run(
        [sys.executable, "worker.py"],
        cwd=ROOT,
        env={**os.environ, **more, **work},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert f"[run_id={run.run_id}] Sweep completed: 11 combinations, 1 tickers" in done.stdout
    assert sweeps.sweep(run.run_id).status == Status.COMPLETED


def test_replace_keeps_a_sweeps_own_software(sweeps: Sweeps, worker: SweepWorker) -> None:
    run = asked(sweeps)
    replace(worker, software=Software("rev", "img")).work(run.run_id)
    provenance = sweeps.result(sweeps.sweep(run.run_id)).provenance
    assert (provenance["code_revision"], provenance["image"]) == ("rev", "img")
    assert set(provenance["prices_fingerprints"]) == {"GOOG"}
