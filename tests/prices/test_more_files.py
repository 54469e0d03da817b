"""More files of the kinds that people have: read as they are meant, or refused with the reason."""

from __future__ import annotations

import pytest

from service.prices.files.reading import PriceFile, read_prices
from service.prices.series import UnreadablePrices

NAMES = "Date,Open,High,Low,Close,Volume"


def read(text: str, encoding: str = "utf-8") -> PriceFile:
    return read_prices(text.encode(encoding), "X", "x.csv")


def table(*rows: str, names: str = NAMES) -> str:
    return "\n".join([names, *rows]) + "\n"


@pytest.mark.parametrize(
    ("text", "encoding", "close", "volume"),
    {
        "Barchart, with its footer": (
            "Time,Open,High,Low,Last,Change,%Chg,Volume\n"
            "2024-01-02,10,12,9,11,1,10%,500\n2024-01-03,11,13,10,12.5,1,9%,600\n"
            "Downloaded from Barchart.com as of 01-04-2024 05:30pm CST\n",
            "utf-8",
            12.5,
            600,
        ),
        "a disclaimer below": (
            table(
                "2024-01-02,10,12,9,11,500",
                "2024-01-03,11,13,10,12.5,600",
                "",
                '"Disclaimer: delayed, at least 15 minutes"',
            ),
            "utf-8",
            12.5,
            600,
        ),
        "comdirect": (
            "BEISPIEL AG (WKN 123456 Börse Xetra)\nDatum;Eröffnung;Hoch;Tief;Schluss;Volumen\n"
            "03.01.2024;10,10;12,00;9,90;11,55;30.500\n02.01.2024;10,00;12,00;9,00;11,00;28.100\n",
            "cp1252",
            11.55,
            30500,
        ),
        "Refinitiv": (
            "Exchange Date,Close,Open,Low,High,%Chg,Volume\n"
            "03-Jan-2024,12.5,11,10,13,1%,600\n02-Jan-2024,11,10,9,12,1%,500\n",
            "utf-8",
            12.5,
            600,
        ),
        "Bloomberg": (
            "Security,AAPL US Equity\nDate,PX_OPEN,PX_HIGH,PX_LOW,PX_LAST,PX_VOLUME\n"
            "2024-01-02,10,12,9,11,500\n2024-01-03,11,13,10,12.5,600\n",
            "utf-8",
            12.5,
            600,
        ),
        "numbers that begin with 0 have no thousands": (
            table(
                '2024-01-02,"0,384","0,391","0,380","0,385",500',
                '2024-01-03,"0,385","0,395","0,381","0,390",600',
            ),
            "utf-8",
            0.39,
            600,
        ),
        "small volumes of coins": (
            table(
                "2024-01-02;1,234;1,300;1,200;1,250;0,412",
                "2024-01-03;1,250;1,310;1,210;1,260;0,398",
                names=NAMES.replace(",", ";"),
            ),
            "utf-8",
            1.26,
            0.398,
        ),
        "thin spaces between thousands": (
            table(
                "2024-01-02;1_200,50 €;1_300,00 €;1_100,00 €;1_250,25 €;30~500",
                "2024-01-03;1_250,00 €;1_310,00 €;1_210,00 €;1_260,75 €;31~500",
                names=NAMES.replace(",", ";"),
            )
            .replace("_", "\N{NARROW NO-BREAK SPACE}")
            .replace("~", "\N{NO-BREAK SPACE}"),
            "utf-8",
            1260.75,
            31500,
        ),
        "hours, by ten digits": (
            table("2024010209,10,12,9,11,500", "2024010210,11,13,10,12.5,600"),
            "utf-8",
            12.5,
            600,
        ),
        "the moment of fetching behind the bars": (
            table(
                "2024-01-02,10,12,9,11,500,2024-03-01",
                "2024-01-03,11,13,10,12.5,600,2024-03-01",
                names=f"{NAMES},Timestamp",
            ),
            "utf-8",
            12.5,
            600,
        ),
    }.values(),
)
def test_read_as_it_is_meant(text: str, encoding: str, close: float, volume: float) -> None:
    bars = read(text, encoding).series.data
    assert len(bars) == 2
    assert str(bars.index[-1].date()) in ("2024-01-03", "2024-01-02")
    assert bars.index.is_monotonic_increasing
    assert bars.index[0].year == 2024
    assert (bars["Close"].iloc[-1], bars["Volume"].iloc[-1]) == (close, volume)


@pytest.mark.parametrize(
    ("text", "reason"),
    {
        "eighths of grain futures": (table("2024-01-02,457'4,460'2,450'0,456'2,500"), "457'4"),
        "32nds of treasury notes": (
            table("2024-01-02,110'165,111'005,110'000,110'175,500"),
            "cannot be told whether 110'165",
        ),
        "a space within": (table("2024-01-02,110 16,111 00,110 00,110 17,500"), "110 16"),
        "volumes with commas and no quotes": (
            table("2024-01-02,10,12,9,11,30,123,456"),
            "Line 2 has more cells than there are names",
        ),
        "the same from some line on": (
            table(*["2024-01-02,10,12,9,11,900"] * 450, "2024-01-03,10,12,9,11,1,900"),
            "Line 452 has more cells than there are names",
        ),
        "whole prices, volumes with points": (
            table("2024-01-02;1200;1300;1100;1250;171.428", names=NAMES.replace(",", ";")),
            "cannot be told whether",
        ),
        "millions with three digits": (
            table('2024-01-02,1200,1300,1100,1250,"17,143M"'),
            "cannot be told whether 17,143M",
        ),
    }.values(),
)
def test_what_could_be_another_number_is_refused(text: str, reason: str) -> None:
    with pytest.raises(UnreadablePrices) as caught:
        read(text)
    assert reason in str(caught.value)


def test_what_stands_below_the_bars_is_said() -> None:
    text = table("2024-01-02,10,12,9,11,500", "Source: a vendor")
    assert str(read(text).notes[-1]) == (
        "Below the bars stands what is none, left out: Source: a vendor"
    )


def test_splits_as_ratios_and_dividends_with_signs() -> None:
    names = f"{NAMES},Dividends,Stock Splits"
    text = table("2024-01-02,10,12,9,11,500,$0.24,", "2024-01-03,10,12,9,11,500,,4:1", names=names)
    actions = read(text).actions
    assert [(action.dividend, action.split) for action in actions] == [(0.24, 0.0), (0.0, 4.0)]


def test_a_day_of_many_bars_has_its_dividend_once() -> None:
    rows = [f"2024-01-02 {hour}:00,10,12,9,11,500,0.5" for hour in ("09", "10", "11")]
    assert len(read(table(*rows, names=f"{NAMES},Dividends")).actions) == 1
