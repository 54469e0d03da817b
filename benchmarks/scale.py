"""A pass of the controller over thousands of Jobs: seconds, memory, and what it asks of the API server.

`python -m benchmarks.scale` makes three clusters, `--finished 20000 --failed 2000 --active 2000` one. The Jobs are
copies of recorded ones (tests/support/fake_cluster.py, a process of its own), the rows are on the MySQL of
TEST_MYSQL=root:<password>@<host>:<port> or else in SQLite; one active run in twenty waits for a node.
A pass should take less than 2 s, and the controller less than 200 MB. `--profile` says where the time goes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from benchmarks.database import database
from scripts.config import ROOT
from tests.conftest import database_environment
from tests.support.fake_cluster import TEMPLATE, kubeconfig, of_states
from tests.support.fake_rows import fill, rows

SIZES = [
    (2_000, 200, 200),
    (20_000, 2_000, 2_000),
    (200_000, 2_000, 2_000),
]  # finished, failed of them, active
PASSES = 5
MOST_SECONDS, MOST_MEGABYTES = 2, 200


@contextmanager
def fake_cluster(numbers: Mapping[str, int]) -> Iterator[str]:
    """Its address."""
    options = [f"--{state}={number}" for state, number in numbers.items()]
    words = [sys.executable, "-m", "tests.support.fake_cluster", *options]
    with subprocess.Popen(
        words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.communicate("")  # the end of its input ends it


def measured(engine: Engine, address: str, active: int, options: list[str]) -> dict[str, Any]:
    """The report of benchmarks/passes.py; what else it prints is shown."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kubeconfig"
        path.write_text(kubeconfig(address))
        settings = dict(word.split("=", 1) for word in database_environment(engine))
        settings |= {"KUBECONFIG": str(path), "LAUNCHER": "kubernetes", "JOB_TEMPLATE": TEMPLATE}
        settings |= {"MAX_ACTIVE_RUNS": str(active)}
        words = [sys.executable, "-m", "benchmarks.passes", address, str(PASSES), *options]
        done = subprocess.run(
            words,
            cwd=ROOT,
            env={**os.environ, **settings},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    *shown, last = done.stdout.splitlines()
    print("\n".join(shown), end="\n" if shown else "")
    report: dict[str, Any] = json.loads(last)
    return report


def line(name: str, found: Mapping[str, Any]) -> str:
    """Of the table."""
    asked = ", ".join(f"{count} {name}" for name, count in found["requests"].items())
    figures = f"{found['seconds']:6.2f} s {found['cpu']:6.2f} s CPU {found['peak']:5.0f} MB peak"
    return f"  {name:14}{figures} {found['sent']:7.1f} MB received: {asked}"


def median(passes: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Of the seconds; memory and requests are those of the last pass."""
    return {
        **passes[-1],
        **{name: statistics.median(each[name] for each in passes) for name in ("seconds", "cpu")},
    }


def size(finished: int, failed: int, active: int, options: list[str]) -> bool:
    """Measures one cluster; whether it was quick and small enough."""
    pending = active // 20
    numbers = {
        "completed": finished - failed,
        "failed": failed,
        "pending": pending,
        "running": active - pending,
    }
    with database() as engine, fake_cluster(numbers) as address:
        fill(engine, of_states(**numbers))
        before = rows(engine)
        report = measured(engine, address, active, options)
        assert rows(engine) == before, "all is well: no run may change"
        print(
            f"{engine.dialect.name}: {finished:,} finished Jobs, {failed:,} of them failed; {active:,} active"
        )
    first, *later = report["passes"]
    usual = median(later)
    print(f"  the controller before its first pass: {report['idle']:.0f} MB")
    print(line("first pass", first))
    print(line(f"median of {len(later)}", usual))
    return bool(usual["seconds"] < MOST_SECONDS and usual["peak"] < MOST_MEGABYTES)


def main() -> None:
    """One line for the first pass over each cluster and one for those after it; fails when one is too slow or large."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--finished", type=int)
    parser.add_argument("--failed", type=int, default=2_000)
    parser.add_argument("--active", type=int, default=2_000)
    parser.add_argument("--profile", action="store_true")
    given = parser.parse_args()
    sizes = [(given.finished, given.failed, given.active)] if given.finished else SIZES
    options = ["--profile"] if given.profile else []
    good = [size(finished, failed, active, options) for finished, failed, active in sizes]
    sys.exit(not all(good))


if __name__ == "__main__":
    main()
