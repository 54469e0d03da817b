"""The store with 1,000,000 runs: how each question of web and controller is answered, and how long a pass takes.

`TEST_MYSQL=root:<password>@<host>:<port> python -m benchmarks.database` makes a database of its own there and drops it;
without TEST_MYSQL a SQLite file. 880,000 runs have ended, 10,000 are at work, 110,000 wait.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine, event, func, insert, literal_column, select, text, update

from scripts.config import Config
from service.contract.status import Status
from service.controller.reconciler import Controller
from service.launchers.launcher import JobState, Launcher, Work
from service.store.database import connect, utc_in
from service.store.migrate import migrate
from service.store.tables import runs
from tests.conftest import MYSQL, TICKERS, _as_root, mysql_config
from tests.support.stores import EveryStore

RUNS, AT_WORK, WAITING = 1_000_000, 10_000, 110_000
ROUNDS = 50
CLIENTS = 20
EXPLAIN = "FORMAT=TRADITIONAL" if MYSQL else "QUERY PLAN"


@contextmanager
def database() -> Iterator[Engine]:
    """Empty and migrated."""
    with tempfile.TemporaryDirectory() as folder:
        config = (
            mysql_config() if MYSQL else Config(sqlite_path=str(Path(folder) / "bench.sqlite3"))
        )
        if MYSQL:
            _as_root(f"CREATE DATABASE {config.db_name}")
        engine = connect(config, patient=True)
        try:
            migrate(engine)
            yield engine
        finally:
            engine.dispose()
            if MYSQL:
                _as_root(f"DROP DATABASE {config.db_name}")


def fill(engine: Engine) -> None:
    """The rows, doubled in the database until they are enough; then their states, oldest first."""
    first = {
        "request": "{}", "rule_id": "MA_CROSS_10_30", "prices_fingerprint": "f" * 64, "rules_digest": "d" * 64,
        "status": Status.COMPLETED, "attempt": 1, "launches": 1,
    }  # fmt: skip
    rows = [
        {
            **first,
            "run_id": str(uuid.uuid4()),
            "ticker": TICKERS[i % 12],
            "client": f"c{i * 7 % CLIENTS}",
        }
        for i in range(1000)
    ]
    ended = {
        "created_at": utc_in(),
        "started_at": utc_in(),
        "finished_at": utc_in(),
        "launched_at": utc_in(),
    }
    new_id = "uuid()" if MYSQL else "lower(hex(randomblob(16)))"
    copied = [column for column in runs.c if column.name not in ("id", "run_id", "leads")]
    with engine.begin() as connection:
        connection.execute(insert(runs).values(ended), rows)
    while (have := count(engine)) < RUNS:
        with engine.begin() as connection:
            some = (
                select(literal_column(new_id), *copied)
                .order_by(runs.c.id)
                .limit(min(have, RUNS - have, 50_000))
            )
            connection.execute(
                insert(runs).from_select(["run_id", *(column.name for column in copied)], some)
            )
    states(engine)


def states(engine: Engine) -> None:
    """One in twenty failed; the youngest wait, those before them are at work."""
    last = count(engine)
    waits = {
        "status": Status.PENDING,
        "launched_at": None,
        "started_at": None,
        "finished_at": None,
        "launches": 0,
    }
    works = {
        "status": Status.RUNNING,
        "finished_at": None,
        "lease_until": utc_in(3600),
        "claimed_by": "w",
    }
    with engine.begin() as connection:
        ids = connection.scalars(select(runs.c.id).order_by(runs.c.id)).all()
        connection.execute(
            update(runs).where(runs.c.id % 20 == 0).values(status=Status.FAILED, reason="Timeout")
        )
        queue, work = ids[last - WAITING], ids[last - WAITING - AT_WORK]
        connection.execute(update(runs).where(runs.c.id >= queue).values(waits))
        connection.execute(update(runs).where(runs.c.id >= work, runs.c.id < queue).values(works))
    if MYSQL:  # it does so by itself in time; SQLite never does
        with engine.begin() as connection:
            connection.execute(text("ANALYZE TABLE runs"))


def count(engine: Engine) -> int:
    """How many runs there are."""
    with engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(runs)) or 0


class Watched:
    """Remembers the statements that run, to explain them afterwards."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.statements = engine, list[tuple[str, object]]()
        event.listen(engine, "before_cursor_execute", self._remember)

    def _remember(
        self, _c: object, _k: object, statement: str, parameters: object, *_: object
    ) -> None:
        self.statements.append((statement, parameters))

    def explain(self, action: Callable[[], object]) -> list[str]:
        """How the database answers what the action asks: index and rows looked at."""
        self.statements.clear()
        action()
        found = []
        for statement, parameters in list(self.statements):
            if "FROM runs" in statement:
                with self.engine.connect() as connection:
                    plan = connection.exec_driver_sql(f"EXPLAIN {EXPLAIN} {statement}", parameters)
                    found.extend(_shown(row._mapping) for row in plan)
        return [line for line in found if line]


