"""GET /status against a bare Flask route with one indexed SELECT, by wrk: `python -m benchmarks.status`.

Both with 2 gunicorn workers on the same database: the MySQL of TEST_MYSQL=root:<password>@<host>:<port>, else SQLite.
They take turns, so that a busy machine slows both. Then 20 clients submit 1,000 runs.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import requests
from sqlalchemy import Engine

from benchmarks.database import database
from scripts.config import ROOT
from service.contract.request import parse_request
from service.store.prices import PriceStore
from service.usecases.runs import Runs
from service.worker.run import RunWorker
from tests.conftest import REQUEST, database_environment, series
from tests.support.stores import EveryStore

ROUNDS, SECONDS, CONNECTIONS = 5, 5, 8
CONFIGURED = ["--config", "python:service.web.gunicorn_conf"]
PLAIN = [
    "--worker-class",
    "gthread",
    "--workers",
    "2",
    "--threads",
    "4",
    "--no-control-socket",
    "--log-level",
    "warning",
]
CLIENTS, RUNS_EACH = 20, 50


def completed(engine: Engine) -> str:
    """The id of a run with a result."""
    store, prices = EveryStore(engine), PriceStore(engine)
    prices.save(series("GOOG"))
    run, _ = Runs(store, prices).submit({**REQUEST, "run_id": str(uuid.uuid4())})
    RunWorker(store, prices).work(parse_request({**REQUEST, "run_id": run.run_id}))
    return run.run_id


@contextmanager
def served(app: str, port: int, options: list[str], environment: dict[str, str]) -> Iterator[str]:
    """By gunicorn, until the end."""
    command = [sys.executable, "-m", "gunicorn", *options, "--bind", f"127.0.0.1:{port}", app]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def wait_for(url: str) -> None:
    """Until it answers."""
    for _ in range(100):
        try:
            urllib.request.urlopen(url)
            return
        except urllib.error.URLError:
            time.sleep(0.2)
    raise SystemExit(f"{url} does not answer")


def measured(url: str) -> tuple[float, str]:
    """Requests per second and the 99th percentile, by wrk."""
    command = [
        "wrk",
        "--threads",
        "1",
        "--connections",
        str(CONNECTIONS),
        "--duration",
        f"{SECONDS}s",
        "--latency",
        url,
    ]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "Non-2xx" not in told, told
    return float(re.search(r"Requests/sec:\s+([\d.]+)", told)[1]), re.search(r"99%\s+(\S+)", told)[
        1
    ]  # type: ignore[index]


def submit(url: str, client: int) -> Counter[int]:
    """The runs of one client, which waits as it is told; the answers by status."""
    statuses: Counter[int] = Counter()
    for number in range(RUNS_EACH):
        document = {
            **REQUEST,
            "run_id": str(uuid.uuid4()),
            "initial_capital": 1000 + client * RUNS_EACH + number,
        }
        while True:
            headers = {"X-Forwarded-For": f"10.0.0.{client}"}
            answer = requests.post(f"{url}/backtest", json=document, headers=headers, timeout=60)
            statuses[answer.status_code] += 1
            if answer.status_code != 429:
                break
            time.sleep(float(answer.headers["Retry-After"]))
    return statuses


def flood(url: str, engine: Engine) -> None:
    """All clients at once."""
    start = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        statuses = sum(pool.map(submit, [url] * CLIENTS, range(CLIENTS)), Counter[int]())
    taken, queued = time.perf_counter() - start, EveryStore(engine).queued_count(None)
    print(
        f"{CLIENTS} clients, {CLIENTS * RUNS_EACH} runs: {taken:.1f} s, answers {dict(statuses)}, {queued} in the queue"
    )


def main() -> None:
    """Prints one line for each round and the ratio of the medians."""
    with database() as engine:
        run_id = completed(engine)
        given = dict(pair.split("=", 1) for pair in database_environment(engine))
        environment = {
            **os.environ,
            **given,
            "WEB_WORKERS": "2",
            "PROXY_HOPS": "1",
            "MAX_PENDING_RUNS": "2000",
        }
        with (
            served("app:app", 5071, CONFIGURED, environment) as ours,
            served("app:app", 5072, CONFIGURED, {**environment, "ACCESS_LOG": "false"}) as silent,
            served("benchmarks.bare:app", 5073, PLAIN, environment) as bare,
        ):
            urls = {"GET /status": ours, "without access log": silent, "bare": bare}
            found: dict[str, list[float]] = {name: [] for name in urls}
            for url in urls.values():
                wait_for(f"{url}/status/{run_id}")
            for _ in range(ROUNDS):
                for name, url in urls.items():
                    rate, worst = measured(f"{url}/status/{run_id}")
                    found[name].append(rate)
                    print(f"{name:20} {rate:7.0f} requests a second, 99 % within {worst}")
            flood(ours, engine)
    floor = statistics.median(found["bare"])
    for name in ("GET /status", "without access log"):
        print(
            f"{engine.dialect.name}: {name}: {statistics.median(found[name]) / floor:.0%} of the bare route"
        )


if __name__ == "__main__":
    main()
