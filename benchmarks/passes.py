"""What benchmarks/scale.py measures, a process that holds nothing but the controller; its last line is a JSON report.

`python -m benchmarks.passes <address of the fake cluster> <passes> [--profile]`, settings in the environment.
"""

from __future__ import annotations

import cProfile
import json
import pstats
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from rules.plugins import installed_rules
from scripts.config import load_config
from service.controller.__main__ import launcher_of
from service.controller.reconciler import Controller
from service.store.migrate import open_database
from tests.support.stores import EveryStore

PARTS = {
    "JSON": ("json/__init__.py", "msgspec"),
    "cluster": ("service/launchers/kubernetes/api.py",),
    "database": ("service/store/",),
}
Calls = dict[tuple[str, int, str], tuple[Any, ...]]


def megabytes(name: str) -> float:
    """VmRSS now or VmHWM, the peak, of this program: ru_maxrss would begin with what its parent held at the fork."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[name].split()[0]) / 1024


def asked(address: str) -> dict[str, Any]:
    """What the fake cluster was asked so far, and how many bytes it sent."""
    with urllib.request.urlopen(f"{address}/counts") as answer:
        counts: dict[str, Any] = json.load(answer)
        return counts


def one(controller: Controller, address: str) -> dict[str, Any]:
    """Figures of one pass."""
    before, wall, cpu = asked(address), time.perf_counter(), time.process_time()
    controller.step()
    wall, cpu, after = time.perf_counter() - wall, time.process_time() - cpu, asked(address)
    more = {
        name: count - before["requests"].get(name, 0) for name, count in after["requests"].items()
    }
    requests = {name: count for name, count in more.items() if count}
    megabytes_sent = (after["bytes"] - before["bytes"]) / 1e6
    return {
        "seconds": wall,
        "cpu": cpu,
        "requests": requests,
        "sent": megabytes_sent,
        "peak": megabytes("VmHWM"),
    }


def profile(controller: Controller) -> None:
    """The parts of one pass, under a profiler that slows it down, and its most expensive functions."""
    profiler = cProfile.Profile()
    profiler.runcall(controller.step)
    stats = pstats.Stats(profiler)
    calls: Calls = stats.stats  # type: ignore[attr-defined]
    spent = {part: _inside(calls, names) for part, names in PARTS.items()}
    spent["cluster"] -= spent["JSON"]
    total: float = stats.total_tt  # type: ignore[attr-defined]
    spent["the rest"] = total - sum(spent.values())
    print(
        f"of {total:.2f} s: "
        + ", ".join(f"{part} {seconds:.2f} s" for part, seconds in spent.items())
    )
    stats.sort_stats("tottime").print_stats(20)


def _inside(calls: Calls, names: tuple[str, ...]) -> float:
    """Seconds within the functions of these files, counted where others call them."""
    inside = {call for call in calls if any(name in f"{call[0]} {call[2]}" for name in names)}
    callers = [(caller, times) for call in inside for caller, times in calls[call][4].items()]
    return sum(float(times[3]) for caller, times in callers if caller not in inside)


def main(address: str, passes: str, *options: str) -> None:
    """Starts as the controller does."""
    config = load_config()
    store = EveryStore(open_database(config), config.lease_seconds)
    controller = Controller(
        store, launcher_of(config), config.max_active_runs, config.run_timeout_seconds
    )
    installed_rules(True)
    idle = megabytes("VmRSS")
    found = [one(controller, address) for _ in range(int(passes))]
    if options:
        profile(controller)
    print(json.dumps({"idle": idle, "passes": found}))


if __name__ == "__main__":
    main(*sys.argv[1:])
