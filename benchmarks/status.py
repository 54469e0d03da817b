"""Compares GET /status with a plain Flask route, by wrk: `python -m benchmarks.status`.

The plain route makes one indexed SELECT through SQLAlchemy. Each has 2 gunicorn workers on the same
database: the MySQL of TEST_MYSQL=root:<password>@<host>:<port>, else SQLite. They take turns, so
that a busy machine slows both. Then 20 clients submit 1,000 runs.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import requests
from flask import Flask, Response, jsonify
from sqlalchemy import Engine, select

from scripts.config import ROOT, load_config
from service.contract.request import parse_request
from service.store.database import connect
from service.store.prices import PriceStore
from service.store.tables import runs
from service.usecases.runs import Runs
from service.worker.run import RunWorker
from tests.support.databases import database_environment, migrated_database
from tests.support.prices import series
from tests.support.requests import REQUEST
from tests.support.stores import EveryStore

ROUNDS = 5
ROUND_SECONDS = 5
CONNECTIONS = 8
CLIENTS = 20
RUNS_OF_A_CLIENT = 50
# By name: the application, its port, whether it logs requests
SERVERS = {
    "GET /status": ("app:app", 5071, "true"),
    "without access log": ("app:app", 5072, "false"),
    "plain route": ("benchmarks.status:plain_app()", 5073, "false"),
}
CONFIGURED = ["--config", "python:service.web.server.gunicorn_conf"]
PLAIN = "--worker-class gthread --workers 2 --threads 4 --no-control-socket --log-level warning"


def plain_app() -> Flask:
    """An application with one route that answers with a run's row."""
    app = Flask(__name__)
    engine = connect(load_config())

    @app.get("/status/<run_id>")
    def status(run_id: str) -> Response:
        with engine.connect() as connection:
            row = connection.execute(select(runs).where(runs.c.run_id == run_id)).one()
        return jsonify({name: str(value) for name, value in row._mapping.items()})

    return app


def perform_a_run(engine: Engine) -> str:
    """Stores a run with its result; returns its run_id."""
    store = EveryStore(engine)
    prices = PriceStore(engine)
    prices.save(series("GOOG"))
    run, _ = Runs(store, prices).submit({**REQUEST, "run_id": str(uuid.uuid4())})
    RunWorker(store, prices).work(parse_request({**REQUEST, "run_id": run.run_id}))
    return run.run_id


@contextmanager
def served(environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """The addresses of all servers, which gunicorn serves until the end."""
    processes = []
    try:
        for app, port, access_log in SERVERS.values():
            options = CONFIGURED if app == "app:app" else PLAIN.split()
            bind = ["--bind", f"127.0.0.1:{port}"]
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "gunicorn", *options, *bind, app],
                    cwd=ROOT,
                    env={**environment, "ACCESS_LOG": access_log},
                    stdout=subprocess.DEVNULL,
                )
            )
        yield {name: f"http://127.0.0.1:{port}" for name, (_, port, _) in SERVERS.items()}
    finally:
        for process in processes:
            process.terminate()
            process.wait(30)


def wait_for(url: str) -> None:
    """Waits until the address answers."""
    for _ in range(100):
        try:
            urllib.request.urlopen(url)
            return
        except urllib.error.URLError:
            time.sleep(0.2)
    raise SystemExit(f"{url} does not answer")


def measure(url: str) -> tuple[float, str]:
    """Requests per second and the 99th percentile of their time, by wrk."""
    load = ["--threads", "1", "--connections", str(CONNECTIONS), "--duration", f"{ROUND_SECONDS}s"]
    command = ["wrk", *load, "--latency", url]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "Non-2xx" not in text, text
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    worst = re.search(r"99%\s+(\S+)", text)
    assert rate is not None, text
    assert worst is not None, text
    return float(rate[1]), worst[1]


def compare(urls: dict[str, str], run_id: str) -> dict[str, float]:
    """Prints a line for each round of each server; returns the median of requests a second."""
    rates: dict[str, list[float]] = {name: [] for name in urls}
    for url in urls.values():
        wait_for(f"{url}/status/{run_id}")
    for _ in range(ROUNDS):
        for name, url in urls.items():
            rate, worst = measure(f"{url}/status/{run_id}")
            rates[name].append(rate)
            print(f"{name:20} {rate:7.0f} requests a second, 99 % within {worst}")
    return {name: statistics.median(values) for name, values in rates.items()}


def submit(url: str, client: int) -> Counter[int]:
    """Submits the runs of one client, which waits as it is told; returns answers by status."""
    statuses: Counter[int] = Counter()
    headers = {"X-Forwarded-For": f"10.0.0.{client}"}
    for number in range(RUNS_OF_A_CLIENT):
        capital = 1000 + client * RUNS_OF_A_CLIENT + number
        document = {**REQUEST, "run_id": str(uuid.uuid4()), "initial_capital": capital}
        while True:
            answer = requests.post(f"{url}/backtest", json=document, headers=headers, timeout=60)
            statuses[answer.status_code] += 1
            if answer.status_code != 429:
                break
            time.sleep(float(answer.headers["Retry-After"]))
    return statuses


def submit_all(url: str, engine: Engine) -> None:
    """Submits the runs of all clients at the same time, and prints how long that took."""
    start = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = pool.map(submit, [url] * CLIENTS, range(CLIENTS))
        statuses = sum(answers, Counter[int]())
    taken = time.perf_counter() - start
    queued = EveryStore(engine).queued_count(None)
    print(
        f"{CLIENTS} clients, {CLIENTS * RUNS_OF_A_CLIENT} runs: {taken:.1f} s, "
        f"answers {dict(statuses)}, {queued} in the queue"
    )


def main() -> None:
    """Prints one line for each round, and the ratio of the medians."""
    with (
        tempfile.TemporaryDirectory() as folder,
        migrated_database(Path(folder), patient=True) as engine,
    ):
        run_id = perform_a_run(engine)
        settings = {"WEB_WORKERS": "2", "PROXY_HOPS": "1", "MAX_PENDING_RUNS": "2000"}
        environment = {**os.environ, **database_environment(engine), **settings}
        with served(environment) as urls:
            rates = compare(urls, run_id)
            submit_all(urls["GET /status"], engine)
        for name in ("GET /status", "without access log"):
            ratio = rates[name] / rates["plain route"]
            print(f"{engine.dialect.name}: {name}: {ratio:.0%} of the plain route")


if __name__ == "__main__":
    main()
