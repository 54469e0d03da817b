"""How sure a result is, in words and in its small figure."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from service.web.drawings import HEIGHT, WIDTH, strip_of
from service.web.presentation import unbroken
from service.web.result_doubt import Doubt, length_sentence


def test_a_strip_has_a_dot_for_each_value_within_its_band() -> None:
    strip = strip_of([(0.5, "asked"), (0.25, "late"), (1.0, "dear")], [-1.0, 3.0])
    assert strip is not None
    assert (strip.low, strip.high) == (-1.0, 3.0)
    assert strip.band == (0, WIDTH)
    assert strip.zero == WIDTH / 4
    assert strip.asked == strip.dots[0].x == WIDTH * 1.5 / 4
    assert [dot.label for dot in strip.dots] == ["asked", "late", "dear"]
    assert strip.dots[1].x == pytest.approx(WIDTH * 1.25 / 4, abs=0.1)
    heights = [dot.y for dot in strip.dots]
    assert heights == sorted(heights)
    assert 0 < heights[0] < heights[-1] < HEIGHT


def test_a_strip_without_a_band_or_without_values() -> None:
    strip = strip_of([(2.0, "asked"), (2.0, "late")], None)
    assert strip is not None
    assert (strip.band, strip.zero) == (None, None)
    assert strip_of([], [0.0, 1.0]) is None
    open_ended = strip_of([(2.0, "asked")], [1.0, None])
    assert open_ended is not None
    assert open_ended.band is None


@pytest.mark.parametrize(
    ("fields", "name", "expected"),
    [
        ({}, "sharpe_ratio", None),
        ({"bands": {}}, "sharpe_ratio", None),
        ({"bands": {"sharpe_ratio": [None, None]}}, "sharpe_ratio", None),
        ({"bands": {"profit_factor": [1.5, None]}}, "profit_factor", "95 % band: 1.500 to ∞"),
        ({"bands": {"cagr_pct": [-3.0, 12.345]}}, "cagr_pct", "95 % band: -3.00 % to 12.35 %"),
    ],
)
def test_bands_in_words(fields: dict[str, Any], name: str, expected: str | None) -> None:
    with Flask("test").test_request_context():
        assert Doubt(fields, 1.0).band(name) == (expected and unbroken(expected))


def test_growth_is_that_of_the_calendar() -> None:
    """Of bars of which 365 are a year, the metrics count 252 as one."""
    doubt = Doubt({"bands": {"cagr_pct": [0.0, 10.0]}}, 365 / 252)
    with Flask("test").test_request_context():
        assert doubt.band_of_yearly_growth() == unbroken("95 % band: 0.00 % to 14.80 %")
    assert doubt.yearly_growth(10.0) == pytest.approx(100 * (1.1 ** (365 / 252) - 1))
    assert doubt.yearly_growth(None) is None
    assert doubt.yearly_growth(-100.0) == -100.0
    assert doubt.yearly_growth(1e300) is None


@pytest.mark.parametrize(
    ("needed", "expected"),
    [
        (470, "Its record of 1.8 years is long enough for 95 %: 1.8 would do."),
        (400, "Its record of 1.8 years is long enough for 95 %: 1.5 would do."),
        (480, "For 95 % its record would have to be 2.0 years long; it has 1.8."),
        (10**6, "For 95 % its record would have to be more than 100 years long; it has 1.8."),
    ],
)
def test_the_length_that_is_shown_is_as_the_sentence_says(needed: int, expected: str) -> None:
    with Flask("test").test_request_context():
        assert length_sentence(needed, 475, 1.885) == expected
