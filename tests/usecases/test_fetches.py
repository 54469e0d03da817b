"""Fetches are recorded like other runs, all or none, and nothing else than fetches."""

from __future__ import annotations

from datetime import date

import pytest

from service.contract.errors import InvalidRequest, QueueFull, RunNotFound, UnknownTicker
from service.usecases.fetches import Fetches
from service.usecases.runs import Runs
from tests.support.requests import REQUEST


@pytest.fixture
def fetches(runs: Runs) -> Fetches:
    return Fetches(runs)


def test_a_fetch_is_a_run_of_its_own_kind(fetches: Fetches) -> None:
    run, is_new = fetches.submit({"ticker": "BRK-B"}, "kim")
    assert is_new
    assert (run.kind, run.ticker, run.rule_id, run.client) == ("prices", "BRK-B", "yahoo", "kim")
    assert (run.start_date, run.end_date) == ("2000-01-01", str(fetches.today()))
    assert fetches.fetch(run.run_id) == run
    asked = {"run_id": run.run_id, "ticker": "BRK-B"}
    assert fetches.submit(asked) == (run, False)
    with pytest.raises(RunNotFound):
        fetches.runs.backtest(run.run_id)


def test_a_backtest_is_no_fetch(fetches: Fetches) -> None:
    run, _ = fetches.runs.submit(REQUEST)
    with pytest.raises(RunNotFound):
        fetches.fetch(run.run_id)


def test_a_name_is_enough_where_the_ticker_is_known(fetches: Fetches) -> None:
    fetches.runs.price_store.add_names([("삼성전자", "005930.KS")])
    assert fetches.submit({"ticker": "삼성전자"})[0].ticker == "005930.KS"
    with pytest.raises(UnknownTicker):
        fetches.submit({"ticker": "삼성전기"})


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"ticker": "goog"}, "ticker must be 1 to 32 of"),
        ({"vendor": "bloomberg"}, "vendor must be yahoo or krx"),
        ({"start_date": "2020-01-02", "end_date": "2020-01-01"}, "start_date must be before"),
        ({"start_date": "soon"}, "start_date must be a date"),
        ({"more": 1}, "There is no field"),
    ],
)
def test_what_is_no_fetch(fetches: Fetches, change: dict[str, object], sentence: str) -> None:
    with pytest.raises(InvalidRequest, match=sentence):
        fetches.submit({"ticker": "GOOG", **change})


def test_several_are_recorded_all_or_none(fetches: Fetches) -> None:
    runs = fetches.submit_all(["GOOG", "MSFT"], {"start_date": "2015-01-01", "end_date": ""}, "kim")
    assert [run.ticker for run in runs] == ["GOOG", "MSFT"]
    assert {run.start_date for run in runs} == {"2015-01-01"}
    with pytest.raises(InvalidRequest):
        fetches.submit_all(["AAPL", "no ticker"], {})
    few = Fetches(Runs(fetches.runs.run_store, fetches.runs.price_store, max_pending=3))
    with pytest.raises(QueueFull):
        few.submit_all(["A", "B"], {})
    assert len(fetches.runs.run_store.latest(10)) == 2


def test_the_same_fetch_is_the_same_after_midnight(
    fetches: Fetches, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"run_id": "11111111-1111-4111-8111-111111111111", "ticker": "GOOG"}
    monkeypatch.setattr(Fetches, "today", lambda _: date(2026, 1, 1))
    run, _ = fetches.submit(asked)
    monkeypatch.setattr(Fetches, "today", lambda _: date(2026, 1, 2))
    assert fetches.submit(asked) == (run, False)


def test_what_is_written_as_a_ticker_is_fetched_as_it_is(fetches: Fetches) -> None:
    fetches.runs.price_store.add_names([("GS", "078930")])
    assert fetches.submit({"ticker": "GS"})[0].ticker == "GS"


def test_the_costs_of_a_user_are_those_of_the_last_backtest(fetches: Fetches) -> None:
    run, _ = fetches.runs.submit(REQUEST, "kim")
    fetches.submit({"ticker": "GOOG"}, "kim")
    assert fetches.runs.run_store.latest_of("kim") == run
