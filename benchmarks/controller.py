"""Measures passes of the controller over thousands of Jobs: seconds, memory, and its requests.

`python -m benchmarks.controller` makes three clusters; `--finished 20000 --failed 2000
--active 2000` makes one of that size. The Jobs are copies of recorded ones, which a process answers
with (tests/support/fake_cluster.py). The rows are on the MySQL of
TEST_MYSQL=root:<password>@<host>:<port>, or else in SQLite; one active run in twenty waits for a
node. It fails when a pass takes 2 s or more, or the controller 200 MB or more.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rules.plugins import installed_rules
from scripts.config import ROOT, load_config
from service.controller.__main__ import launcher_of
from service.controller.reconciler import Controller
from service.store.migrate import open_database
from tests.support.stores import EveryStore

PASSES = 5
MAX_SECONDS = 2
MAX_MEGABYTES = 200
# With these words the program is the controller's process.
AS_CONTROLLER = "--passes-over"


@dataclass(frozen=True)
class Size:
    """Numbers of Jobs: finished, failed among them, and active."""

    finished: int
    failed: int
    active: int

    @property
    def states(self) -> dict[str, int]:
        """The number of Jobs in each state of a fake cluster."""
        pending = self.active // 20
        return {
            "completed": self.finished - self.failed,
            "failed": self.failed,
            "pending": pending,
            "running": self.active - pending,
        }


SIZES = [Size(2_000, 200, 200), Size(20_000, 2_000, 2_000), Size(200_000, 2_000, 2_000)]


def print_passes(address: str) -> None:
    """The controller's process: makes its passes, and prints their figures as JSON."""
    config = load_config()
    store = EveryStore(open_database(config), config.lease_seconds)
    controller = Controller(
        store, launcher_of(config), config.max_active_runs, config.run_timeout_seconds
    )
    installed_rules(True)
    idle = megabytes("VmRSS")
    passes = [measure_pass(controller, address) for _ in range(PASSES)]
    print(json.dumps({"idle": idle, "passes": passes}))


def measure_pass(controller: Controller, address: str) -> dict[str, Any]:
    """The figures of one pass; `sent` and `peak` are in megabytes."""
    before = cluster_counts(address)
    wall = time.perf_counter()
    cpu = time.process_time()
    controller.step()
    wall = time.perf_counter() - wall
    cpu = time.process_time() - cpu
    after = cluster_counts(address)
    requests = {}
    for name, count in after["requests"].items():
        more = count - before["requests"].get(name, 0)
        if more:
            requests[name] = more
    sent = (after["bytes"] - before["bytes"]) / 1e6
    peak = megabytes("VmHWM")
    return {"seconds": wall, "cpu": cpu, "requests": requests, "sent": sent, "peak": peak}


def megabytes(name: str) -> float:
    """VmRSS, the memory of this process now, or VmHWM, its peak.

    The peak of `resource.getrusage` would include the parent's memory at the fork.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    values = dict(line.split(":", 1) for line in lines)
    return int(values[name].split()[0]) / 1024


def cluster_counts(address: str) -> dict[str, Any]:
    """The requests that the fake cluster has had, and the bytes that it has sent."""
    with urllib.request.urlopen(f"{address}/counts") as answer:
        counts: dict[str, Any] = json.load(answer)
        return counts


@contextmanager
def fake_cluster(states: Mapping[str, int]) -> Iterator[str]:
    """The address of a fake cluster in a process of its own."""
    options = [f"--{state}={number}" for state, number in states.items()]
    command = [sys.executable, "-m", "tests.support.fake_cluster", *options]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        # It ends when its input does.
        process.communicate("")


def measure(size: Size) -> bool:
    """Prints the figures of one cluster; returns whether the passes were quick and small enough."""
    # The controller's process must not have these in its memory.
    from tests.support.databases import database_environment, migrated_database
    from tests.support.fake_cluster import TEMPLATE, kubeconfig, of_states
    from tests.support.fake_rows import fill, rows

    with (
        tempfile.TemporaryDirectory() as folder,
        migrated_database(Path(folder), patient=True) as engine,
        fake_cluster(size.states) as address,
    ):
        fill(engine, of_states(**size.states))
        before = rows(engine)
        path = Path(folder) / "kubeconfig"
        path.write_text(kubeconfig(address))
        settings = {
            **database_environment(engine),
            "KUBECONFIG": str(path),
            "LAUNCHER": "kubernetes",
            "JOB_TEMPLATE": TEMPLATE,
            "MAX_ACTIVE_RUNS": str(size.active),
        }
        report = report_of_controller(address, settings)
        assert rows(engine) == before, "all is well: no run may change"
        print(
            f"{engine.dialect.name}: {size.finished:,} finished Jobs, {size.failed:,} of them "
            f"failed; {size.active:,} active"
        )
    return print_report(report)


def report_of_controller(address: str, settings: Mapping[str, str]) -> dict[str, Any]:
    """What `print_passes` printed in the controller's process."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.controller", AS_CONTROLLER, address],
        cwd=ROOT,
        env={**os.environ, **settings},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


def print_report(report: Mapping[str, Any]) -> bool:
    """Prints the first pass and the median of the others; returns whether all is within limits."""
    first, *later = report["passes"]
    usual = median_pass(later)
    print(f"  the controller before its first pass: {report['idle']:.0f} MB")
    print(pass_line("first pass", first))
    print(pass_line(f"median of {len(later)}", usual))
    return bool(usual["seconds"] < MAX_SECONDS and usual["peak"] < MAX_MEGABYTES)


def median_pass(passes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The median of the seconds; memory and requests are those of the last pass."""
    usual = dict(passes[-1])
    for name in ("seconds", "cpu"):
        usual[name] = statistics.median(figures[name] for figures in passes)
    return usual


def pass_line(name: str, figures: Mapping[str, Any]) -> str:
    requests = ", ".join(f"{count} {call}" for call, count in figures["requests"].items())
    return (
        f"  {name:14}{figures['seconds']:6.2f} s {figures['cpu']:6.2f} s CPU "
        f"{figures['peak']:5.0f} MB peak {figures['sent']:7.1f} MB received: {requests}"
    )


def main() -> None:
    """Prints two lines of figures for each cluster."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--finished", type=int)
    parser.add_argument("--failed", type=int, default=2_000)
    parser.add_argument("--active", type=int, default=2_000)
    parser.add_argument(AS_CONTROLLER, help=argparse.SUPPRESS, dest="address")
    options = parser.parse_args()
    if options.address:
        print_passes(options.address)
        return
    sizes = SIZES
    if options.finished:
        sizes = [Size(options.finished, options.failed, options.active)]
    are_within_limits = [measure(size) for size in sizes]
    sys.exit(not all(are_within_limits))


if __name__ == "__main__":
    main()
