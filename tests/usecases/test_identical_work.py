"""Identical work is answered from a finished run, attached to one at work, or forced anew."""

from __future__ import annotations

import threading
import time
import uuid
from dataclasses import replace

import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.orm import Session

from service.contract.errors import NoResult
from service.contract.request import parse_request
from service.contract.result import HEADLINE
from service.contract.status import ATTACHED, Status
from service.engine.adapter import fingerprint_of_work
from service.prices.series import PriceSeries
from service.store.rows import Run
from service.store.tables import runs as table
from service.usecases.runs import Runs
from service.worker.run import RunWorker
from tests.support.prices import series
from tests.support.requests import REQUEST


def submit(runs: Runs, force: bool = False, **changes: object) -> Run:
    return runs.submit({**REQUEST, **changes}, force=force)[0]


def perform(runs: Runs, run: Run) -> None:
    request = parse_request({**REQUEST, "run_id": run.run_id})
    assert RunWorker(runs.run_store, runs.price_store).work(request) == 0


def perform_as(runs: Runs, run: Run, **changes: object) -> None:
    request = parse_request({**REQUEST, **changes, "run_id": run.run_id})
    assert RunWorker(runs.run_store, runs.price_store).work(request) == 0


def states(runs: Runs, *known: Run) -> list[tuple[Status, str | None]]:
    rows = [runs.run(run.run_id) for run in known]
    return [(row.status, row.reused_from) for row in rows]


def queue(runs: Runs) -> list[str]:
    return [run.run_id for run in runs.run_store.queued(99)]


def test_a_finished_twin_answers_at_once(runs: Runs) -> None:
    first = submit(runs)
    perform(runs, first)
    again = submit(runs)
    assert (again.status, again.reused_from) == (Status.COMPLETED, first.run_id)
    assert queue(runs) == []
    done = runs.result(runs.run(first.run_id))
    reused = runs.result(again)
    assert reused == replace(done, run_id=again.run_id)
    assert reused.reproducible() == done.reproducible()
    assert runs.equity_csv(again) == runs.equity_csv(runs.run(first.run_id))
    assert {name: getattr(again, name) for name in HEADLINE} == done.headline()
    assert runs.status(runs.run(again.run_id)).reused_from == first.run_id
    assert again.finished_at is not None
    third = submit(runs)
    assert third.reused_from == first.run_id, "of the one that has the result, not of another twin"


def test_a_running_twin_is_shared_to_its_end(runs: Runs) -> None:
    first, second, third = (submit(runs) for _ in range(3))
    assert states(runs, second, third) == [(Status.PENDING, first.run_id)] * 2
    assert queue(runs) == [first.run_id], "one job for all of them"
    status = runs.status(runs.run(second.run_id))
    assert (status.status, status.queue_position, status.hint, status.reused_from) == (
        "pending",
        None,
        ATTACHED,
        first.run_id,
    )
    perform(runs, first)
    assert states(runs, second, third) == [(Status.COMPLETED, first.run_id)] * 2
    assert (
        runs.result(runs.run(third.run_id)).reproducible()
        == runs.result(runs.run(first.run_id)).reproducible()
    )


def test_force_computes_anew(runs: Runs) -> None:
    first = submit(runs)
    forced = submit(runs, force=True)
    assert forced.reused_from is None
    assert queue(runs) == [first.run_id, forced.run_id]
    perform(runs, first)
    perform(runs, forced)
    assert (
        runs.result(runs.run(forced.run_id)).reproducible()
        == runs.result(runs.run(first.run_id)).reproducible()
    )
    assert submit(runs).reused_from == first.run_id


def test_a_failure_is_shared_and_then_forgotten(runs: Runs) -> None:
    first = submit(runs)
    second = submit(runs)
    runs.run_store.mark_launched(first.run_id)
    assert runs.run_store.fail(runs.run(first.run_id), "Timeout", "Too long.", '{"exit_code": -9}')
    rows = [runs.run(run.run_id) for run in (first, second)]
    assert [(row.status, row.reason, row.message) for row in rows] == [
        (Status.FAILED, "Timeout", "Too long.")
    ] * 2
    assert runs.result(rows[0]).provenance == {"evidence": {"exit_code": -9}}
    assert runs.result(rows[1]).error_code == "Timeout"
    third = submit(runs)
    assert third.reused_from is None, "nobody is answered with an old failure"
    assert queue(runs) == [third.run_id]


