"""Is a rule fit to be backtested, and what do its signals say?

RuleValidator runs a rule on prices of its own making and lists what is wrong, above all looking ahead: the signals of
the first k bars must be the first k signals of all bars, for every k. SignalAnalyzer counts and judges signals.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import pandas as pd

from rules.base_rule import BaseRule, Signal, is_long


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


class RuleValidator:
    """Lists what is wrong with a rule, one sentence each; an empty list means that it may be backtested."""

    def __init__(self, data: pd.DataFrame | None = None) -> None:
        self._data = data

    def problems(self, rule: BaseRule) -> list[str]:
        """Checks the shape and values of the signals, that they repeat, their warm-up, and every prefix."""
        data = probe_prices(rule.warm_up + 250) if self._data is None else self._data
        try:
            return self._problems(rule, data)
        except Exception as error:  # noqa: BLE001  a plug-in may raise anything; that is its verdict
            return [f"{rule.rule_id} failed on well-formed prices: {type(error).__name__}: {error}"]

    def _problems(self, rule: BaseRule, data: pd.DataFrame) -> list[str]:
        untouched = data.copy(deep=True)
        whole = rule.generate_signals(data)
        if not data.equals(untouched):
            return [f"{rule.rule_id} changes the prices that it is given"]
        malformed = self._malformed(rule, whole, data)
        if malformed:
            return malformed
        problems = []
        if not whole.equals(rule.generate_signals(data.copy(deep=True))):
            problems.append(f"{rule.rule_id} answers differently when asked twice")
        early = np.flatnonzero(whole.to_numpy()[: rule.warm_up - 1])
        if len(early):
            problems.append(f"{rule.rule_id} signals at bar {early[0]}, before its warm-up of {rule.warm_up} bars")
        bar = self.first_look_ahead(rule, data, whole)
        if bar is not None:
            problems.append(f"{rule.rule_id} looks ahead: its signal of bar {bar} ({_day(data, bar)}) changed later")
        return problems

    def _malformed(self, rule: BaseRule, given: object, data: pd.DataFrame) -> list[str]:
        if not isinstance(given, pd.Series) or not given.index.equals(data.index):
            return [f"{rule.rule_id} must answer with a Series on the index of the prices"]
        wrong = ~np.isin(given.to_numpy(), (-1, 0, 1))
        if wrong.any():
            bar = int(wrong.argmax())
            return [f"{rule.rule_id} answers {given.iloc[bar]!r} at bar {bar}; use Signal.BUY, SELL or HOLD"]
        return []

    def first_look_ahead(self, rule: BaseRule, data: pd.DataFrame, whole: pd.Series | None = None) -> int | None:
        """The first bar whose signal depends on bars after it, None when no prefix gives it away."""
        final = (rule.generate_signals(data) if whole is None else whole).to_numpy()
        first: int | None = None
        for end in range(1, len(data)):
            seen = rule.generate_signals(data.iloc[:end]).to_numpy()
            differs = seen != final[:end]
            if differs.any() and (first is None or int(differs.argmax()) < first):
                first = int(differs.argmax())
        return first


def _day(data: pd.DataFrame, bar: int) -> str:
    return str(data.index[bar].date())


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
