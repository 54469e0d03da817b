"""The table of a sweep on its page: filtered, sorted, a hundred rows at a time."""

from __future__ import annotations

import io
import math
import operator
import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from rules.optimizer import LESS_IS_BETTER
from service.contract.errors import InvalidRequest

ROWS_ON_A_PAGE = 100
MAX_CONDITION_CHARACTERS = 200
CONDITION = re.compile(r"([a-z_]\w*) ?(<=|>=|<|>|=) ?(-?\d+(?:\.\d+)?)", re.ASCII)
COMPARISONS = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
    "=": operator.eq,
}


@dataclass(frozen=True)
class TablePage:
    """One page of the rows of a ticker.

    `index` has the numbers of its rows in the whole table, `count` is the number of rows on all
    pages together.
    """

    columns: Sequence[str]
    index: Sequence[int]
    rows: Sequence[Sequence[Any]]
    count: int
    page: int
    pages: int


def read_table(content: str) -> pd.DataFrame:
    """The stored table, each number as it was computed."""
    types: dict[Hashable, Any] = {"ticker": str, "note": str, "num_trades": "Int64"}
    return pd.read_csv(io.StringIO(content), dtype=types, keep_default_na=False, na_values=[""])


def page_of(table: pd.DataFrame, ticker: str, where: str, sort: str, page: int) -> TablePage:
    """The rows of a ticker that fulfil `where`, sorted by `sort`; raises InvalidRequest.

    `where` has conditions such as `fast>=10 sharpe_ratio>0.5`; `sort` is a column, with a minus
    before it for the largest first. A page beyond the last is the last.
    """
    rows = table[table["ticker"] == ticker]
    for name, comparison, number in _conditions(where, table):
        is_kept = COMPARISONS[comparison](rows[name].astype(float), number)
        rows = rows[is_kept.to_numpy()]
    rows = _sorted(rows, sort)
    hidden = ["ticker"] if rows["note"].notna().any() else ["ticker", "note"]
    pages = max(1, math.ceil(len(rows) / ROWS_ON_A_PAGE))
    page = min(page, pages)
    first = (page - 1) * ROWS_ON_A_PAGE
    shown = rows.iloc[first : first + ROWS_ON_A_PAGE].drop(columns=hidden)
    values = shown.astype(object).where(shown.notna(), None).to_numpy().tolist()
    return TablePage(
        columns=list(shown.columns),
        index=shown.index.tolist(),
        rows=values,
        count=len(rows),
        page=page,
        pages=pages,
    )


def _sorted(rows: pd.DataFrame, sort: str) -> pd.DataFrame:
    """The rows sorted, those without a number last.

    Where less is better, combinations that never traded come after those that did: no drawdown is
    no merit of theirs.
    """
    column = _column(sort.removeprefix("-"), rows)
    rows = rows.sort_values(
        column, ascending=not sort.startswith("-"), kind="stable", na_position="last"
    )
    if sort not in LESS_IS_BETTER:
        return rows
    return rows.sort_values(
        "num_trades", key=lambda trades: trades.eq(0), kind="stable", na_position="last"
    )


def best_first(metric: str) -> str:
    """The `sort` that shows the best combinations first."""
    return metric if metric in LESS_IS_BETTER else f"-{metric}"


def _conditions(where: str, table: pd.DataFrame) -> Iterator[tuple[str, str, float]]:
    """Each condition as column, comparison and number."""
    if len(where) > MAX_CONDITION_CHARACTERS:
        template = "Conditions have at most {most} characters, got {count}."
        raise InvalidRequest(template, most=MAX_CONDITION_CHARACTERS, count=len(where))
    if CONDITION.sub("", where).strip(" ,"):
        template = "Conditions are written as fast>=10 sharpe_ratio>0.5; got {text}."
        raise InvalidRequest(template, text=where[:60])
    for match in CONDITION.finditer(where):
        yield _column(match[1], table), match[2], float(match[3])


def _column(name: str, table: pd.DataFrame) -> str:
    numbers = [column for column in table.columns if column not in ("ticker", "note")]
    if name not in numbers:
        template = "There is no column {name}; there are {names}."
        raise InvalidRequest(template, name=name[:40], names=", ".join(numbers))
    return name


def row_at(
    table: pd.DataFrame, panels: Sequence[Mapping[str, Any]], metric: str, x: float, y: float
) -> int:
    """The best row of the cell under a point of the figure; raises InvalidRequest."""
    for panel in panels:
        left, top, right, bottom = panel["box"]
        if left <= x <= right and top <= y <= bottom:
            row = _best_row(_cell(table, panel, x, y), metric)
            if row is not None:
                return row
    raise InvalidRequest("There is no combination at that point of the figure.")


def _cell(table: pd.DataFrame, panel: Mapping[str, Any], x: float, y: float) -> pd.DataFrame:
    """The rows whose parameters have the values of the panel's cell at a point."""
    left, top, right, bottom = panel["box"]
    values = {"ticker": panel["ticker"], **panel["fixed"]}
    values[panel["x"]] = _value_at(panel["xs"], x, left, right)
    if panel["y"] is not None:
        values[panel["y"]] = _value_at(panel["ys"], y, bottom, top)
    matches = [table[name] == value for name, value in values.items()]
    return table[np.logical_and.reduce(matches)]


def _best_row(cell: pd.DataFrame, metric: str) -> int | None:
    """The best of the rows that traded; where none did, the best of all."""
    for rows in (cell[cell["num_trades"] > 0], cell):
        scores = rows[metric].astype(float).dropna()
        if len(scores):
            best = scores.argmin() if metric in LESS_IS_BETTER else scores.argmax()
            return int(scores.index[int(best)])
    return None


def _value_at(values: Sequence[Any], position: float, first: float, last: float) -> Any:
    """The value at a position of an axis that runs from `first` to `last` in equal steps."""
    number = int((position - first) / (last - first) * len(values))
    return values[min(number, len(values) - 1)]
