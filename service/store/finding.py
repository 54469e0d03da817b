"""Finding runs among all: by conditions, sorted by any column, a page at a time.

What runs are searched and sorted by is in one index, `ix_runs_search`: a search reads that narrow
copy of the table, and the rows of the one page that it answers.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    func,
    literal,
    not_,
    or_,
    select,
    true,
)

from service.contract.status import FORWARD
from service.store.rows import Run, RunStore, columns_of, run_from
from service.store.tables import run_notes, run_stars, run_tags, runs

MAX_FOUND = 5_000  # more are not counted
INDEX = "ix_runs_search"
NEWEST_FIRST = "-asked"

Value = str | float | datetime | None

EXCESS: ColumnElement[Any] = runs.c.total_return_pct - runs.c.buy_and_hold_return_pct
# What runs are sorted by, and numbers and dates in conditions, by the names that users write.
SORTED: Mapping[str, ColumnElement[Any]] = {
    "asked": runs.c.id,
    "ticker": runs.c.ticker,
    "rule": runs.c.rule_id,
    "status": runs.c.status,
    "excess_pct": EXCESS,
    **{
        name: runs.c[name]
        for name in (
            "start_date",
            "end_date",
            "costs_pct",
            "total_return_pct",
            "buy_and_hold_return_pct",
            "sharpe_ratio",
            "max_drawdown_pct",
            "num_trades",
        )
    },
}
NAMES: Mapping[str, ColumnElement[Any]] = {
    "ticker": runs.c.ticker,
    "rule": runs.c.rule_id,
    "status": runs.c.status,
    "kind": runs.c.kind,
    "client": runs.c.client,
    "batch": runs.c.batch_id,
}
COMPARISONS: Mapping[str, Callable[[Any, Any], ColumnElement[bool]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class Condition:
    """One condition on a run: `name` is compared with any of the `values`.

    The comparisons are those of COMPARISONS, and `~` for a text that contains the value.
    """

    name: str
    comparison: str
    values: Sequence[Value]


@dataclass(frozen=True)
class Place:
    """Where a page begins or ends: a run, and its value of the column that is sorted by."""

    id: int
    value: Value = None


@dataclass(frozen=True)
class Found:
    """One page of the runs that were found.

    `count` is how many there are on all pages, counted to MAX_FOUND; `previous` and `next` are the
    ends of this page where there is another one before or after it.
    """

    runs: Sequence[Run]
    count: int
    previous: Place | None
    next: Place | None


class FindingStore(RunStore):
    """Searches the runs of one database."""

    def find(
        self,
        conditions: Sequence[Condition],
        sort: str,
        limit: int,
        *,
        after: Place | None = None,
        before: Place | None = None,
    ) -> Found:
        """The page of `limit` runs that comes after a place, or the one before it; else the first.

        `sort` is a name of SORTED, with a minus before it for the largest first; runs without a
        value come last, and of equal ones the newest first.
        """
        order = _Order(sort)
        wanted = and_(true(), *map(_sql, conditions))
        if not any(condition.name == "kind" for condition in conditions):
            # Nobody has asked for these.
            wanted = and_(wanted, runs.c.kind != FORWARD)
        is_backwards = before is not None
        query = order.query(is_backwards).where(wanted)
        if conditions or not order.is_by_age:
            query = _from_index(query)
        place = after or before
        if place is not None:
            query = query.where(order.is_beyond(place, is_backwards))
        # One more than is shown says whether there is another page.
        places = self._places(query.limit(limit + 1))
        has_more = len(places) > limit
        places = places[:limit]
        if place is not None and not places:
            # What was there has been deleted.
            return self.find(conditions, sort, limit)
        if is_backwards:
            places.reverse()
        has_previous, has_next = (has_more, True) if is_backwards else (after is not None, has_more)
        return Found(
            runs=self._rows([place.id for place in places]),
            count=self._count(_from_index(select(literal(1))).where(wanted), MAX_FOUND),
            previous=places[0] if places and has_previous else None,
            next=places[-1] if places and has_next else None,
        )

    def _places(self, query: Select[Any]) -> list[Place]:
        rows = self._read(lambda connection: connection.execute(query).all())
        return [Place(*row) for row in rows]

    def _rows(self, ids: Sequence[int]) -> list[Run]:
        """The runs in the order of their ids."""
        query = select(*columns_of(Run)).where(runs.c.id.in_(ids))
        rows = self._read(lambda connection: connection.execute(query).all())
        by_id = {row.id: run_from(row) for row in rows}
        # One that was deleted a moment ago is left out.
        return [by_id[each] for each in ids if each in by_id]


class _Order:
    """The order of the found runs: by a column, those without a value last, then by age."""

    def __init__(self, sort: str) -> None:
        self._is_falling = sort.startswith("-")
        name = sort.removeprefix("-")
        self._column = SORTED[name]
        self.is_by_age = name == "asked"

    def query(self, is_backwards: bool) -> Select[Any]:
        """Id and value of the runs in this order, or from its end to its beginning."""
        goes_down = self._is_falling != is_backwards
        column = self._column.desc() if goes_down else self._column
        if self.is_by_age:
            return select(runs.c.id, literal(None)).order_by(column)
        query = select(runs.c.id, self._column)
        has_no_value = self._column.is_(None)
        if is_backwards:
            return query.order_by(has_no_value.desc(), column, runs.c.id)
        return query.order_by(has_no_value, column, runs.c.id.desc())

    def is_beyond(self, place: Place, is_backwards: bool) -> ColumnElement[bool]:
        """Whether a run comes after the place in this order, or before it."""
        goes_down = self._is_falling != is_backwards
        if self.is_by_age:
            return runs.c.id < place.id if goes_down else runs.c.id > place.id
        is_next = runs.c.id > place.id if is_backwards else runs.c.id < place.id
        if place.value is None:
            is_same = and_(self._column.is_(None), is_next)
            return or_(is_same, self._column.is_not(None)) if is_backwards else is_same
        is_further = self._column < place.value if goes_down else self._column > place.value
        found = or_(is_further, and_(self._column == place.value, is_next))
        return found if is_backwards else or_(found, self._column.is_(None))


def _from_index(query: Select[Any]) -> Select[Any]:
    """The query on the narrow copy of the table; MySQL might read the table itself.

    It takes an index that it is told to take only where a condition begins with its first column.
    """
    hint = f"FORCE INDEX ({INDEX})"
    return query.select_from(runs).where(runs.c.id > 0).with_hint(runs, hint, "mysql")


def _sql(condition: Condition) -> ColumnElement[bool]:
    build = _BUILDERS.get(condition.name, _compared)
    found = build(condition)
    return not_(found) if condition.comparison == "!=" else found


def _compared(condition: Condition) -> ColumnElement[bool]:
    column = SORTED[condition.name]
    if condition.comparison == "!=":
        return column.in_(condition.values)
    compare = COMPARISONS[condition.comparison]
    return or_(*(compare(column, value) for value in condition.values))


def _named(condition: Condition) -> ColumnElement[bool]:
    column = NAMES[condition.name]
    if condition.comparison == "~":
        return _contains(column, condition.values)
    # Around a column of its own index, so that none but the one for searches is taken.
    return func.coalesce(column, "").in_(condition.values)


def _contains(column: ColumnElement[Any], values: Sequence[Value]) -> ColumnElement[bool]:
    return or_(*(column.icontains(str(value), autoescape=True) for value in values))


def _by_rule(condition: Condition) -> ColumnElement[bool]:
    """`RSI` is every RSI, whatever its numbers."""
    if condition.comparison == "~":
        return _named(condition)
    column = NAMES["rule"]
    any_numbers = (column.istartswith(f"{value}_", autoescape=True) for value in condition.values)
    return or_(_named(condition), *any_numbers)


def _asked(condition: Condition) -> ColumnElement[bool]:
    """The values are the beginning of a span of time and its end, which is not included."""
    first, end = condition.values
    moment = runs.c.created_at
    return {
        "=": and_(moment >= first, moment < end),
        "!=": and_(moment >= first, moment < end),
        "<": moment < first,
        "<=": moment < end,
        ">": moment >= end,
        ">=": moment >= first,
    }[condition.comparison]


def _tagged(condition: Condition) -> ColumnElement[bool]:
    is_meant: ColumnElement[bool] = run_tags.c.tag.in_(condition.values)
    if condition.comparison == "~":
        is_meant = _contains(run_tags.c.tag, condition.values)
    return runs.c.id.in_(select(run_tags.c.runs_id).where(is_meant))


def _starred(condition: Condition) -> ColumnElement[bool]:
    is_starred = runs.c.id.in_(select(run_stars.c.runs_id))
    return is_starred if condition.values == ["yes"] else not_(is_starred)


def _noted(condition: Condition) -> ColumnElement[bool]:
    is_meant = _contains(run_notes.c.note, condition.values)
    return runs.c.id.in_(select(run_notes.c.runs_id).where(is_meant))


def _of_prices(condition: Condition) -> ColumnElement[bool]:
    """A fingerprint may be written by its beginning."""
    priced = runs.alias()
    columns = (priced.c.prices_fingerprint, priced.c.benchmark_fingerprint)
    begins_so = [
        column.startswith(str(each), autoescape=True)
        for column in columns
        for each in condition.values
    ]
    return runs.c.id.in_(select(priced.c.id).where(or_(*begins_so)))


_BUILDERS: Mapping[str, Callable[[Condition], ColumnElement[bool]]] = {
    **dict.fromkeys(NAMES, _named),
    "rule": _by_rule,
    "asked": _asked,
    "tag": _tagged,
    "star": _starred,
    "note": _noted,
    "prices": _of_prices,
}
