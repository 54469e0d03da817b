"""Rules from published papers; what is an adaptation to one stock's prices says so."""

from __future__ import annotations

import numpy as np
import pandas as pd

from extracted.features import technical_indicators as indicators
from extracted.features.technical_indicators import Floats
from rules.base_rule import BaseRule, Parameter, RuleMetadata, column, signals


class Momentum(BaseRule):
    """BUY while the close is above the close `lookback` bars before, SELL while it is not.

    Source: time-series momentum, Moskowitz, Ooi and Pedersen (2012); across stocks, Jegadeesh and Titman (1993).
    Adaptation: checked every bar instead of every month, without scaling by volatility.
    """

    metadata = RuleMetadata(
        name="MOMENTUM",
        summary="Long while the price is above where it was some months ago.",
        source="Moskowitz, Ooi and Pedersen (2012); Jegadeesh and Titman (1993)",
        parameters=(Parameter("lookback", 126, 1, 2000, "Bars to look back"),),
    )

    @property
    def warm_up(self) -> int:
        return int(self.params["lookback"]) + 1

    def generate_signals(self, data: pd.DataFrame) -> pd.Series:
        close = column(data, "Close")
        before = _lagged(close, self.params["lookback"])
        return signals(data, buy=close > before, sell=close <= before)


class Value(BaseRule):
    """BUY while the close is more than `discount` percent below the close `lookback` bars before, SELL while it is
    above that earlier close.

    Source: value as the long-run past loser, De Bondt and Thaler (1985); Asness, Moskowitz and Pedersen (2013) measure
    value without fundamentals by the negative long-run return. Adaptation: one stock against its own past.
    """

    metadata = RuleMetadata(
        name="VALUE",
        summary="Buys what has become cheap against its own price of years ago.",
        source="De Bondt and Thaler (1985); Asness, Moskowitz and Pedersen (2013)",
        parameters=(
            Parameter("lookback", 756, 20, 3000, "Bars to look back"),
            Parameter("discount", 10.0, 0, 90, "Percent below the earlier price that count as cheap"),
        ),
    )

    @property
    def warm_up(self) -> int:
        return int(self.params["lookback"]) + 1

    def generate_signals(self, data: pd.DataFrame) -> pd.Series:
        close = column(data, "Close")
        before = _lagged(close, self.params["lookback"])
        cheap = close < before * (1 - self.params["discount"] / 100)
        return signals(data, buy=cheap, sell=close > before)


class MeanReversion(BaseRule):
    """BUY while the z-score of the close is below -entry, SELL while it is above 0.

    z = (close - SMA(period)) / population standard deviation of the last `period` closes; 0 where nothing moved.
    Source: Poterba and Summers (1988) on mean reversion; the z-score is that of Bollinger bands, an adaptation.
    """

    metadata = RuleMetadata(
        name="MEAN_REVERSION",
        summary="Buys far below the average and sells back at it.",
        source="Poterba and Summers (1988); z-score of Bollinger (2001)",
        parameters=(
            Parameter("period", 20, 2, 1000, "Bars in the average"),
            Parameter("entry", 2.0, 0.1, 10, "Standard deviations below the average to buy at"),
        ),
    )

    @property
    def warm_up(self) -> int:
        return int(self.params["period"])

    def generate_signals(self, data: pd.DataFrame) -> pd.Series:
        close = column(data, "Close")
        apart = close - indicators.sma(close, self.params["period"])
        spread = indicators.rolling_std(close, self.params["period"])
        return signals(data, buy=apart < -self.params["entry"] * spread, sell=apart > 0)


class Breakout(BaseRule):
    """BUY while the close is above the highest high of the `entry` bars before, SELL while it is below the lowest low
    of the `exit` bars before, from the first bar that has both.

    Source: Donchian's channel; trading-range break of Brock, Lakonishok and LeBaron (1992).
    """

    metadata = RuleMetadata(
        name="BREAKOUT",
        summary="Buys new highs, sells new lows.",
        source="Donchian; Brock, Lakonishok and LeBaron (1992)",
        parameters=(
            Parameter("entry", 55, 2, 1000, "Bars of the high to break"),
            Parameter("exit", 20, 2, 1000, "Bars of the low to break"),
        ),
    )

    @property
    def warm_up(self) -> int:
        return int(max(self.params["entry"], self.params["exit"])) + 1

    def generate_signals(self, data: pd.DataFrame) -> pd.Series:
        close = column(data, "Close")
        top = _lagged(indicators.rolling_max(column(data, "High"), self.params["entry"]), 1)
        bottom = _lagged(indicators.rolling_min(column(data, "Low"), self.params["exit"]), 1)
        return signals(data, buy=(close > top) & ~np.isnan(bottom), sell=(close < bottom) & ~np.isnan(top))


def _lagged(values: Floats, bars: int) -> Floats:
    """`values` of `bars` bars before, NaN where there are none."""
    lagged = np.full(len(values), np.nan)
    lagged[bars:] = values[: max(0, len(values) - bars)]
    return lagged
