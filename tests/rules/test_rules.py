"""Rules: their signals, their text form, and the sentence of each refusal."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.base_rule import BaseRule, CompositeRule, InvalidRule, Signal, number_text
from rules.registry import BUILT_IN, rule_from_id
from tests.support.prices import TICKERS, prices, random_walk
from tests.support.rule_definitions import DEFINITIONS, defined_signals
from tests.support.rules import ANY_RULE

GOOG = prices()


@settings(max_examples=300)
@given(ANY_RULE)
def test_rule_id_and_back(rule: BaseRule) -> None:
    again = rule_from_id(rule.rule_id)
    assert type(again) is type(rule)
    assert again.params == rule.params
    assert again.rule_id == rule.rule_id


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_name_alone_means_the_defaults(name: str) -> None:
    rule = rule_from_id(name)
    assert rule.metadata.name == name
    assert rule.rule_id == BUILT_IN[name]().rule_id
    assert rule_from_id(rule.rule_id).params == rule.params


@pytest.mark.parametrize("rule_id", DEFINITIONS)
def test_default_rule_ids(rule_id: str) -> None:
    assert rule_from_id(rule_id).rule_id == rule_id
    assert BUILT_IN[rule_from_id(rule_id).metadata.name]().rule_id == rule_id


def test_minus_nothing_is_nothing() -> None:
    assert rule_from_id("RSI", {"oversold": -0.0}).rule_id == "RSI_14_0_70"


def test_params_override_numbers_by_name() -> None:
    assert rule_from_id("RSI_14_30_70", {"oversold": 25}).rule_id == "RSI_14_25_70"
    assert rule_from_id("RSI", {"period": 7.0}).rule_id == "RSI_7_30_70"
    assert rule_from_id("MA_CROSS_50_30", {"fast": 5}).rule_id == "MA_CROSS_5_30"


@pytest.mark.parametrize(
    ("rule_id", "params", "sentence"),
    [
        ("RSX_14_30_70", {}, 'There is no rule "RSX". Did you mean RSI_14_30_70?'),
        ("rsi_14_30_70", {}, 'There is no rule "rsi". Did you mean RSI_14_30_70?'),
        ("MA_CROS_10_30", {}, "Did you mean MA_CROSS_10_30?"),
        ("QWERTYUIOP", {}, "The rules are MA_CROSS, RSI,"),
        ("", {}, 'There is no rule "".'),
        ("<script>alert</script>", {}, "There is no rule"),
        (
            "RSI_14",
            {},
            "RSI takes 3 numbers (period, oversold, overbought), such as RSI_14_30_70; got 1.",
        ),
        ("MOMENTUM_1_2", {}, "MOMENTUM takes 1 numbers (lookback)"),
        ("RSI_14.5_30_70", {}, "RSI: period must be a whole number, got 14.5."),
        ("RSI_1_30_70", {}, "RSI: period must be between 2 and 1000, got 1."),
        ("RSI_-14_30_70", {}, "RSI: period must be between 2 and 1000, got -14."),
        ("RSI_14_70_30", {}, "RSI: oversold must be below overbought, got 70 and 30."),
        ("MA_CROSS_30_30", {}, "MA_CROSS: fast must be below slow, got 30 and 30."),
        ("RSI", {"perod": 3}, 'RSI has no parameter "perod". Did you mean period?'),
        ("RSI", {"x": 3}, 'RSI has no parameter "x". It has period, oversold, overbought.'),
        ("RSI", {"period": True}, "RSI: period must be a number, got True."),
        ("RSI", {"period": "14"}, "RSI: period must be a number, got '14'."),
        ("RSI", {"period": float("nan")}, "RSI: period must be between 2 and 1000, got nan."),
        ("RSI", {"oversold": float("inf")}, "RSI: oversold must be between 0 and 100, got inf."),
        ("RSI", {"period": 10**400}, "RSI: period must be between 2 and 1000, got 1000"),
        ("RSI", {"period": 10**9000}, "got a number of thousands of digits."),
        ("BB", {"width": 1 / 3}, "BB: width has at most 12 decimals, got 0.3333333333333333."),
        ("RSI", {"oversold": 1e-154}, "RSI: oversold has at most 12 decimals, got 1e-154."),
        ("BB_20_1e3", {}, 'There is no rule "BB_20_1e3"'),
        ("BB_20_\u0662", {}, "There is no rule"),
        ("RSI_14_30_70\n", {}, "There is no rule"),
        ("x" * 201, {}, "A rule_id has at most 200 characters, got 201."),
        ("ALL(RSI)", {}, "ALL(...) joins 2 to 8 rules, got 1."),
        ("ANY(" + ",".join(["RSI"] * 9) + ")", {}, "ANY(...) joins 2 to 8 rules, got 9."),
        ("SOME(RSI,BB)", {}, "A combination is one of ALL, ANY, MAJORITY, got SOME."),
        ("ALL(ANY(RSI,BB),BB)", {}, "combinations cannot be nested"),
        ("ALL(RSI,)", {}, "ALL(...) has an empty place between its commas."),
        (
            "ALL(RSI",
            {},
            "A combination is written ALL(A,B), ANY(A,B) or MAJORITY(A,B,C); got ALL(RSI.",
        ),
        ("RSI,BB", {}, "A combination is written"),
        ("RSI", {"self": 3}, 'RSI has no parameter "self".'),
        ("ALL(RSI,RSX)", {}, "Did you mean RSI_14_30_70?"),
        ("ALL(RSI,BB)", {"period": 3}, "A combination takes no params"),
    ],
)
def test_refusals(rule_id: str, params: dict[str, object], sentence: str) -> None:
    with pytest.raises(InvalidRule, match=re.escape(sentence)):
        rule_from_id(rule_id, params)


def test_a_short_text_that_stands_for_a_long_one() -> None:
    class Long(BUILT_IN["RSI"]):  # type: ignore[misc, valid-type]
        metadata = replace(BUILT_IN["RSI"].metadata, name="A_RULE_WITH_A_LONG_NAME_")

    with pytest.raises(
        InvalidRule, match="With its numbers the rule_id has more than 200 characters"
    ):
        rule_from_id("ALL(" + ",".join(["LONG"] * 8) + ")", {}, {"LONG": Long})


def test_rules_are_refused_as_members_of_a_nested_combination() -> None:
    inner = CompositeRule("ALL", [BUILT_IN["RSI"](), BUILT_IN["BB"]()])
    with pytest.raises(InvalidRule, match="nested"):
        CompositeRule("ANY", [inner, BUILT_IN["BB"]()])


@settings(max_examples=300)
@given(
    st.text(max_size=60),
    st.dictionaries(st.text(max_size=8), st.integers() | st.floats() | st.booleans(), max_size=3),
)
def test_any_text_is_a_rule_or_one_sentence(text: str, params: dict[str, object]) -> None:
    try:
        assert rule_from_id(text, params).rule_id
    except InvalidRule as error:
        assert 0 < len(str(error)) < 300


@pytest.mark.parametrize("value", [0.1, 1e-7, 1e15, 2.5, 1 / 3, 100.0, 30])
def test_number_text_reads_back(value: float) -> None:
    assert float(number_text(value)) == value
    assert "e" not in number_text(value)


@pytest.mark.parametrize("ticker", ["GOOG", "AMD", "SPY"])
@pytest.mark.parametrize("name", BUILT_IN)
def test_signals_are_those_of_the_definition(name: str, ticker: str) -> None:
    data = prices(ticker, 1200)
    rule = BUILT_IN[name]()
    signals = rule.generate_signals(data)
    expected = np.array(defined_signals(rule.rule_id, data))
    differs = np.flatnonzero(signals.to_numpy() != expected)
    assert len(differs) == 0, differs[:5]
    assert signals.index.equals(data.index)
    assert not signals.iloc[: rule.warm_up - 1].any()
    assert (expected == 1).any() or name == "VALUE"


@pytest.mark.parametrize("ticker", TICKERS)
def test_rules_fire_on_every_ticker(ticker: str) -> None:
    for rule in BUILT_IN.values():
        if rule.metadata.name != "VALUE":
            assert set(rule().generate_signals(prices(ticker)).unique()) == {-1, 0, 1}, rule


@pytest.mark.parametrize("price", [0.1, 7.3, 7.46, 10.1, 33.33, 101.7])
def test_a_market_that_rests_gives_no_signal(price: float) -> None:
    """Rounding must not look like a move, whatever the price."""
    still = prices(bars=200)
    still[["Open", "High", "Low", "Close"]] = price
    for rule_id in (
        "MEAN_REVERSION_20_0.5",
        "BB_20_0.5",
        "RSI",
        "VOLUME",
        "TREND",
        "ATR",
        "BREAKOUT",
        "VALUE_50_0",
    ):
        assert not rule_from_id(rule_id).generate_signals(still).any(), rule_id
    for rule_id in ("MA_CROSS_10_30", "MACD", "MACD_5_35_5", "MACD_7_19_9", "MOMENTUM_20"):
        assert not (rule_from_id(rule_id).generate_signals(still) == Signal.BUY).any(), rule_id


def test_value_buys_what_fell_for_years() -> None:
    data = random_walk(1000, 9, 0.01)
    data[["Open", "High", "Low", "Close"]] *= np.linspace(3, 1, 1000)[:, None]
    assert (rule_from_id("VALUE_756_10").generate_signals(data) == Signal.BUY).any()


@pytest.mark.parametrize(("mode", "needed"), [("ALL", 3), ("ANY", 1), ("MAJORITY", 2)])
def test_a_combination_votes_with_positions(mode: str, needed: int) -> None:
    members = [BUILT_IN[name]() for name in ("MA_CROSS", "RSI", "MACD")]
    combined = CompositeRule(mode, members)
    votes = np.zeros(len(GOOG), dtype=int)
    for member in members:
        position = 0
        for bar, value in enumerate(member.generate_signals(GOOG)):
            position = {1: 1, -1: 0, 0: position}[value]
            votes[bar] += position
    is_long = False
    expected = []
    for count in votes:
        is_wanted = count >= needed
        expected.append(int(is_wanted) - int(is_long))
        is_long = is_wanted
    assert combined.generate_signals(GOOG).tolist() == expected
    assert combined.warm_up == 34
    assert rule_from_id(combined.rule_id).rule_id == combined.rule_id


def test_more_than_half_of_an_even_number() -> None:
    rule = rule_from_id("MAJORITY(MA_CROSS, RSI)")
    assert rule.rule_id == "MAJORITY(MA_CROSS_10_30,RSI_14_30_70)"
    both = rule_from_id("ALL(MA_CROSS,RSI)")
    assert rule.generate_signals(GOOG).equals(both.generate_signals(GOOG))


@pytest.mark.parametrize("rule", BUILT_IN.values())
def test_docstrings_say_when_and_where_from(rule: type[BaseRule]) -> None:
    assert rule.__doc__ is not None
    for word in ("BUY", "SELL", "Source:"):
        assert word in rule.__doc__
