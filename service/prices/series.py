"""The price series: the immutable history of one ticker, known by the hash of its content."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from backtest.prices import COLUMNS

BYTES_PER_VALUE = 8
CONTENT_FORMAT = 1
MAX_QUOTED = 40  # characters of a faulty cell that a message repeats


class UnreadablePrices(ValueError):
    """A file that is no table of daily OHLCV prices; the message says what is missing."""


@dataclass(frozen=True)
class PriceSeries:
    """Bars of one ticker: float columns Open High Low Close Volume on an index of dates.

    `source` says where they come from and is part of the content, since results name it.
    """

    ticker: str
    source: str
    data: pd.DataFrame

    @cached_property
    def content(self) -> bytes:
        """A header line of JSON, then the dates and each column, little-endian.

        Dates are int64 nanoseconds, columns float64.
        """
        header = {
            "bars": len(self.data),
            "format": CONTENT_FORMAT,
            "source": self.source,
            "ticker": self.ticker,
        }
        header_line = json.dumps(header, sort_keys=True).encode() + b"\n"
        stamps = self.data.index.to_numpy().astype("datetime64[ns]").astype("<i8")
        columns = [self.data[name].to_numpy(dtype="<f8") for name in COLUMNS]
        return header_line + stamps.tobytes() + b"".join(column.tobytes() for column in columns)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the content."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def first(self) -> date:
        """The date of the first bar."""
        return self.data.index[0].date()  # type: ignore[no-any-return]

    @property
    def last(self) -> date:
        """The date of the last bar."""
        return self.data.index[-1].date()  # type: ignore[no-any-return]


def series_from_content(content: bytes) -> PriceSeries:
    """The inverse of `PriceSeries.content`."""
    header_line, _, body = content.partition(b"\n")
    header = json.loads(header_line)
    bars = header["bars"]
    stamps = np.frombuffer(body, "<i8", bars).astype("datetime64[ns]")
    values = np.frombuffer(body, "<f8", offset=BYTES_PER_VALUE * bars)
    columns = values.reshape(len(COLUMNS), bars).T
    index = pd.DatetimeIndex(stamps, name="Date")
    data = pd.DataFrame(columns, columns=list(COLUMNS), index=index)
    return PriceSeries(header["ticker"], header["source"], data)


def read_csv(file: Path | IO[str], ticker: str, source: str) -> PriceSeries:
    """A CSV with a date column and Open, High, Low, Close, Volume in any case and order.

    Other columns are ignored. Rows stay in the file's order, faults and all: the data gate judges
    them. Raises UnreadablePrices.
    """
    try:
        table = pd.read_csv(file)
    except FileNotFoundError:
        raise UnreadablePrices("there is no such file") from None
    except (ValueError, OSError) as error:
        raise UnreadablePrices(f"it cannot be read as CSV: {error}") from None
    names_in_file = {str(name).strip().lower(): name for name in table.columns}
    if "date" not in names_in_file and "datetime" in names_in_file:
        names_in_file["date"] = names_in_file["datetime"]
    for needed in ("date", *(name.lower() for name in COLUMNS)):
        if needed not in names_in_file:
            raise UnreadablePrices(
                f"it has no column {needed}; it needs date, open, high, low, close, volume"
            )
    index = _dates(table[names_in_file["date"]])
    columns = {name: _numbers(table[names_in_file[name.lower()]], name) for name in COLUMNS}
    return PriceSeries(ticker, source, pd.DataFrame(columns, index=index))


def _dates(texts: pd.Series) -> pd.DatetimeIndex:
    """Without the offset from UTC, which changes with the season: the exchange's clock is meant."""
    plain = texts.astype("string").str.replace(r"(Z|[+-][0-9]{2}:?[0-9]{2})$", "", regex=True)
    stamps = pd.to_datetime(plain, format="ISO8601", errors="coerce")
    is_unreadable = stamps.isna() & plain.notna()
    is_beyond_nanoseconds = (stamps < pd.Timestamp.min) | (stamps > pd.Timestamp.max)
    is_wrong = (is_unreadable | is_beyond_nanoseconds).to_numpy()
    if is_wrong.any():
        row = int(is_wrong.argmax())
        cell = str(texts.iloc[row])[:MAX_QUOTED]
        raise UnreadablePrices(f"line {row + 2}: {cell!r} is no date such as 2020-01-31")
    return pd.DatetimeIndex(stamps, name="Date").as_unit("ns")


def _numbers(values: pd.Series, name: str) -> NDArray[np.float64]:
    try:
        return values.to_numpy(dtype=np.float64)
    except (ValueError, OverflowError):
        row = next(row for row, value in enumerate(values) if not _is_number(value))
        cell = str(values.iloc[row])[:MAX_QUOTED]
        raise UnreadablePrices(f"line {row + 2}: {name} is no number: {cell!r}") from None


def _is_number(value: object) -> bool:
    try:
        float(value)  # type: ignore[arg-type]
    except (ValueError, OverflowError):
        return False
    return True
