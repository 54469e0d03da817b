"""What a vendor's answer comes to: a table becomes prices, an error a reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo
from typing import Any

import numpy as np
import pandas as pd

from backtest.prices import COLUMNS
from service.contract.fetch import AWAY, BUSY, FAILED, LACKS, NOTHING
from service.contract.sentence import Sentence
from service.prices.action import Action
from service.prices.files.reading import PriceFile, tidied
from service.prices.series import PriceSeries
from service.vendors.errors import NothingThere, TryAgain, VendorFailed

BUSY_WORDS = ("Too Many Requests", "429", "Rate limited", "RateLimit")
AWAY_WORDS = ("resolve", "connect", "Connection", "timed out", "Timeout", "SSL", "proxy", "Proxy")
NOTHING_ERRORS = ("YFPricesMissingError", "YFTickerMissingError", "YFTzMissingError")
DIVIDENDS, SPLITS = "Dividends", "Stock Splits"
# An exchange has closed by then; what is traded round the clock closes at midnight.
CLOSED_HOUR = 18
ROUND_THE_CLOCK = "="  # in tickers of currencies and futures
GERMAN_FLOORS = (".BE", ".DU", ".F", ".HA", ".HM", ".MU", ".SG")
CLOSED_HOUR_OF_GERMAN_FLOORS = 22
UNFINISHED_TODAY = "The bar of {day} may be unfinished: left out."
MAX_QUOTED = 200

Clock = Callable[[tzinfo | None], datetime]


@dataclass(frozen=True)
class Question:
    """What a vendor is asked: the daily bars of a ticker, both days included.

    `vendor` is its name in sentences.
    """

    vendor: str
    ticker: str
    start: date
    end: date

    def nothing(self) -> NothingThere:
        """That the vendor has no such prices."""
        values = {"ticker": self.ticker, "start": self.start, "end": self.end}
        return NothingThere(NOTHING, vendor=self.vendor, **values)

    def failure(self, error: Exception) -> VendorFailed:
        """What an error of the vendor's client means."""
        name = type(error).__name__
        if name in NOTHING_ERRORS:
            return self.nothing()
        # The letters of a ticker mean nothing.
        text = f"{name} {error}".replace(self.ticker, "")
        if _has_any(text, BUSY_WORDS):
            return TryAgain(BUSY, vendor=self.vendor)
        if _has_any(text, AWAY_WORDS):
            return TryAgain(AWAY, vendor=self.vendor, error=name)
        said = (str(error).splitlines() or ["no reason given"])[0][:MAX_QUOTED]
        return VendorFailed(FAILED, vendor=self.vendor, error=f"{name}: {said}")

    def file_of(self, answer: Any, source: str, now: Clock) -> PriceFile:
        """The bars of a table whose index has the time zone of the exchange.

        Bars without prices and one that is not over yet are left out. Raises VendorFailed.
        """
        table = self._checked(answer)
        index = pd.DatetimeIndex(table.index)
        days = index.tz_localize(None).normalize().as_unit("ns")
        bars = table[list(COLUMNS)].apply(pd.to_numeric, errors="coerce").astype(float)
        bars.index = days.rename("Date")
        # Days of which a vendor has nothing may have a row that is empty.
        bars = bars[bars.notna().any(axis=1)]
        unfinished = self._unfinished_day(index.tz, now)
        notes: tuple[Sentence, ...] = ()
        if unfinished is not None and len(bars) and bars.index[-1] >= unfinished:
            notes = (Sentence(UNFINISHED_TODAY, {"day": unfinished.date()}),)
            bars = bars[bars.index < unfinished]
        if bars.empty:
            raise self.nothing()
        file = tidied(PriceSeries(self.ticker, source, bars))
        return PriceFile(file.series, (*notes, *file.notes), _actions(table, days))

    def _checked(self, answer: Any) -> pd.DataFrame:
        if not isinstance(answer, pd.DataFrame):
            raise VendorFailed(FAILED, vendor=self.vendor, error="its answer is no table")
        if answer.empty:
            raise self.nothing()
        missing = [name for name in COLUMNS if name not in answer]
        if not isinstance(answer.index, pd.DatetimeIndex):
            missing.append("Date")
        if missing:
            raise VendorFailed(LACKS, vendor=self.vendor, column=missing[0])
        return answer

    def _unfinished_day(self, zone: tzinfo | None, now: Clock) -> pd.Timestamp | None:
        """The day by the exchange's clock whose bar is not over yet; None where today's is."""
        moment = now(zone or UTC)
        is_never_closed = ROUND_THE_CLOCK in self.ticker or str(zone) in ("UTC", "None")
        is_of_floor = self.ticker.endswith(GERMAN_FLOORS)
        hour = CLOSED_HOUR_OF_GERMAN_FLOORS if is_of_floor else CLOSED_HOUR
        if moment.hour >= hour and not is_never_closed:
            return None
        return pd.Timestamp(moment.date())


def _has_any(text: str, words: Iterable[str]) -> bool:
    return any(word in text for word in words)


def _actions(table: pd.DataFrame, days: pd.DatetimeIndex) -> tuple[Action, ...]:
    paid, split = (
        pd.to_numeric(table[name], errors="coerce").fillna(0.0).to_numpy()
        if name in table
        else np.zeros(len(table))
        for name in (DIVIDENDS, SPLITS)
    )
    rows = np.flatnonzero((paid > 0) | (split > 0))
    return tuple(Action(days[int(row)].date(), float(paid[row]), float(split[row])) for row in rows)
