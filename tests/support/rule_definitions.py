"""The definition of each built-in rule once more, bar by bar, to compare the rules with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import pandas as pd

from extracted.features import technical_indicators as ti


class Bars:
    """The columns of a price table as lists, and the indicators that some rules need."""

    def __init__(self, data: pd.DataFrame) -> None:
        self.close: list[float] = data["Close"].tolist()
        self.high: list[float] = data["High"].tolist()
        self.low: list[float] = data["Low"].tolist()
        self.volume: list[float] = data["Volume"].tolist()

    @cached_property
    def rsi(self) -> np.ndarray:
        return ti.rsi(np.array(self.close), 14)

    @cached_property
    def macd(self) -> tuple[np.ndarray, ...]:
        return ti.macd(np.array(self.close))

    @cached_property
    def directional_index(self) -> tuple[np.ndarray, ...]:
        return ti.directional_index(np.array(self.high), np.array(self.low), np.array(self.close))

    @cached_property
    def true_range(self) -> np.ndarray:
        return ti.atr(np.array(self.high), np.array(self.low), np.array(self.close))


def defined_signals(rule_id: str, data: pd.DataFrame) -> list[int]:
    """The signals of a rule with its default parameters: 1 to buy, -1 to sell, 0 for neither."""
    first_bar, definition = DEFINITIONS[rule_id]
    bars = Bars(data)
    return [0] * first_bar + [definition(bars, t) for t in range(first_bar, len(data))]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _deviation(values: Sequence[float]) -> float:
    mean = _mean(values)
    return float((sum((value - mean) ** 2 for value in values) / len(values)) ** 0.5)


def _signal(buy: bool, sell: bool) -> int:
    if sell:
        return -1
    return int(buy)


def _moving_averages(bars: Bars, t: int) -> int:
    is_up = _mean(bars.close[t - 9 : t + 1]) > _mean(bars.close[t - 29 : t + 1])
    return _signal(is_up, not is_up)


def _relative_strength(bars: Bars, t: int) -> int:
    return _signal(bars.rsi[t] < 30, bars.rsi[t] > 70)


def _bollinger_bands(bars: Bars, t: int) -> int:
    window = bars.close[t - 19 : t + 1]
    half_width = 2 * _deviation(window)
    lower = _mean(window) - half_width
    upper = _mean(window) + half_width
    return _signal(bars.close[t] < lower, bars.close[t] > upper)


def _macd(bars: Bars, t: int) -> int:
    line, average, _ = bars.macd
    return _signal(line[t] > average[t], line[t] <= average[t])


def _volume(bars: Bars, t: int) -> int:
    is_high = bars.volume[t] > 1.5 * _mean(bars.volume[t - 20 : t])
    change = bars.close[t] - bars.close[t - 1]
    return _signal(is_high and change > 0, is_high and change < 0)


def _trend(bars: Bars, t: int) -> int:
    adx, plus, minus = bars.directional_index
    is_rising = adx[t] > 25 and plus[t] > minus[t]
    is_falling = adx[t] >= 0 and minus[t] > plus[t]
    return _signal(is_rising, is_falling)


def _true_range(bars: Bars, t: int) -> int:
    distance = 3 * bars.true_range[t - 1]
    buy = bars.close[t] > min(bars.low[t - 14 : t]) + distance
    sell = bars.close[t] < max(bars.high[t - 14 : t]) - distance
    return _signal(buy, sell)


def _momentum(bars: Bars, t: int) -> int:
    before = bars.close[t - 126]
    return _signal(bars.close[t] > before, bars.close[t] <= before)


def _value(bars: Bars, t: int) -> int:
    before = bars.close[t - 756]
    return _signal(bars.close[t] < 0.9 * before, bars.close[t] > before)


def _mean_reversion(bars: Bars, t: int) -> int:
    window = bars.close[t - 19 : t + 1]
    mean = _mean(window)
    return _signal(bars.close[t] - mean < -2 * _deviation(window), bars.close[t] > mean)


def _breakout(bars: Bars, t: int) -> int:
    buy = bars.close[t] > max(bars.high[t - 55 : t])
    return _signal(buy, bars.close[t] < min(bars.low[t - 20 : t]))


# By rule_id: the first bar that can have a signal, and the signal of a bar.
DEFINITIONS: dict[str, tuple[int, Callable[[Bars, int], int]]] = {
    "MA_CROSS_10_30": (29, _moving_averages),
    "RSI_14_30_70": (0, _relative_strength),
    "BB_20_2": (19, _bollinger_bands),
    "MACD_12_26_9": (0, _macd),
    "VOLUME_20_1.5": (20, _volume),
    "TREND_14_25": (0, _trend),
    "ATR_14_3": (15, _true_range),
    "MOMENTUM_126": (126, _momentum),
    "VALUE_756_10": (756, _value),
    "MEAN_REVERSION_20_2": (19, _mean_reversion),
    "BREAKOUT_55_20": (55, _breakout),
}
