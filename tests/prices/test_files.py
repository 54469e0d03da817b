"""Price files as vendors write them: read, and what was recognised is said, or refused by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.prices.checks import check_prices
from service.prices.files.reading import PriceFile, read_prices
from service.prices.series import UnreadablePrices
from tests.support.prices import prices

NEWEST_FIRST = "The newest bar came first: turned around."
KRX = """\
일자,종가,대비,등락률,시가,고가,저가,거래량,거래대금,시가총액
2024/01/03,"77,000","-2,600",-3.27,"78,500","78,800","77,000","21,753,644","1,691,690,000,000","459,667,176"
2024/01/02,"79,600","1,100",1.40,"78,200","79,800","78,200","17,142,847","1,356,958,225,913","475,190,000"
"""
NAVER = "날짜|시가|고가|저가|종가|거래량\n20240102|78200|79800|78200|79600|17142847\n"
NASDAQ = """\
Date,Close/Last,Volume,Open,High,Low
01/03/2024,$184.25,58414460,$184.22,$185.88,$183.43
01/02/2024,$185.64,82488670,$187.15,$188.44,$183.89
12/29/2023,$192.53,42672150,$193.90,$194.40,$191.73
"""
STOOQ = """\
<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>
AAPL.US,D,20240102,000000,187.15,188.44,183.885,185.64,82488674,0
AAPL.US,D,20240103,000000,184.22,185.88,183.43,184.25,58414460,0
"""
ALPHA_VANTAGE = """\
timestamp,1. open,2. high,3. low,4. close,5. volume
2024-01-03,184.22,185.88,183.43,184.25,58414460
2024-01-02,187.15,188.44,183.89,185.64,82488674
"""
INVESTING = """\
"Date","Price","Open","High","Low","Vol.","Change %"
"01/03/2024","184.25","184.22","185.88","183.43","58.41M","-0.75%"
"12/29/2023","192.53","193.90","194.40","191.73","42.67M","-0.54%"
"""
TRADINGVIEW = """\
time,open,high,low,close,Volume
1704205800,187.15,188.44,183.885,185.64,82488674
1704292200,184.22,185.88,183.43,184.25,58414460
"""
BINANCE = (
    "timestamp,open,high,low,close,volume\n1704067200000,1,2,0.5,1.5,7\n1704153600000,1,2,1,1.5,7\n"
)
GERMAN = """\
Historische Kurse der Aktie

