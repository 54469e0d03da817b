"""RuleValidator flags every classic leak and none of our rules; SignalAnalyzer counts right."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings

from rules.base_rule import BaseRule, RuleMetadata, signals
from rules.registry import BUILT_IN, rule_from_id
from rules.rule_validator import RuleValidator, SignalAnalyzer, probe_prices
from tests.support.rules import ANY_RULE

Answer = Callable[[pd.DataFrame], object]


def rule_of(answer: Answer, warm_up: int = 1) -> BaseRule:
    """A rule without parameters that answers with a function."""

    class Made(BaseRule):
        metadata = RuleMetadata("MADE", "", "", ())

        @property
        def warm_up(self) -> int:
            return warm_up

        def generate_signals(self, data: pd.DataFrame) -> pd.Series:
            return answer(data)  # type: ignore[return-value]

    return Made()


def over(data: pd.DataFrame, level: pd.Series) -> pd.Series:
    """BUY above a level, SELL below."""
    close = data["Close"]
    return signals(data, buy=(close > level).to_numpy(), sell=(close < level).to_numpy())


def weekly_label(data: pd.DataFrame) -> pd.Series:
    return data["Close"].resample("W", label="left").last().reindex(data.index, method="ffill")


LEAKS: dict[str, Answer] = {
    "negative shift": lambda d: over(d, d["Close"].shift(-1)),
    "centred window": lambda d: over(d, d["Close"].rolling(5, center=True).mean()),
    "full-sample normalisation": lambda d: over(d, pd.Series(d["Close"].mean(), index=d.index)),
    "backfill": lambda d: over(
        d, d["Close"].where(d["Volume"] > d["Volume"].rolling(9).mean()).bfill()
    ),
    "high known early": lambda d: over(d, d["High"].shift(-1) * 0.99),
    "last-bar peek": lambda d: over(d, pd.Series(d["Close"].iloc[-1], index=d.index)),
    "resample label": lambda d: over(d, weekly_label(d)),
    "global rank": lambda d: signals(
        d,
        buy=(d["Close"].rank(pct=True) > 0.7).to_numpy(),
        sell=(d["Close"].rank(pct=True) < 0.3).to_numpy(),
    ),
}


@pytest.mark.parametrize("leak", LEAKS)
def test_every_leak_is_flagged(leak: str) -> None:
    problems = RuleValidator().problems(rule_of(LEAKS[leak]))
    assert any("looks ahead" in problem for problem in problems), problems


def test_the_first_changed_bar_is_named() -> None:
    data = probe_prices(40)

    def peeks(d: pd.DataFrame) -> pd.Series:
        buy = np.zeros(len(d), dtype=bool)
        buy[17] = len(d) > 30 if len(d) > 17 else False
        return signals(d, buy=buy[: len(d)], sell=np.zeros(len(d), dtype=bool))

    def safe(d: pd.DataFrame) -> pd.Series:
        return peeks(d) if len(d) > 17 else signals(d, *np.zeros((2, len(d)), dtype=bool))

    assert RuleValidator(data).first_look_ahead(rule_of(safe), data) == 17
    (problem,) = RuleValidator(data).problems(rule_of(safe))
    assert f"bar 17 ({data.index[17].date()})" in problem


@pytest.mark.parametrize("name", BUILT_IN)
def test_ours_pass_at_their_defaults(name: str) -> None:
    assert RuleValidator().problems(BUILT_IN[name]()) == []


@settings(max_examples=40)
@given(ANY_RULE)
def test_ours_pass_at_random_parameters(rule: BaseRule) -> None:
    data = probe_prices(min(rule.warm_up, 150) + 60, seed=3)
    assert RuleValidator(data).problems(rule) == []


def test_combinations_pass() -> None:
    assert RuleValidator().problems(rule_from_id("MAJORITY(MA_CROSS,RSI,BB)")) == []


def changes_prices(d: pd.DataFrame) -> pd.Series:
    d["Close"] = 1.0
    return over(d, d["Close"])


def forgets() -> Answer:
    state = {"calls": 0}

    def answer(d: pd.DataFrame) -> pd.Series:
        state["calls"] += 1
        return signals(
            d, buy=np.full(len(d), state["calls"] % 2 == 0), sell=np.zeros(len(d), dtype=bool)
        )

    return answer


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (changes_prices, "changes the prices"),
        (forgets(), "answers differently when asked twice"),
        (lambda d: np.zeros(len(d)), "must answer with a Series"),
        (lambda d: pd.Series(0, index=range(len(d))), "must answer with a Series"),
        (lambda d: pd.Series(2, index=d.index), "answers np.int64(2) at bar 0"),
        (lambda d: pd.Series(np.nan, index=d.index), "at bar 0; use Signal.BUY"),
        (lambda d: d["Nothing"], "failed on well-formed prices: KeyError"),
    ],
)
def test_other_faults_are_named(answer: Answer, message: str) -> None:
    assert any(message in problem for problem in RuleValidator().problems(rule_of(answer)))


def test_signals_before_the_warm_up_are_named() -> None:
    rule = rule_of(lambda d: over(d, d["Open"]), warm_up=20)
    assert any(
        "before its warm-up of 20 bars" in problem for problem in RuleValidator().problems(rule)
    )


def analyzer_of(values: list[int], close: list[float] | None = None) -> SignalAnalyzer:
    index = pd.bdate_range("2024-01-01", periods=len(values))
    return SignalAnalyzer(
        pd.Series(values, index=index), pd.Series(close or [1.0] * len(values), index=index)
    )


def test_counts_and_holding_times() -> None:
    analyzer = analyzer_of([0, 1, 1, 0, -1, 0, 1, -1, 1])
    assert analyzer.counts() == {"SELL": 2, "HOLD": 3, "BUY": 4, "changes": 5}
    assert analyzer.holding_bars().tolist() == [3, 1]


def test_forward_returns() -> None:
    analyzer = analyzer_of([1, -1, 1, -1, 0, 0], [100.0, 110, 100, 120, 60, 60])
    table = analyzer.forward_returns(horizons=(1,)).set_index("signal")
    assert table.loc["BUY", "count"] == 2
    assert table.loc["BUY", "mean_pct"] == pytest.approx(15)
    half = 1.959963985 * np.std([10, 20], ddof=1) / np.sqrt(2)
    assert table.loc["BUY", "low_pct"] == pytest.approx(15 - half)
    assert table.loc["BUY", "high_pct"] == pytest.approx(15 + half)
    assert table.loc["SELL", "mean_pct"] == pytest.approx((100 / 110 - 1 - 0.5) * 50)


def test_forward_returns_of_too_few_signals() -> None:
    table = analyzer_of([1, 0, 0], [1.0, 2, 4]).forward_returns(horizons=(1, 5))
    first = table.iloc[0]
    five = table.iloc[1]
    assert (first["count"], first["mean_pct"]) == (1, 100)
    assert np.isnan(first["low_pct"])
    assert five["count"] == 0
    assert np.isnan(five["mean_pct"])
