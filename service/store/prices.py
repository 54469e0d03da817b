"""Price series in the database: written once, read by fingerprint, the same bytes everywhere."""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, Row, Table, and_, func, insert, select, union_all, update
from sqlalchemy.exc import IntegrityError

from service.contract.documents import canonical_json
from service.contract.errors import BadRow
from service.prices.action import Action
from service.prices.finding import Finding
from service.prices.series import PriceSeries, series_from_content
from service.store.database import utc_in
from service.store.names import NameStore
from service.store.rows import checked_text, reading
from service.store.tables import price_series, price_versions, runs, ticker_names, tickers

logger = logging.getLogger(__name__)

# Level 6 makes series 5 % smaller, and takes more than twice as long.
COMPRESSION = 3
CATALOGUED = ("ticker", "fingerprint", "source", "first_day", "last_day", "bars")


@dataclass(frozen=True)
class Ticker:
    """What the catalogue says of a ticker: its current series, the range of its bars, its names."""

    ticker: str
    fingerprint: str
    source: str
    first_day: date
    last_day: date
    bars: int
    names: Sequence[str] = ()


@dataclass(frozen=True)
class Version:
    """Prices that a ticker has or had; `runs` is how many backtests refer to them.

    `actions` are the dividends and splits that came with them, kept of the newest version.
    """

    fingerprint: str
    source: str
    first_day: date
    last_day: date
    bars: int
    stored_at: datetime
    client: str
    actions: Sequence[Action]
    runs: int


@dataclass(frozen=True)
class PackedSeries:
    """A series as the database keeps it, with what the data gate `gate` found in it, as JSON."""

    ticker: str
    fingerprint: str
    source: str
    first_day: str
    last_day: str
    bars: int
    content: bytes
    gate: str | None = None
    findings: str | None = None
    actions: str | None = None


def packed(
    series: PriceSeries,
    gate: str | None = None,
    findings: Sequence[Finding] = (),
    actions: Sequence[Action] = (),
) -> PackedSeries:
    """The series ready to be stored; `findings` are those of the data gate with the name `gate`."""
    return PackedSeries(
        ticker=series.ticker,
        fingerprint=series.fingerprint,
        source=series.source,
        first_day=series.first.isoformat(),
        last_day=series.last.isoformat(),
        bars=len(series.data),
        content=zlib.compress(series.content, COMPRESSION),
        gate=gate,
        findings=_text_of(findings) if gate else None,
        actions=canonical_json([action.document() for action in actions]) if actions else None,
    )


class PriceStore(NameStore):
    """The price series of one database."""

    def save(self, series: PriceSeries) -> str:
        """Stores the series if it is new, and makes it the current one of its ticker."""
        return self.save_packed(packed(series))

    def save_packed(self, series: PackedSeries, client: str = "") -> str:
        """As `save`, of a series that is packed already; `client` is the name of who stores it."""
        self._write(lambda connection: store_series(connection, series, client))
        return series.fingerprint

    def findings(self, fingerprint: str, gate: str) -> list[Finding] | None:
        """What the data gate with the name `gate` found in a series, None where nobody asked it."""
        is_it = price_series.c.fingerprint == fingerprint
        query = select(price_series.c.findings).where(is_it, price_series.c.gate == gate)
        text = self._read(lambda connection: connection.scalar(query))
        try:
            return None if text is None else [Finding(**each) for each in json.loads(text)]
        except (ValueError, TypeError):
            # Whoever reads them can have them made again.
            return None

    def keep_findings(self, fingerprint: str, gate: str, findings: Sequence[Finding]) -> None:
        """Remembers what a data gate found, so that it need not be asked again."""
        is_it = price_series.c.fingerprint == fingerprint
        statement = update(price_series).where(is_it).values(_judgement(gate, _text_of(findings)))
        self._write(lambda connection: connection.execute(statement))

    def judged_by(self, gate: str) -> dict[str, str]:
        """The fingerprint of each ticker whose current series a data gate has judged."""
        same = price_series.c.fingerprint == tickers.c.fingerprint
        query = select(tickers.c.ticker, tickers.c.fingerprint).join(price_series, same)
        wanted = query.where(price_series.c.gate == gate)
        rows = self._read(lambda connection: connection.execute(wanted).all())
        return {row.ticker: row.fingerprint for row in rows}

    def versions(self, ticker: str, limit: int) -> list[Version]:
        """The prices that a ticker has and had, the newest first."""
        query = select(price_versions).where(price_versions.c.ticker == ticker)
        ordered = query.order_by(price_versions.c.id.desc()).limit(limit)
        rows = self._read(lambda connection: connection.execute(ordered).all())
        counts = self._runs_of({row.fingerprint for row in rows})
        return [
            version
            for row in rows
            if (version := _readable_version_from(row, counts.get(row.fingerprint, 0)))
        ]

    def _runs_of(self, fingerprints: set[str]) -> dict[str, int]:
        """How many backtests refer to each series, as their prices or as their benchmark."""
        columns = (runs.c.prices_fingerprint, runs.c.benchmark_fingerprint)
        each = [
            select(column.label("fingerprint")).where(column.in_(fingerprints))
            for column in columns
        ]
        referred = union_all(*each).subquery()
        query = select(referred.c.fingerprint, func.count().label("runs"))
        grouped = query.group_by(referred.c.fingerprint)
        rows = self._read(lambda connection: connection.execute(grouped).all())
        return {row.fingerprint: row.runs for row in rows}

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
        is_its_name = ticker_names.c.ticker == tickers.c.ticker
        query = select(tickers, ticker_names.c.name).outerjoin(ticker_names, is_its_name)
        wanted = query.where(tickers.c.ticker == name).order_by(ticker_names.c.name_key)
        rows = self._read(lambda connection: connection.execute(wanted).all())
        names = [row.name for row in rows if row.name is not None]
        return _ticker_from(rows[0], names) if rows else None

    def tickers(self) -> list[Ticker]:
        """The catalogue, by name."""
        query = select(tickers).order_by(tickers.c.ticker)
        rows = self._read(lambda connection: connection.execute(query).all())
        names = self.names() if rows else {}
        return [
            ticker
            for row in rows
            if (ticker := _readable_ticker_from(row, names.get(row.ticker, ())))
        ]


