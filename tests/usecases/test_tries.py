"""The ledger of tries: every way to try a rule counts the same, and nothing is forgotten."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, delete, func, select, update

from rules.base_rule import CompositeRule
from rules.registry import rule_from_id
from service.controller.earlier_trials import EarlierTrials
from service.store.rows import Run
from service.store.tables import trials
from service.trials.records import digest_of_plugins, records_from
from service.usecases.runs import Runs
from service.usecases.sweeps import Sweeps
from service.usecases.tries import TriesOfResult, tries_of_run
from service.worker.run import RunWorker
from service.worker.software import Software
from service.worker.sweep import SweepWorker
from tests.support.requests import SWEEP
from tests.support.rules import Fancy
from tests.support.stores import EveryStore
from tests.support.sweeps import submit_launched

GRID = {"fast": [5, 10, 15], "slow": [20, 40, 60]}
ASKED = {**SWEEP, "grid": GRID}


def run_single(runs: Runs, **changes: Any) -> Run:
    """One run, performed."""
    asked = {
        "ticker": "GOOG",
        "rule_id": "MA_CROSS_10_40",
        "start_date": SWEEP["start_date"],
        "end_date": SWEEP["end_date"],
    }
    run, is_new = runs.submit({**asked, **changes})
    assert is_new
    request, _ = runs.request_and_rule(run)
    store = runs.run_store
    RunWorker(store, runs.price_store, Software()).work(request)  # type: ignore[arg-type]
    return runs.run(run.run_id)


def all_singles(runs: Runs) -> list[Run]:
    """Every combination of GRID, each as a run of its own."""
    return [
        run_single(runs, rule_id=f"MA_CROSS_{fast}_{slow}")
        for fast in GRID["fast"]
        for slow in GRID["slow"]
    ]


def tries_of(runs: Runs, run: Run, ticker: str = "GOOG") -> TriesOfResult:
    """What the page of a run says of all tries."""
    return tries_of_run(runs.run_store, run)[ticker]


def test_single_runs_count_as_a_sweep_does(sweeps: Sweeps, sweep_worker: SweepWorker) -> None:
    runs = sweeps.runs
    singles = all_singles(runs)
    by_rule = {run.rule_id: tries_of(runs, run) for run in singles}
    assert [tries_of(runs, run).number for run in singles] == list(range(1, 10))
    sweep = submit_launched(sweeps, ASKED)
    sweep_worker.work(sweep.run_id)
    searched = tries_of(runs, sweep)
    best = sweeps.result(sweeps.sweep(sweep.run_id)).tickers[0]["best"]["rule_id"]
    assert searched.skill == by_rule[best].skill
    assert (searched.number, searched.skill.tries, searched.skill.is_exact) == (9, 9, True)


def test_a_run_after_a_sweep_is_judged_by_all_its_rows(
    sweeps: Sweeps, sweep_worker: SweepWorker
) -> None:
    sweep = submit_launched(sweeps, ASKED)
    sweep_worker.work(sweep.run_id)
    alone = tries_of(sweeps.runs, sweep).skill
    again = tries_of(sweeps.runs, run_single(sweeps.runs, rule_id="MA_CROSS_10_40"))
    assert (again.number, again.skill.tries) == (9, alone.tries)
    other = tries_of(sweeps.runs, run_single(sweeps.runs, rule_id="RSI_14_30_70"))
    assert (other.number, other.skill.tries) == (10, 10)
    assert other.skill.deflated < other.skill.probabilistic


def test_what_earlier_releases_ran_counts(
    engine: Engine, sweeps: Sweeps, sweep_worker: SweepWorker
) -> None:
    runs = sweeps.runs
    store = EveryStore(engine)
    with_digits = {**SWEEP, "rule_id": "BB", "grid": {"period": [10, 20], "width": [1.5, 2]}}
    searched = [submit_launched(sweeps, asked) for asked in (ASKED, with_digits)]
    for sweep in searched:
        sweep_worker.work(sweep.run_id)
    single = run_single(runs, rule_id="RSI_14_30_70")
    keys = {run.run_id: keys_in(store, run) for run in (*searched, single)}
    with engine.begin() as connection:
        connection.execute(delete(trials))
    assert tries_of_run(runs.run_store, single) == {}
    earlier = EarlierTrials(store)
    for _ in range(4):
        earlier.step()
    assert {run.run_id: keys_in(store, run) for run in (*searched, single)} == keys
    again = tries_of(runs, run_single(runs, rule_id="RSI_10_30_70"))
    count = len(set().union(*keys.values())) + 1
    assert (again.skill.tries, again.skill.groups) == (count, count), "nobody knows who is alike"
    with engine.connect() as connection:
        rows = connection.scalar(select(func.count()).select_from(trials))
    earlier.step()
    EarlierTrials(store).step()
    with engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(trials)) == rows


def keys_in(store: EveryStore, run: Run) -> set[int]:
    """The keys of all that a run tried."""
    query = select(trials.c.records).where(trials.c.run_id == run.run_id)
    contents = store._read(lambda connection: connection.scalars(query).all())
    return {int(key) for content in contents for key in records_from(content)["key"]}


def test_the_records_of_a_search_are_those_of_single_runs(
    sweeps: Sweeps, sweep_worker: SweepWorker, small_shards: None
) -> None:
    sweep = submit_launched(sweeps, ASKED)
    sweep_worker.work(sweep.run_id)
    of_sweep = records_in(sweeps.runs, sweep)
    singles = all_singles(sweeps.runs)
    of_singles = np.concatenate([records_in(sweeps.runs, run) for run in singles])
    assert of_sweep.tobytes() == np.sort(of_singles, order="key").tobytes()


def test_a_search_in_which_few_rows_traded_counts_those(
    sweeps: Sweeps, sweep_worker: SweepWorker
) -> None:
    never = [round(1 + number * 0.002, 3) for number in range(4000)]
    grid = {"period": [14], "oversold": [*never, 28, 29, 30, 31], "overbought": [70]}
    sweep = submit_launched(sweeps, {**SWEEP, "rule_id": "RSI", "grid": grid})
    sweep_worker.work(sweep.run_id)
    found = tries_of(sweeps.runs, sweep).skill
    assert found.tries == 4
    assert found.luck > 0
    all_singles(sweeps.runs)
    assert tries_of(sweeps.runs, sweep).skill.tries == 13


def test_a_plugin_with_other_sources_is_another_rule() -> None:
    plugin, ours = Fancy(), rule_from_id("RSI_14_30_70", {})
    assert digest_of_plugins(ours, "digest") == ""
    assert digest_of_plugins(plugin, "digest") == "digest"
    both = CompositeRule("ALL", [ours, plugin])
    assert digest_of_plugins(both, "digest") == "digest"


def test_an_entry_that_cannot_be_read_stops_no_other(
    engine: Engine, runs: Runs, caplog: pytest.LogCaptureFixture
) -> None:
    first, second, third = (run_single(runs, rule_id=f"MA_CROSS_{fast}_40") for fast in (5, 10, 15))
    for change in ({"records": b"x"}, {"complete_to": -1}, {"trials": 0, "kept": 5}):
        is_first = trials.c.run_id == first.run_id
        with engine.begin() as connection:
            kept = connection.execute(select(trials).where(is_first)).one()._mapping
            connection.execute(update(trials).where(is_first).values(**change))
        assert tries_of(runs, second).skill.tries == 2
        with engine.begin() as connection:
            connection.execute(update(trials).where(is_first).values(**kept))
    assert "cannot be read" in caplog.text
    with engine.begin() as connection:
        is_third = trials.c.run_id == third.run_id
        connection.execute(update(trials).where(is_third).values(judged="{"))
    assert tries_of_run(runs.run_store, third) == {}
    assert tries_of(runs, second).skill.tries == 3


def records_in(runs: Runs, run: Run) -> np.ndarray:
    query = select(trials.c.records).where(trials.c.run_id == run.run_id)
    content = runs.run_store._read(lambda connection: connection.scalar(query))
    return records_from(content or b"")


def test_what_was_left_out_cuts_the_sample(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    singles = all_singles(runs)
    real = runs.run_store.trials_on

    def some(ticker: str, first_day: str, last_day: str) -> object:
        return real(ticker, first_day, last_day, most_sets=5)

    monkeypatch.setattr(type(runs.run_store), "trials_on", staticmethod(some))
    found = tries_of(runs, singles[0]).skill
    assert not found.is_exact
    assert found.tries > 5


def test_searches_that_overlap_are_read_to_the_end(
    sweeps: Sweeps, sweep_worker: SweepWorker
) -> None:
    """Twelve searches of 140 to 162 rows that have most of them in common: 162 different ones."""
    for most in range(12):
        grid = {"fast": list(range(2, 20)), "slow": list(range(30, 32 + most))}
        sweep = submit_launched(sweeps, {**SWEEP, "grid": {**grid, "slow": [30, 40 + most]}})
        sweep_worker.work(sweep.run_id)
    found = tries_of(sweeps.runs, sweep).skill
    assert (found.tries, found.is_exact) == (18 * 13, True)