@pytest.mark.parametrize("launched", [False, True])
def test_cancelling_a_run_passes_its_work_on(runs: Runs, launched: bool) -> None:
    first, second, third = (submit(runs) for _ in range(3))
    if launched:
        runs.run_store.mark_launched(first.run_id)
    runs.cancel(first.run_id)
    assert states(runs, second, third) == [(Status.PENDING, None), (Status.PENDING, second.run_id)]
    assert queue(runs) == [second.run_id]
    assert submit(runs).reused_from == second.run_id
    if launched:
        assert runs.run_store.finish_cancelling(first.run_id)
    perform(runs, second)
    assert states(runs, third) == [(Status.COMPLETED, second.run_id)]
    assert runs.run(first.run_id).status == Status.CANCELLED


def test_cancelling_an_attached_run_leaves_the_others(runs: Runs) -> None:
    first, second, third = (submit(runs) for _ in range(3))
    assert runs.cancel(second.run_id).status == Status.CANCELLED
    perform(runs, first)
    assert [state for state, _ in states(runs, first, second, third)] == [
        Status.COMPLETED,
        Status.CANCELLED,
        Status.COMPLETED,
    ]


def test_a_requeued_run_keeps_those_attached(runs: Runs) -> None:
    first = submit(runs)
    second = submit(runs)
    runs.run_store.mark_launched(first.run_id)
    runs.run_store.requeue(runs.run(first.run_id))
    assert states(runs, first, second) == [(Status.PENDING, None), (Status.PENDING, first.run_id)]
    assert queue(runs) == [first.run_id]


@pytest.mark.parametrize(
    "change",
    [
        {"ticker": "SPY"},
        {"initial_capital": 99_999},
        {"commission_rate": 0.002},
        {"slippage_rate": 0.001},
        {"lot_size": 1},
        {"allow_short": True},
        {"end_date": "2020-02-06"},
        {"rule_id": "MA_CROSS_10_31"},
        {"params": {"fast": 11}},
    ],
)
def test_other_work_is_not_the_same(runs: Runs, change: dict[str, object]) -> None:
    submit(runs)
    assert submit(runs, **change).reused_from is None


def test_new_prices_or_rules_are_other_work(runs: Runs) -> None:
    submit(runs)
    old = series("GOOG")
    runs.price_store.save(PriceSeries("GOOG", "newer", old.data.iloc[:-1]))
    assert submit(runs).reused_from is None
    request = parse_request({**REQUEST, "run_id": str(uuid.uuid4())})
    assert fingerprint_of_work(request, "p", "r") == fingerprint_of_work(
        replace(request, run_id=str(uuid.uuid4())), "p", "r"
    )
    assert fingerprint_of_work(request, "p", "r") != fingerprint_of_work(request, "p", "s")


def test_many_identical_requests_at_once_are_one_work(runs: Runs, engine: Engine) -> None:
    submitted: list[Run] = []
    barrier = threading.Barrier(8)

    def ask() -> None:
        barrier.wait()
        submitted.extend(submit(runs) for _ in range(5))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(submitted) == 40
    assert len(queue(runs)) == 1
    (leader,) = queue(runs)
    assert {run.reused_from for run in submitted} == {None, leader}


@pytest.mark.parametrize("number", range(10))
def test_nobody_is_left_behind_by_an_end_at_the_same_moment(runs: Runs, number: int) -> None:
    """Attached a moment before or first a moment after, never attached to a run that has ended."""
    leader = submit(runs)
    runs.run_store.mark_launched(leader.run_id)
    row = runs.run(leader.run_id)
    start = threading.Barrier(2)

    def end() -> None:
        start.wait()
        time.sleep(number / 2000)
        runs.run_store.fail(row, "Timeout", "Too long.")

    thread = threading.Thread(target=end)
    thread.start()
    start.wait()
    attached = [submit(runs) for _ in range(4)]
    thread.join()
    for run in attached:
        now = runs.run(run.run_id)
        if now.reused_from == leader.run_id:
            assert now.status == Status.FAILED
        else:
            assert now.run_id in queue(runs) or now.attached


