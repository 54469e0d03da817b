"""Rules from published papers; what is an adaptation to one stock's prices says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from extracted.features.technical_indicators import rolling_std, sma
from rules.base_rule import ConditionRule, Line, Mask, Parameter, RuleMetadata, number_text
from rules.features import Features, lagged
from rules.technical_rules import highest_before, lowest_before


class Momentum(ConditionRule):
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

    @classmethod
    def bars_needed(cls, p: Mapping[str, Any]) -> Any:
        return p["lookback"] + 1

    @classmethod
    def conditions(cls, prices: Features, p: Mapping[str, Any]) -> tuple[Mask, Mask]:
        close, before = prices.column("Close"), prices.of(lagged, "Close", p["lookback"])
        return close > before, close <= before

    def lines(self, data: pd.DataFrame) -> Sequence[Line]:
        lookback = self.params["lookback"]
        return [Line(f"Close[{lookback}]", lagged(data["Close"].to_numpy(dtype=np.float64), lookback))]


class Value(ConditionRule):
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

    @classmethod
    def bars_needed(cls, p: Mapping[str, Any]) -> Any:
        return p["lookback"] + 1

    @classmethod
    def conditions(cls, prices: Features, p: Mapping[str, Any]) -> tuple[Mask, Mask]:
        close, before = prices.column("Close"), prices.of(lagged, "Close", p["lookback"])
        return close < before * (1 - p["discount"] / 100), close > before

    def lines(self, data: pd.DataFrame) -> Sequence[Line]:
        lookback, discount = self.params["lookback"], self.params["discount"]
        before = lagged(data["Close"].to_numpy(dtype=np.float64), lookback)
        cheap = Line(f"Close[{lookback}] - {number_text(discount)} %", before * (1 - discount / 100))
        return [Line(f"Close[{lookback}]", before), cheap]


class MeanReversion(ConditionRule):
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

    @classmethod
    def bars_needed(cls, p: Mapping[str, Any]) -> Any:
        return p["period"]

    @classmethod
    def conditions(cls, prices: Features, p: Mapping[str, Any]) -> tuple[Mask, Mask]:
        apart = prices.column("Close") - prices.of(sma, "Close", p["period"])
        spread = prices.of(rolling_std, "Close", p["period"])
        return apart < -p["entry"] * spread, apart > 0

    def lines(self, data: pd.DataFrame) -> Sequence[Line]:
        p, close = self.params, data["Close"]
        middle = sma(close, p["period"])
        low = middle - p["entry"] * rolling_std(close, p["period"])
        name = f"SMA {p['period']}"
        return [Line(name, middle), Line(f"{name} - {number_text(p['entry'])} SD", low)]


class Breakout(ConditionRule):
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

    @classmethod
    def bars_needed(cls, p: Mapping[str, Any]) -> Any:
        return np.maximum(p["entry"], p["exit"]) + 1

    @classmethod
    def conditions(cls, prices: Features, p: Mapping[str, Any]) -> tuple[Mask, Mask]:
        close = prices.column("Close")
        top, bottom = prices.of(highest_before, "High", p["entry"]), prices.of(lowest_before, "Low", p["exit"])
        return (close > top) & ~np.isnan(bottom), (close < bottom) & ~np.isnan(top)

    def lines(self, data: pd.DataFrame) -> Sequence[Line]:
        p = self.params
        high, low = (data[name].to_numpy(dtype=np.float64) for name in ("High", "Low"))
        top, bottom = highest_before(high, p["entry"]), lowest_before(low, p["exit"])
        return [Line(f"High {p['entry']}", top), Line(f"Low {p['exit']}", bottom)]
