"""What charts draw of a rule is what the rule decides by."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import pytest

from rules.base_rule import BaseRule, Line
from rules.registry import BUILT_IN, rule_from_id
from tests.support.prices import prices

DATA = prices("GOOG")
closes = DATA["Close"].to_numpy()
changes = np.diff(closes, prepend=np.nan)

Lines = Mapping[str, np.ndarray]
Decision = Callable[[Lines], tuple[np.ndarray, np.ndarray]]

# For each rule with its defaults: where the lines alone say BUY and SELL.
DECISIONS: Mapping[str, Decision] = {
    "MA_CROSS": lambda line: (line["SMA 10"] > line["SMA 30"], line["SMA 10"] <= line["SMA 30"]),
    "RSI": lambda line: (line["RSI 14"] < line["30"], line["RSI 14"] > line["70"]),
    "BB": lambda line: (closes < line["BB 20 2 low"], closes > line["BB 20 2 high"]),
    "MACD": lambda line: (
        line["MACD 12 26"] > line["EMA 9 (MACD)"],
        line["MACD 12 26"] <= line["EMA 9 (MACD)"],
    ),
    "VOLUME": lambda line: (
        (line["Volume"] > line["1.5 × SMA 20"]) & (changes > 0),
        (line["Volume"] > line["1.5 × SMA 20"]) & (changes < 0),
    ),
    "TREND": lambda line: (
        (line["+DI 14"] > line["-DI 14"]) & (line["ADX 14"] > line["25"]),
        (line["-DI 14"] > line["+DI 14"]) & ~np.isnan(line["ADX 14"]),
    ),
    "ATR": lambda line: (closes > line["Low + 3 ATR 14"], closes < line["High - 3 ATR 14"]),
    "MOMENTUM": lambda line: (closes > line["Close[126]"], closes <= line["Close[126]"]),
    "VALUE": lambda line: (closes < line["Close[756] - 10 %"], closes > line["Close[756]"]),
    "MEAN_REVERSION": lambda line: (closes < line["SMA 20 - 2 SD"], closes > line["SMA 20"]),
    "BREAKOUT": lambda line: (
        (closes > line["High 55"]) & ~np.isnan(line["Low 20"]),
        (closes < line["Low 20"]) & ~np.isnan(line["High 55"]),
    ),
}


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_signals_follow_from_the_lines(name: str) -> None:
    rule = BUILT_IN[name]()
    lines = {line.name: line.values for line in rule.lines(DATA)}
    buy, sell = DECISIONS[name](lines)
    expected = np.where(sell, -1, np.where(buy, 1, 0))
    assert np.array_equal(rule.generate_signals(DATA).to_numpy(), expected)


def test_a_combination_draws_the_lines_of_its_members() -> None:
    lines = rule_from_id("ANY(MA_CROSS_5_20,RSI)").lines(DATA)
    scales = [(line.name, line.scale) for line in lines]
    assert scales == [
        ("SMA 5", ""),
        ("SMA 20", ""),
        ("RSI 14", "RSI"),
        ("30", "RSI"),
        ("70", "RSI"),
    ]
    assert all(len(line.values) == len(DATA) for line in lines)


def test_a_rule_that_says_nothing_of_lines_has_none() -> None:
    class Silent(BaseRule):
        metadata = BUILT_IN["RSI"].metadata
        warm_up = 1

        def generate_signals(self, data: pd.DataFrame) -> pd.Series:
            return pd.Series(0, index=data.index)

    assert list(Silent().lines(DATA)) == []


def test_a_line_of_one_bar() -> None:
    lines: list[Line] = []
    for rule in BUILT_IN.values():
        lines += rule().lines(DATA.iloc[:1])
    assert lines
    assert all(len(line.values) == 1 for line in lines)
