"""A search reads as a success only where everything that is known speaks for it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.search.verdict import Evidence, percent

GOOD = Evidence(
    trades=12,
    tries=174,
    best_pct=250.0,
    holding_pct=120.0,
    timing=0.97,
    overfitting=0.2,
    reality_check=math.nan,
)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "97 % probability its timing is more than luck after 174 tries: by the usual 95 % it"),
        ({"overfitting": math.nan}, "by the usual 95 % it is"),
        ({"reality_check": 0.05}, "by the usual 95 % it is"),
        ({"timing": 0.9499}, "94 % probability its timing is more than luck after 174 tries: less"),
        ({"timing": math.nan}, "Too little happened"),
        ({"overfitting": 0.51}, "usually below average in the other half: treat it as luck"),
        ({"reality_check": 0.054}, "with p = 0.054, above the usual 0.05: treat it as luck"),
        ({"holding_pct": 250.0}, "found nothing better than holding"),
        ({"best_pct": 119.99}, "earned 119.99 %, holding the ticker 120.00 %: the search found"),
        ({"trades": 0}, "No combination traded"),
    ],
)
def test_sentences(changes: dict[str, float], words: str) -> None:
    evidence = replace(GOOD, **changes)  # type: ignore[arg-type]
    assert words in evidence.sentence()


@given(
    st.integers(0, 3),
    st.floats(-100, 1000),
    st.floats(-100, 1000),
    st.floats(0, 1) | st.just(math.nan),
    st.floats(0, 1) | st.just(math.nan),
    st.floats(0, 1) | st.just(math.nan),
)
def test_a_success_has_everything_for_it(
    trades: int, best: float, holding: float, timing: float, overfitting: float, p: float
) -> None:
    evidence = Evidence(trades, 9, best, holding, timing, overfitting, p)
    speaks_against = overfitting > 0.5 or p > 0.05
    assert evidence.is_more_than_luck == (
        trades > 0 and best > holding and timing >= 0.95 and not speaks_against
    )
    assert "{" not in evidence.sentence()


@pytest.mark.parametrize(
    ("probability", "text"),
    [
        (0.9499, "94 %"),
        (0.95, "95 %"),
        (0.29, "29 %"),
        (0.99, "99 %"),
        (0.996, "> 99 %"),
        (1.0, "100 %"),
        (0.01, "1 %"),
        (0.004, "< 1 %"),
        (0.0, "0 %"),
        (math.nan, "–"),
    ],
)
def test_a_probability_is_never_shown_as_more_than_it_is(probability: float, text: str) -> None:
    assert percent(probability) == text
