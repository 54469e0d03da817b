"""The price series: the immutable history of one ticker, known by the hash of its content."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import date
from functools import cached_property

import numpy as np
import pandas as pd

from backtest.prices import COLUMNS
from service.contract.errors import UserError

BYTES_PER_VALUE = 8
CONTENT_FORMAT = 1
MAX_QUOTED = 40  # characters of a faulty cell that a message repeats


class UnreadablePrices(UserError):
    """A file that is no table of OHLCV prices (400); the message says what is missing."""

    code = "UnreadablePrices"


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
