"""A worker asks the vendor, judges what came, and stores it whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import Engine

from service.contract.fetch import FetchRequest
from service.contract.status import ExitCode
from service.prices.action import Action
from service.prices.files.reading import PriceFile, tidied
from service.prices.series import PriceSeries
from service.store.prices import PriceStore
from service.usecases.fetches import Fetches
from service.usecases.runs import Runs
from service.vendors.errors import NothingThere, TryAgain, VendorFailed
from service.worker.fetch import FetchWorker
from service.worker.holding import Stopped
from tests.support.prices import prices
from tests.support.stores import EveryStore

BUSY = TryAgain("{vendor} is busy.", vendor="It")
ASKED = {"ticker": "NEW", "start_date": "2013-01-01", "end_date": "2013-12-31"}

Answer = PriceFile | Exception


def file_of(bars: pd.DataFrame, *actions: Action) -> PriceFile:
    file = tidied(PriceSeries("NEW", "vendor", bars))
    return replace(file, actions=actions)


GOOD = file_of(prices("GOOG", 100), Action(date(2013, 2, 1), 0.5))


@pytest.fixture
def fetches(runs: Runs) -> Fetches:
    return Fetches(runs)


@pytest.fixture
def work(engine: Engine) -> Callable[[str, Sequence[Answer]], tuple[int, list[float]]]:
    """Works on a fetch with a vendor that gives these answers; its exit code and pauses."""

    def perform(run_id: str, answers: Sequence[Answer]) -> tuple[int, list[float]]:
        waiting = iter(answers)
        pauses: list[float] = []

        def ask(request: FetchRequest) -> PriceFile:
            assert request.ticker == "NEW"
            answer = next(waiting)
            if isinstance(answer, BaseException):
                raise answer
            return answer

        store = EveryStore(engine)
        worker = FetchWorker(store, vendors={"yahoo": ask}, pause=pauses.append)
        store.mark_launched(run_id)
        code = worker.work(run_id)
        assert next(waiting, None) is None
        return code, pauses

    return perform


def asked(fetches: Fetches, client: str = "kim") -> str:
    run, is_new = fetches.submit(ASKED, client)
    assert is_new
    return run.run_id


def result_of(fetches: Fetches, run_id: str) -> Any:
    return fetches.result(fetches.fetch(run_id))


def test_prices_are_stored_with_what_was_paid(fetches: Fetches, work: Any, engine: Engine) -> None:
    run_id = asked(fetches)
    assert work(run_id, [GOOD]) == (ExitCode.DONE, [])
    result = result_of(fetches, run_id)
    assert (result.status, result.bars, result.is_new, result.dividends) == (
        "completed",
        100,
        True,
        1,
    )
    assert result.prices_fingerprint == GOOD.series.fingerprint
    (version,) = PriceStore(engine).versions("NEW", 5)
    assert (version.client, tuple(version.actions)) == ("kim", GOOD.actions)
    again = asked(fetches)
    assert work(again, [GOOD]) == (ExitCode.DONE, [])
    assert result_of(fetches, again).is_new is False
    assert len(PriceStore(engine).versions("NEW", 5)) == 1


def test_a_vendor_that_is_busy_is_asked_again(fetches: Fetches, work: Any) -> None:
    run_id = asked(fetches)
    assert work(run_id, [BUSY, BUSY, GOOD]) == (ExitCode.DONE, [2.0, 10.0])
    assert result_of(fetches, run_id).status == "completed"


def test_a_vendor_that_was_away_may_say_anything_then(fetches: Fetches, work: Any) -> None:
    run_id = asked(fetches)
    assert work(run_id, [BUSY, VendorFailed("No such {x}.", x="ticker")])[1] == [2.0]
    assert result_of(fetches, run_id).error_message == "It is busy."


@pytest.mark.parametrize(
    ("answers", "code", "reason", "message"),
    [
        ([BUSY] * 3, ExitCode.BAD_INPUT, "VendorFailed", "It is busy."),
        (
            [VendorFailed("It has {x}.", x="gone")],
            ExitCode.BAD_INPUT,
            "VendorFailed",
            "It has gone",
        ),
        ([NothingThere("No {ticker}.", ticker="NEW")], ExitCode.NO_DATA, "NoData", "No NEW."),
        (
            [file_of(prices("GOOG", 100).assign(High=1.0))],
            ExitCode.NO_DATA,
            "NoData",
            "errors besides",
        ),
        (
            [ZeroDivisionError("oops")],
            ExitCode.ENGINE_ERROR,
            "EngineError",
            "The prices could not be fetched; the log has the trace.",
        ),
    ],
)
def test_when_no_prices_come(
    fetches: Fetches,
    work: Any,
    engine: Engine,
    answers: list[Answer],
    code: int,
    reason: str,
    message: str,
) -> None:
    run_id = asked(fetches)
    assert work(run_id, answers)[0] == code
    result = result_of(fetches, run_id)
    assert (result.status, result.error_code) == ("failed", reason)
    assert message in result.error_message
    assert PriceStore(engine).ticker("NEW") is None


def test_bad_prices_leave_those_before(fetches: Fetches, work: Any, engine: Engine) -> None:
    work(asked(fetches), [GOOD])
    work(asked(fetches), [file_of(prices("GOOG", 100).assign(High=1.0))])
    known = PriceStore(engine).ticker("NEW")
    assert known is not None
    assert known.fingerprint == GOOD.series.fingerprint


def test_a_fetch_that_was_cancelled_is_not_performed(fetches: Fetches, work: Any) -> None:
    run_id = asked(fetches)
    fetches.runs.cancel(run_id)
    assert work(run_id, []) == (ExitCode.DONE, [])
    assert fetches.fetch(run_id).status == "cancelled"


def test_a_fetch_that_is_cancelled_while_the_vendor_is_asked_changes_nothing(
    fetches: Fetches, engine: Engine
) -> None:
    run_id = asked(fetches)
    store = EveryStore(engine)
    store.mark_launched(run_id)

    def cancel_and_answer(_: FetchRequest) -> PriceFile:
        fetches.runs.cancel(run_id)
        return GOOD

    FetchWorker(store, vendors={"yahoo": cancel_and_answer}).work(run_id)
    assert PriceStore(engine).ticker("NEW") is None
    assert fetches.runs.stored(fetches.fetch(run_id)) is None


def test_a_worker_that_is_told_to_stop_gives_it_back(fetches: Fetches, engine: Engine) -> None:
    run_id = asked(fetches)
    store = EveryStore(engine)
    store.mark_launched(run_id)

    def stop(_: FetchRequest) -> PriceFile:
        raise Stopped

    worker = FetchWorker(store, vendors={"yahoo": stop})
    assert worker.work(run_id) == ExitCode.STOPPED
    assert fetches.fetch(run_id).status == "pending"


def test_the_result_is_kept_as_text(fetches: Fetches, work: Any) -> None:
    run_id = asked(fetches)
    table = prices("GOOG", 100)
    table.iloc[-1, :4] = float("nan")
    work(run_id, [file_of(table)])
    stored = fetches.runs.stored(fetches.fetch(run_id))
    assert stored is not None
    document = json.loads(stored.result)
    assert document["notes"] == [
        {"template": "The last bar has no prices yet: left out.", "values": {}}
    ]