def test_the_view_shows_reused_results_as_their_own(runs: Runs, engine: Engine) -> None:
    first = submit(runs)
    perform(runs, first)
    again = submit(runs)
    with Session(engine) as session:
        rows = session.execute(
            text("SELECT run_id, metrics, chart_base64 FROM backtest_results")
        ).all()
    by_id = {row.run_id: row for row in rows}
    assert again.run_id in by_id[again.run_id].metrics
    assert first.run_id not in by_id[again.run_id].metrics
    assert by_id[again.run_id].chart_base64 == by_id[first.run_id].chart_base64


def test_expiry_keeps_what_others_were_answered_from(runs: Runs, engine: Engine) -> None:
    first = submit(runs)
    perform(runs, first)
    again = submit(runs)
    waiting = submit(runs, initial_capital=7)
    with engine.begin() as connection:
        connection.execute(
            text(f"UPDATE runs SET finished_at = '2020-01-01' WHERE run_id = '{first.run_id}'")
        )
        connection.execute(text("UPDATE runs SET created_at = '2020-01-01'"))
    assert runs.run_store.expire(30, 99, None) == (0, None)
    with engine.begin() as connection:
        connection.execute(
            text(f"UPDATE runs SET finished_at = '2020-01-02' WHERE run_id = '{again.run_id}'")
        )
    assert runs.run_store.expire(30, 99, None) == (1, None)
    assert runs.run_store.get(again.run_id) is None
    assert runs.run_store.expire(30, 99, None) == (1, None), (
        "the one they were answered from goes last"
    )
    assert runs.run_store.result(first.run_id) is None
    assert runs.run(waiting.run_id).status == Status.PENDING, "unfinished ones stay, however old"
    with engine.connect() as connection:
        assert connection.scalar(select(table.c.run_id)) == waiting.run_id


def test_cancelling_a_leader_and_its_heir_at_once_leaves_nobody_waiting(runs: Runs) -> None:
    for _ in range(12):
        leader, heir, last = (submit(runs) for _ in range(3))
        start = threading.Barrier(2)

        def cancel(run: Run, start: threading.Barrier = start) -> None:
            start.wait()
            runs.cancel(run.run_id)

        threads = [threading.Thread(target=cancel, args=(run,)) for run in (leader, heir)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (
            states(runs, leader, heir)[0][0] == states(runs, leader, heir)[1][0] == Status.CANCELLED
        )
        assert queue(runs) == [last.run_id], "its turn has come"
        assert submit(runs).reused_from == last.run_id
        for run_id in queue(runs):
            runs.cancel(run_id)
        for run_id in queue(runs):
            runs.cancel(run_id)


def test_a_cancelled_twin_has_no_result_of_the_other(runs: Runs, engine: Engine) -> None:
    leader = submit(runs)
    second = submit(runs)
    runs.cancel(second.run_id)
    perform(runs, leader)
    with pytest.raises(NoResult):
        runs.equity_csv(runs.run(second.run_id))
    with Session(engine) as session:
        rows = dict(session.execute(text("SELECT run_id, metrics FROM backtest_results")).all())
    assert rows[second.run_id] is None
    assert rows[leader.run_id] is not None


def test_expiry_goes_on_where_it_stopped(runs: Runs, engine: Engine) -> None:
    """What must stay is passed by, not looked at for ever."""
    for number in range(3):
        leader = submit(runs, initial_capital=10 + number)
        perform_as(runs, leader, initial_capital=10 + number)
        submit(runs, initial_capital=10 + number)
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE runs SET finished_at = '2020-01-01'"
                " WHERE reused_from IS NULL AND status = 'completed'"
            )
        )
        connection.execute(
            text("UPDATE runs SET finished_at = '2020-01-02' WHERE reused_from IS NOT NULL")
        )
    gone, after = runs.run_store.expire(30, 3, None)
    assert gone == 0
    assert after is not None
    assert runs.run_store.expire(30, 9, after) == (3, None)
    assert runs.run_store.expire(30, 9, None) == (3, None)


def test_names_that_differ_in_case_are_two_clients(runs: Runs) -> None:
    runs.submit(dict(REQUEST), "bob")
    assert runs.run_store.recent_count("Bob", 60, 9) == 0
