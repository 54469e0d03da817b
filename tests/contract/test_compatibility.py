"""The schemas of 0.2.0 still hold: no field leaves, and a new one has a default.

So every document that an earlier release stored, or an earlier client sends, is a valid one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.contract.documents import schema
from service.contract.request import parse_request
from service.contract.sweep import parse_sweep
from tests.support.requests import REQUEST, RUN_ID, SWEEP

EARLIER = Path(__file__).parent / "release_0_2_0"
NAMES = sorted(path.name.removesuffix(".json") for path in EARLIER.glob("*.json"))

OLD_TICKER = "[A-Z0-9^][A-Z0-9.^=-]{0,14}"
# More texts are tickers since: what was one is one, which has a test of its own.
WIDENED = f"^{OLD_TICKER}$"


def broken_promises(earlier: Any, today: Any, where: str = "") -> Iterator[str]:
    """What a document of the earlier schema could no longer rely on."""
    if not isinstance(earlier, dict):
        if earlier != today:
            yield f"{where} is {today!r}, it was {earlier!r}"
        return
    if earlier.get("pattern") == WIDENED:
        return
    for name, value in earlier.items():
        if name in {"description", "title", "each"}:
            continue
        if name not in today:
            yield f"{where}/{name} has left"
        elif name == "properties":
            yield from _broken_properties(value, today[name], f"{where}/{name}")
        else:
            yield from broken_promises(value, today[name], f"{where}/{name}")
    yield from (
        f"{where}/{name} is new" for name in today.keys() - earlier.keys() - {"description"}
    )


def _broken_properties(
    earlier: Mapping[str, Any], today: Mapping[str, Any], where: str
) -> Iterator[str]:
    yield from (f"{where}/{name} has left" for name in earlier.keys() - today.keys())
    for name in today.keys() - earlier.keys():
        if "default" not in today[name]:
            yield f"{where}/{name} is new and has no default"
    for name in earlier.keys() & today.keys():
        yield from broken_promises(earlier[name], today[name], f"{where}/{name}")


@pytest.mark.parametrize("name", NAMES)
def test_the_schema_of_the_release_before_still_holds(name: str) -> None:
    earlier = json.loads((EARLIER / f"{name}.json").read_text())
    assert list(broken_promises(earlier, schema(name))) == []


@given(st.from_regex(OLD_TICKER, fullmatch=True))
def test_every_earlier_ticker_is_one(ticker: str) -> None:
    run = {**REQUEST, "run_id": RUN_ID, "ticker": ticker, "benchmark": ticker}
    assert parse_request(run).ticker == ticker
    assert parse_sweep({**SWEEP, "run_id": RUN_ID, "tickers": [ticker]}).tickers == (ticker,)


def test_no_schema_is_left_out() -> None:
    assert NAMES == ["request.v1", "result.v1", "status.v1", "sweep.v1", "sweep_result.v1"]


@pytest.mark.parametrize(
    ("today", "promise"),
    [
        ({"type": "object", "required": [], "properties": {}}, "/properties/a has left"),
        (
            {
                "type": "object",
                "required": [],
                "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
            },
            "/properties/b is new and has no default",
        ),
        (
            {"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}}},
            "/required is ['a'], it was []",
        ),
    ],
)
def test_a_broken_promise_is_found(today: dict[str, Any], promise: str) -> None:
    earlier = {"type": "object", "required": [], "properties": {"a": {"type": "string"}}}
    assert list(broken_promises(earlier, today)) == [promise]
