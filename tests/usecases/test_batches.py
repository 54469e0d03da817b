"""A batch is recorded whole or not at all, once, and its runs are runs like all others."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

import pytest

from service.contract.errors import (
    BatchConflict,
    BatchRefused,
    InvalidRequest,
    QueueFull,
    RunNotFound,
    TooManyRequests,
)
from service.usecases.batches import Batches
from service.usecases.runs import Runs
from tests.support.requests import REQUEST

BATCH: dict[str, Any] = {
    "tickers": ["GOOG", "SPY"],
    "rules": ["RSI", {"rule_id": "MA_CROSS", "params": {"fast": 5}}, "ALL(RSI,MACD)"],
    "start_date": "2013-01-02",
    "end_date": "2020-02-07",
    "commission_rate": 0.002,
}


@pytest.fixture
def batches(runs: Runs) -> Batches:
    return Batches(runs)


def test_every_rule_runs_on_every_ticker_on_the_same_terms(batches: Batches) -> None:
    batch = batches.submit(BATCH, "kim")
    assert batch.tickers == ["GOOG", "SPY"]
    assert batch.rules == [
        "RSI_14_30_70",
        "MA_CROSS_5_30",
        "ALL(RSI_14_30_70,MACD_12_26_9)",
    ]
    assert len(batch.runs) == 6
    for ticker in batch.tickers:
        for rule in batch.rules:
            run = batch.run_of(ticker, rule)
            assert run is not None
            assert run.batch_id == batch.batch_id
            assert run.client == "kim"
            assert (run.start_date, run.end_date, run.costs_pct) == (
                "2013-01-02",
                "2020-02-07",
                0.2,
            )
    assert len(batch.row("SPY")) == 3
    assert len(batch.column("RSI_14_30_70")) == 2
    assert batch.is_unfinished


def test_asked_for_twice_it_is_recorded_once(batches: Batches) -> None:
    document = {**BATCH, "batch_id": str(uuid.uuid4())}
    first, second = batches.submit(document), batches.submit(document)
    assert [run.id for run in first.runs] == [run.id for run in second.runs]
    for other in ({"tickers": ["GOOG"]}, {"rules": ["RSI"]}, {"commission_rate": 0}):
        with pytest.raises(BatchConflict):
            batches.submit({**document, **other})
    assert len(batches.batch(document["batch_id"]).runs) == 6
    # What was deleted since is no other request.
    for run in first.runs:
        batches.runs.cancel(run.run_id)
    batches.runs.run_store.delete([first.runs[0].run_id])
    assert len(batches.submit(document).runs) == 5


def test_a_rule_that_is_named_in_two_ways_runs_once(batches: Batches) -> None:
    document = {**BATCH, "rules": ["RSI", "RSI_14_30_70", {"rule_id": "RSI", "params": {}}]}
    batch = batches.submit(document, force=True)
    assert len(batch.runs) == 2
    assert batch.rules == ["RSI_14_30_70"]


def test_an_identical_run_of_before_answers_its_cell(batches: Batches, runs: Runs) -> None:
    run, _ = runs.submit({**REQUEST, "rule_id": "RSI"})
    shared = {name: REQUEST[name] for name in ("start_date", "end_date") if name in REQUEST}
    batch = batches.submit({**shared, "tickers": [run.ticker], "rules": ["RSI", "MACD"]})
    assert [each.reused_from for each in batch.runs] == [run.run_id, None]
    forced = batches.submit(
        {**shared, "tickers": [run.ticker], "rules": ["RSI", "RSI"][:1]}, force=True
    )
    assert forced.runs[0].reused_from is None


def test_one_bad_ticker_and_none_is_submitted_and_all_errors_are_told(
    batches: Batches, runs: Runs
) -> None:
    document = {
        **BATCH,
        "tickers": ["GOOG", "NOPE", "SPY", "bad ticker"],
        "rules": ["RSI", "RSX", {"rule_id": "MA_CROSS", "params": {"fast": 90}}],
    }
    with pytest.raises(BatchRefused) as refused:
        batches.submit(document)
    sentences = [str(error) for error in refused.value.errors]
    assert len(sentences) == len(set(sentences)) == 4
    for part in ("bad ticker", "NOPE", "RSX", "fast must be below slow"):
        assert sum(part in sentence for sentence in sentences) == 1, part
    assert runs.run_store.latest(1) == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"tickers": []}, "tickers must be a list of 1 to 500 different tickers"),
        ({"tickers": ["GOOG", "GOOG"]}, "tickers must be a list of 1 to 500 different"),
        ({"tickers": "GOOG"}, "tickers must be a list"),
        ({"tickers": [5]}, "tickers.0 must be a text such as GOOG"),
        ({"rules": [{"params": {}}]}, "rules.0 must be"),
        ({"ticker": "GOOG"}, 'There is no field "ticker". Did you mean tickers?'),
        ({"end_date": "2013-01-02"}, "start_date must be before end_date"),
        ({"batch_id": "mine"}, "batch_id must be a lower-case UUID4"),
        (
            {"tickers": [f"T{n}" for n in range(101)], "rules": [f"R{n}" for n in range(5)]},
            "A batch has at most 500 runs; 505 are asked for.",
        ),
        ({"tickers": [f"T{n}" for n in range(30)]}, None),
    ],
)
def test_a_batch_that_is_none(batches: Batches, change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidRequest if sentence else BatchRefused) as refused:
        batches.submit({**BATCH, **change})
    if sentence:
        assert str(refused.value).startswith(sentence)


def test_it_does_not_overrun_the_queue(runs: Runs) -> None:
    batches = Batches(replace(runs, max_pending=7))
    batches.submit(BATCH)
    with pytest.raises(QueueFull):
        batches.submit({**BATCH, "commission_rate": 0})
    # What is waiting already is no load.
    assert len(batches.submit(BATCH).runs) == 6
    with pytest.raises(InvalidRequest, match="At most 7 runs may be asked for at once here; 8 are"):
        batches.submit({**BATCH, "rules": ["RSI", "MACD", "BB", "ATR"]})


def test_it_counts_as_its_runs_for_the_limit_of_a_client(runs: Runs) -> None:
    batches = Batches(replace(runs, rate_limit=6))
    batches.submit(BATCH, "kim")
    with pytest.raises(TooManyRequests):
        batches.submit({**BATCH, "commission_rate": 0}, "kim")
    assert len(batches.submit({**BATCH, "commission_rate": 0}, "lee").runs) == 6
    with pytest.raises(InvalidRequest, match="At most 5 runs may be asked for at once here; 6"):
        Batches(replace(runs, rate_limit=5)).submit({**BATCH, "commission_rate": 0.01})


def test_a_batch_without_runs_is_none(batches: Batches, runs: Runs) -> None:
    batch = batches.submit(BATCH)
    for run in batch.runs:
        runs.cancel(run.run_id)
    run_ids = [run.run_id for run in batch.runs]
    runs.run_store.delete(run_ids[:1])
    assert batches.batch(batch.batch_id).run_of(batch.runs[0].ticker, "RSI_14_30_70") is None
    runs.run_store.delete(run_ids)
    with pytest.raises(RunNotFound):
        batches.batch(batch.batch_id)
