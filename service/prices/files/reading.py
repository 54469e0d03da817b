"""A price file: its bars, and what was recognised."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from backtest.prices import COLUMNS
from service.contract.sentence import Sentence
from service.prices.files.columns import DATE, TIME
from service.prices.files.dates import Stamps, stamps_of
from service.prices.files.layout import Layout, layout_of
from service.prices.files.numbers import numbers_of
from service.prices.files.text import decoded
from service.prices.series import PriceSeries, UnreadablePrices

PARQUET = b"PAR1"
SEPARATOR_NOTES = {
    ";": "Columns are separated by semicolons.",
    "\t": "Columns are separated by tabs.",
    "|": "Columns are separated by vertical bars.",
}
DECIMAL_COMMA = "Decimals stand after a comma."
BETWEEN_THOUSANDS = "Thousands are separated by {mark} in this file."
ENCODED = "The text is encoded in {encoding}."
OF_PARQUET = "It is a Parquet file."
TURNED = "The newest bar came first: turned around."
UNFINISHED = "The last bar has no prices yet: left out."
SEVERAL_UNFINISHED = "{count} bars at the end have no prices yet: left out."
WIDENED = "High and low of {count} bars were widened by a rounding step."
NOTES = (
    *SEPARATOR_NOTES.values(),
    DECIMAL_COMMA,
    BETWEEN_THOUSANDS,
    ENCODED,
    OF_PARQUET,
    TURNED,
    UNFINISHED,
    SEVERAL_UNFINISHED,
    WIDENED,
)
NO_PARQUET = "It is a Parquet file: pip install pyarrow to read it, or save it as CSV."
# Adjusted prices are products of floats: their order is right to the last few digits only.
ROUNDING = 1e-12
WHITE = " \t\r\n"
ORDINARY_ENCODING = "UTF-8"
# The bars, and what was done to them.
Tidied = tuple[pd.DataFrame, Sentence | None]


@dataclass(frozen=True)
class PriceFile:
    """What a file holds; `notes` say what was recognised and changed, where anything was."""

    series: PriceSeries
    notes: tuple[Sentence, ...]


def read_prices(data: bytes, ticker: str, source: str) -> PriceFile:
    """One ticker's bars, oldest first, whatever their separator, names, numbers and dates are.

    Other columns are ignored. Faulty rows stay: the data gate judges them. Raises UnreadablePrices.
    """
    if data.startswith(PARQUET):
        table, layout, notes = _of_parquet(data)
    else:
        text, encoding = decoded(data)
        layout = layout_of(text)
        table = _table(text, layout)
        notes = list(_said_of(layout, encoding))
    stamps = _stamps(table, layout)
    columns = {
        name: numbers_of(
            table[name.lower()], name, layout.decimal, layout.thousands, layout.first + 1
        )
        for name in COLUMNS
    }
    bars = pd.DataFrame(columns, index=stamps.index)
    file = tidied(PriceSeries(ticker, source, bars))
    return PriceFile(file.series, (*notes, *stamps.notes, *file.notes))


def tidied(series: PriceSeries) -> PriceFile:
    """Oldest first, without bars that have no price yet, with a rounding step for the range."""
    bars = series.data
    notes: list[Sentence] = []
    for tidy in (_oldest_first, _finished, _widened):
        bars, note = tidy(bars)
        notes += [note] if note is not None else []
    return PriceFile(replace(series, data=bars), tuple(notes))


def read_file(path: Path, ticker: str) -> PriceFile:
    """As `read_prices`, from a file; its name is the source."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UnreadablePrices("There is no such file.") from None
    except OSError as error:
        raise UnreadablePrices("It cannot be read: {error}.", error=error.strerror) from None
    return read_prices(data, ticker, path.name)


