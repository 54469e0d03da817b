"""Daily prices, dividends and splits from Yahoo Finance, by yfinance."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta, tzinfo

import numpy as np
import pandas as pd

from backtest.prices import COLUMNS
from service.contract.fetch import AWAY, BUSY, FAILED, LACKS, NOTHING, VENDORS, YAHOO
from service.contract.sentence import Sentence
from service.prices.action import Action
from service.prices.files.reading import PriceFile, tidied
from service.prices.series import PriceSeries
from service.vendors.errors import NothingThere, TryAgain, VendorFailed

VENDOR = VENDORS[YAHOO]
SOURCE = f"{VENDOR} via yfinance"
TIMEOUT_SECONDS = 30
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


def fetched(
    ticker: str, start: date, end: date, now: Callable[[tzinfo | None], datetime] = datetime.now
) -> PriceFile:
    """The daily bars of a ticker from `start` to `end`, both included, with what was paid.

    They are adjusted for splits, and dividends are not reinvested. Bars without prices and one
    that is not over yet are left out. `now` is a clock. Raises VendorFailed.
    """
    table = _table(ticker, start, end)
    if table.empty:
        raise NothingThere(NOTHING, vendor=VENDOR, ticker=ticker, start=start, end=end)
    missing = [name for name in COLUMNS if name not in table]
    if missing:
        raise VendorFailed(LACKS, vendor=VENDOR, column=missing[0])
    days = _days_of(table)
    unfinished = _unfinished_day(ticker, table, now)
    bars = table[list(COLUMNS)].apply(pd.to_numeric, errors="coerce").astype(float)
    bars.index = days.rename("Date")
    # Yahoo answers days of which it has nothing with a row that is empty.
    bars = bars[bars.notna().any(axis=1)]
    notes: tuple[Sentence, ...] = ()
    if unfinished is not None and len(bars) and bars.index[-1] >= unfinished:
        notes = (Sentence(UNFINISHED_TODAY, {"day": unfinished.date()}),)
        bars = bars[bars.index < unfinished]
    if bars.empty:
        raise NothingThere(NOTHING, vendor=VENDOR, ticker=ticker, start=start, end=end)
    file = tidied(PriceSeries(ticker, SOURCE, bars))
    return PriceFile(file.series, (*notes, *file.notes), _actions(table, days))


def _unfinished_day(
    ticker: str, table: pd.DataFrame, now: Callable[[tzinfo | None], datetime]
) -> pd.Timestamp | None:
    """The day by the exchange's clock whose bar is not over yet; None where today's is."""
    zone = getattr(table.index, "tz", None)
    moment = now(zone or UTC)
    is_never_closed = ROUND_THE_CLOCK in ticker or str(zone) in ("UTC", "None")
    hour = CLOSED_HOUR_OF_GERMAN_FLOORS if ticker.endswith(GERMAN_FLOORS) else CLOSED_HOUR
    if moment.hour >= hour and not is_never_closed:
        return None
    return pd.Timestamp(moment.date())


def _table(ticker: str, start: date, end: date) -> pd.DataFrame:
    # Imported here: nobody else needs it, and it takes a second.
    import yfinance

    # It logs what its exceptions say.
    logging.getLogger("yfinance").setLevel(logging.CRITICAL)
    try:
        answer = yfinance.Ticker(ticker).history(
            start=start,
            end=end + timedelta(days=1),
            auto_adjust=False,
            actions=True,
            raise_errors=True,
            timeout=TIMEOUT_SECONDS,
        )
    # The vendor's client raises whatever its transport raises.
    except Exception as error:  # noqa: BLE001
        raise _failure(error, ticker, start, end) from None
    if not isinstance(answer, pd.DataFrame):
        raise VendorFailed(FAILED, vendor=VENDOR, error="its answer is no table")
    return answer


def _failure(error: Exception, ticker: str, start: date, end: date) -> VendorFailed:
    """What the error of the vendor's client means."""
    name = type(error).__name__
    if name in NOTHING_ERRORS:
        return NothingThere(NOTHING, vendor=VENDOR, ticker=ticker, start=start, end=end)
    # The letters of a ticker mean nothing.
    text = f"{name} {error}".replace(ticker, "")
    if _has_any(text, BUSY_WORDS):
        return TryAgain(BUSY, vendor=VENDOR)
    said = (str(error).splitlines() or ["no reason given"])[0][:MAX_QUOTED]
    if _has_any(text, AWAY_WORDS):
        return TryAgain(AWAY, vendor=VENDOR, error=name)
    return VendorFailed(FAILED, vendor=VENDOR, error=f"{name}: {said}")


def _has_any(text: str, words: Iterable[str]) -> bool:
    return any(word in text for word in words)


def _days_of(table: pd.DataFrame) -> pd.DatetimeIndex:
    """The sessions by the exchange's own calendar."""
    if not isinstance(table.index, pd.DatetimeIndex):
        raise VendorFailed(LACKS, vendor=VENDOR, column="Date")
    return table.index.tz_localize(None).normalize().as_unit("ns")


def _actions(table: pd.DataFrame, days: pd.DatetimeIndex) -> tuple[Action, ...]:
    paid, split = (
        pd.to_numeric(table[name], errors="coerce").fillna(0.0).to_numpy()
        if name in table
        else np.zeros(len(table))
        for name in (DIVIDENDS, SPLITS)
    )
    rows = np.flatnonzero((paid > 0) | (split > 0))
    return tuple(Action(days[int(row)].date(), float(paid[row]), float(split[row])) for row in rows)
