"""Mistakes of honest programmers are found with the parameters asked for; honest rules pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest

from rules import plugins
from rules.base_rule import BaseRule, InvalidRule, Parameter, RuleMetadata, signals
from rules.registry import BUILT_IN
from rules.rule_validator import RuleValidator
from service.contract.errors import LookAhead
from service.engine.look_ahead import checked_for_look_ahead
from tests.support.prices import TICKERS, prices

Answer = Callable[[pd.DataFrame], pd.Series]


def rule_of(answer: Answer, bars: int = 1) -> BaseRule:
    """A rule without parameters that answers with a function."""

    class Made(BaseRule):
        metadata = RuleMetadata("MADE", "", "", ())

        @property
        def warm_up(self) -> int:
            return bars

        def generate_signals(self, data: pd.DataFrame) -> pd.Series:
            return answer(data)

    return Made()


def between(data: pd.DataFrame, value: pd.Series, low: float, high: float) -> pd.Series:
    """BUY below `low`, SELL above `high`."""
    return signals(data, buy=(value < low).to_numpy(), sell=(value > high).to_numpy())


def over(data: pd.DataFrame, level: pd.Series) -> pd.Series:
    """BUY above a level, SELL below."""
    close = data["Close"]
    return signals(data, buy=(close > level).to_numpy(), sell=(close < level).to_numpy())


def gap_is_closed_on_the_same_day(d: pd.DataFrame) -> pd.Series:
    return between(d, d["Open"].shift(-1) / d["Close"], 0.99, 1.01)


def standardised(d: pd.DataFrame) -> pd.Series:
    return (d["Close"] - d["Close"].mean()) / d["Close"].std()


def weekly(d: pd.DataFrame) -> pd.Series:
    by_week = d["Close"].groupby(pd.PeriodIndex(d.index, freq="W")).transform("last")
    return over(d, by_week)


def monthly(d: pd.DataFrame) -> pd.Series:
    by_month = d["Close"].groupby(pd.PeriodIndex(d.index, freq="M")).transform("mean")
    return over(d, by_month)


def local_minimum(d: pd.DataFrame) -> pd.Series:
    lowest = d["Low"].rolling(11, center=True).min()
    highest = d["High"].rolling(11, center=True).max()
    return signals(d, buy=(d["Low"] == lowest).to_numpy(), sell=(d["High"] == highest).to_numpy())


def smoothed_both_ways(d: pd.DataFrame) -> pd.Series:
    there = d["Close"].ewm(span=10).mean()
    return over(d, there[::-1].ewm(span=10).mean()[::-1])


def filled_from_behind(d: pd.DataFrame) -> pd.Series:
    return over(d, d["Close"].where(d["Volume"] > 3e5).bfill())


def interpolated(d: pd.DataFrame) -> pd.Series:
    return over(d, d["Close"].where(np.arange(len(d)) % 5 == 0).interpolate())


def sells_on_the_last_bar(d: pd.DataFrame) -> pd.Series:
    answer = over(d, d["Close"].rolling(20).mean())
    answer.iloc[-1] = -1
    return answer


def trend_of_all_bars(d: pd.DataFrame) -> pd.Series:
    slope, start = np.polyfit(np.arange(len(d)), d["Close"], 1)
    return over(d, pd.Series(start + slope * np.arange(len(d)), index=d.index))


def calm_market(d: pd.DataFrame) -> pd.Series:
    moves = d["Close"].pct_change().rolling(20).std()
    return between(d, moves, moves.quantile(0.3), moves.quantile(0.7))


MISTAKES: Mapping[str, Answer] = {
    "a shift in the wrong direction": lambda d: over(d, d["Close"].shift(-1)),
    "the return of tomorrow": lambda d: between(d, -d["Close"].pct_change().shift(-1), 0.0, 0.0),
    "a difference to the next bar": lambda d: between(d, d["Close"].diff(-1), 0.0, 0.0),
    "the next open known": gap_is_closed_on_the_same_day,
    "a centred mean": lambda d: over(d, d["Close"].rolling(5, center=True).mean()),
    "local minima and maxima": local_minimum,
    "standardised by all bars": lambda d: between(d, standardised(d), -0.5, 0.5),
    "scaled to the range of all bars": lambda d: between(
        d, (d["Close"] - d["Low"].min()) / (d["High"].max() - d["Low"].min()), 0.3, 0.7
    ),
    "ranked among all bars": lambda d: between(d, d["Close"].rank(pct=True), 0.3, 0.7),
    "a quantile of all bars": calm_market,
    "a trend fitted to all bars": trend_of_all_bars,
    "filled from behind": filled_from_behind,
    "interpolated": interpolated,
    "the last close of a week": weekly,
    "the mean of a month": monthly,
    "smoothed both ways": smoothed_both_ways,
    "a window cut from a reversed series": lambda d: over(
        d, d["Close"][::-1].rolling(10).mean()[::-1]
    ),
    "compared with the last bar": lambda d: over(d, pd.Series(d["Close"].iloc[-1], index=d.index)),
    "sold on the last bar": sells_on_the_last_bar,
    "the gradient": lambda d: (
        between(d, pd.Series(-np.gradient(d["Close"].to_numpy()), index=d.index), 0.0, 0.0)
        if len(d) > 1
        else between(d, d["Close"] * 0, 0.0, 0.0)
    ),
}


def monthly_so_far(d: pd.DataFrame) -> pd.Series:
    by_month = d["Close"].groupby(pd.PeriodIndex(d.index, freq="M"))
    return over(d, by_month.expanding().mean().droplevel(0))


def week_before(d: pd.DataFrame) -> pd.Series:
    weeks = pd.PeriodIndex(d.index, freq="W")
    last = d["Close"].groupby(weeks).last().shift(1)
    return over(d, pd.Series(last.reindex(weeks).to_numpy(), index=d.index))


def needs_a_full_window(d: pd.DataFrame) -> pd.Series:
    if len(d) <= 30:
        raise ValueError("too few bars")
    return over(d, d["Close"].rolling(30).mean())


def fits_the_last_bars(d: pd.DataFrame) -> pd.Series:
    windows = np.lib.stride_tricks.sliding_window_view(d["Close"].to_numpy(), 20)
    middle = np.median(windows, axis=1)
    level = np.concatenate([np.full(19, np.nan), middle])
    return over(d, pd.Series(level, index=d.index))


HONEST: Mapping[str, tuple[Answer, int]] = {
    "moving average": (lambda d: over(d, d["Close"].rolling(20).mean()), 20),
    "exponential average": (lambda d: over(d, d["Close"].ewm(span=20).mean()), 1),
    "expanding mean": (lambda d: over(d, d["Close"].expanding().mean()), 1),
    "yesterday": (lambda d: over(d, d["Close"].shift(1)), 2),
    "standardised by what was known": (
        lambda d: between(
            d,
            (d["Close"] - d["Close"].expanding().mean()) / d["Close"].expanding().std(),
            -0.5,
            0.5,
        ),
        2,
    ),
    "rank in a window": (lambda d: between(d, d["Close"].rolling(50).rank(pct=True), 0.3, 0.7), 50),
    "highest so far": (lambda d: over(d, d["Close"].cummax() * 0.9), 1),
    "filled from before": (lambda d: over(d, d["Close"].where(d["Volume"] > 3e5).ffill()), 1),
    "the month so far": (monthly_so_far, 1),
    "the week before": (week_before, 1),
    "fails on too few bars": (needs_a_full_window, 30),
    "a window of NumPy": (fits_the_last_bars, 20),
    "weekday": (lambda d: between(d, pd.Series(d.index.day_of_week, index=d.index), 1, 3), 1),
    "volume alone": (
        lambda d: between(d, d["Volume"] / d["Volume"].rolling(9).mean(), 0.8, 1.2),
        9,
    ),
    "never": (lambda d: between(d, d["Close"], -1.0, np.inf), 1),
    "always": (lambda d: between(d, d["Close"], np.inf, np.inf), 1),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found(mistake: str) -> None:
    """By the few prefixes for which a request waits, so that all of them find it too."""
    problems = RuleValidator(most=plugins.PREFIXES).problems(rule_of(MISTAKES[mistake]))
    assert any("looks ahead" in problem for problem in problems), problems


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found_on_real_prices(mistake: str) -> None:
    with pytest.raises(LookAhead, match="MADE looks ahead: its signal of 20"):
        checked_for_look_ahead(rule_of(MISTAKES[mistake]), prices())


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_rule_passes(name: str) -> None:
    rule = rule_of(*HONEST[name])
    assert RuleValidator().problems(rule) == []
    for ticker in ("GOOG", "MSFT"):
        data = prices(ticker)
        assert (checked_for_look_ahead(rule, data) == rule.generate_signals(data)).all()


@pytest.mark.parametrize("name", BUILT_IN)
def test_ours_pass_on_real_prices(name: str) -> None:
    rule = BUILT_IN[name]()
    for ticker in TICKERS:
        data = prices(ticker)
        assert (checked_for_look_ahead(rule, data) == rule.generate_signals(data)).all()


class Peek(BaseRule):
    """Honest by default, and not with any other offset."""

    metadata = RuleMetadata("PEEK", "", "", (Parameter("offset", 0, 0, 9, "Bars"),))

    @property
    def warm_up(self) -> int:
        return 1

    def generate_signals(self, data: pd.DataFrame) -> pd.Series:
        ahead = data["Close"].shift(-self.params["offset"]).diff()
        return signals(data, buy=(ahead > 0).to_numpy(), sell=(ahead < 0).to_numpy())


class Remembering(BaseRule):
    """It keeps the signals of the longest series that it ever saw, and shows parts of them."""

    metadata = RuleMetadata("REMEMBERING", "", "", ())

    def __init__(self, **params: object) -> None:
        super().__init__(**params)
        self.known: pd.Series | None = None

    @property
    def warm_up(self) -> int:
        return 1

    def generate_signals(self, data: pd.DataFrame) -> pd.Series:
        if self.known is None or len(self.known) < len(data):
            self.known = over(data, data["Close"].shift(-1))
        return self.known.iloc[: len(data)].set_axis(data.index)


def test_the_parameters_asked_for_are_checked() -> None:
    plugins.refuse_faulty(Peek())
    with pytest.raises(InvalidRule, match="PEEK_1 cannot be used: PEEK_1 looks ahead"):
        plugins.refuse_faulty(Peek(offset=1))


def test_what_a_rule_remembers_does_not_hide_what_it_knows() -> None:
    asked = Remembering()
    asked.generate_signals(prices())
    assert any("looks ahead" in problem for problem in RuleValidator().problems(asked))


class Calendar(BaseRule):
    """It knows one day of the real prices: no made-up series has it."""

    metadata = RuleMetadata("CALENDAR", "", "", ())
    day: ClassVar[str] = "2013-05-16"

    @property
    def warm_up(self) -> int:
        return 1

    def generate_signals(self, data: pd.DataFrame) -> pd.Series:
        buy = np.zeros(len(data), dtype=bool)
        if data.index[-1] > pd.Timestamp(self.day):
            buy |= data.index == pd.Timestamp(self.day)
        return signals(data, buy=buy, sell=~buy & False)


def test_what_shows_on_the_prices_of_the_request_alone_is_found_there() -> None:
    assert RuleValidator().problems(Calendar()) == []
    with pytest.raises(LookAhead) as caught:
        checked_for_look_ahead(Calendar(), prices())
    values: Mapping[str, Any] = caught.value.values
    assert str(values["day"]) == Calendar.day
    assert caught.value.code == "LookAhead"


@pytest.mark.parametrize("bars", [3, 10, 31])
def test_short_series_are_checked_too(bars: int) -> None:
    with pytest.raises(LookAhead):
        checked_for_look_ahead(rule_of(MISTAKES["sold on the last bar"]), prices(bars=bars))
    rule = BUILT_IN["MA_CROSS"](fast=1, slow=2)
    assert len(checked_for_look_ahead(rule, prices(bars=bars))) == bars


def breakout_unless_it_fails(fall: float) -> Answer:
    """A breakout that is left out where the next day falls: only a prefix shows it."""

    def answer(d: pd.DataFrame) -> pd.Series:
        close = d["Close"]
        is_new_high = close >= close.rolling(20).max()
        fails = close.shift(-1) / close - 1 < fall
        return signals(
            d,
            buy=(is_new_high & ~fails).to_numpy(),
            sell=(close < close.rolling(20).mean()).to_numpy(),
        )

    return answer


def no_purchase_before_a_fall(d: pd.DataFrame) -> pd.Series:
    falls = d["Close"].shift(-1) / d["Close"] < 0.94
    mean = d["Close"].rolling(20).mean()
    above = d["Close"] > mean
    return signals(d, buy=(above & ~falls).to_numpy(), sell=(d["Close"] < mean).to_numpy())


VETOES: Mapping[str, Answer] = {
    "a breakout unless the next day falls by 3 %": breakout_unless_it_fails(-0.03),
    "no purchase before a fall of 6 %": no_purchase_before_a_fall,
}


@pytest.mark.parametrize("veto", VETOES)
def test_a_purchase_that_is_left_out_because_of_the_future_is_found(veto: str) -> None:
    for most in (None, plugins.PREFIXES):
        problems = RuleValidator(most=most).problems(rule_of(VETOES[veto], 20))
        assert any("looks ahead" in problem for problem in problems), problems


def test_real_prices_are_cut_before_their_large_moves() -> None:
    rule = rule_of(no_purchase_before_a_fall, 20)
    found = 0
    for ticker in ("AMD", "NFLX", "TSLA", "META"):
        try:
            checked_for_look_ahead(rule, prices(ticker))
        except LookAhead:
            found += 1
    assert found >= 3
