"""A database with many runs, the queries of web and controller, and the plans of the queries."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, event, func, insert, literal_column, select, text, update

from service.contract.request import parse_request
from service.contract.status import Status
from service.store.database import utc_in
from service.store.finding import Condition
from service.store.tables import run_stars, run_tags, runs
from tests.support.databases import MYSQL
from tests.support.prices import TICKERS
from tests.support.requests import REQUEST, RUN_ID
from tests.support.stores import EveryStore

CLIENTS = 20
FIRST_ROWS = 1000
MAX_COPIED_ROWS = 50_000
RULES = ("MA_CROSS_10_30", "RSI_14_30_70", "MACD_12_26_9")
COMMON = {
    "request": parse_request({**REQUEST, "run_id": RUN_ID}).canonical(),
    "prices_fingerprint": "f" * 64,
    "rules_digest": "d" * 64,
    "status": Status.COMPLETED,
    "attempt": 1,
    "launches": 1,
}
WAITING = {
    "status": Status.PENDING,
    "launched_at": None,
    "started_at": None,
    "finished_at": None,
    "launches": 0,
}
AT_WORK = {
    "status": Status.RUNNING,
    "finished_at": None,
    "lease_until": utc_in(3600),
    "claimed_by": "w",
}
# Of the list of runs: conditions and order.
SEARCHES: Mapping[str, tuple[Sequence[Condition], str]] = {
    "newest first": ([], "-asked"),
    "by excess": ([], "-excess_pct"),
    "of a ticker and a rule": (
        [Condition("ticker", "=", ["GOOG"]), Condition("rule", "=", ["RSI"])],
        "-sharpe_ratio",
    ),
    "good ones": ([Condition("sharpe_ratio", ">", [0.8])], "-asked"),
    "none": ([Condition("status", "=", ["cancelled"])], "-asked"),
    "a part of a name": ([Condition("rule", "~", ["cross"])], "start_date"),
    "with a tag of every third run": ([Condition("tag", "=", ["common"])], "-sharpe_ratio"),
    "without a tag": ([Condition("tag", "!=", ["common"])], "-total_return_pct"),
    "with a star": ([Condition("star", "=", ["yes"])], "-asked"),
}


@dataclass(frozen=True)
class Counts:
    """How many runs there are in all, how many of them are at work, and how many wait."""

    runs: int
    at_work: int
    waiting: int


def fill(engine: Engine, counts: Counts) -> None:
    """Adds the runs to an empty database: the oldest have ended, one in twenty of them failed."""
    _add_first_rows(engine)
    while (present := count_runs(engine)) < counts.runs:
        _copy_rows(engine, min(present, counts.runs - present, MAX_COPIED_ROWS))
    _set_numbers(engine)
    _set_states(engine, counts)
    _mark(engine)


def count_runs(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(runs)) or 0


def _add_first_rows(engine: Engine) -> None:
    moments = ("created_at", "started_at", "finished_at", "launched_at")
    rows = [
        {
            **COMMON,
            "run_id": str(uuid.uuid4()),
            "ticker": TICKERS[number % 12],
            "rule_id": RULES[number % len(RULES)],
            "costs_pct": 0.05 + number % 4 / 10,
            "start_date": f"20{10 + number % 10}-01-04",
            "end_date": "2020-12-30",
            "client": f"c{number * 7 % CLIENTS}",
        }
        for number in range(FIRST_ROWS)
    ]
    with engine.begin() as connection:
        connection.execute(insert(runs).values({name: utc_in() for name in moments}), rows)


def _set_numbers(engine: Engine) -> None:
    """Numbers of results that differ from run to run; one in seven has none."""
    scattered = runs.c.id * 7919 % 10_007
    numbers = {
        "total_return_pct": scattered / 10.0 - 300,
        "buy_and_hold_return_pct": scattered * 31 % 997 / 2.0,
        "sharpe_ratio": scattered / 5000.0 - 0.5,
        "max_drawdown_pct": scattered % 90 * 1.0,
        "num_trades": scattered % 120,
    }
    with engine.begin() as connection:
        connection.execute(update(runs).where(runs.c.id % 7 != 0).values(numbers))
        connection.execute(update(runs).values(stored_bytes=scattered * 13))


def _mark(engine: Engine) -> None:
    """Stars, and tags, of which one is common."""
    for table, values, step in (
        (run_stars, {}, 50),
        (run_tags, {"tag": literal_column("'common'")}, 3),
        (run_tags, {"tag": literal_column("'rare'")}, 1000),
    ):
        marked = select(runs.c.id, *values.values()).where(runs.c.id % step == 0)
        with engine.begin() as connection:
            connection.execute(insert(table).from_select(["runs_id", *values], marked))


def _copy_rows(engine: Engine, number: int) -> None:
    """Copies the first rows within the database, each copy with a run_id of its own."""
    new_id = "uuid()" if MYSQL else "lower(hex(randomblob(16)))"
    copied = [column for column in runs.c if column.name not in ("id", "run_id", "leads")]
    names = ["run_id", *(column.name for column in copied)]
    rows = select(literal_column(new_id), *copied).order_by(runs.c.id).limit(number)
    with engine.begin() as connection:
        connection.execute(insert(runs).from_select(names, rows))


def _set_states(engine: Engine, counts: Counts) -> None:
    with engine.begin() as connection:
        ids = connection.scalars(select(runs.c.id).order_by(runs.c.id)).all()
        first_waiting = ids[len(ids) - counts.waiting]
        first_at_work = ids[len(ids) - counts.waiting - counts.at_work]
        failed = update(runs).where(runs.c.id % 20 == 0)
        connection.execute(failed.values(status=Status.FAILED, reason="Timeout"))
        connection.execute(update(runs).where(runs.c.id >= first_waiting).values(WAITING))
        is_at_work = (runs.c.id >= first_at_work) & (runs.c.id < first_waiting)
        connection.execute(update(runs).where(is_at_work).values(AT_WORK))
    # MySQL gathers statistics by itself, but later; SQLite never does.
    if MYSQL:
        with engine.begin() as connection:
            connection.execute(text("ANALYZE TABLE runs"))


def queries(engine: Engine, counts: Counts) -> Mapping[str, Callable[[], object]]:
    """What the web and the controller ask of the runs, by name."""
    store = EveryStore(engine)
    middle_id = counts.runs // 2
    with engine.connect() as connection:
        middle = connection.scalar(select(runs.c.run_id).where(runs.c.id == middle_id))
        last = connection.scalar(select(runs.c.run_id).order_by(runs.c.id.desc()).limit(1))
    waiting = store.get(str(last))
    assert waiting is not None
    return {
        "status of a run": lambda: store.get(str(middle)),
        "queue position": lambda: store.queue_position(waiting),
        "queue length, to 1,000": lambda: store.queued_count(),
        "latest 50": lambda: store.latest(50),
        "latest sweeps": lambda: store.latest(20, kind="sweep"),
        "latest of a client": lambda: store.latest_of("c3"),
        "of a client, last minute, to 600": lambda: store.recent_count("c1", 60, 600),
        "identical work": lambda: store.has_leader("f" * 64),
        "the next client that waits": lambda: store.waiting_clients("c3", 1),
        "first of a client": lambda: store.queued_of("c3", 5),
        "numbers of sweeps that ended": store.forget_numbers,
        "expired ones": lambda: store.expire(30, 500, None),
        "rows that cannot be read": store.bad_rows,
        "whether any is at work": store.is_any_at_work,
        "how long the first waits": store.queue_age,
        "ended ones that nobody has measured": lambda: store.measure(500),
        "ended ones that are not in the ledger": lambda: store.without_trials(middle_id, 200),
    }


class QueryPlans:
    """Records the statements of an engine, and asks the database how it answers them."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.statements: list[tuple[str, Any]] = []
        event.listen(engine, "before_cursor_execute", self._record)

    def _record(
        self, _connection: Any, _cursor: Any, statement: str, parameters: Any, *_options: Any
    ) -> None:
        self.statements.append((statement, parameters))

    def explain(self, query: Callable[[], object]) -> list[str]:
        """The index that the database uses for the runs in each statement of the query."""
        self.statements.clear()
        query()
        recorded = list(self.statements)
        plans = []
        for statement, parameters in recorded:
            if "FROM runs" in statement:
                plans += self._plan(statement, parameters)
        return plans

    def _plan(self, statement: str, parameters: Any) -> list[str]:
        how = "FORMAT=TRADITIONAL" if MYSQL else "QUERY PLAN"
        with self.engine.connect() as connection:
            rows = connection.exec_driver_sql(f"EXPLAIN {how} {statement}", parameters)
            lines = [_plan_line(row._mapping) for row in rows]
        return [line for line in lines if line]


def _plan_line(row: Mapping[Any, Any]) -> str:
    if not MYSQL:
        return str(row["detail"])
    if not row["table"]:
        return ""
    return f"{row['type']} {row['key']}, {row['rows']} rows, {row['Extra']}"
