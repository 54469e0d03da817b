"""Daily prices of the Korea Exchange, delisted shares too, by FinanceDataReader.

It is no part of the images: requirements-krx.txt has it.
"""

from __future__ import annotations

from datetime import date, datetime

import pandas as pd

from service.contract.fetch import KRX, NOT_INSTALLED, VENDORS
from service.prices.files.reading import PriceFile
from service.vendors.answer import Clock, Question
from service.vendors.errors import VendorFailed

SOURCE = f"{VENDORS[KRX]} via FinanceDataReader"
ZONE = "Asia/Seoul"


def fetched(ticker: str, start: date, end: date, now: Clock = datetime.now) -> PriceFile:
    """The daily bars of a ticker such as 005930 from `start` to `end`, both included.

    They are adjusted for splits, and dividends are not reinvested. `now` is a clock. Raises
    VendorFailed.
    """
    try:
        import FinanceDataReader
    except ImportError:
        raise VendorFailed(NOT_INSTALLED, vendor=VENDORS[KRX]) from None
    question = Question(VENDORS[KRX], ticker, start, end)
    try:
        answer = FinanceDataReader.DataReader(ticker, start.isoformat(), end.isoformat())
    # As with yfinance.
    except Exception as error:  # noqa: BLE001
        raise question.failure(error) from None
    if isinstance(answer, pd.DataFrame) and isinstance(answer.index, pd.DatetimeIndex):
        # Its days have no zone.
        answer = answer.set_axis(answer.index.tz_localize(None).tz_localize(ZONE))
    return question.file_of(answer, SOURCE, now)