def _table(text: str, layout: Layout) -> pd.DataFrame:
    """The columns by what they mean; numbers as pandas reads them, dates as texts."""
    names = {place: name for name, place in layout.places.items()}
    stamps = {name: str for name in (DATE, TIME) if name in layout.places}
    bars = "".join(text.splitlines(keepends=True)[layout.first :])
    if not bars.strip(WHITE + layout.separator):
        raise UnreadablePrices("It has no bars below its names.")
    try:
        table = pd.read_csv(
            io.StringIO(bars),
            sep=layout.separator,
            header=None,
            names=list(range(layout.width)),
            usecols=sorted(names),
            dtype={layout.places[name]: kind for name, kind in stamps.items()},
            decimal=layout.decimal,
            thousands=layout.thousands or None,
            skipinitialspace=True,
            index_col=False,
        )
    except (ValueError, OSError) as error:
        raise UnreadablePrices("It cannot be read as CSV: {error}.", error=error) from None
    return table.rename(columns=names)


def _of_parquet(data: bytes) -> tuple[pd.DataFrame, Layout, list[Sentence]]:
    try:
        table = pd.read_parquet(io.BytesIO(data))
    except ImportError:
        raise UnreadablePrices(NO_PARQUET) from None
    # The reader raises whatever its own format raises.
    except Exception as error:  # noqa: BLE001
        raise UnreadablePrices("It cannot be read as Parquet: {error}.", error=error) from None
    as_text = table.reset_index() if isinstance(table.index, pd.DatetimeIndex) else table
    layout = layout_of(as_text.head(9).to_csv(index=False))
    names = {place: name for name, place in layout.places.items()}
    chosen = as_text.iloc[:, sorted(names)]
    chosen.columns = [names[place] for place in sorted(names)]
    return chosen, layout, [Sentence(OF_PARQUET)]


def _said_of(layout: Layout, encoding: str) -> Iterator[Sentence]:
    if layout.separator in SEPARATOR_NOTES:
        yield Sentence(SEPARATOR_NOTES[layout.separator])
    if layout.decimal == ",":
        yield Sentence(DECIMAL_COMMA)
    if layout.thousands:
        yield Sentence(BETWEEN_THOUSANDS, {"mark": layout.thousands})
    if encoding != ORDINARY_ENCODING:
        yield Sentence(ENCODED, {"encoding": encoding})


def _stamps(table: pd.DataFrame, layout: Layout) -> Stamps:
    return stamps_of(table[DATE], table.get(TIME), layout.first + 1)


def _oldest_first(bars: pd.DataFrame) -> Tidied:
    is_reversed = len(bars) > 1 and bars.index.is_monotonic_decreasing and bars.index.is_unique
    return (bars.iloc[::-1], Sentence(TURNED)) if is_reversed else (bars, None)


def _finished(bars: pd.DataFrame) -> Tidied:
    """Without the newest bars that have no price yet."""
    has_price = bars[list(COLUMNS[:4])].notna().any(axis=1).to_numpy()
    if not has_price.any() or has_price[-1]:
        return bars, None
    last = int(np.flatnonzero(has_price)[-1])
    left_out = len(bars) - last - 1
    several = Sentence(SEVERAL_UNFINISHED, {"count": left_out})
    return bars.iloc[: last + 1], several if left_out > 1 else Sentence(UNFINISHED)


def _widened(bars: pd.DataFrame) -> Tidied:
    """High and low hold open and close, where only the last digits say otherwise."""
    ends = bars[["Open", "Close"]]
    high = np.fmax(bars["High"], ends.max(axis=1))
    low = np.fmin(bars["Low"], ends.min(axis=1))
    is_above = (high > bars["High"]) & (high <= bars["High"] * (1 + ROUNDING))
    is_below = (low < bars["Low"]) & (low >= bars["Low"] * (1 - ROUNDING))
    count = int((is_above | is_below).sum())
    if not count:
        return bars, None
    wide = bars.assign(High=bars["High"].mask(is_above, high), Low=bars["Low"].mask(is_below, low))
    return wide, Sentence(WIDENED, {"count": count})
