"""The web and the controller under load, on SQLite: `python -m benchmarks.web`.

GET /status at the median over a keep-alive connection; 200 runs submitted at once and performed to the end, never more
processes than configured; the resident memory of a process before and after 500 figures.
"""

from __future__ import annotations

import gc
import http.client
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rules.plugins import rules_digest
from rules.registry import rule_from_id
from scripts.config import ROOT
from service.contract.request import parse_request
from service.engine.adapter import run_backtest
from service.engine.figure import draw_figure
from service.prices.series import read_csv

PORT = 5063
RUNS, MOST = 200, 2
REQUEST = {
    "ticker": "GOOG",
    "rule_id": "MA_CROSS_10_30",
    "start_date": "2013-01-02",
    "end_date": "2020-02-07",
}


class Web:
    """The platform on a database of its own."""

    def __init__(self, folder: str) -> None:
        self.environment = {
            **os.environ, "DB_HOST": "", "SQLITE_PATH": str(Path(folder) / "bench.sqlite3"), "LOG_LEVEL": "WARNING",
            "MAX_ACTIVE_RUNS": str(MOST), "BIN": str(Path(sys.executable).parent), "PORT": str(PORT),
        }  # fmt: skip
        prices = [sys.executable, "scripts/data_loader.py", "import", "data/GOOG.csv"]
        subprocess.run(prices, cwd=ROOT, env=self.environment, check=True, capture_output=True)
        self.process = subprocess.Popen(
            ["sh", "scripts/run.sh"], cwd=ROOT, env=self.environment, start_new_session=True
        )
        self.connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=30)
        while self.ask("GET", "/ready", patient=True) is None:
            time.sleep(0.2)

    def ask(
        self, method: str, path: str, body: dict[str, object] | None = None, patient: bool = False
    ) -> dict | None:
        """The JSON answer."""
        headers = {"Content-Type": "application/json"} if body is not None else {}
        try:
            self.connection.request(
                method, path, json.dumps(body) if body is not None else None, headers
            )
            return json.loads(self.connection.getresponse().read())
        except (OSError, http.client.HTTPException):
            self.connection.close()
            if not patient:
                raise
            return None

    def workers(self) -> int:
        """How many worker processes are alive."""
        listed = subprocess.run(
            ["ps", "-eo", "args"], capture_output=True, text=True, check=True
        ).stdout
        return sum(line.endswith(" worker.py") and "python" in line for line in listed.splitlines())


def status_latency(web: Web, run_id: str) -> None:
    """The median of 1,000 polls while nothing else happens."""
    times = []
    for _ in range(1000):
        start = time.perf_counter()
        web.ask("GET", f"/status/{run_id}")
        times.append(time.perf_counter() - start)
    worst = sorted(times)[989]
    print(
        f"GET /status: median {statistics.median(times) * 1e3:.2f} ms, 99th percentile {worst * 1e3:.2f} ms"
    )


def flood(web: Web) -> None:
    """Submits everything at once, then watches it to the end."""
    start = time.perf_counter()
    ids = [
        web.ask("POST", "/backtest", {**REQUEST, "initial_capital": 1000 + i})["run_id"]
        for i in range(RUNS)
    ]  # type: ignore[index]
    submitted, most, open_ids = time.perf_counter() - start, 0, set(ids)
    ended: dict[str, int] = {}
    while open_ids:
        most = max(most, web.workers())
        for run_id in sorted(open_ids)[:20]:
            status = web.ask("GET", f"/status/{run_id}")["status"]  # type: ignore[index]
            if status in ("completed", "failed"):
                open_ids.discard(run_id)
                ended[status] = ended.get(status, 0) + 1
    taken = time.perf_counter() - start
    print(
        f"{RUNS} runs: submitted in {submitted:.1f} s, all ended in {taken:.1f} s as {ended}, at most {most} workers"
    )


def memory_of_figures() -> None:
    """Resident memory before and after 500 figures in one process."""
    series = read_csv(ROOT / "data" / "GOOG.csv", "GOOG", "GOOG.csv")
    request = parse_request({**REQUEST, "run_id": "00000000-0000-4000-8000-000000000000"})
    rule = rule_from_id(request.rule_id)
    done = run_backtest(request, series, rule, rules_digest(rule))
    sizes = []
    for number in range(500):
        draw_figure(done.bars, done.result.trades, "GOOG")
        if number in (19, 249, 499):
            gc.collect()
            sizes.append(
                int(Path("/proc/self/statm").read_text().split()[1])
                * resource.getpagesize()
                / 2**20
            )
    print(
        f"resident memory after 20, 250 and 500 figures: {', '.join(f'{size:.1f}' for size in sizes)} MiB"
    )


def main() -> None:
    """Everything, in a temporary database."""
    memory_of_figures()
    with tempfile.TemporaryDirectory() as folder:
        web = Web(folder)
        try:
            run_id = web.ask("POST", "/backtest", dict(REQUEST))["run_id"]  # type: ignore[index]
            while web.ask("GET", f"/status/{run_id}")["status"] != "completed":  # type: ignore[index]
                time.sleep(0.2)
            status_latency(web, run_id)
            flood(web)
        finally:
            web.process.terminate()
            web.process.wait(20)


if __name__ == "__main__":
    main()
