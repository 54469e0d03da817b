"""Classic technical rules. Each says when it buys and sells, its formula, and where it comes from.

A rule repeats BUY or SELL for as long as its condition holds; the engine trades only where the position changes.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from extracted.features import technical_indicators as indicators
from rules.base_rule import BaseRule, Parameter, RuleMetadata, column, signals

PERIOD = (2, 1000)


class MovingAverageCross(BaseRule):
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

    @property
    def warm_up(self) -> int:
        return int(self.params["slow"])

    def generate_signals(self, data: pd.DataFrame) -> pd.Series:
        close = column(data, "Close")
        fast, slow = (indicators.sma(close, self.params[name]) for name in ("fast", "slow"))
        return signals(data, buy=fast > slow, sell=fast <= slow)


class RelativeStrength(BaseRule):
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

    @property
    def warm_up(self) -> int:
        return int(self.params["period"]) + 1

    def generate_signals(self, data: pd.DataFrame) -> pd.Series:
        value = indicators.rsi(column(data, "Close"), self.params["period"])
        return signals(data, buy=value < self.params["oversold"], sell=value > self.params["overbought"])


class BollingerBands(BaseRule):
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

    @property
    def warm_up(self) -> int:
        return int(self.params["period"])

    def generate_signals(self, data: pd.DataFrame) -> pd.Series:
        close = column(data, "Close")
        upper, _, lower = indicators.bollinger_bands(close, self.params["period"], self.params["width"])
        return signals(data, buy=close < lower, sell=close > upper)


class MovingAverageConvergence(BaseRule):
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

    @property
    def warm_up(self) -> int:
        return int(self.params["slow"] + self.params["signal"]) - 1

    def generate_signals(self, data: pd.DataFrame) -> pd.Series:
        periods = (self.params[name] for name in ("fast", "slow", "signal"))
        line, average, _ = indicators.macd(column(data, "Close"), *periods)
        return signals(data, buy=line > average, sell=line <= average)


class VolumeSurge(BaseRule):
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

    @property
    def warm_up(self) -> int:
        return int(self.params["period"]) + 1

    def generate_signals(self, data: pd.DataFrame) -> pd.Series:
        close, volume = column(data, "Close"), column(data, "Volume")
        usual = np.append(np.nan, indicators.sma(volume, self.params["period"])[:-1])
        change = np.diff(close, prepend=np.nan)
        high = volume > self.params["multiple"] * usual
        return signals(data, buy=high & (change > 0), sell=high & (change < 0))


class TrendStrength(BaseRule):
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

    @property
    def warm_up(self) -> int:
        return 2 * int(self.params["period"])

    def generate_signals(self, data: pd.DataFrame) -> pd.Series:
        high, low, close = (column(data, name) for name in ("High", "Low", "Close"))
        strength, plus, minus = indicators.directional_index(high, low, close, self.params["period"])
        up = (plus > minus) & (strength > self.params["threshold"])
        return signals(data, buy=up, sell=(minus > plus) & ~np.isnan(strength))


class AverageTrueRange(BaseRule):
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

    @property
    def warm_up(self) -> int:
        return int(self.params["period"]) + 2

    def generate_signals(self, data: pd.DataFrame) -> pd.Series:
        high, low, close = (column(data, name) for name in ("High", "Low", "Close"))
        period = self.params["period"]
        reach = self.params["multiple"] * indicators.atr(high, low, close, period)
        floor = indicators.rolling_min(low, period) + reach
        ceiling = indicators.rolling_max(high, period) - reach
        buy, sell = close[1:] > floor[:-1], close[1:] < ceiling[:-1]
        return signals(data, buy=np.append(False, buy), sell=np.append(False, sell))
