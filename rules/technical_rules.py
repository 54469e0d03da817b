"""Classic technical rules. Each says when it buys and sells, its formula, and where it comes from.

A rule repeats BUY or SELL for as long as its condition holds; the engine trades only where the position changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from extracted.features.technical_indicators import (
    atr,
    bollinger_bands,
    directional_index,
    ema,
    ema_of_rows,
    macd_line,
    rolling_max,
    rolling_min,
    rolling_std,
    rsi,
    sma,
)
from rules.base_rule import ConditionRule, Line, Mask, Parameter, RuleMetadata, number_text
from rules.features import Features, Floats, lagged

PERIOD = (2, 1000)


class MovingAverageCross(ConditionRule):
    """BUY while SMA(fast) > SMA(slow) of the closes, SELL while it is not, from the first bar that has both.

    Source: Brock, Lakonishok and LeBaron (1992), variable-length moving average without a band.
    """

    metadata = RuleMetadata(
        name="MA_CROSS",
        summary="Long while the fast moving average is above the slow one.",
        source="Brock, Lakonishok and LeBaron (1992)",
        parameters=(
            Parameter("fast", 10, 1, 1000, "Bars in the fast average"),
            Parameter("slow", 30, *PERIOD, "Bars in the slow average"),
        ),
        ascending=(("fast", "slow"),),
    )

    @classmethod
    def bars_needed(cls, p: Mapping[str, Any]) -> Any:
        return p["slow"]

    @classmethod
    def conditions(cls, prices: Features, p: Mapping[str, Any]) -> tuple[Mask, Mask]:
        fast, slow = (prices.of(sma, "Close", p[name]) for name in ("fast", "slow"))
        return fast > slow, fast <= slow

    def lines(self, data: pd.DataFrame) -> Sequence[Line]:
        close, p = data["Close"], self.params
        return [Line(f"SMA {p[name]}", sma(close, p[name])) for name in ("fast", "slow")]


class RelativeStrength(ConditionRule):
    """BUY while RSI(period) < oversold, SELL while it is > overbought.

    RSI = 100 U / (U + D) with Wilder's averages U and D of gains and losses. Source: Wilder (1978).
    """

    metadata = RuleMetadata(
        name="RSI",
        summary="Buys when the RSI says oversold, sells when it says overbought.",
        source="Wilder (1978), New Concepts in Technical Trading Systems",
        parameters=(
            Parameter("period", 14, *PERIOD, "Bars in Wilder's average"),
            Parameter("oversold", 30.0, 0, 100, "Buy below this RSI"),
            Parameter("overbought", 70.0, 0, 100, "Sell above this RSI"),
        ),
        ascending=(("oversold", "overbought"),),
    )

    @classmethod
    def bars_needed(cls, p: Mapping[str, Any]) -> Any:
        return p["period"] + 1

    @classmethod
    def conditions(cls, prices: Features, p: Mapping[str, Any]) -> tuple[Mask, Mask]:
        value = prices.of(rsi, "Close", p["period"])
        return value < p["oversold"], value > p["overbought"]

    def lines(self, data: pd.DataFrame) -> Sequence[Line]:
        p = self.params
        value = Line(f"RSI {p['period']}", rsi(data["Close"], p["period"]), "RSI")
        return [value, *(level(p[name], data, "RSI") for name in ("oversold", "overbought"))]


class BollingerBands(ConditionRule):
    """BUY while the close is below the lower band, SELL while it is above the upper one.

    Bands: SMA(period) -+ width * population standard deviation of the last `period` closes. Source: Bollinger (2001).
    """

    metadata = RuleMetadata(
        name="BB",
        summary="Buys below the lower Bollinger band, sells above the upper one.",
        source="Bollinger (2001), Bollinger on Bollinger Bands",
        parameters=(
            Parameter("period", 20, *PERIOD, "Bars in the average"),
            Parameter("width", 2.0, 0.1, 10, "Half the width of the band, in standard deviations"),
        ),
    )

    @classmethod
    def bars_needed(cls, p: Mapping[str, Any]) -> Any:
        return p["period"]

    @classmethod
    def conditions(cls, prices: Features, p: Mapping[str, Any]) -> tuple[Mask, Mask]:
        close, middle = prices.column("Close"), prices.of(sma, "Close", p["period"])
        reach = p["width"] * prices.of(rolling_std, "Close", p["period"])
        return close < middle - reach, close > middle + reach

    def lines(self, data: pd.DataFrame) -> Sequence[Line]:
        upper, middle, lower = bollinger_bands(data["Close"], self.params["period"], self.params["width"])
        names = f"BB {self.params['period']} {number_text(self.params['width'])}"
        return [Line(f"{names} low", lower), Line(f"SMA {self.params['period']}", middle), Line(f"{names} high", upper)]


class MovingAverageConvergence(ConditionRule):
    """BUY while the MACD line is above its signal line, SELL while it is not.

    Line = EMA(fast) - EMA(slow) of the closes, signal line = EMA(signal) of the line. Source: Appel (1979).
    """

    metadata = RuleMetadata(
        name="MACD",
        summary="Long while the MACD line is above its signal line.",
        source="Appel (1979), The Moving Average Convergence-Divergence Trading Method",
        parameters=(
            Parameter("fast", 12, *PERIOD, "Bars in the fast average"),
            Parameter("slow", 26, *PERIOD, "Bars in the slow average"),
            Parameter("signal", 9, *PERIOD, "Bars in the average of the line"),
        ),
        ascending=(("fast", "slow"),),
    )

    @classmethod
    def bars_needed(cls, p: Mapping[str, Any]) -> Any:
        return p["slow"] + p["signal"] - 1

    @classmethod
    def conditions(cls, prices: Features, p: Mapping[str, Any]) -> tuple[Mask, Mask]:
        line = prices.of(macd_line, "Close", p["fast"], p["slow"])
        average = _signal_line(line, p["signal"])
        return line > average, line <= average

    def lines(self, data: pd.DataFrame) -> Sequence[Line]:
        p = self.params
        line = macd_line(data["Close"].to_numpy(dtype=np.float64), p["fast"], p["slow"])
        names = f"MACD {p['fast']} {p['slow']}", f"EMA {p['signal']} (MACD)"
        return [Line(names[0], line, "MACD"), Line(names[1], _signal_line(line, p["signal"]), "MACD")]


def _signal_line(line: Floats, period: Any) -> Floats:
    """The average of a line (n,) over `period` bars, or of lines (k or 1, n), each over its own of (k, 1) periods."""
    if line.ndim == 1:
        return ema(line, period)
    lines = np.broadcast_to(line, (len(period), line.shape[1]))
    average = np.empty(lines.shape)
    for each in np.unique(period):
        mine = period[:, 0] == each
        average[mine] = ema_of_rows(lines[mine], each)
    return average


class VolumeSurge(ConditionRule):
    """On a bar whose volume is above `multiple` times the mean of the `period` bars before it: BUY if the close rose
    from the bar before, SELL if it fell.

    Source: Karpoff (1987) on price changes and volume; the thresholded form is an adaptation of Granville (1963).
    """

    metadata = RuleMetadata(
        name="VOLUME",
        summary="Follows the direction of bars with unusually high volume.",
        source="Karpoff (1987); adapted from Granville (1963)",
        parameters=(
            Parameter("period", 20, *PERIOD, "Bars in the usual volume"),
            Parameter("multiple", 1.5, 0.1, 100, "How many times the usual volume counts as high"),
        ),
    )

    @classmethod
    def bars_needed(cls, p: Mapping[str, Any]) -> Any:
        return p["period"] + 1

    @classmethod
    def conditions(cls, prices: Features, p: Mapping[str, Any]) -> tuple[Mask, Mask]:
        close, volume = prices.column("Close"), prices.column("Volume")
        change = np.diff(close, prepend=np.nan)
        high = volume > p["multiple"] * prices.of(usual, "Volume", p["period"])
        return high & (change > 0), high & (change < 0)

    def lines(self, data: pd.DataFrame) -> Sequence[Line]:
        p, volume = self.params, data["Volume"].to_numpy(dtype=np.float64)
        limit = p["multiple"] * usual(volume, p["period"])
        name = f"{number_text(p['multiple'])} × SMA {p['period']}"
        return [Line("Volume", volume, "Volume"), Line(name, limit, "Volume")]


class TrendStrength(ConditionRule):
    """BUY while ADX(period) > threshold and +DI > -DI, SELL while -DI > +DI once there is an ADX.

    Source: Wilder (1978), the directional movement system; leaving without waiting for the ADX is an adaptation.
    """

    metadata = RuleMetadata(
        name="TREND",
        summary="Long in strong upward trends by the ADX, out when the direction turns.",
        source="Wilder (1978), New Concepts in Technical Trading Systems",
        parameters=(
            Parameter("period", 14, *PERIOD, "Bars in Wilder's averages"),
            Parameter("threshold", 25.0, 0, 100, "An ADX above this is a trend"),
        ),
    )

    @classmethod
    def bars_needed(cls, p: Mapping[str, Any]) -> Any:
        return 2 * p["period"]

    @classmethod
    def conditions(cls, prices: Features, p: Mapping[str, Any]) -> tuple[Mask, Mask]:
        strength, plus, minus = prices.of(directional_index, "High Low Close", p["period"])
        up = (plus > minus) & (strength > p["threshold"])
        return up, (minus > plus) & ~np.isnan(strength)

    def lines(self, data: pd.DataFrame) -> Sequence[Line]:
        period, (high, low, close) = self.params["period"], _columns(data, "High Low Close")
        values = directional_index(high, low, close, period)
        names = f"ADX {period}", f"+DI {period}", f"-DI {period}"
        lines = [Line(name, each, "ADX") for name, each in zip(names, values, strict=True)]
        return [*lines, level(self.params["threshold"], data, "ADX")]


class AverageTrueRange(ConditionRule):
    """BUY while the close is more than `multiple` ATR above the lowest low of the `period` bars before, SELL while it
    is more than `multiple` ATR below their highest high. ATR(period) is that of the bar before.

    Source: the chandelier exit of LeBeau with the ATR of Wilder (1978); entering by its mirror image is an adaptation.
    """

    metadata = RuleMetadata(
        name="ATR",
        summary="Follows moves of several average true ranges from the latest low or high.",
        source="Wilder (1978); chandelier exit of LeBeau",
        parameters=(
            Parameter("period", 14, *PERIOD, "Bars in the average true range and the extremes"),
            Parameter("multiple", 3.0, 0.1, 50, "How many average true ranges count as a move"),
        ),
    )

    @classmethod
    def bars_needed(cls, p: Mapping[str, Any]) -> Any:
        return p["period"] + 2

    @classmethod
    def conditions(cls, prices: Features, p: Mapping[str, Any]) -> tuple[Mask, Mask]:
        close, period = prices.column("Close"), p["period"]
        reach = p["multiple"] * prices.of(atr_before, "High Low Close", period)
        floor = prices.of(lowest_before, "Low", period) + reach
        ceiling = prices.of(highest_before, "High", period) - reach
        return close > floor, close < ceiling

    def lines(self, data: pd.DataFrame) -> Sequence[Line]:
        p, (high, low, close) = self.params, _columns(data, "High Low Close")
        reach = p["multiple"] * atr_before(high, low, close, p["period"])
        name = f"{number_text(p['multiple'])} ATR {p['period']}"
        return [
            Line(f"Low + {name}", lowest_before(low, p["period"]) + reach),
            Line(f"High - {name}", highest_before(high, p["period"]) - reach),
        ]


def usual(volume: Floats, period: int) -> Floats:
    """The mean of the `period` bars before each."""
    return lagged(sma(volume, period), 1)


def atr_before(high: Floats, low: Floats, close: Floats, period: int) -> Floats:
    """The average true range of the bar before."""
    return lagged(atr(high, low, close, period), 1)


def highest_before(high: Floats, period: int) -> Floats:
    """The largest of the `period` bars before each."""
    return lagged(rolling_max(high, period), 1)


def lowest_before(low: Floats, period: int) -> Floats:
    """The smallest of the `period` bars before each."""
    return lagged(rolling_min(low, period), 1)


def level(value: float, data: pd.DataFrame, scale: str) -> Line:
    """The same value at every bar."""
    return Line(number_text(value), np.full(len(data), value), scale)


def _columns(data: pd.DataFrame, names: str) -> list[Floats]:
    return [data[name].to_numpy(dtype=np.float64) for name in names.split()]
