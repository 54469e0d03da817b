"""Price series in the database: written once, read by fingerprint, the same bytes everywhere."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import Connection, Row, Table, insert, select, update
from sqlalchemy.exc import IntegrityError

from service.contract.errors import BadRow
from service.prices.series import PriceSeries, series_from_content
from service.store.database import Store, utc_in
from service.store.rows import checked_text, reading
from service.store.tables import price_series, tickers

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ticker:
    """What the catalogue says of a ticker: its current series and the range of its bars."""

    ticker: str
    fingerprint: str
    source: str
    first_day: date
    last_day: date
    bars: int


class PriceStore(Store):
    """The price series of one database."""

    def save(self, series: PriceSeries) -> str:
        """Stores the series if it is new, and makes it the current one of its ticker."""
        ticker_row = {
            "ticker": series.ticker,
            "fingerprint": series.fingerprint,
            "source": series.source,
            "first_day": series.first.isoformat(),
            "last_day": series.last.isoformat(),
            "bars": len(series.data),
        }
        series_row = {
            "fingerprint": series.fingerprint,
            "content": zlib.compress(series.content, 6),
            "created_at": utc_in(),
        }
        is_it = price_series.c.fingerprint == series.fingerprint
        seen_again = update(price_series).where(is_it).values(created_at=utc_in())
        make_current = update(tickers).where(tickers.c.ticker == series.ticker).values(ticker_row)

        def write(connection: Connection) -> None:
            if not _insert_if_new(connection, price_series, series_row):
                # As if it were new: what is old, and that nothing refers to, is deleted.
                connection.execute(seen_again)
            if connection.execute(make_current).rowcount:
                return
            if not _insert_if_new(connection, tickers, ticker_row):
                # Another process added the ticker in between.
                connection.execute(make_current)

        self._write(write)
        return series.fingerprint

    def read(self, fingerprint: str) -> PriceSeries | None:
        """The series with this fingerprint."""
        query = select(price_series.c.content).where(price_series.c.fingerprint == fingerprint)
        content = self._read(lambda connection: connection.scalar(query))
        if content is None:
            return None
        with reading(f"The price series {fingerprint}"):
            return series_from_content(zlib.decompress(content))

    def series(self, fingerprint: str) -> PriceSeries:
        """As `read`, of a fingerprint that a row has: none is deleted that a row refers to."""
        series = self.read(fingerprint)
        assert series is not None
        return series

    def ticker(self, name: str) -> Ticker | None:
        """The catalogue's entry of one ticker."""
        query = select(tickers).where(tickers.c.ticker == name)
        row = self._read(lambda connection: connection.execute(query).one_or_none())
        return None if row is None else _ticker_from(row)

    def tickers(self) -> list[Ticker]:
        """The catalogue, by name."""
        query = select(tickers).order_by(tickers.c.ticker)
        rows = self._read(lambda connection: connection.execute(query).all())
        return [ticker for row in rows if (ticker := _readable_ticker_from(row))]


def _insert_if_new(connection: Connection, table: Table, row: Mapping[str, Any]) -> bool:
    """False where the row is there already."""
    try:
        with connection.begin_nested():
            connection.execute(insert(table).values(row))
    except IntegrityError:
        return False
    return True


def _readable_ticker_from(row: Row[Any]) -> Ticker | None:
    """None where the entry cannot be read: the other tickers can be used all the same."""
    try:
        return _ticker_from(row)
    except BadRow as error:
        logger.error("%s: %s", error, error.__cause__)
        return None


def _ticker_from(row: Row[Any]) -> Ticker:
    """Raises BadRow."""
    with reading(f"The entry of the ticker {row.ticker!r}"):
        return Ticker(
            ticker=checked_text(row.ticker),
            fingerprint=checked_text(row.fingerprint),
            source=checked_text(row.source),
            first_day=date.fromisoformat(row.first_day),
            last_day=date.fromisoformat(row.last_day),
            bars=int(row.bars),
        )
