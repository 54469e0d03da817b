"""The price series: the immutable history of one ticker, known by the hash of its content."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd

COLUMNS = ("Open", "High", "Low", "Close", "Volume")


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
        """A header line of JSON, then the dates as int64 nanoseconds and each column as float64, little-endian."""
        header = {"bars": len(self.data), "format": 1, "source": self.source, "ticker": self.ticker}
        stamps = self.data.index.to_numpy().astype("datetime64[ns]").astype("<i8")
        columns = [self.data[name].to_numpy(dtype="<f8") for name in COLUMNS]
        return (
            json.dumps(header, sort_keys=True).encode()
            + b"\n"
            + b"".join(part.tobytes() for part in (stamps, *columns))
        )

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the content."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def first(self) -> date:
        return self.data.index[0].date()  # type: ignore[no-any-return]

    @property
    def last(self) -> date:
        return self.data.index[-1].date()  # type: ignore[no-any-return]


def series_from_content(content: bytes) -> PriceSeries:
    """The inverse of `PriceSeries.content`."""
    head, _, body = content.partition(b"\n")
    header = json.loads(head)
    bars = header["bars"]
    stamps = np.frombuffer(body, "<i8", bars).astype("datetime64[ns]")
    values = np.frombuffer(body, "<f8", offset=8 * bars).reshape(len(COLUMNS), bars)
    data = pd.DataFrame(
        values.T, columns=list(COLUMNS), index=pd.DatetimeIndex(stamps, name="Date")
    )
    return PriceSeries(header["ticker"], header["source"], data)


def read_csv(file: Path | IO[str], ticker: str, source: str) -> PriceSeries:
    """A CSV with a date column and Open, High, Low, Close, Volume in any case and order; other columns are ignored.

    Rows stay in the file's order, faults and all: the data gate judges them. Raises UnreadablePrices.
    """
    try:
        table = pd.read_csv(file)
    except FileNotFoundError:
        raise UnreadablePrices("there is no such file") from None
    except (ValueError, OSError) as error:
        raise UnreadablePrices(f"it cannot be read as CSV: {error}") from None
    named = {str(name).strip().lower(): name for name in table.columns}
    for needed in ("date", *(name.lower() for name in COLUMNS)):
        if needed not in named and not (needed == "date" and "datetime" in named):
            raise UnreadablePrices(
                f"it has no column {needed}; it needs date, open, high, low, close, volume"
            )
    index = _dates(table[named.get("date", named.get("datetime"))])
    columns = {name: _numbers(table[named[name.lower()]], name) for name in COLUMNS}
    return PriceSeries(ticker, source, pd.DataFrame(columns, index=index))


def _dates(texts: pd.Series) -> pd.DatetimeIndex:
    """Without the offset from UTC, which changes with the season: the exchange's own clock is meant."""
    plain = texts.astype("string").str.replace(r"(Z|[+-][0-9]{2}:?[0-9]{2})$", "", regex=True)
    stamps = pd.to_datetime(plain, format="ISO8601", errors="coerce")
    beyond = (stamps < pd.Timestamp.min) | (stamps > pd.Timestamp.max)  # what nanoseconds can count
    wrong = ((stamps.isna() & plain.notna()) | beyond).to_numpy()
    if wrong.any():
        row = int(wrong.argmax())
        raise UnreadablePrices(
            f"line {row + 2}: {str(texts.iloc[row])[:40]!r} is no date such as 2020-01-31"
        )
    return pd.DatetimeIndex(stamps, name="Date").as_unit("ns")


def _numbers(values: pd.Series, name: str) -> Any:
    try:
        return values.to_numpy(dtype=np.float64)
    except (ValueError, OverflowError):
        row = next(row for row, value in enumerate(values) if not _is_number(value))
        raise UnreadablePrices(
            f"line {row + 2}: {name} is no number: {str(values.iloc[row])[:40]!r}"
        ) from None


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (ValueError, OverflowError):
        return False
    return True
