"""Rows of the table of runs: what is read of them, and how a row changes."""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import Any, TypeVar, get_args, get_type_hints

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    func,
    or_,
    select,
    update,
)

from service.contract.errors import BadRow
from service.contract.result import HEADLINE
from service.contract.status import BACKTEST, FORWARD, KINDS, PRICES, SWEEP, Reason, Status
from service.store.database import Store, utc_in
from service.store.tables import runs

MAX_MESSAGE_CHARACTERS = 4000
CLAIM_SECONDS = 60  # how long a worker holds a run that it does not renew
RUN_ID = re.compile("[0-9a-f-]{32,36}")
ASKED_NUMBERS = ("initial_capital", "commission_rate", "slippage_rate")
ASKED_DAYS = ("start_date", "end_date")
UNREADABLE_CHARACTER = "\ufffd"
AnyRun = TypeVar("AnyRun", bound="ActiveRun")
# The metrics of a result that are columns of its run, too.
LISTED_METRICS = (*HEADLINE, "buy_and_hold_return_pct")


@dataclass(frozen=True, kw_only=True)
class ActiveRun:
    """What the controller looks at in every pass, and no more: there may be thousands.

    Times are UTC by the database's clock.
    """

    id: int
    run_id: str
    client: str = ""
    status: Status
    reason: str | None
    attempt: int
    launches: int
    claimed_by: str | None
    lease_until: datetime | None
    created_at: datetime | None
    launched_at: datetime | None
    kind: str = BACKTEST
    # Those that cannot be read; the row is shown as a run that failed.
    bad_columns: tuple[str, ...] = ()

    @property
    def is_sweep(self) -> bool:
        return self.kind == SWEEP

    @property
    def is_fetch(self) -> bool:
        return self.kind == PRICES

    @property
    def is_forward(self) -> bool:
        return self.kind == FORWARD

    @property
    def is_of_later_release(self) -> bool:
        """Whether its kind is all that this release does not know: it is left to the other one."""
        return self.bad_columns == ("kind",)


@dataclass(frozen=True, kw_only=True)
class Run(ActiveRun):
    """One row: what was asked, where it stands, its headline numbers."""

    request: str
    ticker: str
    rule_id: str
    prices_fingerprint: str
    rules_digest: str
    message: str | None
    reused_from: str | None = None
    evidence: str | None = None
    benchmark_fingerprint: str | None = None
    started_at: datetime | None
    finished_at: datetime | None
    total_return_pct: float | None
    sharpe_ratio: float | None
    max_drawdown_pct: float | None
    num_trades: int | None
    buy_and_hold_return_pct: float | None = None
    batch_id: str | None = None
    start_date: str | None = None
    end_date: str | None = None
    costs_pct: float | None = None

    @property
    def excess_pct(self) -> float | None:
        """Percentage points of return beyond holding the ticker."""
        if self.total_return_pct is None or self.buy_and_hold_return_pct is None:
            return None
        return self.total_return_pct - self.buy_and_hold_return_pct

    @property
    def attached(self) -> bool:
        """Whether it waits for the end of an identical run instead of a job of its own."""
        return self.status == Status.PENDING and self.reused_from is not None


@dataclass(frozen=True)
class StoredResult:
    """What a completed run left behind.

    `result` is the canonical JSON without the figure, `table_csv` the equity curve of a backtest
    or the combinations of a sweep, `chart_base64` the figure as a data URL. `overview` is the JSON
    of what the page of a long run shows first. `trials` are what a worker adds with it to the
    ledger of trials, a mapping of columns for each ticker; they are not read again.
    """

    result: str
    table_csv: str
    chart_base64: str | None
    overview: str | None = None
    trials: Sequence[Mapping[str, Any]] = ()


FINAL = tuple(status for status in Status if status.final)
IS_UNFINISHED = runs.c.status.in_((Status.PENDING, Status.RUNNING))

