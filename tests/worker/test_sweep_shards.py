"""Workers of a sweep share its shards, and each may die, be stopped or be replaced."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, text

from scripts.config import ROOT
from service.contract.status import ExitCode, Reason, Status
from service.controller.upkeep import Upkeep
from service.controller.work import work_of_sweep
from service.search.plan import SweepPlan
from service.store.shards import LOST_MESSAGE
from service.usecases.runs import Runs
from service.usecases.sweeps import Sweeps
from service.worker import holding, software
from service.worker import sweep as module
from service.worker.holding import Stopped
from service.worker.software import Software
from service.worker.sweep import SweepWorker
from tests.support.clocks import SteadyClock
from tests.support.databases import database_environment
from tests.support.outage import away_in
from tests.support.requests import SWEEP
from tests.support.stores import EveryStore
from tests.support.sweeps import TWO_TICKERS, submit_launched, table_of, watch_leases_end


def test_indexes_share_the_work_and_the_last_one_ends_it(
    sweeps: Sweeps, sweep_worker: SweepWorker, small_shards: None
) -> None:
    run = submit_launched(sweeps, TWO_TICKERS)
    for index in (3, 0, 1, 2, 5):
        assert sweep_worker.work(run.run_id, index) == ExitCode.DONE
        assert sweeps.sweep(run.run_id).status == Status.RUNNING
    assert sweeps.progress(run) == (5, 6)
    assert sweep_worker.work(run.run_id, 4) == ExitCode.DONE
    assert sweeps.sweep(run.run_id).status == Status.COMPLETED
    store = sweeps.runs.run_store
    Upkeep(store).step()
    shards = store.shards(run.run_id, with_numbers=True)
    assert [shard.numbers for shard in shards] == [None] * 6, "the table is stored"
    assert sweep_worker.work(run.run_id, 4) == ExitCode.DONE  # its Job's retry has nothing to do


def test_a_shard_whose_worker_died_is_tried_once_more_then_named(
    sweeps: Sweeps, sweep_worker: SweepWorker, small_shards: None, steady_clock: SteadyClock
) -> None:
    run = submit_launched(sweeps, TWO_TICKERS)
    store = sweeps.runs.run_store
    store.start_sweep(run.run_id, "first")
    for name in ("first", "second"):
        assert store.claim_shard(run, 2, name)
        watch_leases_end(store, run, 2, steady_clock)
    assert sweep_worker.work(run.run_id) == ExitCode.DONE
    result = sweeps.result(sweeps.sweep(run.run_id))
    rows = table_of(sweeps, run.run_id)
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
    sweeps: Sweeps, sweep_worker: SweepWorker, steady_clock: SteadyClock
) -> None:
    run = submit_launched(sweeps)
    store = sweeps.runs.run_store
    store.start_sweep(run.run_id, "first")
    first = store.claim_shard(run, 0, "first")
    assert first
    watch_leases_end(store, run, 0, steady_clock)
    assert sweep_worker.work(run.run_id) == ExitCode.DONE
    assert not store.finish_shard(run.run_id, 0, first, b"")
    assert sweeps.result(sweeps.sweep(run.run_id)).failed == []


def test_a_stopped_worker_gives_its_shard_back(
    sweeps: Sweeps, sweep_worker: SweepWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As often as it likes: being stopped is no try."""
    run = submit_launched(sweeps)

    def stopped(*_: Any) -> bytes:
        raise Stopped

    with monkeypatch.context() as patched:
        patched.setattr(SweepPlan, "compute_shard", stopped)
        for _ in range(3):
            assert sweep_worker.work(run.run_id) == ExitCode.STOPPED
    assert sweep_worker.work(run.run_id) == ExitCode.DONE
    assert sweeps.sweep(run.run_id).status == Status.COMPLETED


