"""Yahoo's answers: which bars are over, and what its errors mean."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from datetime import date, datetime, tzinfo

import pandas as pd
import pytest

from service.contract.fetch import AWAY, BUSY, FAILED, NOTHING
from service.vendors import yahoo
from service.vendors.errors import NothingThere, TryAgain, VendorFailed
from tests.support.prices import prices

FIRST, LAST = date(2013, 1, 2), date(2013, 12, 31)


def answering(monkeypatch: pytest.MonkeyPatch, answer: pd.DataFrame | Exception) -> None:
    """A yfinance that answers so."""

    class Ticker:
        def __init__(self, _: str) -> None:
            pass

        def history(self, **_: object) -> pd.DataFrame:
            if isinstance(answer, Exception):
                raise answer
            return answer

    monkeypatch.setitem(sys.modules, "yfinance", types.SimpleNamespace(Ticker=Ticker))


def bars_in(zone: str | None) -> pd.DataFrame:
    table = prices("GOOG", 30)
    return table if zone is None else table.tz_localize(zone)


def clock(hour: int, days_later: int = 0) -> Callable[[tzinfo | None], datetime]:
    """At this hour by the exchange's clock, on the day of the last bar or later."""
    day = prices("GOOG", 30).index[-1] + pd.Timedelta(days=days_later)
    return lambda _: datetime(day.year, day.month, day.day, hour)


@pytest.mark.parametrize(
    ("ticker", "zone", "hour", "days_later", "bars"),
    [
        ("AAPL", "America/New_York", 15, 0, 29),
        ("AAPL", "America/New_York", 18, 0, 30),
        ("AAPL", "America/New_York", 1, 1, 30),
        ("005930.KS", "Asia/Seoul", 14, 0, 29),
        ("005930.KS", "Asia/Seoul", 18, 0, 30),
        ("SAP.DE", "Europe/Berlin", 18, 0, 30),
        ("SAP.F", "Europe/Berlin", 18, 0, 29),
        ("SAP.F", "Europe/Berlin", 22, 0, 30),
        ("BTC-USD", "UTC", 23, 0, 29),
        ("BTC-USD", "UTC", 0, 1, 30),
        ("EURUSD=X", "Europe/London", 23, 0, 29),
        ("ODD", None, 23, 0, 29),
    ],
)
def test_a_bar_counts_once_its_day_is_over(
    monkeypatch: pytest.MonkeyPatch,
    ticker: str,
    zone: str | None,
    hour: int,
    days_later: int,
    bars: int,
) -> None:
    answering(monkeypatch, bars_in(zone))
    file = yahoo.fetched(ticker, FIRST, LAST, clock(hour, days_later))
    assert len(file.series.data) == bars
    assert [str(note)[:11] for note in file.notes] == ["The bar of "] * (30 - bars)
    assert file.series.data.index.tz is None


def error_of(name: str, message: str) -> Exception:
    error: Exception = type(name, (Exception,), {})(message)
    return error


@pytest.mark.parametrize(
    ("error", "kind", "template"),
    [
        (error_of("YFRateLimitError", "Too Many Requests."), TryAgain, BUSY),
        (error_of("HTTPError", "429 Client Error"), TryAgain, BUSY),
        (error_of("DNSError", "Could not resolve host"), TryAgain, AWAY),
        (error_of("ReadTimeout", "Read timed out"), TryAgain, AWAY),
        (error_of("YFTzMissingError", "$X: possibly delisted; no timezone"), NothingThere, NOTHING),
        (error_of("YFPricesMissingError", "$X: no price data"), NothingThere, NOTHING),
        (error_of("ValueError", "something else"), VendorFailed, FAILED),
        (error_of("ValueError", ""), VendorFailed, FAILED),
    ],
)
def test_what_an_error_means(
    monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[VendorFailed], template: str
) -> None:
    answering(monkeypatch, error)
    with pytest.raises(VendorFailed) as caught:
        yahoo.fetched("X", FIRST, LAST)
    assert type(caught.value) is kind
    assert caught.value.template == template


@pytest.mark.parametrize("ticker", ["000429.SZ", "SSL", "PROXY", "Rate"])
def test_the_letters_of_a_ticker_mean_nothing(monkeypatch: pytest.MonkeyPatch, ticker: str) -> None:
    answering(monkeypatch, error_of("ValueError", f"${ticker}: strange"))
    with pytest.raises(VendorFailed) as caught:
        yahoo.fetched(ticker, FIRST, LAST)
    assert caught.value.template == FAILED
