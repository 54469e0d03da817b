"""A benchmark that is another ticker, from the request to the result, in a run and in a search."""

from __future__ import annotations

import json

import pytest

from rules import plugins
from service.contract.errors import InvalidRequest, NoData, UnknownTicker
from service.contract.request import parse_request
from service.contract.status import ExitCode
from service.store.claims import ClaimStore
from service.usecases.runs import Runs
from service.usecases.sweeps import Sweeps
from service.worker.run import RunWorker
from service.worker.sweep import SweepWorker
from tests.rules.test_look_ahead import Peek
from tests.support.prices import series
from tests.support.requests import REQUEST, SWEEP
from tests.support.sweeps import submit_launched, table_of

WITH_BENCHMARK = {**REQUEST, "benchmark": "SPY", "risk_free_rate": 0.02}


def test_a_run_remembers_the_prices_of_its_benchmark(runs: Runs) -> None:
    run, _ = runs.submit(WITH_BENCHMARK)
    assert run.benchmark_fingerprint == series("SPY").fingerprint
    assert isinstance(runs.run_store, ClaimStore)
    runs.run_store.mark_launched(run.run_id)
    worker = RunWorker(runs.run_store, runs.price_store)
    assert worker.work(parse_request(json.loads(run.request))) == ExitCode.DONE
    result = runs.result(runs.run(run.run_id))
    assert result.provenance["benchmark_fingerprint"] == series("SPY").fingerprint
    assert result.metrics["benchmark_return_pct"] != result.metrics["buy_and_hold_return_pct"]


def test_the_ticker_itself_is_no_other_benchmark(runs: Runs) -> None:
    run, _ = runs.submit({**REQUEST, "benchmark": "GOOG"})
    assert run.benchmark_fingerprint is None


def test_another_benchmark_or_rate_is_other_work(runs: Runs) -> None:
    ids = [
        runs.submit({**REQUEST, **change})[0].reused_from
        for change in ({}, {"benchmark": "SPY"}, {"risk_free_rate": 0.01})
    ]
    assert ids == [None] * 3


def test_a_request_without_the_new_fields_is_the_text_that_it_always_was(runs: Runs) -> None:
    """So a retry of a request that an earlier release recorded is the same request."""
    run, _ = runs.submit({**REQUEST, "benchmark": "", "risk_free_rate": 0})
    assert "benchmark" not in json.loads(run.request)
    assert "risk_free_rate" not in json.loads(run.request)
    with_rate, _ = runs.submit({**REQUEST, "risk_free_rate": 0.01})
    assert json.loads(with_rate.request)["risk_free_rate"] == 0.01


def test_refused_before_anything_is_recorded(runs: Runs, sweeps: Sweeps) -> None:
    with pytest.raises(UnknownTicker, match="NOBODY"):
        runs.submit({**REQUEST, "benchmark": "NOBODY"})
    with pytest.raises(NoData, match="The benchmark SPY has prices from 2000-05-01 to 2020-05-01"):
        runs.submit({**REQUEST, "end_date": "2023-09-21", "benchmark": "SPY"})
    with pytest.raises(NoData, match="The benchmark SPY has prices from"):
        sweeps.submit({**SWEEP, "end_date": "2023-09-21", "benchmark": "SPY"})
    with pytest.raises(InvalidRequest, match="benchmark must be a ticker"):
        runs.submit({**REQUEST, "benchmark": "not a ticker"})
    with pytest.raises(InvalidRequest, match="risk_free_rate must be a yearly fraction"):
        runs.submit({**REQUEST, "risk_free_rate": 7})


def test_every_row_of_a_search_is_measured_as_a_run(
    sweeps: Sweeps, sweep_worker: SweepWorker, runs: Runs
) -> None:
    asked = {**SWEEP, "metric": "alpha", "benchmark": "SPY", "risk_free_rate": 0.02}
    run = submit_launched(sweeps, asked)
    assert sweep_worker.work(run.run_id) == ExitCode.DONE
    rows = table_of(sweeps, run.run_id)
    single = sweeps.single(run, "GOOG", {"fast": 5, "slow": 30})
    assert (single.benchmark, single.risk_free_rate) == ("SPY", 0.02)
    row = rows[(rows["fast"] == 5) & (rows["slow"] == 30)].iloc[0]
    one, _ = runs.submit(single.document())
    assert isinstance(runs.run_store, ClaimStore)
    runs.run_store.mark_launched(one.run_id)
    assert RunWorker(runs.run_store, runs.price_store).work(single) == ExitCode.DONE
    result = runs.result(runs.run(one.run_id))
    assert row["alpha"] == result.metrics["alpha"]
    assert row["sharpe_ratio"] == result.sharpe_ratio
    provenance = sweeps.result(sweeps.sweep(run.run_id)).provenance
    assert set(provenance["prices_fingerprints"]) == {"GOOG", "SPY"}


@pytest.fixture
def with_peek(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plug-in whose defaults are honest."""
    known = {**plugins.BUILT_IN, "PEEK": Peek}
    monkeypatch.setattr(plugins, "installed_rules", lambda validate: known)


@pytest.mark.usefixtures("with_peek")
def test_what_looks_ahead_is_refused_with_the_parameters_asked_for(
    runs: Runs, sweeps: Sweeps
) -> None:
    runs.submit({**REQUEST, "rule_id": "PEEK"})
    with pytest.raises(InvalidRequest, match="PEEK_1 cannot be used: PEEK_1 looks ahead"):
        runs.submit({**REQUEST, "rule_id": "PEEK_1"})
    with pytest.raises(InvalidRequest, match="PEEK_3 looks ahead"):
        runs.submit({**REQUEST, "rule_id": "ALL(RSI,PEEK_3)"})
    sweeps.submit({**SWEEP, "rule_id": "PEEK", "grid": {"offset": [0]}})
    with pytest.raises(InvalidRequest, match="PEEK_1 looks ahead"):
        sweeps.submit({**SWEEP, "rule_id": "PEEK", "grid": {"offset": "0:2"}})


@pytest.mark.usefixtures("with_peek")
def test_what_the_web_did_not_see_ends_the_run_and_the_search(
    runs: Runs, sweeps: Sweeps, sweep_worker: SweepWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(plugins, "refuse_faulty", lambda rule: None)
        patch.setattr("service.search.plan.refuse_faulty", lambda rule: None)
        run, _ = runs.submit({**REQUEST, "rule_id": "PEEK_1"})
        sweep = submit_launched(sweeps, {**SWEEP, "rule_id": "PEEK", "grid": {"offset": "0:2"}})
    assert isinstance(runs.run_store, ClaimStore)
    runs.run_store.mark_launched(run.run_id)
    worker = RunWorker(runs.run_store, runs.price_store)
    assert worker.work(parse_request(json.loads(run.request))) == ExitCode.BAD_INPUT
    sweep_worker.work(sweep.run_id)
    for run_id in (run.run_id, sweep.run_id):
        ended = runs.run(run_id)
        assert (ended.status, ended.reason) == ("failed", "LookAhead")
        assert "looks ahead: its signal of 20" in str(ended.message)
        assert "its author must mend it" in str(runs.status(ended).hint)
