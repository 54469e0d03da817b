"""The table of a sweep as a page shows it: filtered, sorted, a hundred rows at a time."""

from __future__ import annotations

import io
import operator
import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from rules.optimizer import LESS_IS_BETTER
from service.contract.errors import InvalidRequest

ROWS, LONGEST = 100, 200
CONDITION = re.compile(r"([a-z_]\w*) ?(<=|>=|<|>|=) ?(-?\d+(?:\.\d+)?)", re.ASCII)
COMPARE = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
    "=": operator.eq,
}


@dataclass(frozen=True)
class Shown:
    """One page of the rows of a ticker: `index` has their numbers in the table, `found` how many there are in all."""

    columns: Sequence[str]
    index: Sequence[int]
    rows: Sequence[Sequence[Any]]
    found: int
    page: int
    pages: int


def table_of(content: str) -> pd.DataFrame:
    """The stored table, number for number."""
    kinds: dict[Hashable, Any] = {"ticker": str, "note": str, "num_trades": "Int64"}
    return pd.read_csv(io.StringIO(content), dtype=kinds, keep_default_na=False, na_values=[""])


def page_of(table: pd.DataFrame, ticker: str, where: str, sort: str, page: int) -> Shown:
    """`where` has conditions such as `fast>=10 sharpe_ratio>0.5`, `sort` a column, a minus before it for the largest
    first. Rows without a number come last, and where less is better who never traded before them; beyond the last page
    there is the last. Raises InvalidRequest."""
    mine = table[table["ticker"] == ticker]
    for name, compare, number in _conditions(where, table):
        mine = mine[COMPARE[compare](mine[name].astype(float), number).to_numpy()]
    name = _column(sort.removeprefix("-"), table)
    mine = mine.sort_values(
        name, ascending=not sort.startswith("-"), kind="stable", na_position="last"
    )
    if sort in LESS_IS_BETTER:
        mine = mine.sort_values(
            "num_trades", key=lambda trades: trades.eq(0), kind="stable", na_position="last"
        )
    hidden = ["ticker"] if mine["note"].notna().any() else ["ticker", "note"]
    pages = max(1, -(-len(mine) // ROWS))
    page = min(page, pages)
    part = mine.iloc[(page - 1) * ROWS : page * ROWS].drop(columns=hidden)
    rows = part.astype(object).where(part.notna(), None).to_numpy().tolist()
    return Shown(list(part.columns), part.index.tolist(), rows, len(mine), page, pages)


def best_first(metric: str) -> str:
    """How the table is sorted by default."""
    return metric if metric in LESS_IS_BETTER else f"-{metric}"


def _conditions(where: str, table: pd.DataFrame) -> Iterator[tuple[str, str, float]]:
    if len(where) > LONGEST:
        raise InvalidRequest(
            "Conditions have at most {most} characters, got {count}.",
            most=LONGEST,
            count=len(where),
        )
    found = list(CONDITION.finditer(where))
    if CONDITION.sub("", where).strip(" ,"):
        template = "Conditions are written as fast>=10 sharpe_ratio>0.5; got {text}."
        raise InvalidRequest(template, text=where[:60])
    for match in found:
        yield _column(match[1], table), match[2], float(match[3])


def _column(name: str, table: pd.DataFrame) -> str:
    numbers = [column for column in table.columns if column not in ("ticker", "note")]
    if name not in numbers:
        raise InvalidRequest(
            "There is no column {name}; there are {names}.",
            name=name[:40],
            names=", ".join(numbers),
        )
    return name


def row_at(
    table: pd.DataFrame, panels: Sequence[Mapping[str, Any]], metric: str, x: float, y: float
) -> int:
    """The best row of the cell under a point of the figure; raises InvalidRequest where there is none."""
    for panel in panels:
        left, top, right, bottom = panel["box"]
        if left <= x <= right and top <= y <= bottom:
            wanted = {
                "ticker": panel["ticker"],
                **panel["fixed"],
                panel["x"]: _nth(panel["xs"], x, left, right),
            }
            if panel["y"] is not None:
                wanted[panel["y"]] = _nth(panel["ys"], y, bottom, top)
            cell = table[
                np.logical_and.reduce([table[name] == value for name, value in wanted.items()])
            ]
            for some in (
                cell[cell["num_trades"] > 0],
                cell,
            ):  # who never traded is best only among themselves
                scores = some[metric].astype(float).dropna()
                if len(scores):
                    best = scores.argmin() if metric in LESS_IS_BETTER else scores.argmax()
                    return int(scores.index[int(best)])
    raise InvalidRequest("There is no combination at that point of the figure.")


def _nth(values: Sequence[Any], at: float, first: float, last: float) -> Any:
    return values[min(int((at - first) / (last - first) * len(values)), len(values) - 1)]
