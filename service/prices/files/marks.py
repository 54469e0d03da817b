"""How the numbers of a file are written: what stands before decimals, what between thousands."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from service.prices.series import MAX_QUOTED, UnreadablePrices

AROUND = re.compile(r"[$€£¥₩]|원$|주$|^\s+|\s+$|\s+(?=\D)|(?<=\D)\s+|(?<=\d)[\s'’](?=\d{3}(?!\d))")
PLAIN = re.compile(r"[0-9.]+")  # almost every cell
IN_GROUPS = re.compile(r"\d['’]\d{3}(?!\d)")  # by apostrophes: thousands, or parts of a point
SUFFIX = re.compile(r"[kmb]$")
SUFFIXED = re.compile(r"\d[.,]\d{3}[kmbKMB]\s*$")
WITH_MARKS = re.compile(r"[+-]?[\d.,]*[.,][\d.,]*(?:e[+-]?\d+)?")
TWO_WAYS = "Its numbers are written in two ways: {first} and {second}."
AMBIGUOUS = (
    "It cannot be told whether {cell} is more or less than a thousand: write its numbers with a "
    "decimal point and nothing between thousands."
)


@dataclass(frozen=True)
class Marks:
    """`thousands` is empty where nothing stands between them."""

    decimal: str
    thousands: str

    @property
    def grammar(self) -> re.Pattern[str]:
        """What a number looks like; between thousands a mark stands before three digits each."""
        point, comma = re.escape(self.decimal), re.escape(self.thousands)
        whole = rf"(?:[1-9]\d{{0,2}}(?:{comma}\d{{3}})+|\d*)" if comma else r"\d*"
        return re.compile(rf"[+-]?{whole}(?:{point}\d*)?(?:e[+-]?\d+)?")


POINT, COMMA = Marks(".", ""), Marks(",", "")
POINT_AND_COMMA, COMMA_AND_POINT = Marks(".", ","), Marks(",", ".")
GROUPED = {mark: re.compile(rf"[1-9]\d{{0,2}}(?:\{mark}\d{{3}})+") for mark in ".,"}


def bare(cell: str) -> str:
    """Without signs of currencies, spaces and the letter for thousands or millions."""
    if PLAIN.fullmatch(cell):
        return cell
    return SUFFIX.sub("", AROUND.sub("", cell).lower())


def marks_of(prices: Collection[str], volumes: Collection[str], separator: str) -> Marks:
    """The only way in which all numbers can be meant; raises UnreadablePrices where there is none.

    A file whose numbers could all be meant in two ways is decided by its volumes, which are whole
    numbers, and by what separates its columns: where that is a comma, decimals stand after a point.
    """
    in_prices = [cell for cell in map(bare, prices) if WITH_MARKS.fullmatch(cell)]
    in_volumes = [cell for cell in map(bare, volumes) if WITH_MARKS.fullmatch(cell)]
    cells = [*in_prices, *in_volumes]
    if not in_prices and prices and all(map(IN_GROUPS.search, prices)):
        raise UnreadablePrices(AMBIGUOUS, cell=next(iter(prices))[:MAX_QUOTED])
    if not cells:
        return POINT
    possible = [
        marks
        for marks in (POINT, COMMA, POINT_AND_COMMA, COMMA_AND_POINT)
        if all(map(marks.grammar.fullmatch, cells))
    ]
    if not possible:
        raise UnreadablePrices(TWO_WAYS, **_two_ways(cells))
    if len(possible) > 1 and any(map(SUFFIXED.search, volumes)):
        # 17,143M may be 17 million and a bit, and says nothing of the other numbers.
        raise UnreadablePrices(AMBIGUOUS, cell=next(filter(SUFFIXED.search, volumes))[:MAX_QUOTED])
    if POINT in possible and COMMA_AND_POINT in possible:
        return _decided(COMMA_AND_POINT, POINT, cells, in_volumes, separator)
    if COMMA in possible and POINT_AND_COMMA in possible:
        return _decided(POINT_AND_COMMA, COMMA, cells, in_volumes, separator)
    return possible[0]


def _decided(
    grouped: Marks, plain: Marks, cells: Sequence[str], volumes: Sequence[str], separator: str
) -> Marks:
    """Every number is digits in groups of three, which may be thousands or three decimals."""
    mark = grouped.thousands
    if any(cell.count(mark) > 1 for cell in cells) or (volumes and mark == ","):
        return grouped
    if separator == "," and not volumes:
        return grouped if mark == "," else plain
    raise UnreadablePrices(AMBIGUOUS, cell=cells[0][:MAX_QUOTED])


def _two_ways(cells: Sequence[str]) -> dict[str, str]:
    """A number that cannot have a decimal point, and one that cannot have a decimal comma."""
    first = _first_against(cells, (COMMA, COMMA_AND_POINT))
    second = _first_against(cells, (POINT, POINT_AND_COMMA))
    return {"first": first, "second": second}


def _first_against(cells: Sequence[str], ways: Sequence[Marks]) -> str:
    against = (cell for cell in cells if not any(way.grammar.fullmatch(cell) for way in ways))
    return next(against, cells[0])[:MAX_QUOTED]


def is_grouped_throughout(cells: Collection[str]) -> bool:
    """Whether all numbers with a point could as well have thousands there."""
    pointed = [cell for cell in map(bare, cells) if "." in cell]
    return bool(pointed) and all(map(GROUPED["."].fullmatch, pointed))
