"""Is a rule fit to be backtested, and what do its signals say?

RuleValidator runs a rule on prices of its own making and lists what is wrong, above all looking ahead: the signals of
the first k bars must be the first k signals of all bars, for every k that a run may have. A rule that knows the future
otherwise, such as from a file, is beyond that test. SignalAnalyzer counts and judges signals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rules.base_rule import BaseRule, CompositeRule, Signal, is_long

PLAIN_BARS = 250  # of the made-up prices beyond a rule's warm-up
ROUGH_BARS = 450


def probe_prices(bars: int, seed: int = 7) -> pd.DataFrame:
    """A made-up daily series that rises, falls, gaps and rests; the same on every machine."""
    random = np.random.Generator(np.random.PCG64(seed))
    steps = random.normal(0.0, 0.02, bars) + 0.01 * np.sin(np.arange(bars) / 9)
    steps[random.random(bars) < 0.05] = 0.0
    close = 100 * np.exp(np.cumsum(steps))
    open_ = np.append(100.0, close[:-1]) * np.exp(random.normal(0.0, 0.004, bars))
    high = np.maximum(open_, close) * np.exp(np.abs(random.normal(0.0, 0.005, bars)))
    low = np.minimum(open_, close) * np.exp(-np.abs(random.normal(0.0, 0.005, bars)))
    volume = np.round(np.exp(random.normal(13.0, 0.5, bars)))
    columns = {"Open": open_, "High": high, "Low": low, "Close": close, "Volume": volume}
    return pd.DataFrame(columns, index=pd.bdate_range("2015-01-01", periods=bars))


def rough_prices(bars: int, seed: int = 11) -> pd.DataFrame:
    """A made-up daily series with all that real ones have: the same on every machine.

    Moves of 20 %, inside a day and overnight, stretches without a move or without volume, prices in whole cents, holidays, and
    a week without trading.
    """
    random = np.random.Generator(np.random.PCG64(seed))
    steps = random.normal(0.0, 0.015, bars) + 0.004 * np.sin(np.arange(bars) / 40)
    is_shock = random.random(bars) < 0.06
    steps[is_shock] = random.choice([-0.2, -0.07, 0.07, 0.2], np.count_nonzero(is_shock))
    is_calm = np.sin(np.arange(bars) / 15) > 0.97
    steps[is_calm] = 0.0
    close = np.maximum(np.round(50 * np.exp(np.cumsum(steps)), 2), 0.05)
    overnight = random.normal(0.0, 0.006, bars)
    comes_overnight = is_shock & (random.random(bars) < 0.6)
    overnight[comes_overnight] = steps[comes_overnight] * random.uniform(0.3, 1.1, np.count_nonzero(comes_overnight))
    open_ = np.maximum(np.round(np.append(50.0, close[:-1]) * np.exp(overnight), 2), 0.01)
    high = np.maximum(open_, close) + np.round(close * np.abs(random.normal(0.0, 0.006, bars)), 2)
    low = np.maximum(np.minimum(open_, close) - np.round(close * np.abs(random.normal(0.0, 0.006, bars)), 2), 0.01)
    volume = np.round(np.exp(random.normal(12.0, 0.8, bars)))
    volume[np.sin(np.arange(bars) / 23) > 0.9] = 0.0
    columns = {"Open": open_, "High": high, "Low": low, "Close": close, "Volume": volume}
    days = pd.bdate_range("2018-01-01", periods=bars + bars // 20 + 10)
    is_closed = np.arange(len(days)) % 23 == 11
    is_closed[bars // 3 : bars // 3 + 5] = True
    return pd.DataFrame(columns, index=days[~is_closed][:bars])


class RuleValidator:
    """Lists what is wrong with a rule, one sentence each; an empty list means that it may be backtested.

    Without `data` a rule is asked on two made-up series: a plain one and a rough one. `most` limits how many prefixes of
    each are tried; every one of them by default.
    """

    def __init__(self, data: pd.DataFrame | None = None, most: int | None = None) -> None:
        self._data = data
        self._most = most

    def problems(self, rule: BaseRule) -> list[str]:
        """Checks the shape and values of the signals, that they repeat, their warm-up, and every prefix."""
        plain = probe_prices(rule.warm_up + PLAIN_BARS) if self._data is None else self._data
        try:
            problems = self._problems(rule, plain)
        except Exception as error:  # noqa: BLE001  a plug-in may raise anything; that is its verdict
            return [f"{rule.rule_id} failed on well-formed prices: {type(error).__name__}: {error}"]
        if problems or self._data is not None:
            return problems
        return self._problems_on_rough_prices(rule)

    def _problems_on_rough_prices(self, rule: BaseRule) -> list[str]:
        """Looking ahead alone: a rule that fails on prices without volume may still be an honest one."""
        data = rough_prices(rule.warm_up + ROUGH_BARS)
        try:
            bar = self.first_look_ahead(rule, data)
        except Exception:  # noqa: BLE001  whoever asks for such prices is told then
            return []
        return [] if bar is None else [looks_ahead(rule, data, bar)]

    def _problems(self, rule: BaseRule, data: pd.DataFrame) -> list[str]:
        untouched = data.copy(deep=True)
        prefixes = signals_of_prefixes(fresh(rule), data, self._ends(rule, data))
        asked = fresh(rule)
        whole = asked.generate_signals(data)
        if not data.equals(untouched):
            return [f"{rule.rule_id} changes the prices that it is given"]
        malformed = self._malformed(rule, whole, data)
        if malformed:
            return malformed
        problems = []
        if not whole.equals(asked.generate_signals(data.copy(deep=True))):
            problems.append(f"{rule.rule_id} answers differently when asked twice")
        early = np.flatnonzero(whole.to_numpy()[: rule.warm_up - 1])
        if len(early):
            problems.append(f"{rule.rule_id} signals at bar {early[0]}, before its warm-up of {rule.warm_up} bars")
        bar = first_difference(prefixes, whole.to_numpy())
        if bar is not None:
            problems.append(looks_ahead(rule, data, bar))
        return problems

    def _malformed(self, rule: BaseRule, given: object, data: pd.DataFrame) -> list[str]:
        if not isinstance(given, pd.Series) or not given.index.equals(data.index):
            return [f"{rule.rule_id} must answer with a Series on the index of the prices"]
        wrong = ~np.isin(given.to_numpy(), (-1, 0, 1))
        if wrong.any():
            bar = int(wrong.argmax())
            return [f"{rule.rule_id} answers {given.iloc[bar]!r} at bar {bar}; use Signal.BUY, SELL or HOLD"]
        return []

    def first_look_ahead(self, rule: BaseRule, data: pd.DataFrame) -> int | None:
        """The first bar whose signal depends on bars after it, None when no prefix gives it away.

        A new instance sees the prefixes first, the shortest one that a run could have before all others, and another
        one all bars: what a rule remembers cannot hide what it knows.
        """
        prefixes = signals_of_prefixes(fresh(rule), data, self._ends(rule, data))
        return first_difference(prefixes, np.array(fresh(rule).generate_signals(data.copy(deep=True))))

    def _ends(self, rule: BaseRule, data: pd.DataFrame) -> list[int]:
        """All that a run could have; of too many those at large moves, and some evenly spread."""
        bars = len(data)
        ends = range(min(rule.warm_up + 1, bars), bars)
        if self._most is None or len(ends) <= self._most:
            return list(ends)
        spread = [int(end) for end in np.linspace(ends[0], ends[-1], self._most // 2)]
        return sorted({*spread, *ends_at_large_moves(data, ends[0], self._most // 2)})


def ends_at_large_moves(data: pd.DataFrame, shortest: int, count: int) -> list[int]:
    """Prefixes that end right before or right after the largest moves: whoever knows what comes shows it there."""
    open_, close = (np.log(data[name].to_numpy(float)) for name in ("Open", "Close"))
    moves = np.maximum(np.abs(close[1:] - close[:-1]), np.abs(open_[1:] - close[:-1]))
    largest = np.argsort(-moves, kind="stable") + 1
    ends = np.stack([largest, largest + 1], axis=1).ravel()
    return sorted({int(end) for end in ends[(ends >= shortest) & (ends < len(data))][:count]})


def fresh(rule: BaseRule) -> BaseRule:
    """The same rule anew, with nothing remembered."""
    if isinstance(rule, CompositeRule):
        return CompositeRule(rule.mode, [fresh(member) for member in rule.members])
    return type(rule)(**rule.params)


def signals_of_prefixes(rule: BaseRule, data: pd.DataFrame, ends: Sequence[int]) -> list[NDArray[np.generic]]:
    """What a rule answers to the first `end` bars, for each of `ends`."""
    return [np.array(rule.generate_signals(data.iloc[:end].copy(deep=True))) for end in ends]


def first_difference(prefixes: Sequence[NDArray[np.generic]], final: NDArray[np.generic]) -> int | None:
    """The first bar whose signal in some prefix is not its final one, None without any."""
    return min((bar for bar in (_difference(prefix, final) for prefix in prefixes) if bar is not None), default=None)


def _difference(prefix: NDArray[np.generic], final: NDArray[np.generic]) -> int | None:
    if prefix.ndim != 1 or len(prefix) > len(final):
        return 0
    differs = prefix != final[: len(prefix)]
    return int(differs.argmax()) if differs.any() else None


def looks_ahead(rule: BaseRule, data: pd.DataFrame, bar: int) -> str:
    """The problem in a sentence."""
    return f"{rule.rule_id} looks ahead: its signal of bar {bar} ({data.index[bar].date()}) changed later"


@dataclass(frozen=True)
class SignalAnalyzer:
    """What followed the signals of a rule: `signals` and the `close` they were made from, both of shape (n,)."""

    signals: pd.Series
    close: pd.Series

    def counts(self) -> dict[str, int]:
        """How many bars say BUY, SELL and HOLD, and how often the position changes."""
        values = self.signals.to_numpy()
        changes = int(np.count_nonzero(np.diff(is_long(self.signals), prepend=False)))
        return {**{signal.name: int(np.count_nonzero(values == signal)) for signal in Signal}, "changes": changes}

    def holding_bars(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Bars from each BUY that opens a position to the SELL that ends it; an unfinished one is left out."""
        change = np.diff(is_long(self.signals).astype(np.int8), prepend=0)
        entries, exits = np.flatnonzero(change > 0), np.flatnonzero(change < 0)
        return np.asarray(exits - entries[: len(exits)])

    def forward_returns(self, horizons: tuple[int, ...] = (1, 5, 20), confidence: float = 0.95) -> pd.DataFrame:
        """Mean close-to-close return in percent over `horizons` bars after each change to BUY or SELL.

        Columns signal, bars, count, mean_pct, low_pct, high_pct: a normal confidence interval of the mean, NaN below
        two signals. Overlapping returns are counted as if independent, so the interval is on the narrow side.
        """
        close, change = self.close.to_numpy(float), np.diff(is_long(self.signals).astype(np.int8), prepend=0)
        rows = [
            (name, bars, *_mean_with_interval(_returns_after(close, np.flatnonzero(change == value), bars), confidence))
            for name, value in (("BUY", 1), ("SELL", -1))
            for bars in horizons
        ]
        return pd.DataFrame(rows, columns=["signal", "bars", "count", "mean_pct", "low_pct", "high_pct"])


def _returns_after(close: np.ndarray, at: np.ndarray, bars: int) -> np.ndarray:
    at = at[at + bars < len(close)]
    return np.asarray(100 * (close[at + bars] / close[at] - 1))


def _mean_with_interval(values: np.ndarray, confidence: float) -> tuple[int, float, float, float]:
    if len(values) < 2:
        return len(values), float(values.mean()) if len(values) else np.nan, np.nan, np.nan
    half = NormalDist().inv_cdf((1 + confidence) / 2) * values.std(ddof=1) / np.sqrt(len(values))
    return len(values), float(values.mean()), float(values.mean() - half), float(values.mean() + half)
