"""Price series: exact numbers from CSV, the same bytes back, the fingerprint of the content."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scripts.config import ROOT
from service.prices.files.reading import read_file, read_prices
from service.prices.series import PriceSeries, UnreadablePrices, series_from_content
from tests.support.prices import TICKERS, series


@pytest.mark.parametrize("ticker", TICKERS)
def test_numbers_are_read_to_the_last_bit(ticker: str) -> None:
    lines = (ROOT / "data" / f"{ticker}.csv").read_text().splitlines()
    names = lines[0].split(",")
    for column in ("Open", "Close", "Volume"):
        expected = [float(line.split(",")[names.index(column)]) for line in lines[1:]]
        assert series(ticker).data[column].tolist() == expected


@pytest.mark.parametrize("ticker", TICKERS)
def test_content_and_back(ticker: str) -> None:
    original = series(ticker)
    again = series_from_content(original.content)
    pd.testing.assert_frame_equal(again.data, original.data, check_freq=False)
    assert (again.ticker, again.source, again.fingerprint) == (
        ticker,
        f"{ticker}.csv",
        original.fingerprint,
    )


def test_the_fingerprint_is_that_of_the_content() -> None:
    goog = series("GOOG")
    assert goog.fingerprint == "deabca05fb1e1757d83f1bbda4ddb13fce6fa3819b761214f54a0ef9661d1610"
    other = PriceSeries("GOOG", "elsewhere", goog.data)
    changed = goog.data.copy()
    changed.iloc[5, 3] = np.nextafter(changed.iloc[5, 3], 1e9)
    fingerprints = {
        goog.fingerprint,
        other.fingerprint,
        PriceSeries("GOOG", "GOOG.csv", changed).fingerprint,
    }
    assert len(fingerprints) == 3


def read(text: str) -> PriceSeries:
    return read_prices(text.encode(), "X", "x.csv").series


def test_any_case_and_order_of_columns() -> None:
    prices = read(
        "volume,CLOSE, open ,High,Low,date,note\n"
        "5,2,1,3,0.5,2020-01-02,x\n"
        "6,2,1,3,0.5,2020-01-03,y\n"
    )
    assert prices.data.columns.tolist() == ["Open", "High", "Low", "Close", "Volume"]
    assert prices.data.iloc[0].tolist() == [1, 3, 0.5, 2, 5]
    assert (str(prices.first), str(prices.last)) == ("2020-01-02", "2020-01-03")


def test_offsets_that_change_with_the_season() -> None:
    rows = "2020-03-05 00:00:00-05:00,1,1,1,1,1\n2020-03-09 00:00:00-04:00,1,1,1,1,1\n"
    assert read("Date,Open,High,Low,Close,Volume\n" + rows).data.index.astype(str).tolist() == [
        "2020-03-05",
        "2020-03-09",
    ]


def test_an_empty_date_is_left_to_the_gate() -> None:
    assert read(
        "Date,Open,High,Low,Close,Volume\n2020-03-05,1,1,1,1,1\n,1,1,1,1,1\n"
    ).data.index.isna().tolist() == [
        False,
        True,
    ]


def test_time_zones_are_dropped() -> None:
    prices = read("Datetime,Open,High,Low,Close,Volume\n2020-01-02T09:30:00-05:00,1,1,1,1,1\n")
    assert prices.data.index.tz is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "It is empty"),
        ("Date,Open,High,Low,Close\n", "no column volume"),
        ("Open,High,Low,Close,Volume\n", "no column date"),
        (
            "Date,Open,High,Low,Close,Volume\n2020-01-02,1,x,1,1,1\n",
            "Line 2: High is no number: 'x'",
        ),
        (
            "Date,Open,High,Low,Close,Volume\n2020-01-02,1,1,1,1,1\n2020-01-03,1,1,1,1,n/y\n",
            "Line 3: Volume is no number",
        ),
        (
            "Date,Open,High,Low,Close,Volume\n01/02/2020,1,1,1,1,1\n",
            "'01/02/2020' is no date such as 2020-01-31: is the day first or the month",
        ),
        ('Date,Open,High,Low,Close,Volume\n"2020', "cannot be read as CSV"),
        (
            "Date,Open,High,Low,Close,Volume\n3000-01-01,1,1,1,1,1\n",
            "Line 2: '3000-01-01' is no date",
        ),
        (
            "Date,Open,High,Low,Close,Volume\n1600-01-01,1,1,1,1,1\n",
            "Line 2: '1600-01-01' is no date",
        ),
        (
            "Date,Open,High,Low,Close,Volume\n2020-01-02,1,1,1,1," + "9" * 400 + "\n",
            "Line 2: Volume is no number",
        ),
    ],
)
def test_unreadable_files_are_refused(text: str, message: str) -> None:
    with pytest.raises(UnreadablePrices, match=message):
        read(text)


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(UnreadablePrices, match="There is no such file"):
        read_file(ROOT / "data" / "NONE.csv", "NONE")
