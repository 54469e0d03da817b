"""Performs many backtests at once on a cluster, and prints where their time goes.

It prints how many Jobs live at a time, in which order they start, what the controller asks of the
API server, and whether each result has the bytes of a local worker's.

    KUBECONFIG=... python -m benchmarks.cluster --url http://127.0.0.1:8080 \
        --namespace bt --release bt --runs 50
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import threading
import time
import urllib.request
import uuid
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from scripts.config import ROOT
from scripts.logger_config import set_up_logging
from service.contract.request import parse_request
from service.contract.result import BacktestResult
from service.prices.files.reading import read_file
from service.worker.run import perform
from service.worker.software import Software

TICKERS = ("AAPL", "AMD", "GOOG", "MSFT", "NFLX")
# Runs in a pod of the web.
PRINT_ROWS = """
import json
from sqlalchemy import text
from scripts.config import load_config
from service.store.database import connect
query = "SELECT run_id, created_at, launched_at, started_at, finished_at FROM runs"
with connect(load_config()).connect() as connection:
    print(json.dumps([dict(row._mapping) for row in connection.execute(text(query))], default=str))
"""
# Runs in the pods of the controller.
PRINT_METRICS = (
    "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8000/metrics').read().decode())"
)
CALLS = re.compile(
    r'kubernetes_request_seconds_count{code="\d+",resource="(\S+)",verb="(\S+)"} (\S+)'
)
CLIENTS = 8
MAX_TRIES = 30
# The logs of so many runs are read for the phases.
SAMPLE = 100
PHASES = ("queued", "pod start", "compute", "commit")
JOBS = ("get", "jobs", "-l", "app.kubernetes.io/managed-by=stock-backtest", "-o", "json")


def request_of(number: int) -> dict[str, Any]:
    """The request of a run; each number has another one."""
    fast = 5 + number // len(TICKERS)
    return {
        "ticker": TICKERS[number % len(TICKERS)],
        "rule_id": f"MA_CROSS_{fast}_{fast + 30}",
        "start_date": "2015-01-02",
        "end_date": "2017-10-31",
    }


def ask(url: str, body: object = None) -> Any:
    """The JSON answer to GET, or to POST where there is a body."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def submit(url: str, request: dict[str, Any]) -> str:
    """Submits a run, again where nobody answers; returns its run_id."""
    run_id = str(uuid.uuid4())
    for _ in range(MAX_TRIES):
        # With the same run_id it cannot become two runs.
        with suppress(OSError):
            answer = ask(f"{url}/backtest?force=true", {"run_id": run_id, **request})
            return str(answer["run_id"])
        time.sleep(1)
    raise SystemExit(f"{url} does not answer")


def submit_all(url: str, number: int) -> dict[str, dict[str, Any]]:
    """Submits so many runs, several at the same time; returns the requests by run_id."""
    requests = [request_of(index) for index in range(number)]
    with ThreadPoolExecutor(CLIENTS) as pool:
        run_ids = list(pool.map(submit, [url] * number, requests))
    return dict(zip(run_ids, requests, strict=True))