def store_series(connection: Connection, series: PackedSeries, client: str) -> bool:
    """Stores the series and makes it the current one; whether its ticker had another, or none."""
    is_it = price_series.c.fingerprint == series.fingerprint
    judgement = _judgement(series.gate, series.findings)
    row = {
        "fingerprint": series.fingerprint,
        "content": series.content,
        "created_at": utc_in(),
        **judgement,
    }
    if not _insert_if_new(connection, price_series, row):
        # As if it were new: what is old, and that nothing refers to, is deleted.
        seen = update(price_series).where(is_it).values(created_at=utc_in(), **judgement)
        connection.execute(seen)
    _add_version(connection, series, client)
    of_ticker = tickers.c.ticker == series.ticker
    current = select(tickers.c.fingerprint).where(of_ticker)
    if connection.scalar(current) == series.fingerprint:
        return False
    ticker_row = {name: getattr(series, name) for name in CATALOGUED}
    make_current = update(tickers).where(of_ticker).values(ticker_row)
    is_known = connection.execute(make_current).rowcount
    if not is_known and not _insert_if_new(connection, tickers, ticker_row):
        # Another process added the ticker in between.
        connection.execute(make_current)
    return True


def _add_version(connection: Connection, series: PackedSeries, client: str) -> None:
    """Unless it is the newest one already; dividends and splits are kept of the newest alone."""
    of_ticker = price_versions.c.ticker == series.ticker
    newest_query = select(price_versions.c.id, price_versions.c.fingerprint).where(of_ticker)
    newest = connection.execute(newest_query.order_by(price_versions.c.id.desc()).limit(1)).first()
    if newest is not None and newest.fingerprint == series.fingerprint:
        if series.actions is not None:
            is_newest = price_versions.c.id == newest.id
            values = {"actions": series.actions}
            connection.execute(update(price_versions).where(is_newest).values(values))
        return
    had_actions = and_(of_ticker, price_versions.c.actions.is_not(None))
    connection.execute(update(price_versions).where(had_actions).values(actions=None))
    row = {name: getattr(series, name) for name in CATALOGUED}
    more = {"stored_at": utc_in(), "client": client, "actions": series.actions}
    connection.execute(insert(price_versions).values({**row, **more}))


def _text_of(findings: Sequence[Finding]) -> str:
    return canonical_json([finding.document() for finding in findings])


def _judgement(gate: str | None, findings: str | None) -> dict[str, Any]:
    """The columns of what a data gate found; none where none was asked."""
    return {} if gate is None else {"gate": gate, "findings": findings}


def _insert_if_new(connection: Connection, table: Table, row: Mapping[str, Any]) -> bool:
    """False where the row is there already."""
    try:
        with connection.begin_nested():
            connection.execute(insert(table).values(row))
    except IntegrityError:
        return False
    return True


def _readable_ticker_from(row: Row[Any], names: Sequence[str]) -> Ticker | None:
    """None where the entry cannot be read: the other tickers can be used all the same."""
    try:
        return _ticker_from(row, names)
    except BadRow as error:
        logger.error("%s: %s", error, error.__cause__)
        return None


def _checked_moment(value: object) -> datetime:
    if not isinstance(value, datetime):
        raise TypeError(f"{value!r} is no moment")
    return value


def _readable_version_from(row: Row[Any], count: int) -> Version | None:
    """None where the row cannot be read, as in the catalogue."""
    try:
        with reading(f"A version of the prices of {row.ticker!r}"):
            return Version(
                fingerprint=checked_text(row.fingerprint),
                source=checked_text(row.source),
                first_day=date.fromisoformat(row.first_day),
                last_day=date.fromisoformat(row.last_day),
                bars=int(row.bars),
                stored_at=_checked_moment(row.stored_at),
                client=checked_text(row.client),
                actions=[Action.from_document(each) for each in json.loads(row.actions or "[]")],
                runs=count,
            )
    except BadRow as error:
        logger.error("%s: %s", error, error.__cause__)
        return None


def _ticker_from(row: Row[Any], names: Sequence[str]) -> Ticker:
    """Raises BadRow."""
    with reading(f"The entry of the ticker {row.ticker!r}"):
        return Ticker(
            ticker=checked_text(row.ticker),
            fingerprint=checked_text(row.fingerprint),
            source=checked_text(row.source),
            first_day=date.fromisoformat(row.first_day),
            last_day=date.fromisoformat(row.last_day),
            bars=int(row.bars),
            names=tuple(names),
        )
