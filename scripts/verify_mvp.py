"""Walks one backtest through the whole program and prints a line for each step.

The steps are data, rule, engine and figure, store and worker, HTTP.

    python scripts/verify_mvp.py                  everything, in a database of its own
    python scripts/verify_mvp.py --replay RUN_ID  recomputes a stored run and compares every byte

Exit code 0 when every step passed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

# Run from the root, import from the root.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from werkzeug.serving import make_server

from rules.registry import rule_from_id
from scripts.config import ROOT, Config, job_environment, replace_environment
from scripts.logger_config import set_up_logging
from scripts.replay import replay
from service.contract.request import BacktestRequest, parse_request
from service.contract.result import BacktestResult
from service.contract.status import Status
from service.controller.reconciler import Controller
from service.launchers.local_process import LocalProcess
from service.prices.checks import check_prices
from service.prices.files.reading import read_file
from service.prices.finding import errors_among
from service.prices.series import PriceSeries
from service.store.database import Engine, connect
from service.store.migrate import migrate, schema_problem
from service.store.prices import PriceStore
from service.store.queue import QueueStore
from service.store.requests import RequestStore
from service.usecases.runs import Runs
from service.web.factory import create_app
from service.worker.run import perform
from service.worker.software import Software

REQUEST = {
    "run_id": "00000000-0000-4000-8000-000000000001",
    "ticker": "GOOG",
    "rule_id": "MA_CROSS_10_30",
    "start_date": "2013-01-02",
    "end_date": "2020-02-07",
}
GOLDEN_RETURN_PCT = 162.9455  # of REQUEST; tests/engine/test_golden.py has it to the last digits
MAX_DIFFERENCE_PCT = 1e-4
PATIENCE_SECONDS = 60
POLL_SECONDS = 0.1
PATHS = ("/health", "/ready", "/rules", "/tickers", "/runs")


@dataclass
class Walk:
    """The steps, each with what it leaves for the next: the price series, then the result.

    A step answers with a sentence on what it saw, and raises where something is wrong.
    """

    engine: Engine
    database: Path
    series: PriceSeries = field(init=False)
    result: BacktestResult = field(init=False)

    @property
    def request(self) -> BacktestRequest:
        return parse_request(REQUEST)

    @property
    def runs(self) -> Runs:
        return Runs(RequestStore(self.engine), PriceStore(self.engine))

    def load_data(self) -> str:
        series = read_file(ROOT / "data" / "GOOG.csv", "GOOG").series
        errors = errors_among(check_prices(series.data))
        assert not errors, errors
        PriceStore(self.engine).save(series)
        self.series = series
        return f"{len(series.data)} bars, fingerprint {series.fingerprint[:12]}"

    def ask_rule(self) -> str:
        rule = rule_from_id(self.request.rule_id)
        signals = rule.generate_signals(self.series.data)
        assert set(signals.unique()) <= {-1, 0, 1}
        return f"{rule.rule_id}: {int((signals == 1).sum())} bars say BUY"

    def run_engine_and_draw(self) -> str:
        result, _ = perform(self.request, self.series, Software())
        return_pct = result.total_return_pct
        assert return_pct is not None
        assert abs(return_pct - GOLDEN_RETURN_PCT) < MAX_DIFFERENCE_PCT, return_pct
        assert result.chart_base64 is not None
        self.result = result
        size = len(result.chart_base64)
        return f"{return_pct:.4f} %, {result.num_trades} trades, figure {size} characters"

    def store_and_work(self) -> str:
        run, is_new = self.runs.submit(REQUEST)
        assert is_new
        # The worker's environment is that of the process that launches it.
        database = {"DB_HOST": "", "SQLITE_PATH": str(self.database), "LOG_LEVEL": "ERROR"}
        replace_environment({**job_environment(), **database})
        controller = Controller(QueueStore(self.engine), LocalProcess(), 1, PATIENCE_SECONDS)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not run.status.final and time.monotonic() < deadline:
            controller.step()
            time.sleep(POLL_SECONDS)
            run = self.runs.run(run.run_id)
        assert run.status == Status.COMPLETED, (run.status, run.message)
        return f"a worker process completed it, attempt {run.attempt}"

    def read_over_http(self) -> str:
        with _served(self.runs, partial(schema_problem, self.engine)) as url:
            for path in PATHS:
                _get(url + path)
            document = json.loads(_get(f"{url}/result/{REQUEST['run_id']}"))
        assert document["num_trades"] == self.result.num_trades
        answered = BacktestResult(**document)
        assert answered.reproducible() == self.result.reproducible(), "the bytes differ"
        return "the same bytes from the worker, over HTTP"


@contextmanager
def _served(runs: Runs, readiness_problem: Callable[[], str]) -> Iterator[str]:
    """The address of a web server that runs meanwhile."""
    server = make_server("127.0.0.1", 0, create_app(runs, readiness_problem), threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310  our own server
        body: bytes = answer.read()
        return body


def walk() -> int:
    """Every step in turn; the first that fails ends the walk. Returns the exit code."""
    set_up_logging("ERROR")
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "verify.sqlite3"
        engine = connect(Config(sqlite_path=str(database)))
        migrate(engine)
        this_walk = Walk(engine, database)
        steps = {
            "data": this_walk.load_data,
            "rule": this_walk.ask_rule,
            "engine, figure": this_walk.run_engine_and_draw,
            "store, worker": this_walk.store_and_work,
            "HTTP": this_walk.read_over_http,
        }
        all_passed = all(_passes(name, step) for name, step in steps.items())
        engine.dispose()
    return 0 if all_passed else 1


def _passes(name: str, step: Callable[[], str]) -> bool:
    """Takes the step and prints its line."""
    start = time.perf_counter()
    try:
        sentence = step()
        verdict = "pass"
    except Exception as error:  # noqa: BLE001  whatever a step raises is its verdict
        sentence = f"{type(error).__name__}: {error}"
        verdict = "FAIL"
    print(f"{name:15} {verdict}  {time.perf_counter() - start:6.2f} s  {sentence}")
    return verdict == "pass"


def main(words: Sequence[str]) -> int:
    """The walk, or a replay."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--replay", metavar="RUN_ID")
    arguments = parser.parse_args(list(words))
    return replay(arguments.replay) if arguments.replay else walk()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
