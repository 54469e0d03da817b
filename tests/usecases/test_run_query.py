"""The language of searches: what it means, and what it refuses with which words."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from service.contract.errors import InvalidRequest
from service.store.finding import Condition
from service.usecases.run_query import FIELDS, checked_sort, conditions_of
from tests.support.stores import EveryStore


def test_conditions_stand_side_by_side() -> None:
    text = 'ticker=goog,AAPL rule=RSI sharpe_ratio > 0.8 asked>=2026-11-01 tag=idea star note~"a b"'
    assert conditions_of(text) == [
        Condition("ticker", "=", ["GOOG", "AAPL"]),
        Condition("rule", "=", ["RSI"]),
        Condition("sharpe_ratio", ">", [0.8]),
        Condition("asked", ">=", [datetime(2026, 11, 1), datetime(2026, 11, 2)]),
        Condition("tag", "=", ["idea"]),
        Condition("star", "=", ["yes"]),
        Condition("note", "~", ["a b"]),
    ]
    assert conditions_of("  ") == []


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("rule=ALL(RSI_14_30_70,MACD)", Condition("rule", "=", ["ALL(RSI_14_30_70,MACD)"])),
        ('tag="a,b"', Condition("tag", "=", ["a,b"])),
        ("rule=ma_cross_10_30", Condition("rule", "=", ["MA_CROSS_10_30"])),
        ("note~a=b", Condition("note", "~", ["a=b"])),
        ("STATUS=Failed", Condition("status", "=", ["failed"])),
        ("costs_pct<=0.15%", Condition("costs_pct", "<=", [0.15])),
        ("excess_pct>-1e3", Condition("excess_pct", ">", [-1000.0])),
        ("end_date=2020-02-07", Condition("end_date", "=", ["2020-02-07"])),
        ("star=no", Condition("star", "=", ["no"])),
        ("tag=좋음", Condition("tag", "=", ["좋음"])),
    ],
)
def test_each_kind_of_value(text: str, condition: Condition) -> None:
    assert conditions_of(text) == [condition]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("sharp>1", 'There is no field "sharp". Did you mean sharpe_ratio?'),
        ("tikcer=GOOG", 'There is no field "tikcer". Did you mean ticker?'),
        ("colour=red", 'There is no field "colour". The fields are ticker, rule,'),
        ("GOOG", "GOOG is no condition; write ticker=GOOG, rule=GOOG or tag=GOOG."),
        ("ticker", "ticker has no value; a condition is written as ticker=GOOG,AAPL."),
        ("ticker= rule=RSI", "ticker has no value; a condition is written as ticker=GOOG,AAPL."),
        ("ticker==GOOG", "ticker==GOOG is no condition; one is written as"),
        ("sharpe_ratio>", "sharpe_ratio has no value; a condition is written as"),
        ("colour= rule=RSI", 'There is no field "colour"'),
        ("((", "(( is no condition; one is written as ticker=GOOG sharpe_ratio>0.8."),
        ("ticker>GOOG", "ticker can be compared with = != ~, not with >."),
        ("note=x", "note can be compared with ~, not with =."),
        ("sharpe_ratio>high", "sharpe_ratio must be something like 0.8; got high."),
        ("sharpe_ratio>1e999", "sharpe_ratio must be something like 0.8; got 1e999."),
        ("sharpe_ratio>nan", "sharpe_ratio must be something like 0.8; got nan."),
        ("sharpe_ratio>٣", "sharpe_ratio must be something like 0.8; got ٣."),
        ("asked>yesterday", "asked must be something like 2026-11-01; got yesterday."),
        ("asked=2026-02-30", "asked must be something like 2026-11-01; got 2026-02-30."),
        ("asked>9999-12-31", "asked must be something like 2026-11-01; got 9999-12-31."),
        ("status=done", "status must be one of pending, running,"),
        ("tag=,", "tag must be something like idea; got ,."),
        ('note~""', 'note must be something like idea; got "".'),
        ("ticker=A " * 21, "A search has at most 20 conditions, got 21."),
        ("x" * 501, "A search has at most 500 characters, got 501."),
    ],
)
def test_a_mistake_is_named_and_mended(text: str, sentence: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        conditions_of(text)
    assert str(refused.value).startswith(sentence)


def test_a_column_to_sort_by_must_exist() -> None:
    assert checked_sort("-excess_pct") == "-excess_pct"
    with pytest.raises(InvalidRequest, match=r"sort must be one of asked, ticker.*; got --asked\."):
        checked_sort("--asked")


WORDS = st.one_of(
    st.sampled_from(
        [
            f"{field.name}{comparison}{value}"
            for field in FIELDS.values()
            for comparison in field.comparisons
            for value in (field.example, "%_\\", "'; DROP TABLE runs", '"a b"')
        ]
    ),
    st.text(max_size=20),
)


@given(words=st.lists(WORDS, max_size=8))
def test_whatever_is_typed_is_found_or_refused(words: list[str]) -> None:
    try:
        conditions = conditions_of(" ".join(words))
    except InvalidRequest as error:
        assert str(error)
        return
    assert all(condition.name in FIELDS for condition in conditions)
    assert all(condition.values for condition in conditions)


@pytest.mark.parametrize("name", FIELDS)
def test_the_database_knows_every_field_and_comparison(engine: Engine, name: str) -> None:
    field = FIELDS[name]
    for comparison in field.comparisons:
        conditions = conditions_of(f"{name}{comparison}{field.example}")
        assert EveryStore(engine).find(conditions, "-asked", 5).runs == []
