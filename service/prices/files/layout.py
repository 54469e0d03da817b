"""How a file is laid out: what separates its columns, where names are, how numbers are written."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from service.prices.files.columns import DATE, NEEDED, PRICES, places
from service.prices.series import UnreadablePrices

SEPARATORS = (",", ";", "\t", "|")
MAX_LINES_BEFORE = 20  # titles and remarks before the names
MAX_LINES_AFTER = 2  # more names, as yfinance writes them
SAMPLE_LINES = 400
MAX_SHOWN = 60


@dataclass(frozen=True)
class Layout:
    """`places` are the columns by what they mean, `first` is the line where the bars begin, from 0.

    `width` is how many columns the longest of the first lines has, `prices` what stands in the
    columns of prices of the first lines.
    """

    separator: str
    places: dict[str, int]
    first: int
    width: int
    prices: tuple[str, ...]
    volumes: tuple[str, ...] = ()
    names: int = 0


def layout_of(text: str) -> Layout:
    """What it seems to be; raises UnreadablePrices where columns are missing."""
    lines = list(islice(text.splitlines(), SAMPLE_LINES))
    if not any(line.strip() for line in lines):
        raise UnreadablePrices("It is empty.")
    best = _separator(lines[:MAX_LINES_BEFORE])
    rows = _rows(lines, best)
    header = _header(rows)
    found = places(rows[header])
    _check_needed(found, rows[header])
    first = _first_bar(rows, header, found)
    prices = tuple(
        row[found[name]] for row in rows[first:] for name in PRICES if len(row) > found[name]
    )
    width = max([*(len(row) for row in rows[first:]), 1 + max(found.values())])
    place = found["volume"]
    volumes = tuple(row[place] for row in rows[first:] if len(row) > place)
    return Layout(best, found, first, width, prices, volumes, len(rows[header]))


def _rows(lines: Sequence[str], separator: str) -> list[list[str]]:
    try:
        return list(csv.reader(lines, delimiter=separator, skipinitialspace=True))
    except csv.Error as error:
        raise UnreadablePrices("It cannot be read as CSV: {error}.", error=error) from None


def _separator(lines: Sequence[str]) -> str:
    """The one by which a line has the most known names."""
    present = [separator for separator in SEPARATORS if any(separator in line for line in lines)]
    if len(present) < 2:
        return present[0] if present else SEPARATORS[0]
    return max(present, key=lambda separator: _known_names(lines, separator))


def _known_names(lines: Sequence[str], separator: str) -> int:
    return max((_count(row) for row in _rows(lines, separator)), default=0)


def _count(row: Sequence[str]) -> int:
    try:
        return len(places(row))
    except UnreadablePrices:
        return len(NEEDED)


def _header(rows: Sequence[Sequence[str]]) -> int:
    return max(range(min(len(rows), MAX_LINES_BEFORE)), key=lambda number: _count(rows[number]))


def _check_needed(found: dict[str, int], header: Sequence[str]) -> None:
    for name in NEEDED:
        if name not in found:
            shown = ", ".join(header)[:MAX_SHOWN]
            raise UnreadablePrices(
                "It has no column {column}; it needs date, open, high, low, close, volume, and has "
                "{found}.",
                column=name,
                found=shown or "-",
            )


def _first_bar(rows: Sequence[Sequence[str]], header: int, found: dict[str, int]) -> int:
    """The line after the names; those of yfinance take three lines."""
    first = header + 1
    for row in rows[first : first + MAX_LINES_AFTER]:
        cells = [row[found[name]].strip() for name in PRICES if len(row) > found[name]]
        label = row[found[DATE]].strip() if len(row) > found[DATE] else ""
        if label == "Ticker":
            _check_one_ticker(row[1:])
        elif label not in ("Date", "Datetime") or any(cells):
            break
        first += 1
    return first


def _check_one_ticker(names: Sequence[str]) -> None:
    tickers = list(dict.fromkeys(name for name in names if name))
    if len(tickers) > 1:
        shown = ", ".join(tickers)[:MAX_SHOWN]
        raise UnreadablePrices(
            "Its second line of names has several tickers, {tickers}: save one in each file.",
            tickers=shown,
        )