IS_LAUNCHED = or_(
    runs.c.status.in_((Status.RUNNING, Status.CANCELLING)),
    and_(runs.c.status == Status.PENDING, runs.c.launched_at.is_not(None)),
)
# Pending, without a job, and waiting for a job of its own. The order of the columns is that of
# the index ix_runs_queue.
IS_QUEUED = and_(
    runs.c.status == Status.PENDING,
    runs.c.launched_at.is_(None),
    runs.c.reused_from.is_(None),
)

# Of a run that nobody has begun.
NEW_VALUES: Mapping[str, Any] = {
    "status": Status.PENDING,
    "attempt": 0,
    "launches": 0,
    "created_at": utc_in(),
}
CANCELLED_VALUES: Mapping[str, Any] = {
    "status": Status.CANCELLED,
    "reason": Reason.CANCELLED_BY_USER,
    "message": "Cancelled.",
    "finished_at": utc_in(),
    "lease_until": None,
}


def is_held_by(attempt: int) -> ColumnElement[bool]:
    """Whether this attempt still has the run."""
    return and_(runs.c.status == Status.RUNNING, runs.c.attempt == attempt)


def failure_values(reason: str, message: str | None, evidence: str | None = None) -> dict[str, Any]:
    """The columns of a run that ends without a result."""
    return {
        "status": Status.FAILED,
        "reason": reason,
        "message": fitting_message(message),
        "evidence": evidence,
        "finished_at": utc_in(),
        "lease_until": None,
    }


