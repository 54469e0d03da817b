"""What is kept of a trial: the same key and sketch from a run and from a search."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest.kernel import Terms
from rules.base_rule import CompositeRule
from rules.optimizer import grid
from rules.registry import BUILT_IN, rule_from_id
from service.search.combined import combined
from service.search.sampling import rule_ids
from service.trials.records import (
    LARGEST_KEY,
    MOST_RECORDS,
    RECORD,
    Sketching,
    keys_of,
    records_from,
    records_of,
    share_of_keys,
)

TERMS = Terms(100_000.0, 0.001, 0.0, 0.0, False)
BARS = 500
DAYS = np.arange(BARS) + 15_000


def returns(seed: int, rows: int) -> np.ndarray:
    return np.random.Generator(np.random.PCG64(seed)).normal(0.0, 0.01, (rows, BARS))


def alikeness(sketches: np.ndarray) -> np.ndarray:
    vectors = sketches.astype(np.float64)
    lengths = np.sqrt((vectors * vectors).sum(axis=1))
    return vectors @ vectors.T / np.outer(lengths, lengths)


def test_a_key_names_rule_parameters_terms_and_sources() -> None:
    key = keys_of(["RSI_14_30_70"], TERMS)[0]
    assert 0 <= key <= LARGEST_KEY
    assert keys_of(["RSI_14_30_70"], Terms(100_000, 0.001, 0, 0, False))[0] == key
    others = [
        keys_of(["RSI_14_30_71"], TERMS)[0],
        keys_of(["RSI_14_30_70"], TERMS, "other sources")[0],
        *(
            keys_of(["RSI_14_30_70"], other)[0]
            for other in (
                Terms(100_001.0, 0.001, 0.0, 0.0, False),
                Terms(100_000.0, 0.002, 0.0, 0.0, False),
                Terms(100_000.0, 0.001, 0.001, 0.0, False),
                Terms(100_000.0, 0.001, 0.0, 1.0, False),
                Terms(100_000.0, 0.001, 0.0, 0.0, True),
            )
        ),
    ]
    assert len({key, *others}) == 8


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_the_rows_of_a_search_have_the_names_of_single_runs(name: str) -> None:
    rule = BUILT_IN[name]
    asked = {
        parameter.name: [parameter.default, parameter.high]
        for parameter in rule.metadata.parameters
    }
    rows = grid(rule, asked)
    assert rule_ids(rule, rows.params) == [rows.rule_at(row).rule_id for row in range(len(rows))]


def test_so_have_those_of_a_combination() -> None:
    asked = rule_from_id("ALL(MA_CROSS_10_30,BB_20_2)", {})
    assert isinstance(asked, CompositeRule)
    rule = combined(asked)
    rows = grid(type(rule), {**rule.params, "fast_1": [5, 10], "width_2": [1.5, 2.0]})
    assert rule_ids(type(rule), rows.params) == [
        "ALL(MA_CROSS_5_30,BB_20_1.5)",
        "ALL(MA_CROSS_5_30,BB_20_2)",
        "ALL(MA_CROSS_10_30,BB_20_1.5)",
        "ALL(MA_CROSS_10_30,BB_20_2)",
    ]


def test_alike_returns_have_alike_sketches() -> None:
    one, other, held = returns(1, 3)
    mixed = np.array([one, other, 0.95 * one + np.sqrt(1 - 0.95**2) * other, -one, 7 * one])
    sketches = Sketching(held, DAYS).sketches(mixed)
    assert np.abs(sketches).max(axis=1).tolist() == [127] * 5
    alike = alikeness(sketches)
    assert abs(alike[0, 1]) < 0.6
    assert alike[0, 2] > 0.85
    assert alike[0, 3] == pytest.approx(-1.0, abs=0.01)
    assert alike[0, 4] == pytest.approx(1.0, abs=0.001)


def test_what_the_ticker_itself_did_makes_nobody_alike() -> None:
    one, other, held = returns(2, 3)
    sketching = Sketching(held, DAYS)
    alike = alikeness(sketching.sketches(np.array([one + 30 * held, other + 30 * held, one])))
    assert abs(alike[0, 1]) < 0.6
    assert alike[0, 2] > 0.95


def test_trials_on_other_dates_meet_in_the_days_that_both_have() -> None:
    one, held = returns(3, 2)
    whole = Sketching(held, DAYS).sketches(one[np.newaxis])
    part = Sketching(held[100:], DAYS[100:]).sketches(one[np.newaxis, 100:])
    apart = Sketching(held, DAYS + BARS).sketches(one[np.newaxis])
    assert alikeness(np.concatenate([whole, part]))[0, 1] > 0.75
    assert abs(alikeness(np.concatenate([whole, apart]))[0, 1]) < 0.6


def test_a_sketch_depends_on_no_other_row() -> None:
    held, *rows = returns(4, 30)
    sketching = Sketching(held, DAYS)
    together = sketching.sketches(np.array(rows))
    alone = np.concatenate([sketching.sketches(row[np.newaxis]) for row in rows])
    assert together.tobytes() == alone.tobytes()


def test_returns_that_nobody_can_have_make_no_error() -> None:
    held, one = returns(5, 2)
    one[7] = np.inf
    with np.errstate(invalid="ignore"):
        assert Sketching(held, DAYS).sketches(one[np.newaxis]).shape == (1, 32)
        assert not Sketching(held, DAYS).sketches(np.zeros((1, BARS))).any()


def test_records_are_stored_as_they_are() -> None:
    sketches = np.arange(64, dtype=np.int8).reshape(2, 32)
    records = records_of(np.array([5, LARGEST_KEY]), np.array([1.5, np.nan]), np.zeros(2), sketches)
    content = records.tobytes()
    assert len(content) == 2 * RECORD.itemsize == 96
    assert records_from(content).tobytes() == content
    with pytest.raises(ValueError, match="size"):
        records_from(content[:-1])


@given(st.integers(1, 2_000_000))
def test_a_large_search_keeps_a_share_of_its_rows(rows: int) -> None:
    share = (share_of_keys(rows) + 1) / (LARGEST_KEY + 1)
    assert rows * share == pytest.approx(min(rows, MOST_RECORDS), rel=1e-6)
