"""Daily prices, dividends and splits from Yahoo Finance, by yfinance."""

from __future__ import annotations

import logging
from datetime import date, datetime, timedelta

from service.contract.fetch import VENDORS, YAHOO
from service.prices.files.reading import PriceFile
from service.vendors.answer import Clock, Question

SOURCE = f"{VENDORS[YAHOO]} via yfinance"
TIMEOUT_SECONDS = 30


def fetched(ticker: str, start: date, end: date, now: Clock = datetime.now) -> PriceFile:
    """The daily bars of a ticker from `start` to `end`, both included, with what was paid.

    They are adjusted for splits, and dividends are not reinvested. `now` is a clock. Raises
    VendorFailed.
    """
    # Imported here: nobody else needs it, and it takes a second.
    import yfinance

    # It logs what its exceptions say.
    logging.getLogger("yfinance").setLevel(logging.CRITICAL)
    question = Question(VENDORS[YAHOO], ticker, start, end)
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
        raise question.failure(error) from None
    return question.file_of(answer, SOURCE, now)
