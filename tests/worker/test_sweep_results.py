"""The result of a sweep: its rows, statistics and folds, and what it has where rows are lost."""

from __future__ import annotations

import zlib
from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import Engine, text

from backtest.engine import BacktestEngine
from backtest.metrics import bar_returns
from rules.registry import rule_from_id
from service.contract.status import SWEEP as KIND
from service.contract.status import ExitCode, Reason, Status
from service.doubt.luck import deflated_sharpe_ratio
from service.doubt.reality_check import Superior, p_value
from service.engine.adapter import run_backtest
from service.search import plan as plans
from service.search import result as judging
from service.search.cross_validation import cross_validate
from service.search.plan import SweepPlan
from service.search.walk_forward import walk_forward
from service.usecases.sweeps import Sweeps, asked_of
from service.worker.software import Software
from service.worker.sweep import SweepWorker
from tests.support.prices import series
from tests.support.requests import SWEEP
from tests.support.sweeps import TWO_TICKERS, submit_launched, table_of


def test_every_row_is_a_single_run_bit_for_bit(
    sweeps: Sweeps, sweep_worker: SweepWorker, small_shards: None
) -> None:
    run = submit_launched(sweeps, TWO_TICKERS)
    assert run.kind == KIND
    assert sweep_worker.work(run.run_id) == ExitCode.DONE
    rows = table_of(sweeps, run.run_id)
    assert list(rows["ticker"]) == ["GOOG"] * 11 + ["SPY"] * 11
    for _, row in rows.iterrows():
        params = {"fast": int(row["fast"]), "slow": int(row["slow"])}
        request = sweeps.single(run, row["ticker"], params)
        alone = run_backtest(
            request, series(row["ticker"]), rule_from_id("MA_CROSS", params), "x"
        ).result
        for name in ("total_return_pct", "sharpe_ratio", "max_drawdown_pct", "num_trades"):
            assert row[name] == getattr(alone, name), (row["ticker"], params, name)


def test_what_it_says_of_the_best(sweeps: Sweeps, sweep_worker: SweepWorker) -> None:
    run = submit_launched(sweeps, {**TWO_TICKERS, "folds": 3, "reality_check": True})
    sweep_worker.work(run.run_id)
    run = sweeps.sweep(run.run_id)
    result = sweeps.result(run)
    rows = table_of(sweeps, run.run_id)
    assert (result.combinations, result.skipped, result.failed) == (11, 4, [])
    for of_ticker in result.tickers:
        own_rows = rows[rows["ticker"] == of_ticker["ticker"]]
        best = own_rows.loc[own_rows["sharpe_ratio"].idxmax()]
        assert of_ticker["best"]["params"] == {"fast": best["fast"], "slow": best["slow"]}
        assert of_ticker["best"]["metrics"]["sharpe_ratio"] == best["sharpe_ratio"]
        assert (
            of_ticker["statistics"]["deflated_sharpe_ratio"]
            < of_ticker["statistics"]["probabilistic_sharpe_ratio"]
        )
        assert 0 < of_ticker["statistics"]["reality_check_p"] <= 1
        assert len(of_ticker["walk_forward"]["folds"]) == 3
        assert (
            of_ticker["cross_validation"]["out_of_sample"]
            <= of_ticker["cross_validation"]["in_sample"]
        )
        assert of_ticker["sentence"].startswith("The best combination earned")
    assert result.across is not None
    ranks = rows.groupby(["fast", "slow"])["median_rank"].first()
    assert result.across["median_rank"] == ranks.min()
    assert (run.total_return_pct, run.num_trades) == (
        result.tickers[0]["best"]["metrics"]["total_return_pct"],
        result.tickers[0]["best"]["metrics"]["num_trades"],
    )