@pytest.mark.parametrize("place", ["compute_shard", "numbers_by_ticker"])
def test_what_fails_after_the_stop_is_the_stop(
    sweeps: Sweeps, sweep_worker: SweepWorker, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    run = submit_launched(sweeps)

    def stopped(*_: Any) -> Any:
        sweep_worker.stopping.set()
        raise ValueError("what a library made of it")

    with monkeypatch.context() as patched:
        patched.setattr(SweepPlan, place, stopped)
        assert sweep_worker.work(run.run_id) == ExitCode.STOPPED
    sweep_worker.stopping.clear()
    assert sweep_worker.work(run.run_id) == ExitCode.DONE
    assert sweeps.sweep(run.run_id).status == Status.COMPLETED


def test_an_engine_that_fails_on_some_rows(
    sweeps: Sweeps, sweep_worker: SweepWorker, small_shards: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = submit_launched(sweeps)
    real = SweepPlan.compute_shard

    def crash(plan: SweepPlan, rows: slice) -> bytes:
        if rows.start == 4:
            raise ZeroDivisionError
        return real(plan, rows)

    monkeypatch.setattr(SweepPlan, "compute_shard", crash)
    assert sweep_worker.work(run.run_id, 1) == ExitCode.ENGINE_ERROR
    assert sweep_worker.work(run.run_id) == ExitCode.DONE
    (lost,) = sweeps.result(sweeps.sweep(run.run_id)).failed
    assert (lost["reason"], lost["combinations"]) == (Reason.ENGINE_ERROR, 4)


def test_one_that_fails_on_all_of_them_fails(
    sweeps: Sweeps, sweep_worker: SweepWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = submit_launched(sweeps)
    monkeypatch.setattr(SweepPlan, "compute_shard", lambda *_: 1 / 0)
    sweep_worker.work(run.run_id)
    run = sweeps.sweep(run.run_id)
    assert (run.status, run.reason) == (Status.FAILED, Reason.ENGINE_ERROR)
    assert sweeps.result(run).error_message == module.SWEEP_FAILED_MESSAGE


def test_a_sweep_that_starts_again_without_blame_spends_no_try(
    sweeps: Sweeps, sweep_worker: SweepWorker, engine: Engine
) -> None:
    """Its node is lost three times; then its workers are stopped and give back their shards."""
    run = submit_launched(sweeps)
    store = sweeps.runs.run_store
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
    sweep_worker.work(run.run_id)
    assert sweeps.result(sweeps.sweep(run.run_id)).failed == []


def test_a_worker_of_a_launch_that_was_taken_back_does_not_start_the_sweep(
    sweeps: Sweeps, sweep_worker: SweepWorker
) -> None:
    """The worker must not start a sweep whose Job is being removed: nobody would watch over it."""
    run = submit_launched(sweeps)
    store = sweeps.runs.run_store
    (active,) = store.active()
    assert store.requeue(active, counted_launches=0)
    assert sweep_worker.work(run.run_id) == ExitCode.DONE
    assert sweeps.sweep(run.run_id).status == Status.PENDING
    assert [queued.run_id for queued in store.queued(5)] == [run.run_id]


def test_a_launch_that_could_not_be_made_gives_no_shard_another_try(
    sweeps: Sweeps, sweep_worker: SweepWorker, steady_clock: SteadyClock
) -> None:
    run = submit_launched(sweeps)
    store = sweeps.runs.run_store
    store.start_sweep(run.run_id, "w")
    for name in ("first", "second"):
        assert store.claim_shard(run, 0, name)
        watch_leases_end(store, run, 0, steady_clock)
    (active,) = store.active()
    assert store.requeue(active, counted_launches=1)
    assert store.mark_launched(run.run_id)
    (active,) = store.active()
    assert store.requeue(active, counted_launches=0), "the old Job is still there"
    assert store.mark_launched(run.run_id)
    sweep_worker.work(run.run_id)
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
    run = submit_launched(sweeps)
    store = sweeps.runs.run_store
    store.start_sweep(run.run_id, "w")
    attempt = store.claim_shard(run, 0, "w")
    assert attempt
    assert store.finish_shard(run.run_id, 0, attempt, b"x")
    assert store.renew_shard(run.run_id, 0, attempt)
    assert not store.renew_shard(run.run_id, 0, attempt + 1)


def test_a_database_that_is_away_and_comes_back(
    sweeps: Sweeps, sweep_worker: SweepWorker, engine: Engine
) -> None:
    run = submit_launched(sweeps)
    store = EveryStore(engine, patience_seconds=0.3)
    with away_in(store, "finish_shard", 99):
        assert replace(sweep_worker, claims=store).work(run.run_id) == ExitCode.DATABASE_AWAY
    holder = holding.this_worker()
    assert sweeps.runs.run_store.attempt_of(run.run_id, 0, holder)
    assert sweep_worker.work(run.run_id) == ExitCode.DONE  # the same process has it still
    assert sweeps.sweep(run.run_id).status == Status.COMPLETED


def test_waiting_for_another_worker(
    sweeps: Sweeps, sweep_worker: SweepWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which ends the shard, or is cancelled with the sweep."""
    run = submit_launched(sweeps)
    store = sweeps.runs.run_store
    store.start_sweep(run.run_id, "other")
    assert store.claim_shard(run, 0, "other")
    monkeypatch.setattr(holding.time, "sleep", lambda _: store.cancel(run.run_id))
    assert sweep_worker.work(run.run_id) == ExitCode.DONE
    assert sweeps.sweep(run.run_id).status == Status.CANCELLING
    assert sweep_worker.work(run.run_id) == ExitCode.DONE


def test_the_lease_of_a_shard_ends_with_its_sweep(sweeps: Sweeps) -> None:
    run = submit_launched(sweeps)
    store = sweeps.runs.run_store
    store.start_sweep(run.run_id, "w")
    attempt = store.claim_shard(run, 0, "w")
    assert attempt
    assert store.renew_shard(run.run_id, 0, attempt)
    left = threading.Event()
    with holding.lease(lambda: store.renew_shard(run.run_id, 0, attempt), 0.03, left.set):
        store.cancel(run.run_id)
        assert left.wait(5)


def test_a_sweep_that_was_cancelled_keeps_no_numbers(
    sweeps: Sweeps, sweep_worker: SweepWorker, small_shards: None
) -> None:
    run = submit_launched(sweeps)
    store = sweeps.runs.run_store
    other = submit_launched(sweeps, TWO_TICKERS)
    for sweep in (run, other):
        sweep_worker.work(sweep.run_id, 0)
    store.cancel(run.run_id)
    store.finish_cancelling(run.run_id)
    Upkeep(store).step()
    kept = [
        [shard.numbers is not None for shard in store.shards(sweep.run_id, with_numbers=True)]
        for sweep in (run, other)
    ]
    assert kept == [[False] * 3, [True] + [False] * 5]


def test_two_workers_at_once_give_one_result(
    sweeps: Sweeps, small_shards: None, runs: Runs
) -> None:
    run = submit_launched(sweeps, TWO_TICKERS)
    codes: list[int] = []

    def go(index: int) -> None:
        another = SweepWorker(runs.run_store, runs.price_store, Software())
        codes.append(another.work(run.run_id, index))

    threads = [threading.Thread(target=go, args=(index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0] * 6
    assert sweeps.sweep(run.run_id).status == Status.COMPLETED
    assert table_of(sweeps, run.run_id)["sharpe_ratio"].notna().all()


@pytest.mark.process
def test_a_process_takes_it_from_its_environment(sweeps: Sweeps, engine: Engine) -> None:
    run = submit_launched(sweeps)
    work = work_of_sweep(run.run_id, "GOOG", "MA_CROSS", 1).environment
    more = database_environment(engine)
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


def test_other_rules_than_everybody_else_has(
    sweeps: Sweeps, sweep_worker: SweepWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = submit_launched(sweeps)
    monkeypatch.setattr(software, "rules_digest", lambda _: "another")
    assert (
        replace(sweep_worker, expected_rules=run.rules_digest).work(run.run_id)
        == ExitCode.BAD_INPUT
    )
    assert sweeps.sweep(run.run_id).reason == Reason.RULES_MISMATCH


def test_an_upgrade_in_the_middle_starts_it_again(
    sweeps: Sweeps, sweep_worker: SweepWorker, small_shards: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No result mixes two versions of rules: old shards are forgotten, their workers shut out."""
    run = submit_launched(sweeps)
    store = sweeps.runs.run_store
    assert sweep_worker.work(run.run_id, 0) == ExitCode.DONE
    held = store.claim_shard(run, 1, "old")
    running = store.get(run.run_id)
    assert held
    assert running
    monkeypatch.setattr(software, "rules_digest", lambda _: "b" * 64)
    assert replace(sweep_worker, expected_rules="b" * 64).work(run.run_id, 2) == ExitCode.DONE
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
    assert sweep_worker.work(run.run_id) == ExitCode.DONE
    done = sweeps.result(sweeps.sweep(run.run_id))
    assert (done.provenance["rules_digest"], done.failed, len(table_of(sweeps, run.run_id))) == (
        "b" * 64,
        [],
        11,
    )
    assert sweeps.submit(SWEEP)[0].reused_from is None


def test_shards_of_another_release_are_computed_again(
    sweeps: Sweeps, sweep_worker: SweepWorker, small_shards: None, engine: Engine
) -> None:
    """During an upgrade a sweep has shards of the previous release, with other names of arrays."""
    run = submit_launched(sweeps)
    for index in (0, 1):
        assert sweep_worker.work(run.run_id, index) == ExitCode.DONE
    old_layout = io.BytesIO()
    np.savez_compressed(old_layout, sharpe_ratio=np.ones(4), block_sums=np.ones((4, 10)))
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE sweep_shards SET numbers = :numbers WHERE shard = 0"),
            {"numbers": old_layout.getvalue()},
        )
    before = sweeps.sweep(run.run_id)
    store = sweep_worker.claims
    assert sweep_worker.work(run.run_id, 2) == ExitCode.DONE
    assert [shard.status for shard in store.shards(run.run_id)] == [Status.PENDING] * 3
    assert not store.restart_sweep(before, before.rules_digest), "another worker has done so"
    # The controller launches it again: each index does its shard.
    for index in (0, 1, 2):
        assert sweep_worker.work(run.run_id, index) == ExitCode.DONE
    assert sweeps.sweep(run.run_id).status == Status.COMPLETED
    assert table_of(sweeps, run.run_id)["sharpe_ratio"].notna().all()


def test_an_upgrade_after_which_the_grid_is_another(
    sweeps: Sweeps, sweep_worker: SweepWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = submit_launched(sweeps)
    monkeypatch.setattr(software, "rules_digest", lambda _: "b" * 64)
    monkeypatch.setattr(SweepPlan, "rows", 10)
    assert sweep_worker.work(run.run_id) == ExitCode.BAD_INPUT
    assert sweeps.sweep(run.run_id).reason == Reason.RULES_MISMATCH
