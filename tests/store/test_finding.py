"""A search finds what a plain look at every run finds, in the same order, page by page."""

from __future__ import annotations

import operator
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, insert

from service.contract.request import parse_request
from service.contract.status import Status
from service.store.finding import SORTED, Condition, Found, Place
from service.store.rows import Run
from service.store.tables import run_notes, run_stars, run_tags, runs
from tests.support.databases import migrated_database
from tests.support.requests import REQUEST, RUN_ID
from tests.support.stores import EveryStore

FIRST_MOMENT = datetime(2026, 1, 1)
RULES = ("RSI", "RSI_14_30_70", "RSIX_1", "MA_CROSS_10_30", "ALL(RSI_14_30_70,MA_CROSS_10_30)")
COMPARE = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
NUMBERS = ("costs_pct", "total_return_pct", "sharpe_ratio", "excess_pct", "num_trades")
RUNS = 90
ASKED = parse_request({**REQUEST, "run_id": RUN_ID}).canonical()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Runs with many equal values and some without any, a third of them with marks."""
    with migrated_database(tmp_path_factory.mktemp("finding")) as engine:
        _fill(engine)
        yield EveryStore(engine)


def _fill(engine: Engine) -> None:
    statuses = list(Status)
    with engine.begin() as connection:
        for number in range(RUNS):
            has_numbers = number % 4 != 0
            row = {
                "run_id": str(uuid.UUID(int=number)),
                "request": ASKED,
                "ticker": ("GOOG", "SPY", "005930.KS")[number % 3],
                "rule_id": RULES[number % len(RULES)],
                "prices_fingerprint": f"{number % 2:02}",
                "rules_digest": "d",
                "status": statuses[number % len(statuses)],
                "created_at": FIRST_MOMENT + timedelta(hours=7 * number),
                "client": ("kim", "Kim", "lee_1")[number % 3],
                "batch_id": "b" if number % 5 == 0 else None,
                "start_date": f"20{10 + number % 6}-01-04" if number % 7 else None,
                "end_date": "2020-12-30",
                "costs_pct": number % 3 / 10,
                "total_return_pct": number % 11 - 5.5 if has_numbers else None,
                "buy_and_hold_return_pct": number % 5 * 1.5 if number % 3 else None,
                "sharpe_ratio": number % 7 / 3 - 1 if has_numbers else None,
                "max_drawdown_pct": number % 9 * 1.0 if has_numbers else None,
                "num_trades": number % 4 if has_numbers else None,
            }
            run = connection.execute(insert(runs).values(row)).inserted_primary_key[0]
            if number % 3 == 0:
                connection.execute(insert(run_tags).values(runs_id=run, tag="idea"))
                connection.execute(insert(run_stars).values(runs_id=run))
            if number % 6 == 0:
                connection.execute(insert(run_tags).values(runs_id=run, tag="Idea_2"))
                connection.execute(
                    insert(run_notes).values(runs_id=run, note="50% 좋음", version=1)
                )


def every_run(store: EveryStore) -> list[Run]:
    return sorted(store.latest(1000), key=lambda run: run.id)


def value_of(run: Run, name: str) -> Any:
    return {"asked": run.id, "rule": run.rule_id}.get(name, getattr(run, name, None))


def in_order(found: Sequence[Run], sort: str) -> list[Run]:
    """Sorted as Python does it: those without a value last, of equal ones the newest first."""
    name = sort.removeprefix("-")
    newest_first = sorted(found, key=lambda run: -run.id)
    known = [run for run in newest_first if value_of(run, name) is not None]
    unknown = [run for run in newest_first if value_of(run, name) is None]
    known.sort(key=lambda run: value_of(run, name), reverse=sort.startswith("-"))
    if sort.startswith("-"):
        # `reverse` keeps the order of equal ones.
        assert all(
            one.id > other.id
            for one, other in pairwise(known)
            if value_of(one, name) == value_of(other, name)
        )
    return known + unknown


def numbers_as_python_does(run: Run, condition: Condition) -> bool:
    value = value_of(run, condition.name)
    return value is not None and COMPARE[condition.comparison](value, condition.values[0])


CONDITIONS = st.builds(
    Condition,
    st.sampled_from(NUMBERS),
    st.sampled_from(list(COMPARE)),
    st.sampled_from([-1.0, 0.0, 0.1, 0.2, 1.0, 1.5, 2.0]).map(lambda value: [value]),
)
# Databases order signs such as the underscore in rules in their own ways.
SORTS = st.sampled_from([sign + name for name in SORTED if name != "rule" for sign in ("", "-")])


@given(conditions=st.lists(CONDITIONS, max_size=3), sort=SORTS, limit=st.integers(1, 40))
def test_pages_in_both_directions_have_every_run_once_and_in_order(
    store: EveryStore, conditions: list[Condition], sort: str, limit: int
) -> None:
    wanted = [
        run
        for run in every_run(store)
        if all(numbers_as_python_does(run, condition) for condition in conditions)
    ]
    expected = [run.run_id for run in in_order(wanted, sort)]
    page = store.find(conditions, sort, limit)
    assert page.count == len(expected)
    assert page.previous is None
    pages = [page]
    while page.next is not None:
        page = store.find(conditions, sort, limit, after=page.next)
        pages.append(page)
    assert [run.run_id for page in pages for run in page.runs] == expected
    for later, earlier in pairwise(reversed(pages)):
        assert later.previous is not None
        back = store.find(conditions, sort, limit, before=later.previous)
        assert _ids(back) == _ids(earlier)
        assert (back.previous is None) == (earlier is pages[0])
        assert back.next is not None


def _ids(found: Found) -> list[str]:
    return [run.run_id for run in found.runs]


@pytest.mark.parametrize(
    ("condition", "is_wanted"),
    [
        (Condition("ticker", "=", ["SPY", "GOOG"]), lambda run: run.ticker != "005930.KS"),
        (Condition("ticker", "!=", ["SPY"]), lambda run: run.ticker != "SPY"),
        (Condition("ticker", "~", ["930.k"]), lambda run: run.ticker == "005930.KS"),
        (Condition("rule", "=", ["RSI"]), lambda run: run.rule_id in ("RSI", "RSI_14_30_70")),
        (Condition("rule", "!=", ["RSI"]), lambda run: run.rule_id not in ("RSI", "RSI_14_30_70")),
        (Condition("rule", "~", ["rsi"]), lambda run: "RSI" in run.rule_id),
        (Condition("rule", "=", [RULES[-1]]), lambda run: run.rule_id == RULES[-1]),
        (Condition("status", "=", ["failed"]), lambda run: run.status == "failed"),
        (Condition("client", "=", ["Kim"]), lambda run: run.client == "Kim"),
        (Condition("client", "~", ["e_1"]), lambda run: run.client == "lee_1"),
        (Condition("batch", "=", ["b"]), lambda run: run.batch_id == "b"),
        (Condition("batch", "!=", ["b"]), lambda run: run.batch_id is None),
        (Condition("prices", "=", ["01", "%"]), lambda run: run.id % 2 == 0),
        (Condition("prices", "=", ["0"]), lambda run: True),
        (Condition("prices", "!=", ["01"]), lambda run: run.id % 2 == 1),
        (
            Condition("start_date", ">", ["2013-01-04"]),
            lambda run: (run.start_date or "") > "2013-01-04",
        ),
        (Condition("tag", "=", ["idea"]), lambda run: run.id % 3 == 1),
        (Condition("tag", "=", ["Idea_2", "none"]), lambda run: run.id % 6 == 1),
        (Condition("tag", "!=", ["idea"]), lambda run: run.id % 3 != 1),
        (Condition("tag", "~", ["a_2"]), lambda run: run.id % 6 == 1),
        (Condition("star", "=", ["yes"]), lambda run: run.id % 3 == 1),
        (Condition("star", "=", ["no"]), lambda run: run.id % 3 != 1),
        (Condition("note", "~", ["50% 좋"]), lambda run: run.id % 6 == 1),
        (Condition("note", "~", ["50_"]), lambda run: False),
    ],
)
def test_each_kind_of_condition(store: EveryStore, condition: Condition, is_wanted: Any) -> None:
    found = store.find([condition], "-asked", 1000)
    expected = [run.run_id for run in reversed(every_run(store)) if is_wanted(run)]
    assert _ids(found) == expected
    assert expected or condition.values == ["50_"]


@pytest.mark.parametrize("comparison", COMPARE)
def test_the_day_of_the_request_is_a_whole_day(store: EveryStore, comparison: str) -> None:
    day = datetime(2026, 1, 5)
    condition = Condition("asked", comparison, [day, day + timedelta(days=1)])
    expected = [
        run.run_id
        for run in reversed(every_run(store))
        if COMPARE[comparison](run.created_at.date(), day.date())
    ]
    assert _ids(store.find([condition], "-asked", 1000)) == expected
    assert expected


def test_a_page_whose_runs_are_gone_is_the_first_one(store: EveryStore) -> None:
    found = store.find([], "-asked", 10, after=Place(1))
    assert _ids(found) == _ids(store.find([], "-asked", 10))
    assert found.next is not None


def test_a_place_that_is_gone_is_still_a_place(store: EveryStore) -> None:
    """Its run may have been deleted while the reader looked at the page."""
    found = store.find([], "-sharpe_ratio", 1000, after=Place(0, 0.5))
    assert all(run.sharpe_ratio is None or run.sharpe_ratio < 0.5 for run in found.runs)
    assert found.runs