def kubectl(namespace: str, *words: str) -> str:
    """What kubectl prints."""
    command = ["kubectl", "-n", namespace, *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


class JobWatch(threading.Thread):
    """Counts the Jobs that have not ended, twice a second; `most` is the largest number so far."""

    def __init__(self, namespace: str) -> None:
        super().__init__(daemon=True)
        self.namespace = namespace
        self.most = 0
        self.stopped = threading.Event()

    def run(self) -> None:
        while not self.stopped.wait(0.5):
            jobs = json.loads(kubectl(self.namespace, *JOBS))["items"]
            alive = sum(not has_ended(job) for job in jobs)
            self.most = max(self.most, alive)


def has_ended(job: Any) -> bool:
    conditions = job.get("status", {}).get("conditions", [])
    return any(condition["type"] in ("Complete", "Failed") for condition in conditions)


def computed_at(namespace: str, run_id: str) -> datetime:
    """When a worker had computed its result, as its log says."""
    lines = map(json.loads, kubectl(namespace, "logs", f"job/bt-{run_id}").splitlines())
    completed = next(line for line in lines if line["message"].startswith("Backtest completed"))
    return datetime.fromisoformat(completed["time"].replace(",", "."))


class ControllerUsage:
    """What the controllers of a release have asked of the API server and used until now."""

    def __init__(self, options: argparse.Namespace) -> None:
        namespace = options.namespace
        release = f"app.kubernetes.io/instance={options.release}"
        label = f"app.kubernetes.io/component=controller,{release}"
        pods = kubectl(namespace, "get", "pods", "-l", label, "-o", "name").split()
        command = ["--", "python", "-c", PRINT_METRICS]
        texts = [kubectl(namespace, "exec", pod, *command) for pod in pods]
        self.calls: Counter[str] = Counter()
        for text in texts:
            for resource, verb, count in CALLS.findall(text):
                self.calls[f"{verb} {resource}"] += int(float(count))
        self.cpu = sum(metric(text, "process_cpu_seconds_total") for text in texts)
        self.memory = max(metric(text, "process_resident_memory_bytes") for text in texts)

    def print_since(self, before: ControllerUsage, runs: int, seconds: float) -> None:
        """Prints calls in all and for a run, CPU and memory."""
        calls = self.calls - before.calls
        for name, count in calls.most_common():
            print(f"{name:20}{count:7}{count / runs:8.2f} a run")
        print(f"{'in all':20}{calls.total():7}{calls.total() / runs:8.2f} a run")
        cpu = self.cpu - before.cpu
        memory = self.memory / 2**20
        print(f"controllers: {cpu:.1f} s of CPU in {seconds:.0f} s, {memory:.0f} MiB resident")


def metric(text: str, name: str) -> float:
    match = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    assert match, name
    return float(match[1])


def phases_of(namespace: str, row: dict[str, str]) -> dict[str, float]:
    """Seconds of each phase of a run, and in all."""
    created, launched, started, finished = (
        datetime.fromisoformat(row[f"{name}_at"]).replace(tzinfo=UTC)
        for name in ("created", "launched", "started", "finished")
    )
    moments = [created, launched, started, computed_at(namespace, row["run_id"]), finished]
    phases = {
        name: (end - start).total_seconds()
        for name, (start, end) in zip(PHASES, pairwise(moments), strict=True)
    }
    return {**phases, "in all": (finished - created).total_seconds()}


def has_local_bytes(url: str, run_id: str, document: dict[str, Any]) -> bool:
    """Whether the stored result has the bytes that this machine computes."""
    stored = BacktestResult(**ask(f"{url}/result/{run_id}"))
    path = ROOT / "data" / f"{document['ticker']}.csv"
    request = parse_request({"run_id": run_id, **document})
    local, _ = perform(request, read_file(path, request.ticker).series, Software())
    return stored.reproducible() == local.reproducible()


def wait_for_all(url: str, run_ids: Sequence[str]) -> list[str]:
    """Waits until all runs have ended; returns their states."""
    states = {}
    for run_id in run_ids:
        while True:
            states[run_id] = ask(f"{url}/status/{run_id}")["status"]
            if states[run_id] in ("completed", "failed"):
                break
            time.sleep(1)
    return list(states.values())


def print_order_and_phases(options: argparse.Namespace, run_ids: Sequence[str]) -> None:
    """Prints in which order runs started, and a table of their phases."""
    web = f"deploy/{options.release}-stock-backtest-web"
    command = ["exec", web, "-c", "web", "--", "python", "-c", PRINT_ROWS]
    all_rows = json.loads(kubectl(options.namespace, *command))
    rows = [row for row in all_rows if row["run_id"] in set(run_ids)]
    rows.sort(key=lambda row: row["created_at"])
    late = sum(row["launched_at"] > after["launched_at"] for row, after in pairwise(rows))
    print(f"started in the order of arrival: all but {late} of {len(rows)}")
    sample = [phases_of(options.namespace, row) for row in rows[-SAMPLE:]]
    print(f"{'seconds':12}{'median':>8}{'95 %':>8}")
    for name in (*PHASES, "in all"):
        values = sorted(phases[name] for phases in sample)
        worst = values[int(0.95 * (len(values) - 1))]
        print(f"{name:12}{statistics.median(values):8.2f}{worst:8.2f}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--namespace", default="bt")
    parser.add_argument("--release", default="bt")
    parser.add_argument("--runs", type=int, default=50)
    return parser.parse_args()


def main() -> None:
    """Submits the runs, waits for their end, and prints all figures."""
    options = parse_arguments()
    set_up_logging("ERROR")
    before = ControllerUsage(options)
    watch = JobWatch(options.namespace)
    start = time.monotonic()
    watch.start()
    requests = submit_all(options.url, options.runs)
    print(f"{options.runs} runs submitted in {time.monotonic() - start:.1f} s")
    states = wait_for_all(options.url, list(requests))
    seconds = time.monotonic() - start
    print(f"all ended after {seconds:.1f} s; at most {watch.most} Jobs at a time")
    watch.stopped.set()
    ControllerUsage(options).print_since(before, options.runs, seconds)
    print(f"completed: {states.count('completed')} of {options.runs}")
    equal = sum(
        has_local_bytes(options.url, run_id, request) for run_id, request in requests.items()
    )
    print(f"byte-equal to a local worker: {equal} of {options.runs}")
    print_order_and_phases(options, list(requests))


if __name__ == "__main__":
    main()