@pytest.mark.usefixtures("figures_drawn_anew")
def test_the_same_bytes_however_it_is_cut(
    sweeps: Sweeps, sweep_worker: SweepWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = []
    for length in (1000, 4, 1):
        monkeypatch.setattr(plans, "SHARD_ROWS", length)
        run, _ = sweeps.submit({**TWO_TICKERS, "folds": 3}, force=True)
        sweeps.runs.run_store.mark_launched(run.run_id)
        sweep_worker.work(run.run_id)
        run = sweeps.sweep(run.run_id)
        results.append((sweeps.result(run).reproducible(), sweeps.table_csv(run)))
    assert len(set(results)) == 1


@pytest.mark.parametrize(("metric", "anchored"), [("sharpe_ratio", False), ("omega_ratio", True)])
def test_folds_computed_in_shards_are_those_computed_at_once(
    sweeps: Sweeps, sweep_worker: SweepWorker, small_shards: None, metric: str, anchored: bool
) -> None:
    run = submit_launched(
        sweeps, {**TWO_TICKERS, "folds": 4, "metric": metric, "anchored": anchored}
    )
    assert sweep_worker.work(run.run_id) == ExitCode.DONE
    plan = SweepPlan(asked_of(run), series)
    for of_ticker in sweeps.result(sweeps.sweep(run.run_id)).tickers:
        search = plan.search(of_ticker["ticker"])
        numbers = search.numbers()
        walk = walk_forward(search, numbers)
        validated = cross_validate(search, numbers)
        assert [fold["rule_id"] for fold in of_ticker["walk_forward"]["folds"]] == [
            step.rule.rule_id for step in walk.steps
        ]
        assert of_ticker["walk_forward"]["efficiency"] == walk.efficiency
        assert of_ticker["walk_forward"]["sharpe_ratio"] == walk.result["sharpe_ratio"]
        assert of_ticker["cross_validation"]["in_sample"] == validated.in_sample
        assert of_ticker["cross_validation"]["out_of_sample"] == validated.out_of_sample


def test_no_fold_takes_a_row_that_was_lost(
    sweeps: Sweeps, sweep_worker: SweepWorker, small_shards: None
) -> None:
    run = submit_launched(sweeps, {**SWEEP, "folds": 4})
    store = sweeps.runs.run_store
    store.start_sweep(run.run_id, "w")
    for shard in (0, 1):
        attempt = store.claim_shard(run, shard, "w")
        assert attempt
        assert store.fail_shard(run.run_id, shard, attempt, Reason.ENGINE_ERROR, "died")
    assert sweep_worker.work(run.run_id) == ExitCode.DONE
    (of_ticker,) = sweeps.result(sweeps.sweep(run.run_id)).tickers
    plan = SweepPlan(asked_of(run), series)
    known = {plan.grid.rule_at(row).rule_id for row in (8, 9, 10)}
    assert {fold["rule_id"] for fold in of_ticker["walk_forward"]["folds"]} <= known


def test_a_ticker_without_numbers_leaves_the_others(
    sweeps: Sweeps, sweep_worker: SweepWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All rows of SPY are one shard, which is lost; no other sweep is answered from the others."""
    monkeypatch.setattr(plans, "SHARD_ROWS", 11)
    run = submit_launched(sweeps, TWO_TICKERS)
    real = SweepPlan.compute_shard
    attached, _ = sweeps.submit(TWO_TICKERS)

    def crash(plan: SweepPlan, rows: slice) -> bytes:
        return real(plan, rows) if rows.start == 0 else 1 / 0  # type: ignore[return-value]

    with monkeypatch.context() as patched:
        patched.setattr(SweepPlan, "compute_shard", crash)
        assert sweep_worker.work(run.run_id) == ExitCode.DONE
    result = sweeps.result(sweeps.sweep(run.run_id))
    assert [of_ticker["ticker"] for of_ticker in result.tickers] == ["GOOG"]
    assert result.across is None
    assert [(lost["ticker"], lost["reason"]) for lost in result.failed] == [("SPY", "EngineError")]
    assert result.undefined == []
    assert sweeps.sweep(attached.run_id).status == Status.COMPLETED
    again, _ = sweeps.submit(TWO_TICKERS)
    assert (again.status, again.reused_from) == (Status.PENDING, None)


SILENT = {
    **TWO_TICKERS,
    "rule_id": "RSI",
    "grid": {"period": [14], "oversold": [20], "overbought": [70, 80]},
}


def test_a_ticker_without_the_metric_is_named_and_its_numbers_stand(
    sweeps: Sweeps, sweep_worker: SweepWorker
) -> None:
    """RSI never falls so low on GOOG in these years, so that nothing is traded there.

    A second sweep is answered from the first.
    """
    run = submit_launched(sweeps, SILENT)
    sweep_worker.work(run.run_id)
    run = sweeps.sweep(run.run_id)
    result = sweeps.result(run)
    rows = table_of(sweeps, run.run_id)
    assert (result.failed, result.undefined) == ([], ["GOOG"])
    assert [of_ticker["ticker"] for of_ticker in result.tickers] == ["SPY"]
    assert rows[rows["ticker"] == "GOOG"]["num_trades"].tolist() == [0, 0]
    assert (run.total_return_pct, run.num_trades) == (None, None), "the row is that of GOOG"
    again, _ = sweeps.submit(SILENT)
    assert (again.status, again.reused_from) == (Status.COMPLETED, run.run_id)


def test_lost_rows_were_not_tried(
    sweeps: Sweeps, sweep_worker: SweepWorker, monkeypatch: pytest.MonkeyPatch, small_shards: None
) -> None:
    """The statistics are those of the rows that were computed, the reality check among them."""
    run = submit_launched(sweeps, {**SWEEP, "reality_check": True})
    real = SweepPlan.compute_shard

    def crash(plan: SweepPlan, rows: slice) -> bytes:
        return 1 / 0 if rows.start == 8 else real(plan, rows)  # type: ignore[return-value]

    monkeypatch.setattr(SweepPlan, "compute_shard", crash)
    assert sweep_worker.work(run.run_id) == ExitCode.DONE
    (of_ticker,) = sweeps.result(sweeps.sweep(run.run_id)).tickers
    rows = table_of(sweeps, run.run_id)
    kept = rows[rows["num_trades"].notna()]
    assert (len(rows), len(kept)) == (11, 8)
    plan = SweepPlan(asked_of(run), series)
    best = series("GOOG").data.loc[of_ticker["first_bar"] : of_ticker["last_bar"]]
    rule = rule_from_id(of_ticker["best"]["rule_id"])
    equity = (
        BacktestEngine(commission_rate=plan.request.commission_rate)
        .run(best, rule.generate_signals)
        .equity
    )
    tried = kept["sharpe_ratio"].to_numpy() / np.sqrt(252)
    expected = deflated_sharpe_ratio(bar_returns(equity.to_numpy()), tried)
    assert of_ticker["statistics"]["deflated_sharpe_ratio"] == pytest.approx(expected, rel=1e-9)
    assert of_ticker["statistics"]["reality_check_p"] == p_value(
        plan.search("GOOG").reality_check(slice(0, 8)).largest
    )


def test_tickers_share_the_level_of_what_beats_holding(
    sweeps: Sweeps, sweep_worker: SweepWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels = []

    def named(rows: object, level: float) -> Superior:
        levels.append(level)
        return Superior([0], is_all=False)

    monkeypatch.setattr(judging, "superior_trials", named)
    run = submit_launched(sweeps, {**TWO_TICKERS, "reality_check": True})
    sweep_worker.work(run.run_id)
    result = sweeps.result(sweeps.sweep(run.run_id))
    assert levels == [0.025, 0.025]
    first = {"rule_ids": ["MA_CROSS_5_10"], "is_all": False}
    assert result.superior == {"GOOG": first, "SPY": first}
    assert "superior" not in result.provenance


def test_a_metric_that_no_row_has(sweeps: Sweeps, sweep_worker: SweepWorker) -> None:
    """Without a closed trade there is no profit factor."""
    dates = {"start_date": "2018-11-01", "end_date": "2018-12-31"}
    run = submit_launched(
        sweeps, {**SWEEP, **dates, "metric": "profit_factor", "grid": {"fast": [2], "slow": [35]}}
    )
    assert sweep_worker.work(run.run_id) == ExitCode.BAD_INPUT
    run = sweeps.sweep(run.run_id)
    assert (run.status, run.reason) == (Status.FAILED, Reason.BAD_INPUT)
    assert run.message == "profit_factor is undefined for every combination."


def test_a_training_in_which_nothing_was_traded(sweeps: Sweeps, sweep_worker: SweepWorker) -> None:
    """The search itself stands."""
    change = {"rule_id": "RSI", "grid": {"period": [14], "oversold": [20, 25], "overbought": [80]}}
    run = submit_launched(sweeps, {**SWEEP, **change, "start_date": "2013-01-02", "folds": 20})
    assert sweep_worker.work(run.run_id) == ExitCode.DONE
    (of_ticker,) = sweeps.result(sweeps.sweep(run.run_id)).tickers
    folds = of_ticker["walk_forward"]["folds"]
    idle = [fold for fold in folds if fold["rule_id"] == ""]
    assert 0 < len(idle) < len(folds) == 20
    assert {fold["note"] for fold in idle} == {"no combination traded in the training: in cash"}
    assert all(fold["note"] == "" for fold in folds if fold["rule_id"])
    assert of_ticker["cross_validation"] is not None


def test_rows_that_are_too_short_say_so(sweeps: Sweeps, sweep_worker: SweepWorker) -> None:
    change = {
        "start_date": "2018-06-01",
        "end_date": "2018-12-31",
        "grid": {"fast": [5], "slow": [10, 900]},
    }
    run = submit_launched(sweeps, {**SWEEP, **change})
    sweep_worker.work(run.run_id)
    rows = table_of(sweeps, run.run_id)
    assert list(rows["note"].fillna("")) == ["", "needs 901 bars"]
    assert sweeps.result(sweeps.sweep(run.run_id)).tickers[0]["too_short"] == 1


def test_a_column_of_numbers_in_the_name_stands_where_the_grid_says_nothing(
    sweeps: Sweeps, sweep_worker: SweepWorker
) -> None:
    run = submit_launched(sweeps, {**SWEEP, "rule_id": "MA_CROSS_7_50", "grid": {"fast": "5,9"}})
    sweep_worker.work(run.run_id)
    assert set(table_of(sweeps, run.run_id)["slow"]) == {50}
    assert asked_of(run).grid == {"fast": "5,9"}


def test_replace_keeps_a_sweeps_own_software(sweeps: Sweeps, sweep_worker: SweepWorker) -> None:
    run = submit_launched(sweeps)
    replace(sweep_worker, software=Software("rev", "img")).work(run.run_id)
    provenance = sweeps.result(sweeps.sweep(run.run_id)).provenance
    assert (provenance["code_revision"], provenance["image"]) == ("rev", "img")
    assert set(provenance["prices_fingerprints"]) == {"GOOG"}


def test_the_release_before_finds_the_heading_of_the_table(
    sweeps: Sweeps, sweep_worker: SweepWorker, engine: Engine
) -> None:
    """Release 0.2.0 reads tables from the column of equity curves, and shows an empty one."""
    run = submit_launched(sweeps)
    sweep_worker.work(run.run_id)
    with engine.connect() as connection:
        row = connection.execute(text("SELECT equity_csv, table_csv FROM results")).one()
    equity_lines = zlib.decompress(row.equity_csv).decode().splitlines()
    table_lines = zlib.decompress(row.table_csv).decode().splitlines()
    assert equity_lines == table_lines[:1]
    assert len(table_lines) == 12