def fitting_message(message: str | None) -> str | None:
    """The message, cut to what its column holds: those of a cluster can be longer."""
    if message is None or len(message) <= MAX_MESSAGE_CHARACTERS:
        return message
    return message[: MAX_MESSAGE_CHARACTERS - 3] + "..."


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Raises BadRow with the name `what` where the body cannot read something that was stored."""
    try:
        yield
    except (ValueError, TypeError, KeyError, RecursionError, zlib.error) as error:
        raise BadRow(what) from error


def checked_text(value: object) -> str:
    """The value, which SQLite may have as something else; raises TypeError where it is no text."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def marked_text(value: object) -> str:
    """The value as a text, with marks in the place of bytes that are none."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def unzipped(content: bytes, what: str) -> str:
    """The text of a compressed column; raises BadRow."""
    with reading(what):
        return zlib.decompress(content).decode()


def columns_of(row_type: type[ActiveRun]) -> list[Column[Any]]:
    """The columns of a Run, or of an ActiveRun."""
    return [runs.c[field.name] for field in fields(row_type) if field.name in runs.c]


def run_from(row: Row[Any]) -> Run:
    """A row of `columns_of(Run)`."""
    return _read_row(Run, row)


def active_run_from(row: Row[Any]) -> ActiveRun:
    """A row of `columns_of(ActiveRun)`."""
    return _read_row(ActiveRun, row)


def _read_row(row_type: type[AnyRun], row: Row[Any]) -> AnyRun:
    """The row, or what can be read of it as a run that failed: one bad row stops no other.

    SQLite takes any text for any column, tools write what they like, and a later release may know
    states that this one does not.
    """
    columns = _COLUMNS[row_type]
    values = {column.name: value for column, value in zip(columns, row, strict=True)}
    bad = [column for column in columns if not column.may_have(values[column.name])]
    bad_columns = tuple(column.name for column in bad)
    if not bad_columns:
        values["status"] = Status(values["status"])
        return row_type(**values)
    for column in bad:
        values[column.name] = _EMPTY.get(column.types[0])
    values |= {"status": Status.FAILED, "reason": Reason.BAD_ROW, "bad_columns": bad_columns}
    values |= {name: each for name, each in _instead(row.id).items() if name in bad_columns}
    if row_type is Run:
        values["message"] = bad_row_message(bad_columns)
    return row_type(**values)


def _instead(number: int) -> dict[str, str]:
    """What stands for a text that cannot be read, where pages and the API need one of its form."""
    return {"run_id": f"00000000-0000-4000-8000-{number:012d}", "request": "{}", "kind": BACKTEST}


def bad_row_message(bad_columns: Collection[str]) -> str:
    """The sentence for the users of a run that cannot be read."""
    return f"The row of this run cannot be read: {', '.join(bad_columns)}."


@dataclass(frozen=True)
class _Column:
    """What a column may have: something of these types, and where there is a check what it passes.

    It is NoneType where the field has None.
    """

    name: str
    types: tuple[type, ...]
    check: Callable[[Any], bool] | None

    def may_have(self, value: object) -> bool:
        if not isinstance(value, self.types):
            return False
        if isinstance(value, float) and not math.isfinite(value):
            return False
        return self.check is None or value is None or self.check(value)


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _is_request(text: str) -> bool:
    """Whether it has at least what every page of a run shows."""
    try:
        asked = json.loads(text)
        # A fetch of prices has none.
        numbers = () if "vendor" in asked else ASKED_NUMBERS
        has_numbers = all(math.isfinite(asked[name]) for name in numbers)
        return has_numbers and all(_is_day(asked[name]) for name in ASKED_DAYS)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return False


def _is_day(text: object) -> bool:
    try:
        return isinstance(text, str) and date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _described(row_type: type[ActiveRun]) -> list[_Column]:
    """The columns of a row by the types of its fields."""
    hints = get_type_hints(row_type)
    names = [column.name for column in columns_of(row_type)]
    return [_Column(name, _types_of(hints[name]), _CHECKS.get(name)) for name in names]


def _types_of(hint: Any) -> tuple[type, ...]:
    """A status is text in the row, and a driver may give a whole number for a Double."""
    if hint is Status:
        return (str,)
    types = get_args(hint) or (hint,)
    return (*types, int) if float in types else types


# What a field has instead of something that is not of its type; None where there is nothing else.
_EMPTY: Mapping[type, Any] = {str: "", int: 0}
_CHECKS: Mapping[str, Callable[[Any], bool]] = {
    "run_id": lambda run_id: RUN_ID.fullmatch(run_id) is not None,
    "status": frozenset(Status).__contains__,
    "kind": frozenset(KINDS).__contains__,
    # A text that is no UTF-8 is read with marks in it, and could not be found again.
    "client": lambda client: UNREADABLE_CHARACTER not in client,
    "request": _is_request,
    "evidence": _is_object,
    "start_date": _is_day,
    "end_date": _is_day,
}
_COLUMNS: Mapping[type[ActiveRun], Sequence[_Column]] = {
    row_type: _described(row_type) for row_type in (ActiveRun, Run)
}


def update_run(
    connection: Connection,
    run_id: str,
    condition: ColumnElement[bool],
    values: Mapping[str, Any],
) -> bool:
    """Compare and set: changes the row where the condition holds, and says whether it did."""
    statement = update(runs).where(runs.c.run_id == run_id, condition).values(values)
    return connection.execute(statement).rowcount == 1


class RunStore(Store):
    """What every process asks of the table of runs.

    Every change of status is a compare-and-set: whoever comes second changes no row.
    """

    def get(self, run_id: str) -> Run | None:
        """One row, by its unique index."""
        query = select(*columns_of(Run)).where(runs.c.run_id == run_id)
        row = self._read(lambda connection: connection.execute(query).one_or_none())
        return None if row is None else run_from(row)

    def now(self) -> datetime:
        """The database's clock, UTC."""
        moment = self._read(lambda connection: connection.scalar(select(utc_in())))
        assert isinstance(moment, datetime)
        return moment

    def _update(self, run_id: str, condition: ColumnElement[bool], **values: Any) -> bool:
        return self._write(lambda connection: update_run(connection, run_id, condition, values))

    def _count(self, query: Select[Any], limit: int | None) -> int:
        """How many rows the query has, counted to `limit`, or to the end where it is None."""
        total = select(func.count()).select_from(query.limit(limit).subquery())
        return self._read(lambda connection: connection.scalar(total)) or 0

    def _select(self, condition: ColumnElement[bool], limit: int | None = None) -> list[Run]:
        query = select(*columns_of(Run)).where(condition).order_by(runs.c.id).limit(limit)
        rows = self._read(lambda connection: connection.execute(query).all())
        return [run_from(row) for row in rows]
