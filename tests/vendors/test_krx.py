"""The Korea Exchange by FinanceDataReader, which may not be there."""

from __future__ import annotations

import sys
import types
from datetime import date, datetime

import pandas as pd
import pytest

from service.vendors import krx
from service.vendors.errors import NothingThere, TryAgain, VendorFailed
from tests.support.prices import prices

FIRST, LAST = date(2013, 1, 2), date(2013, 12, 31)


def answering(monkeypatch: pytest.MonkeyPatch, answer: object) -> list[tuple[str, ...]]:
    """A FinanceDataReader that answers so; what it was asked."""
    calls: list[tuple[str, ...]] = []

    def read(*words: str) -> object:
        calls.append(words)
        if isinstance(answer, Exception):
            raise answer
        return answer

    module = types.SimpleNamespace(DataReader=read)
    monkeypatch.setitem(sys.modules, "FinanceDataReader", module)
    return calls


def test_its_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    table = prices("GOOG", 30).round().astype(int).assign(Change=0.0)
    calls = answering(monkeypatch, table)
    day = table.index[-1]
    asked_at = datetime(day.year, day.month, day.day, 17)
    file = krx.fetched("005930", FIRST, LAST, lambda zone: asked_at.replace(tzinfo=zone))
    assert calls == [("005930", "2013-01-02", "2013-12-31")]
    assert len(file.series.data) == 29, "the bar of today may be unfinished at 17:00 in Seoul"
    assert file.series.source == "Korea Exchange via FinanceDataReader"
    assert file.series.data.dtypes.unique().tolist() == [float]


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        (pd.DataFrame(), NothingThere, "Korea Exchange has no prices of 005930"),
        (None, VendorFailed, "its answer is no table"),
        (ConnectionError("reset"), TryAgain, "Korea Exchange cannot be reached"),
        (ValueError("strange"), VendorFailed, "ValueError: strange"),
    ],
)
def test_when_no_prices_come(
    monkeypatch: pytest.MonkeyPatch, answer: object, kind: type[VendorFailed], message: str
) -> None:
    answering(monkeypatch, answer)
    with pytest.raises(kind, match=message):
        krx.fetched("005930", FIRST, LAST)


def test_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "FinanceDataReader", None)
    with pytest.raises(VendorFailed, match=r"pip install -r requirements-krx\.txt"):
        krx.fetched("005930", FIRST, LAST)
