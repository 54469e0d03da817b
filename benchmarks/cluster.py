"""Many backtests at once on a cluster: where their time goes, how many Jobs live at a time, in which order they start,
what the controller asks of the API server, and whether each byte is that of a local worker.

    KUBECONFIG=... python -m benchmarks.cluster --url http://127.0.0.1:8080 --namespace bt --release bt --runs 50
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
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from scripts.config import ROOT
from scripts.logger_config import set_up_logging
from service.contract.request import parse_request
from service.contract.result import BacktestResult
from service.prices.series import read_csv
from service.worker.run import perform
from service.worker.software import Software

TICKERS = ("AAPL", "AMD", "GOOG", "MSFT", "NFLX")
ROWS = """
import json
from sqlalchemy import text
from scripts.config import load_config
from service.store.database import connect
query = "SELECT run_id, created_at, launched_at, started_at, finished_at FROM runs"
with connect(load_config()).connect() as connection:
    print(json.dumps([dict(row._mapping) for row in connection.execute(text(query))], default=str))
"""
METRICS = (
    "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8000/metrics').read().decode())"
)
CALLS = re.compile(
    r'kubernetes_request_seconds_count{code="\d+",resource="(\S+)",verb="(\S+)"} (\S+)'
)
CLIENTS, TRIES = 8, 30
SAMPLE = 100  # whose logs are read for the phases
PHASES = ("queued", "pod start", "compute", "commit")


def request_of(number: int) -> dict[str, Any]:
    fast = 5 + number // len(TICKERS)
    ticker = TICKERS[number % len(TICKERS)]
    dates = {"start_date": "2015-01-02", "end_date": "2017-10-31"}
    return {"ticker": ticker, "rule_id": f"MA_CROSS_{fast}_{fast + 30}", **dates}


def ask(url: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(
        urllib.request.Request(url, data, {"Content-Type": "application/json"}), timeout=30
    ) as answer:
        return json.load(answer)


def submitted(url: str, runs: int) -> dict[str, dict[str, Any]]:
    """The requests of so many runs by run_id, asked for by several clients at once, again where nobody answers."""

    def submit(number: int) -> str:
        run_id, document = str(uuid.uuid4()), request_of(number)
        for _ in range(TRIES):
            with suppress(OSError):  # the run_id keeps it from being two runs
                return str(
                    ask(f"{url}/backtest?force=true", {"run_id": run_id, **document})["run_id"]
                )
            time.sleep(1)
        raise SystemExit(f"{url} does not answer")

    with ThreadPoolExecutor(CLIENTS) as pool:
        return dict(zip(pool.map(submit, range(runs)), map(request_of, range(runs)), strict=True))


def kubectl(namespace: str, *words: str) -> str:
    return subprocess.run(
        ["kubectl", "-n", namespace, *words], capture_output=True, text=True, check=True
    ).stdout


class Watch(threading.Thread):
    """Counts the Jobs that have not ended, twice a second."""

    def __init__(self, namespace: str) -> None:
        super().__init__(daemon=True)
        self.namespace, self.most, self.done = namespace, 0, threading.Event()

    def run(self) -> None:
        while not self.done.wait(0.5):
            listed = kubectl(
                self.namespace,
                "get",
                "jobs",
                "-l",
                "app.kubernetes.io/managed-by=stock-backtest",
                "-o",
                "json",
            )
            alive = [job for job in json.loads(listed)["items"] if not ended(job)]
            self.most = max(self.most, len(alive))


def ended(job: Any) -> bool:
    return any(
        it["type"] in ("Complete", "Failed") for it in job.get("status", {}).get("conditions", [])
    )


def computed_at(namespace: str, run_id: str) -> datetime:
    lines = kubectl(namespace, "logs", f"job/bt-{run_id}").splitlines()
    done = next(
        line for line in map(json.loads, lines) if line["message"].startswith("Backtest completed")
    )
    return datetime.fromisoformat(done["time"].replace(",", "."))


class Controllers:
    """What both of them have asked and used until now."""

    def __init__(self, given: argparse.Namespace) -> None:
        label = f"app.kubernetes.io/component=controller,app.kubernetes.io/instance={given.release}"
        pods = kubectl(given.namespace, "get", "pods", "-l", label, "-o", "name").split()
        texts = [
            kubectl(given.namespace, "exec", pod, "--", "python", "-c", METRICS) for pod in pods
        ]
        self.calls: Counter[str] = Counter()
        for resource, verb, count in (found for text in texts for found in CALLS.findall(text)):
            self.calls[f"{verb} {resource}"] += int(float(count))
        self.cpu = sum(of(text, "process_cpu_seconds_total") for text in texts)
        self.memory = max(of(text, "process_resident_memory_bytes") for text in texts)

    def report(self, before: Controllers, runs: int, seconds: float) -> None:
        """What the runs have cost, LISTs divided by them."""
        calls = self.calls - before.calls
        for name, count in calls.most_common():
            print(f"{name:20}{count:7}{count / runs:8.2f} a run")
        print(f"{'in all':20}{calls.total():7}{calls.total() / runs:8.2f} a run")
        cpu = self.cpu - before.cpu
        print(
            f"controllers: {cpu:.1f} s of CPU in {seconds:.0f} s, {self.memory / 2**20:.0f} MiB at most resident"
        )


def of(text: str, metric: str) -> float:
    found = re.search(rf"^{metric} (\S+)$", text, re.MULTILINE)
    assert found, metric
    return float(found[1])


def split(namespace: str, row: dict[str, str]) -> dict[str, float]:
    created, launched, started, finished = (
        datetime.fromisoformat(row[f"{name}_at"]).replace(tzinfo=UTC)
        for name in ("created", "launched", "started", "finished")
    )
    moments = [created, launched, started, computed_at(namespace, row["run_id"]), finished]
    phases = {
        name: (b - a).total_seconds()
        for name, (a, b) in zip(PHASES, pairwise(moments), strict=True)
    }
    return {**phases, "in all": (moments[-1] - moments[0]).total_seconds()}


def same_bytes(url: str, run_id: str, document: dict[str, Any]) -> bool:
    theirs = BacktestResult(**ask(f"{url}/result/{run_id}"))
    path = ROOT / "data" / f"{document['ticker']}.csv"
    request = parse_request({"run_id": run_id, **document})
    ours, _ = perform(request, read_csv(path, request.ticker, source=path.name), Software())
    return theirs.reproducible() == ours.reproducible()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--namespace", default="bt")
    parser.add_argument("--release", default="bt")
    parser.add_argument("--runs", type=int, default=50)
    given = parser.parse_args()
    set_up_logging("ERROR")
    before = Controllers(given)
    watch, start = Watch(given.namespace), time.monotonic()
    watch.start()
    documents = submitted(given.url, given.runs)
    print(f"{given.runs} runs submitted in {time.monotonic() - start:.1f} s")
    waiting = set(documents)
    while waiting:
        time.sleep(1)
        waiting = {
            it
            for it in waiting
            if ask(f"{given.url}/status/{it}")["status"] not in ("completed", "failed")
        }
    print(f"all ended after {time.monotonic() - start:.1f} s; at most {watch.most} Jobs at a time")
    watch.done.set()
    Controllers(given).report(before, given.runs, time.monotonic() - start)
    ends = [ask(f"{given.url}/status/{run_id}")["status"] for run_id in documents]
    print(f"completed: {ends.count('completed')} of {given.runs}")
    equal = sum(same_bytes(given.url, run_id, document) for run_id, document in documents.items())
    print(f"byte-equal to a local worker: {equal} of {given.runs}")
    report(given, set(documents))


def report(given: argparse.Namespace, ids: set[str]) -> None:
    web = f"deploy/{given.release}-stock-backtest-web"
    rows = json.loads(
        kubectl(given.namespace, "exec", web, "-c", "web", "--", "python", "-c", ROWS)
    )
    ours = sorted((row for row in rows if row["run_id"] in ids), key=lambda row: row["created_at"])
    late = sum(a["launched_at"] > b["launched_at"] for a, b in pairwise(ours))
    print(f"started in the order of arrival: all but {late} of {len(ours)}")
    splits = [split(given.namespace, row) for row in ours[-SAMPLE:]]
    print(f"{'seconds':12}{'median':>8}{'95 %':>8}")
    for name in (*PHASES, "in all"):
        values = sorted(one[name] for one in splits)
        print(
            f"{name:12}{statistics.median(values):8.2f}{values[int(0.95 * (len(values) - 1))]:8.2f}"
        )


if __name__ == "__main__":
    main()
