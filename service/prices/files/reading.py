"""A price file: its bars, and what was recognised."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from backtest.prices import COLUMNS
from service.contract.sentence import Sentence
from service.prices.action import Action
from service.prices.files.actions import actions_in
from service.prices.files.columns import DATE, INSTRUMENT, PRICES, TIME, VOLUME
from service.prices.files.dates import stamps_of
from service.prices.files.layout import Layout, layout_of
from service.prices.files.marks import POINT, Marks, is_grouped_throughout, marks_of
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
BELOW = "Below the bars stands what is none, left out: {words}"
WITH_ACTIONS = "Dividends: {dividends}, splits: {splits}."
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
    WITH_ACTIONS,
    BELOW,
)
NO_PARQUET = "It is a Parquet file: pip install pyarrow to read it, or save it as CSV."
# Adjusted prices are products of floats: their order is right to the last few digits only.
ROUNDING = 1e-12
NUMBERS = (*PRICES, VOLUME)
WHITE = " \t\r\n"
MAX_FOOTER = 80
ORDINARY_ENCODING = "UTF-8"
# The bars, and what was done to them.
Tidied = tuple[pd.DataFrame, Sentence | None]


@dataclass(frozen=True)
class PriceFile:
    """What a file holds; `notes` say what was recognised and changed, where anything was.

    `actions` are the dividends and splits in it, oldest first.
    """

    series: PriceSeries
    notes: tuple[Sentence, ...]
    actions: tuple[Action, ...] = ()


def read_prices(data: bytes, ticker: str, source: str) -> PriceFile:
    """One ticker's bars, oldest first, whatever their separator, names, numbers and dates are.

    Other columns but dividends and splits are ignored. Faulty rows stay: the data gate judges
    them. Raises UnreadablePrices.
    """
    if data.startswith(PARQUET):
        table, layout = _of_parquet(data)
        marks = POINT
        notes = [Sentence(OF_PARQUET)]
    else:
        text, encoding = decoded(data)
        layout = layout_of(text)
        footer = _footer_of(text, layout)
        table, marks = _table_and_marks(text.rstrip().removesuffix(footer.rstrip()), layout)
        notes = list(_said_of(layout, marks, encoding))
        notes += (
            [Sentence(BELOW, {"words": " ".join(footer.split())[:MAX_FOOTER]})] if footer else []
        )
    _check_one_instrument(table)
    lines = [layout.first + 1 + row for row in table.index]
    columns = {name: numbers_of(table[name.lower()], name, marks, lines) for name in COLUMNS}
    stamps = stamps_of(table[DATE], table.get(TIME), lines)
    file = tidied(PriceSeries(ticker, source, pd.DataFrame(columns, index=stamps.index)))
    actions = actions_in(table, stamps.index, marks.decimal)
    notes += [*stamps.notes, *file.notes, *_said_of_actions(actions)]
    return PriceFile(file.series, tuple(notes), actions)


def _table_and_marks(text: str, layout: Layout) -> tuple[pd.DataFrame, Marks]:
    """The rows that have anything in them, and how their numbers are written."""
    bars = "".join(text.splitlines(keepends=True)[layout.first :])
    if not bars.strip(WHITE + layout.separator):
        raise UnreadablePrices("It has no bars below its names.")
    _check_widths(bars, layout)
    has_whole_prices = not any("." in cell for cell in layout.prices)
    if not is_grouped_throughout(layout.prices) and not (
        has_whole_prices and layout.separator != "," and is_grouped_throughout(layout.volumes)
    ):
        table = _parsed(bars, layout, are_texts=False)
        if all(table[name].dtype.kind in "fiu" for name in NUMBERS):
            # Almost every file.
            return table, POINT
    table = _parsed(bars, layout, are_texts=True)
    prices = [cell for name in PRICES for cell in table[name]]
    return table, marks_of(prices, list(table[VOLUME]), layout.separator)


def _footer_of(text: str, layout: Layout) -> str:
    """The remarks below the bars, as some vendors write them; "" where there are none."""
    lines = text.rstrip().splitlines(keepends=True)
    first = len(lines)
    while first > layout.first and _is_remark(lines[first - 1], layout):
        first -= 1
    return "".join(lines[first:])


def _is_remark(line: str, layout: Layout) -> bool:
    """Whether a line has too few cells for a bar, and words in the place of its date."""
    is_short = line.count(layout.separator) < len(layout.places) - 1
    return is_short and line.lstrip(f' "{WHITE}')[:1].isalpha()


def _check_widths(bars: str, layout: Layout) -> None:
    """Cells behind the last name are parts of numbers; raises UnreadablePrices."""
    for number, line in enumerate(bars.splitlines(), layout.first + 1):
        if line.count(layout.separator) < layout.names:
            continue
        row = next(csv.reader([line], delimiter=layout.separator, skipinitialspace=True), [])
        if any(cell.strip() for cell in row[layout.names :]):
            raise UnreadablePrices(
                "Line {line} has more cells than there are names: quote numbers with a {mark}.",
                line=number,
                mark=repr(layout.separator),
            )


def _parsed(bars: str, layout: Layout, are_texts: bool) -> pd.DataFrame:
    """The columns by what they mean, as texts, or numbers as pandas reads them.

    The index counts the lines, so that a fault can be named by its line.
    """
    places = {place: name for name, place in layout.places.items()}
    numeric = () if are_texts else NUMBERS
    texts = {place: str for place, name in places.items() if name not in numeric}
    try:
        table = pd.read_csv(
            io.StringIO(bars),
            sep=layout.separator,
            header=None,
            names=list(range(layout.width)),
            usecols=sorted(places),
            dtype=texts,
            keep_default_na=not are_texts,
            skipinitialspace=True,
            skip_blank_lines=False,
            index_col=False,
        )
    except (ValueError, OSError) as error:
        raise UnreadablePrices("It cannot be read as CSV: {error}.", error=error) from None
    is_empty = (table.isna() | (table == "")).all(axis=1)
    return table[~is_empty].rename(columns=places)


def _check_one_instrument(table: pd.DataFrame) -> None:
    """Bars of several are none of one; raises UnreadablePrices."""
    if INSTRUMENT not in table:
        return
    names = table[INSTRUMENT].dropna().unique()
    if len(names) > 1:
        template = "It has several tickers, {first} and {second}: save each in a file of its own."
        raise UnreadablePrices(template, first=names[0], second=names[1])


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


def _of_parquet(data: bytes) -> tuple[pd.DataFrame, Layout]:
    try:
        table = pd.read_parquet(io.BytesIO(data))
    except ImportError:
        raise UnreadablePrices(NO_PARQUET) from None
    # The reader raises whatever its own format raises.
    except Exception as error:  # noqa: BLE001
        raise UnreadablePrices("It cannot be read as Parquet: {error}.", error=error) from None
    whole = table.reset_index() if isinstance(table.index, pd.DatetimeIndex) else table
    layout = layout_of(whole.head(9).to_csv(index=False))
    names = {place: name for name, place in layout.places.items()}
    chosen = whole.iloc[:, sorted(names)].reset_index(drop=True)
    chosen.columns = [names[place] for place in sorted(names)]
    return chosen, layout


def _said_of(layout: Layout, marks: Marks, encoding: str) -> Iterator[Sentence]:
    if layout.separator in SEPARATOR_NOTES:
        yield Sentence(SEPARATOR_NOTES[layout.separator])
    if marks.decimal == ",":
        yield Sentence(DECIMAL_COMMA)
    if marks.thousands:
        yield Sentence(BETWEEN_THOUSANDS, {"mark": marks.thousands})
    if encoding != ORDINARY_ENCODING:
        yield Sentence(ENCODED, {"encoding": encoding})


def _said_of_actions(actions: Sequence[Action]) -> Iterator[Sentence]:
    if actions:
        dividends = sum(action.dividend > 0 for action in actions)
        splits = sum(action.split > 0 for action in actions)
        yield Sentence(WITH_ACTIONS, {"dividends": dividends, "splits": splits})


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
