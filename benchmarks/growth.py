"""Measures what a run takes in the database: what is stored, and what the files grow by.

`TEST_MYSQL=root:<password>@<host>:<port> python -m benchmarks.growth` makes a database of its own
on that server and drops it at the end; without TEST_MYSQL it uses a SQLite file. Each of the eleven
rules is performed on two tickers, all their days; those runs are copied until there are `--runs`.
`--of FILE` takes the runs of that SQLite database instead, such as one that another release made.
It fails when the median of what is stored is above 70 kB.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Connection, Engine, create_engine, insert, text

from rules.registry import BUILT_IN
from scripts.config import Config
from service.contract.request import parse_request
from service.store.migrate import migrate
from service.store.prices import PriceStore
from service.store.tables import Moment, figures, results, runs
from service.usecases.runs import Runs
from service.worker.run import RunWorker
from tests.support.databases import connected, migrated_database
from tests.support.prices import series
from tests.support.stores import EveryStore

TABLES = (runs, results, figures)
TICKERS = ("GOOG", "SPY")
RUNS_AT_ONCE = 500
MAX_KB = 70
KB = 1000
# Of each table, so that a release with other columns can be read.
ROWS = {
    "runs": "SELECT * FROM runs WHERE status = 'completed' AND kind = 'backtest'",
    "results": "SELECT * FROM results WHERE run_id = :run_id",
    "figures": "SELECT * FROM figures WHERE run_id = :run_id",
}

Row = dict[str, Any]


def perform(engine: Engine) -> None:
    """Every rule on every ticker, as a worker does."""
    prices = PriceStore(engine)
    store = EveryStore(engine)
    service = Runs(store, prices)
    for ticker in TICKERS:
        bars = series(ticker)
        prices.save(bars)
        for rule in BUILT_IN:
            document = {
                "run_id": str(uuid.uuid4()),
                "ticker": ticker,
                "rule_id": rule,
                "start_date": bars.first.isoformat(),
                "end_date": bars.last.isoformat(),
            }
            service.submit(document)
            assert RunWorker(store, prices).work(parse_request(document)) == 0


def rows_of(path: Path) -> list[dict[str, Row]]:
    """The rows of each run, by table; of columns that this release has too."""
    source = create_engine(f"sqlite:///{path}")
    with source.connect() as connection:
        found = [
            {"runs": run, **_rows_of_run(connection, run["run_id"])}
            for run in _rows(connection, "runs", {})
        ]
    source.dispose()
    return found


def _rows_of_run(connection: Connection, run_id: str) -> dict[str, Row]:
    of_run = {"run_id": run_id}
    return {name: _rows(connection, name, of_run)[0] for name in ("results", "figures")}


def _rows(connection: Connection, name: str, of: Mapping[str, Any]) -> list[Row]:
    columns = next(table for table in TABLES if table.name == name).c
    rows = connection.execute(text(ROWS[name]), of).mappings()
    return [
        {key: _value(columns[key], value) for key, value in row.items() if key in columns}
        for row in rows
    ]


def _value(column: Column[Any], value: Any) -> Any:
    """SQLite keeps a moment as a text."""
    if value is None or not isinstance(column.type, Moment):
        return value
    return datetime.fromisoformat(value)


def stored_bytes(rows: Mapping[str, Row]) -> int:
    """What result, tables and figure of a run take."""
    values = [*rows["results"].values(), *rows["figures"].values()]
    sizes = [len(each.encode() if isinstance(each, str) else each) for each in values if each]
    return sum(sizes)


def fill(engine: Engine, sources: list[dict[str, Row]], count: int) -> None:
    """Copies the runs until there are so many."""
    cycle = itertools.cycle(sources)
    for first in range(0, count, RUNS_AT_ONCE):
        copies = [_copy(next(cycle)) for _ in range(min(RUNS_AT_ONCE, count - first))]
        with engine.begin() as connection:
            for table in TABLES:
                connection.execute(insert(table), [copy[table.name] for copy in copies])


def _copy(rows: Mapping[str, Row]) -> dict[str, Row]:
    run_id = str(uuid.uuid4())
    copied = {name: {**row, "run_id": run_id} for name, row in rows.items()}
    copied["runs"] = {
        name: value for name, value in copied["runs"].items() if name not in ("id", "leads")
    }
    return copied


def bytes_of_files(engine: Engine) -> int:
    """What the database's files take on the disk."""
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        return Path(str(engine.url.database)).stat().st_size
    query = "SELECT sum(file_size) FROM information_schema.innodb_tablespaces WHERE name LIKE :name"
    with engine.connect() as connection:
        size = connection.scalar(text(query), {"name": f"{engine.url.database}/%"})
    return int(size or 0)


def main() -> None:
    """Fills a database and prints bytes a run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--of", type=Path, help="a SQLite database with completed runs")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sources = rows_of(asked.of or _performed(Path(folder)))
        median = statistics.median(map(stored_bytes, sources))
        sizes = sorted(map(stored_bytes, sources))
        print(f"stored: median {median / KB:.1f} kB, {sizes[0] / KB:.1f} to {sizes[-1] / KB:.1f}")
        with migrated_database(Path(folder), patient=True) as engine:
            empty = bytes_of_files(engine)
            start = time.perf_counter()
            fill(engine, sources, asked.runs)
            seconds = time.perf_counter() - start
            grown = (bytes_of_files(engine) - empty) / asked.runs
            mean = statistics.mean(sizes)
            print(f"{engine.dialect.name}: {asked.runs:,} runs in {seconds:.0f} s")
            print(f"files: {grown / KB:.1f} kB a run, {grown / mean:.2f} times what is stored")
    sys.exit(median > MAX_KB * KB)


def _performed(folder: Path) -> Path:
    path = folder / "performed.sqlite3"
    path.touch()
    with connected(Config(sqlite_path=str(path))) as engine:
        migrate(engine)
        perform(engine)
    return path


if __name__ == "__main__":
    main()
