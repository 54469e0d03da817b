"""Price series in the database: written once, read by fingerprint, the same bytes everywhere."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import Connection, Engine, Table, insert, select, update
from sqlalchemy.exc import IntegrityError

from service.prices.series import PriceSeries, series_from_content
from service.store.database import utc_in
from service.store.tables import price_series, tickers


@dataclass(frozen=True)
class Ticker:
    """What the catalogue says of a ticker: its current series and the range of its bars."""

    ticker: str
    fingerprint: str
    source: str
    first_day: date
    last_day: date
    bars: int


class PriceStore:
    """The price series of one database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def save(self, series: PriceSeries) -> str:
        """Stores the series if it is new and makes it the current one of its ticker, or does nothing at all."""
        row = {
            "ticker": series.ticker,
            "fingerprint": series.fingerprint,
            "source": series.source,
            "first_day": series.first.isoformat(),
            "last_day": series.last.isoformat(),
            "bars": len(series.data),
        }
        with self._engine.begin() as connection:
            content = zlib.compress(series.content, 6)
            content_row = {
                "fingerprint": series.fingerprint,
                "content": content,
                "created_at": utc_in(),
            }
            self._add(connection, price_series, content_row)  # or the same content is there already
            current = update(tickers).where(tickers.c.ticker == series.ticker).values(row)
            if not connection.execute(current).rowcount and not self._add(connection, tickers, row):
                connection.execute(current)  # somebody else added the ticker in between
        return series.fingerprint

    def _add(self, connection: Connection, table: Table, row: Mapping[str, Any]) -> bool:
        try:
            with connection.begin_nested():
                connection.execute(insert(table).values(row))
        except IntegrityError:
            return False
        return True

    def read(self, fingerprint: str) -> PriceSeries | None:
        """The series with this fingerprint."""
        with self._engine.connect() as connection:
            content = connection.scalar(
                select(price_series.c.content).where(price_series.c.fingerprint == fingerprint)
            )
        return None if content is None else series_from_content(zlib.decompress(content))

    def series(self, fingerprint: str) -> PriceSeries:
        """The same, of a fingerprint that a row has: a series is never deleted."""
        found = self.read(fingerprint)
        assert found is not None
        return found

    def ticker(self, ticker: str) -> Ticker | None:
        """The catalogue's entry of one ticker."""
        with self._engine.connect() as connection:
            row = connection.execute(
                select(tickers).where(tickers.c.ticker == ticker)
            ).one_or_none()
        return None if row is None else _ticker(row)

    def tickers(self) -> list[Ticker]:
        """The catalogue, by name."""
        with self._engine.connect() as connection:
            return [
                _ticker(row)
                for row in connection.execute(select(tickers).order_by(tickers.c.ticker))
            ]


def _ticker(row: object) -> Ticker:
    values = dict(row._mapping)  # type: ignore[attr-defined]
    days = {name: date.fromisoformat(values[name]) for name in ("first_day", "last_day")}
    return Ticker(**{**values, **days})
