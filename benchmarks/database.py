"""Times the queries of web and controller, and the controller's passes, on 1,000,000 runs.

`TEST_MYSQL=root:<password>@<host>:<port> python -m benchmarks.database` makes a database of its own
on that server and drops it at the end; without TEST_MYSQL it uses a SQLite file. 880,000 runs have
ended, 10,000 are at work, 110,000 wait; `--runs` takes another number, in the same proportions. It
fails when the median of a query is above 10 ms, or that of a search of the list above 100 ms for
each 100,000 runs.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path

from sqlalchemy import Engine

from service.controller.reconciler import Controller
from service.launchers.launcher import JobState, Launcher, Work
from tests.support.databases import migrated_database
from tests.support.many_runs import (
    SEARCHES,
    Counts,
    QueryPlans,
    count_runs,
    fill,
    queries,
)
from tests.support.stores import EveryStore

ROUNDS = 50
MAX_MILLISECONDS = 10
# Of a search, for each 100,000 runs: it reads the index of all of them.
MAX_SEARCH_MILLISECONDS = 100
SEARCH_ROUNDS = 10
RUN_TIMEOUT_SECONDS = 9e9


class LivingJobs(Launcher):
    """Every job lives and nothing ends."""

    def __init__(self, run_ids: Collection[str]) -> None:
        self.states = {run_id: JobState(alive=True) for run_id in run_ids}

    def launch(self, work: Work, number: int) -> None:
        pass

    def jobs(self, expected: Collection[str] = ()) -> Mapping[str, JobState]:
        return self.states

    def remove(self, run_id: str, force: bool = False) -> None:
        self.states.pop(run_id, None)


def milliseconds(action: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Median and 99th percentile of an action's time."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        action()
        times.append((time.perf_counter() - start) * 1e3)
    times.sort()
    return statistics.median(times), times[int(len(times) * 0.99)]


def time_queries(engine: Engine, counts: Counts) -> list[str]:
    """Prints a line for each query; returns the names of those that are too slow."""
    query_plans = QueryPlans(engine)
    slow = []
    for name, query in queries(engine, counts).items():
        plan = " | ".join(query_plans.explain(query))
        median, worst = milliseconds(query, ROUNDS)
        if median > MAX_MILLISECONDS:
            slow.append(name)
        print(f"{name:34} {median:7.2f} ms, 99 % {worst:7.2f} ms   {plan}")
    return slow


def time_searches(engine: Engine, counts: Counts) -> list[str]:
    """As `time_queries`, of the first page of each search with the number of all that are found."""
    store = EveryStore(engine)
    query_plans = QueryPlans(engine)
    most = MAX_SEARCH_MILLISECONDS * max(1.0, counts.runs / 100_000)
    slow = []
    for name, (conditions, sort) in SEARCHES.items():
        search = partial(store.find, conditions, sort, 50)
        plan = " | ".join(query_plans.explain(search))
        median, worst = milliseconds(search, SEARCH_ROUNDS)
        if median > most:
            slow.append(name)
        print(f"search {name:30} {median:6.1f} ms, longest {worst:6.1f} ms   {plan}")
    print(f"over {most:.0f} ms: {', '.join(slow) or 'none'}")
    return slow


def time_passes(engine: Engine, counts: Counts) -> None:
    """Prints the time of a pass over all active runs, of one that also launches, and of metrics."""
    store = EveryStore(engine)
    active = list(store.active_clients())
    full = Controller(store, LivingJobs(active), counts.at_work, RUN_TIMEOUT_SECONDS)
    median, _ = milliseconds(full.step, 10)
    print(f"a pass over {len(active):,} active runs, none free: {median:.0f} ms")
    free = Controller(store, LivingJobs(active), counts.at_work + 100, RUN_TIMEOUT_SECONDS)
    median, _ = milliseconds(free.step, 5)
    print(f"the same, launching 5 of the {counts.waiting:,} that wait: {median:.0f} ms")
    median, _ = milliseconds(store.counts, 3)
    print(f"runs by status, for /metrics: {median:.0f} ms")
    median, _ = milliseconds(store.queue, 5)
    print(f"the whole queue counted: {median:.0f} ms")


def main() -> None:
    """Fills a database and prints all times."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=1_000_000)
    total = parser.parse_args().runs
    counts = Counts(runs=total, at_work=total // 100, waiting=total * 11 // 100)
    with (
        tempfile.TemporaryDirectory() as folder,
        migrated_database(Path(folder), patient=True) as engine,
    ):
        start = time.perf_counter()
        fill(engine, counts)
        seconds = time.perf_counter() - start
        print(f"{engine.dialect.name}: {count_runs(engine):,} runs in {seconds:.0f} s")
        slow = time_queries(engine, counts)
        print(f"over {MAX_MILLISECONDS} ms: {', '.join(slow) or 'none'}")
        slow += time_searches(engine, counts)
        time_passes(engine, counts)
    sys.exit(bool(slow))


if __name__ == "__main__":
    main()
