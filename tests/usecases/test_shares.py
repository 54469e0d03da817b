"""What clients share: places in the queue, rows of searches, and the rate of each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from service.contract.errors import QueueFull, TooManyRequests, TooManyRows
from service.store.prices import PriceStore
from service.usecases.batches import Batches
from service.usecases.runs import Runs
from service.usecases.shares import may_have
from service.usecases.sweeps import Sweeps
from tests.support.requests import REQUEST, SWEEP
from tests.support.stores import EveryStore


def test_one_clients_thousand_never_refuses_anothers_first(engine: Engine) -> None:
    small = Runs(EveryStore(engine), PriceStore(engine), max_pending=6)
    for _ in range(6):
        small.submit(dict(REQUEST), "greedy", force=True)
    with pytest.raises(QueueFull, match="6 runs are waiting already"):
        small.submit(dict(REQUEST), "greedy", force=True)
    for _ in range(3):
        small.submit(dict(REQUEST), "kim", force=True)
    with pytest.raises(QueueFull, match="3 of the 9 waiting runs are yours"):
        small.submit(dict(REQUEST), "kim", force=True)
    small.submit(dict(REQUEST), "lee", force=True)


def test_there_is_an_end_to_many_clients_as_well(engine: Engine) -> None:
    small = Runs(EveryStore(engine), PriceStore(engine), max_pending=3)
    for number in range(6):
        small.submit(dict(REQUEST), f"client {number}", force=True)
    with pytest.raises(QueueFull, match="6 runs are waiting already"):
        small.submit(dict(REQUEST), "one more", force=True)


def test_rows_of_searches_are_shared_too(engine: Engine) -> None:
    runs = Runs(EveryStore(engine), PriceStore(engine), max_pending_rows=20)
    sweeps = Sweeps(runs)
    sweeps.submit(dict(SWEEP), "greedy")
    with pytest.raises(TooManyRows, match="have 11 combinations, 11 of them yours"):
        sweeps.submit(dict(SWEEP), "greedy", force=True)
    sweeps.submit(dict(SWEEP), "kim", force=True)
    (first, *_) = runs.run_store.latest(1)
    runs.cancel(first.run_id)
    sweeps.submit(dict(SWEEP), "kim", force=True)


def test_a_client_over_its_rate_is_refused_before_its_work_is_planned(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited = replace(runs, rate_limit=1)
    limited.submit(dict(REQUEST), "kim")

    def plan(*_: Any) -> Any:
        raise AssertionError("this takes the time")

    monkeypatch.setattr(Runs, "planned", plan)
    monkeypatch.setattr(Sweeps, "_planned", plan)
    with pytest.raises(TooManyRequests):
        limited.submit(dict(REQUEST), "kim")
    with pytest.raises(TooManyRequests):
        Sweeps(limited).submit(dict(SWEEP), "kim")
    batch = {**REQUEST, "tickers": ["GOOG"], "rules": ["RSI"]}
    del batch["ticker"], batch["rule_id"]
    with pytest.raises(TooManyRequests):
        Batches(limited).submit(batch, "kim")


@given(
    st.dictionaries(st.sampled_from("abcde"), st.integers(0, 30), max_size=5),
    st.sampled_from("abcdef"),
    st.integers(1, 30),
    st.integers(1, 30),
)
def test_shares(held: dict[str, int], client: str, more: int, limit: int) -> None:
    """Nobody is refused while there is room; whoever has nothing gets a first one, to an end."""
    total = sum(held.values())
    may = may_have(held, client, more, limit)
    if total + more <= limit:
        assert may
    if not held.get(client) and total < 2 * limit:
        assert may_have(held, client, 1, limit)
    if may:
        assert total + more <= max(limit, 2 * limit)
        assert not may or more == 1 or may_have(held, client, more - 1, limit)