Date;Open;High;Low;Close;Volume
03.01.2024;1.184,22;1.185,88;1.183,43;1.184,25;58.414
02.01.2024;1.187,15;1.188,44;1.183,89;1.185,64;82.488
"""
YFINANCE = """\
Price,Close,High,Low,Open,Volume
Ticker,GOOG,GOOG,GOOG,GOOG,GOOG
Date,,,,,
2024-01-02,139.6,140.6,137.7,138.6,20071900
"""


def read(text: str | bytes) -> PriceFile:
    return read_prices(text.encode() if isinstance(text, str) else text, "X", "x.csv")


def said(file: PriceFile) -> list[str]:
    return [str(note) for note in file.notes]


def first(file: PriceFile) -> list[float]:
    return file.series.data.iloc[0].tolist()


@pytest.mark.parametrize(
    ("text", "days", "row", "notes"),
    [
        (
            KRX,
            ("2024-01-02", "2024-01-03"),
            [78200, 79800, 78200, 79600, 17142847],
            ["Thousands are separated by , in this file.", NEWEST_FIRST],
        ),
        (
            NAVER,
            ("2024-01-02",),
            [78200, 79800, 78200, 79600, 17142847],
            ["Columns are separated by vertical bars."],
        ),
        (
            NASDAQ,
            ("2023-12-29", "2024-01-02", "2024-01-03"),
            [193.90, 194.40, 191.73, 192.53, 42672150],
            [NEWEST_FIRST],
        ),
        (STOOQ, ("2024-01-02", "2024-01-03"), [187.15, 188.44, 183.885, 185.64, 82488674], []),
        (
            ALPHA_VANTAGE,
            ("2024-01-02", "2024-01-03"),
            [187.15, 188.44, 183.89, 185.64, 82488674],
            [NEWEST_FIRST],
        ),
        (
            INVESTING,
            ("2023-12-29", "2024-01-03"),
            [193.90, 194.40, 191.73, 192.53, 42670000.0],
            [NEWEST_FIRST],
        ),
        (
            TRADINGVIEW,
            ("2024-01-02", "2024-01-03"),
            [187.15, 188.44, 183.885, 185.64, 82488674],
            ["Seconds since 1970 were read as dates (UTC)."],
        ),
        (
            BINANCE,
            ("2024-01-01", "2024-01-02"),
            [1, 2, 0.5, 1.5, 7],
            ["Seconds since 1970 were read as dates (UTC)."],
        ),
        (
            GERMAN,
            ("2024-01-02", "2024-01-03"),
            [1187.15, 1188.44, 1183.89, 1185.64, 82488],
            [
                "Columns are separated by semicolons.",
                "Decimals stand after a comma.",
                "Thousands are separated by . in this file.",
                "Dates with points were read with the day first, then the month.",
                NEWEST_FIRST,
            ],
        ),
        (YFINANCE, ("2024-01-02",), [138.6, 140.6, 137.7, 139.6, 20071900], []),
    ],
)
def test_files_of_vendors(
    text: str, days: Sequence[str], row: Sequence[float], notes: Sequence[str]
) -> None:
    file = read(text)
    assert file.series.data.index.astype(str).tolist() == list(days)
    assert first(file) == list(row)
    assert said(file) == list(notes)
    errors = [each for each in check_prices(file.series.data) if each.severity == "error"]
    assert [each.code for each in errors] in ([], ["TooShort"])


ROW = "1,2,0.5,1.5,7"


@pytest.mark.parametrize(
    ("dates", "days"),
    [
        (("2024-01-02", "2024-01-03"), ("2024-01-02", "2024-01-03")),
        (("2024/1/2", "2024/1/3"), ("2024-01-02", "2024-01-03")),
        (("2024.01.02", "2024.01.03"), ("2024-01-02", "2024-01-03")),
        (("2024년 1월 2일", "2024년 1월 3일"), ("2024-01-02", "2024-01-03")),
        (("2024. 1. 2.", "2024. 1. 3."), ("2024-01-02", "2024-01-03")),
        (("20240102", "20240103"), ("2024-01-02", "2024-01-03")),
        (("02.01.2024", "03.01.2024"), ("2024-01-02", "2024-01-03")),
        (("31/01/2024", "01/02/2024"), ("2024-01-31", "2024-02-01")),
        (("01/31/2024", "02/01/2024"), ("2024-01-31", "2024-02-01")),
        (('"Jan 2, 2024"', '"Jan 3, 2024"'), ("2024-01-02", "2024-01-03")),
        (("02-Jan-2024", "03-Jan-2024"), ("2024-01-02", "2024-01-03")),
        (("2 January 2024", "3 January 2024"), ("2024-01-02", "2024-01-03")),
        (("2024-01-02T00:00:00Z", "2024-01-03T00:00:00Z"), ("2024-01-02", "2024-01-03")),
        (("2024-01-02 00:00:00+00", "2024-01-03 00:00:00+00"), ("2024-01-02", "2024-01-03")),
        (
            ("2024-01-02T00:00:00-05:00[America/New_York]", "2024-01-03T00:00:00-05:00"),
            ("2024-01-02", "2024-01-03"),
        ),
        (("1704153600", "1704240000"), ("2024-01-02", "2024-01-03")),
        (("1704153600000000000", "1704240000000000000"), ("2024-01-02", "2024-01-03")),
        (("202401020930", "202401020931"), ("2024-01-02 09:30:00", "2024-01-02 09:31:00")),
        # The only order in which they follow each other
        (("01/02/2024", "01/03/2024", "01/04/2024", "02/01/2024"), ("2024-01-02", "2024-01-03")),
    ],
)
def test_dates_in_many_spellings(dates: Sequence[str], days: Sequence[str]) -> None:
    lines = [f"{each},{ROW}" for each in dates]
    index = read("\n".join(["Date,Open,High,Low,Close,Volume", *lines])).series.data.index
    assert index.astype(str).tolist()[:2] == list(days)


def test_an_hour_that_is_there_twice() -> None:
    stamps = ("2022-11-06 01:00:00-04:00", "2022-11-06 01:00:00-05:00")
    lines = [f"{each},{ROW}" for each in stamps]
    file = read("\n".join(["Datetime,Open,High,Low,Close,Volume", *lines]))
    assert file.series.data.index.astype(str).tolist() == [
        "2022-11-06 05:00:00",
        "2022-11-06 06:00:00",
    ]
    assert said(file) == ["Times are those of UTC: an hour is there twice when the clock changes."]


def evenings(first_day: str, days: int) -> str:
    """Sessions from Monday to Friday, each stamped with the evening before."""
    sessions = pd.bdate_range(first_day, periods=days)
    stamps = [f"{day - pd.Timedelta(days=1):%Y-%m-%d} 23:00:00-06:00" for day in sessions]
    return "\n".join(["Date,Open,High,Low,Close,Volume", *(f"{each},{ROW}" for each in stamps)])


def test_bars_of_the_evening_before_have_the_date_of_their_session() -> None:
    file = read(evenings("2024-01-01", 10))
    assert str(file.series.first) == "2024-01-01"
    assert said(file) == [
        "Bars are stamped 23:00 of the evening before: they have the date of the next day."
    ]


def test_too_few_bars_to_know_whether_it_was_the_evening_before() -> None:
    file = read(evenings("2024-01-02", 2))
    assert said(file) == ["Bars are stamped 23:00: their dates may be a day early."]


def test_date_and_time_in_two_columns() -> None:
    lines = [f"2024-01-02,{hour}:00:00,{ROW}" for hour in (10, 11)]
    file = read("\n".join(["Date,Time,Open,High,Low,Close,Volume", *lines]))
    assert file.series.data.index.astype(str).tolist() == [
        "2024-01-02 10:00:00",
        "2024-01-02 11:00:00",
    ]


def test_newest_bars_without_prices_are_left_out() -> None:
    head = f"Date,Open,High,Low,Close,Volume\n2024-01-02,{ROW}\n"
    file = read(head + "2024-01-03,,,,,7\n")
    assert len(file.series.data) == 1
    assert said(file) == ["The last bar has no prices yet: left out."]
    file = read(head + "2024-01-03,,,,,7\n2024-01-04,null,null,null,null,\n")
    assert said(file) == ["2 bars at the end have no prices yet: left out."]


def test_a_hole_in_the_middle_is_left_to_the_gate() -> None:
    rows = f"2024-01-02,{ROW}\n2024-01-03,,,,,7\n2024-01-04,{ROW}\n"
    file = read("Date,Open,High,Low,Close,Volume\n" + rows)
    assert len(file.series.data) == 3
    assert check_prices(file.series.data)[0].severity == "error"


def test_adjusted_prices_are_in_order_to_the_last_digits() -> None:
    close = 0.1 + 0.2
    row = f"0.25,0.3,0.2,{close!r},7"
    assert close > 0.3
    file = read(f"Date,Open,High,Low,Close,Volume\n2024-01-02,{row}\n")
    assert said(file) == ["High and low of 1 bars were widened by a rounding step."]
    assert file.series.data["High"].tolist() == [close]
    file = read("Date,Open,High,Low,Close,Volume\n2024-01-02,0.25,0.3,0.2,0.31,7\n")
    assert file.notes == (), "a real mistake is left to the gate"


def test_columns_without_a_name_and_of_other_vendors() -> None:
    assert first(read(f",Open,High,Low,Close,Volume\n2024-01-02,{ROW}\n")) == [1, 2, 0.5, 1.5, 7]
    adjusted = "Date,Open,High,Low,Close,Adj Close,Volume\n2024-01-02,1,2,0.5,1.5,1.4,7\n"
    assert first(read(adjusted)) == [1, 2, 0.5, 1.5, 7]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp949"])
def test_encodings(encoding: str) -> None:
    file = read(KRX.encode(encoding))
    assert first(file) == [78200, 79800, 78200, 79600, 17142847]
    assert ("encoded in" in " ".join(said(file))) == (encoding not in ("utf-8", "utf-8-sig"))


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (
            b"Date,Open,High,Low,close,Volume,Close\n",
            "Two columns are its close: 'close' and 'Close'",
        ),
        (
            b"Price,Close,Close,High,Low,Open,Volume\nTicker,A,B,A,A,A,A\n",
            "Two columns are its close",
        ),
        (
            b"Price,Close,High,Low,Open,Volume\nTicker,GOOG,SPY,GOOG,GOOG,GOOG\n",
            "Its second line of names has several tickers, GOOG, SPY",
        ),
        (b"Date,Open,High,Low\n2024-01-02,1,2,3\n", "It has no column close; it needs"),
        (b"2024-01-02,1,2,0.5,1.5,7\n", "It has no column date"),
        (b"PK\x03\x04....", "It is an Excel file or an archive"),
        (b"\x1f\x8b....", "It is compressed"),
        (b"<!DOCTYPE html><html>", "It is a web page"),
        (b'{"chart": {}}', "It is JSON"),
        (b"\xff\xfeD\x00a", "It begins like UTF-16 and is none"),
        (b"PAR1....", "Parquet"),
        (b"", "It is empty."),
        (b"\n\n\n", "It is empty."),
        (b"Date,Open,High,Low,Close,Volume\n", "It has no bars below its names."),
        (b"Date,Open,High,Low,Close,Volume\n\n,,,,,\n", "It has no bars below its names."),
        (
            b"Date,Open,High,Low,Close,Volume\n02/01/2024,1,2,1,1,1\n",
            "is the day first or the month?",
        ),
        (
            b"Date,Open,High,Low,Close,Volume\n2024-01-02,1,2,1,1,1\nTotal,1,2,1,1,1\n",
            "Line 3: 'Total' is no date such as 2020-01-31",
        ),
        (
            b"Date;Open;High;Low;Close;Volume\n2024-01-02;1,5;x;1;1;1\n",
            "Line 2: High is no number: 'x'",
        ),
    ],
)
def test_what_is_no_price_file_is_refused_by_name(data: bytes, sentence: str) -> None:
    with pytest.raises(UnreadablePrices) as refused:
        read(data)
    assert sentence in str(refused.value)


def rows(*lines: str, separator: str = ",") -> str:
    header = separator.join(("Date", "Open", "High", "Low", "Close", "Volume"))
    return "\n".join([header, *lines]) + "\n"


@pytest.mark.parametrize(
    ("text", "row"),
    [
        # Zeros at the end are left out, and a point and a comma decide together.
        (
            rows('2024-01-02,"998","1,998.5","998","1,002","58,414"'),
            [998, 1998.5, 998, 1002, 58414],
        ),
        (
            rows("2024-01-02;998,5;1.998;998;1.002;58.414", separator=";"),
            [998.5, 1998, 998, 1002, 58414],
        ),
        # The volumes tell what the prices do not.
        (
            rows("2024-01-02;184,22;185,88;183,43;184,25;58.414", separator=";"),
            [184.22, 185.88, 183.43, 184.25, 58414],
        ),
        (
            rows("2024-01-02;78,200;79,800;78,200;79,600;171,428", separator=";"),
            [78200, 79800, 78200, 79600, 171428],
        ),
        (
            rows("2024-01-02;78.200;79.800;78.200;79.600;17.142.847", separator=";"),
            [78200, 79800, 78200, 79600, 17142847],
        ),
        (
            rows('2024-01-02,"9,35","9,45","9,25","9,30","17,14M"'),
            [9.35, 9.45, 9.25, 9.3, 17140000],
        ),
        (
            rows('2024-01-02,184.22,185.88,183.43,184.25,"58,414,460"'),
            [184.22, 185.88, 183.43, 184.25, 58414460],
        ),
        # Three decimals where decimals stand after a point anyway.
        (
            rows("2024-01-02,147.123,147.456,147.001,147.250,17"),
            [147.123, 147.456, 147.001, 147.25, 17],
        ),
        (
            rows("2024-01-02,9.35e-06,9.45e-06,9.25e-06,9.3e-06,17"),
            [9.35e-06, 9.45e-06, 9.25e-06, 9.3e-06, 17],
        ),
        (
            rows("2024-01-02;9,35e-06;9,45e-06;9,25e-06;9,3e-06;17", separator=";"),
            [9.35e-06, 9.45e-06, 9.25e-06, 9.3e-06, 17],
        ),
        (rows("2024-01-02,1’234.5,1’235,1’234,1’234.5,17"), [1234.5, 1235, 1234, 1234.5, 17]),
        (rows("2024-01-02,€ 184.22,185.88,183.43,184.25,17"), [184.22, 185.88, 183.43, 184.25, 17]),
    ],
)
def test_how_numbers_are_written_is_told_by_all_of_them(text: str, row: list[float]) -> None:
    assert first(read(text)) == row


@pytest.mark.parametrize(
    "text",
    [
        rows("2024-01-02;78.200;79.800;78.200;79.600;17142847", separator=";"),
        rows("2024-01-02,1.997,1.998,1.996,1.997,58.414"),
        rows("2024-01-02\t147,123\t147,456\t147,001\t147,250\t17", separator="\t"),
    ],
)
def test_what_may_be_thousands_or_decimals_is_refused(text: str) -> None:
    with pytest.raises(UnreadablePrices, match="It cannot be told whether"):
        read(text)


def test_numbers_in_two_ways_are_refused_by_both() -> None:
    text = rows('2024-01-02,"1,500","1,500","1,500","1,500",7', '2024-01-03,"12,5",13.5,12,12,7')
    with pytest.raises(UnreadablePrices, match="written in two ways: 13.5 and 12,5"):
        read(text)


def test_what_comes_after_many_lines_counts_as_well() -> None:
    days = pd.bdate_range("2000-01-03", periods=900)
    prices_ = [f"{900 + number / 2:,.2f}" for number in range(900)]
    lines = [
        f"{day:%Y-%m-%d},{','.join([f'''{chr(34)}{price}{chr(34)}'''] * 4)},7"
        for day, price in zip(days, prices_, strict=True)
    ]
    assert read(rows(*lines)).series.data["Close"].iloc[-1] == 900 + 899 / 2


def daily(stamps: Sequence[str]) -> PriceFile:
    return read(rows(*(f"{each},{ROW}" for each in stamps)))


@pytest.mark.parametrize("form", ["{:%Y-%m-%dT%H:%M:%S%z}", "{}"])
@pytest.mark.parametrize("zone", ["Europe/Berlin", "Asia/Seoul", "Australia/Sydney"])
def test_midnights_of_the_east_have_the_date_of_their_session(zone: str, form: str) -> None:
    """As seconds and as texts, over a change of the clock."""
    sessions = pd.bdate_range("2023-01-02", periods=250)
    in_utc = sessions.tz_localize(zone).tz_convert("UTC")
    stamps = [form.format(each) if "%" in form else str(int(each.timestamp())) for each in in_utc]
    assert daily(stamps).series.data.index.tolist() == sessions.tolist()


def test_the_last_second_of_a_day_is_of_that_day() -> None:
    days = pd.date_range("2024-01-06", periods=5)
    file = daily([f"{day:%Y-%m-%d}T23:59:59.999Z" for day in days])
    assert file.series.data.index.normalize().tolist() == days.tolist()
    assert said(file) == []


@pytest.mark.parametrize(
    ("lines", "stamp"),
    [
        (["2024-01-02 9:00"], "2024-01-02 09:00:00"),
        (["2024-01-02 09:00"], "2024-01-02 09:00:00"),
    ],
)
def test_hours_of_one_digit(lines: list[str], stamp: str) -> None:
    assert str(daily(lines).series.data.index[0]) == stamp


@pytest.mark.parametrize(
    ("time", "stamp"), [("0", "00:00:00"), ("901", "09:01:00"), ("90200", "09:02:00")]
)
def test_times_without_colons(time: str, stamp: str) -> None:
    text = f"Date,Time,Open,High,Low,Close,Volume\n20240102,{time},{ROW}\n"
    assert str(read(text).series.data.index[0]) == pd.Timestamp(f"2024-01-02 {stamp}").__str__()


def test_an_index_that_only_counts_is_no_date() -> None:
    file = read(f",time,open,high,low,close,volume\n0,2024-01-02,{ROW}\n1,2024-01-03,{ROW}\n")
    assert str(file.series.first) == "2024-01-02"


def test_several_instruments_are_none() -> None:
    header = "Symbol,Date,Open,High,Low,Close,Volume\n"
    with pytest.raises(UnreadablePrices, match="It has several tickers, AAA and BBB"):
        read(f"{header}AAA,2024-01-02,{ROW}\nBBB,2024-01-03,{ROW}\n")
    assert first(read(f"{header}AAA,2024-01-02,{ROW}\nAAA,2024-01-03,{ROW}\n")) == [
        1,
        2,
        0.5,
        1.5,
        7,
    ]


def test_empty_lines_are_none_and_count_as_lines() -> None:
    file = read(rows(f"2024-01-03,{ROW}", "", f"2024-01-02,{ROW}", ",,,,,"))
    assert (len(file.series.data), said(file)) == (2, [NEWEST_FIRST])
    with pytest.raises(UnreadablePrices, match="Line 5: Open is no number"):
        read(rows(f"2024-01-02,{ROW}", "", "", "2024-01-03,x,2,0.5,1.5,7"))


def test_parquet_where_its_reader_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    table = prices("GOOG", 5)
    monkeypatch.setattr(pd, "read_parquet", lambda source: table)
    file = read(b"PAR1....")
    assert said(file) == ["It is a Parquet file."]
    pd.testing.assert_frame_equal(file.series.data, table, check_freq=False, check_names=False)


def test_parquet_without_its_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: object) -> None:
        raise ImportError

    monkeypatch.setattr(pd, "read_parquet", refuse)
    with pytest.raises(UnreadablePrices, match="pip install pyarrow"):
        read(b"PAR1....")


HEADERS = {
    "english": ("Date", "Open", "High", "Low", "Close", "Volume"),
    "small": ("date", "open", "high", "low", "close", "volume"),
    "korean": ("일자", "시가", "고가", "저가", "종가", "거래량"),
    "stooq": ("<DATE>", "<OPEN>", "<HIGH>", "<LOW>", "<CLOSE>", "<VOL>"),
}
FORMATS = ("%Y-%m-%d", "%Y/%m/%d", "%Y%m%d", "%Y.%m.%d", "%d.%m.%Y", "%Y년 %m월 %d일")


def written(value: float, decimal: str, thousands: str) -> str:
    text = f"{value:,.4f}"
    return text.translate(str.maketrans({",": thousands, ".": decimal}))


@given(
    bars=st.integers(1, 12),
    scale=st.sampled_from([1.0, 100.0, 25_000.0]),
    header=st.sampled_from(sorted(HEADERS)),
    form=st.sampled_from(FORMATS),
    separator=st.sampled_from([",", ";", "\t", "|"]),
    marks=st.sampled_from([(".", ""), (".", ","), (",", "."), (",", "")]),
    is_newest_first=st.booleans(),
    order=st.permutations(range(6)),
    seed=st.integers(0, 999),
)
def test_any_layout_gives_the_same_bars(
    bars: int,
    scale: float,
    header: str,
    form: str,
    separator: str,
    marks: tuple[str, str],
    is_newest_first: bool,
    order: Sequence[int],
    seed: int,
) -> None:
    """Of prices with four decimals, however they are written; quoted where it must be."""
    random = np.random.Generator(np.random.PCG64(seed))
    values = np.round(scale * random.uniform(0.5, 1.5, (bars, 4)), 4)
    index = pd.bdate_range("2024-01-15", periods=bars)
    rows: list[list[Any]] = [
        [f"{day:{form}}", *(written(value, *marks) for value in row), "1200"]
        for day, row in zip(index, values, strict=True)
    ]
    table = pd.DataFrame(rows, columns=HEADERS[header]).iloc[:, list(order)]
    if is_newest_first:
        table = table.iloc[::-1]
    data = read(table.to_csv(index=False, sep=separator)).series.data
    assert data.index.tolist() == index.tolist()
    assert data[["Open", "High", "Low", "Close"]].to_numpy().tolist() == values.tolist()
