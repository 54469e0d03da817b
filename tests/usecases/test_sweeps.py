"""What the use cases do with the request of a sweep: refuse it, reuse it, let it expire."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, text

from service.contract.errors import UserError
from service.contract.status import Status
from service.usecases.sweeps import Sweeps
from service.worker.sweep import SweepWorker
from tests.support.requests import SWEEP
from tests.support.sweeps import submit_launched


def test_the_same_sweep_is_answered_from_the_one_that_did_it(
    sweeps: Sweeps, sweep_worker: SweepWorker
) -> None:
    run = submit_launched(sweeps)
    waiting, _ = sweeps.submit(SWEEP)
    assert waiting.reused_from == run.run_id
    sweep_worker.work(run.run_id)
    later, _ = sweeps.submit(SWEEP)
    for twin in (sweeps.sweep(waiting.run_id), later):
        assert (twin.status, twin.reused_from) == (Status.COMPLETED, run.run_id)
        assert sweeps.table_csv(twin) == sweeps.table_csv(sweeps.sweep(run.run_id))
        assert sweeps.result(twin).run_id == twin.run_id
    other, _ = sweeps.submit({**SWEEP, "metric": "cagr_pct"})
    assert other.reused_from is None


def test_whole_numbers_may_have_a_point(sweeps: Sweeps) -> None:
    run, _ = sweeps.submit({**SWEEP, "folds": 5.0})
    assert '"folds":5,' in run.request
    assert sweeps.submit({**SWEEP, "folds": 5})[0].reused_from == run.run_id


def test_an_attached_sweep_is_as_far_as_the_one_that_does_it(
    sweeps: Sweeps, sweep_worker: SweepWorker, small_shards: None
) -> None:
    run = submit_launched(sweeps)
    attached, _ = sweeps.submit(SWEEP)
    sweep_worker.work(run.run_id, 1)
    assert sweeps.progress(attached) == sweeps.progress(run) == (1, 3)


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
        ({"tickers": ["GOOG", "goog"]}, "tickers.1 must be 1 to 32 of A-Z"),
        ({"tickers": ["GOGG"]}, 'There are no prices of "GOGG"'),
        (
            {"tickers": ["GOOG", "SPY"], "grid": {"fast": "1:251:1", "slow": "252:451:1"}},
            "at most 50000",
        ),
        ({"rule_id": "ALL(RSI,BB)"}, 'ALL(RSI,BB) has no parameter "fast".'),
        ({"rule_id": "ALL(RSI)"}, "ALL(...) joins 2 to 8 rules, got 1."),
        ({"rule_id": "MA_CROS"}, "Did you mean MA_CROSS"),
        ({"folds": 1}, "folds must be 0, or a whole number from 3 to 20"),
        ({"folds": 20, "start_date": "2018-10-01"}, "With 20 folds a training has"),
        (
            {
                "folds": 20,
                "start_date": "2018-12-20",
                "grid": {"fast": [1], "slow": [2]},
                "metric": "total_return_pct",
            },
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


def test_it_expires_with_all_that_belongs_to_it(
    sweeps: Sweeps, sweep_worker: SweepWorker, engine: Engine
) -> None:
    run = submit_launched(sweeps)
    sweep_worker.work(run.run_id)
    with engine.begin() as connection:
        connection.execute(text("UPDATE runs SET finished_at = '2020-01-01'"))
    assert sweeps.runs.run_store.expire(30, 10, None)[0] == 1
    with engine.connect() as connection:
        for name in ("runs", "sweeps", "sweep_shards", "results", "figures"):
            assert connection.scalar(text(f"SELECT count(*) FROM {name}")) == 0, name