def _shown(row: Mapping[str, object]) -> str:
    if not MYSQL:
        return str(row["detail"])
    return f"{row['type']} {row['key']}, {row['rows']} rows, {row['Extra']}" if row["table"] else ""


def timed(action: Callable[[], object], rounds: int = ROUNDS) -> tuple[float, float]:
    """Median and 99th percentile, in milliseconds."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        action()
        times.append((time.perf_counter() - start) * 1e3)
    times.sort()
    return statistics.median(times), times[int(len(times) * 0.99)]


class Nothing(Launcher):
    """Every job lives and nothing ends."""

    def __init__(self, run_ids: Collection[str]) -> None:
        self.states = {run_id: JobState(alive=True) for run_id in run_ids}
        self.launched: list[str] = []

    def launch(self, work: Work, number: int) -> None:
        self.launched.append(work.run_id)

    def jobs(self, expected: Collection[str] = ()) -> Mapping[str, JobState]:
        return self.states

    def remove(self, run_id: str, force: bool = False) -> None:
        self.states.pop(run_id, None)


def questions(engine: Engine) -> Mapping[str, Callable[[], object]]:
    """What the web and the controller ask, by name."""
    store = EveryStore(engine)
    with engine.connect() as connection:
        middle = connection.scalar(select(runs.c.run_id).where(runs.c.id == RUNS // 2))
        last = connection.scalar(select(runs.c.run_id).order_by(runs.c.id.desc()).limit(1))
    waiting = store.get(str(last))
    assert waiting is not None
    return {
        "status of a run": lambda: store.get(str(middle)),
        "queue position": lambda: store.queue_position(waiting),
        "queue length, to 1,000": lambda: store.queued_count(),
        "latest 50": lambda: store.latest(50),
        "a page in the middle": lambda: store.latest(50, RUNS // 2),
        "of a ticker": lambda: store.latest(50, ticker="GOOG"),
        "failed ones": lambda: store.latest(50, status="failed"),
        "none cancelled": lambda: store.latest(50, status="cancelled"),
        "of a ticker, failed": lambda: store.latest(50, ticker="GOOG", status="failed"),
        "of a ticker, none cancelled": lambda: store.latest(50, ticker="GOOG", status="cancelled"),
        "of a client, last minute, to 600": lambda: store.recent_count("c1", 60, 600),
        "identical work": lambda: store.has_leader("f" * 64),
        "the next client that waits": lambda: store.waiting_clients("c3", 1),
        "first of a client": lambda: store.queued_of("c3", 5),
        "numbers of sweeps that ended": store.forget_numbers,
        "expired ones": lambda: store.expire(30, 500, None),
    }


def main() -> None:
    """Fills the database, then prints one line for each question, and the passes of a controller."""
    with database() as engine:
        start = time.perf_counter()
        fill(engine)
        print(
            f"{engine.dialect.name}: {count(engine):,} runs in {time.perf_counter() - start:.0f} s"
        )
        watched, slow = Watched(engine), []
        for name, ask in questions(engine).items():
            plan = watched.explain(ask)
            median, worst = timed(ask)
            slow += [name] if median > 10 else []
            print(f"{name:34} {median:7.2f} ms, 99 % {worst:7.2f} ms   {' | '.join(plan)}")
        print(f"over 10 ms: {', '.join(slow) or 'none'}")
        passes(engine)
    sys.exit(bool(slow))


def passes(engine: Engine) -> None:
    """A pass over 10,000 active runs with 110,000 waiting, and one that also launches."""
    store = EveryStore(engine)
    active = list(store.active_clients())
    busy = Controller(store, Nothing(active), AT_WORK, 9e9)
    print(f"a pass over {len(active):,} active runs, none free: {timed(busy.step, 10)[0]:.0f} ms")
    launcher = Nothing(active)
    free = Controller(store, launcher, AT_WORK + 100, 9e9)
    print(f"the same, launching 5 of the {WAITING:,} that wait: {timed(free.step, 5)[0]:.0f} ms")
    counts = timed(store.counts, 3)[0]
    print(
        f"runs by status, for /metrics: {counts:.0f} ms; the whole queue counted: {timed(store.queue, 5)[0]:.0f} ms"
    )


if __name__ == "__main__":
    main()
