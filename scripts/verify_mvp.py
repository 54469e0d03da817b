"""Walks one backtest through the whole program and prints a table of steps: data, rule, engine, figure, store, HTTP.

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
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # run from the root, import from the root

from werkzeug.serving import make_server

from rules.registry import rule_from_id
from scripts.config import ROOT, Config
from scripts.logger_config import set_up_logging
from scripts.replay import replay
from service.contract.request import BacktestRequest, parse_request
from service.contract.result import BacktestResult
from service.contract.status import Status
from service.controller.reconciler import Controller
from service.launchers.local_process import COMMAND, LocalProcess
from service.prices.checks import check_prices
from service.prices.series import read_csv
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
PATIENCE_SECONDS = 60


@dataclass
class Walk:
    """The steps and what they leave for the next."""

    engine: Engine
    database: Path
    found: dict[str, Any] = field(default_factory=dict)

    @property
    def request(self) -> BacktestRequest:
        return parse_request(REQUEST)

    def data(self) -> str:
        series = read_csv(ROOT / "data" / "GOOG.csv", "GOOG", source="GOOG.csv")
        errors = [finding for finding in check_prices(series.data) if finding.severity == "error"]
        assert not errors, errors
        PriceStore(self.engine).save(series)
        self.found["series"] = series
        return f"{len(series.data)} bars, fingerprint {series.fingerprint[:12]}"

    def rule(self) -> str:
        rule = rule_from_id(self.request.rule_id)
        signals = rule.generate_signals(self.found["series"].data)
        assert set(signals.unique()) <= {-1, 0, 1}
        return f"{rule.rule_id}: {int((signals == 1).sum())} bars say BUY"

    def engine_and_figure(self) -> str:
        result, _ = perform(self.request, self.found["series"], Software())
        assert result.total_return_pct is not None
        assert abs(result.total_return_pct - GOLDEN_RETURN_PCT) < 1e-4, result.total_return_pct
        assert result.chart_base64 is not None
        self.found["result"] = result
        return f"{result.total_return_pct:.4f} %, {result.num_trades} trades, figure {len(result.chart_base64)} characters"

    def store(self) -> str:
        run, new = Runs(RequestStore(self.engine), PriceStore(self.engine)).submit(REQUEST)
        assert new
        launcher = LocalProcess(
            ["env", "DB_HOST=", f"SQLITE_PATH={self.database}", "LOG_LEVEL=ERROR", *COMMAND]
        )
        controller = Controller(QueueStore(self.engine), launcher, 1, PATIENCE_SECONDS)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not run.status.final and time.monotonic() < deadline:
            controller.step()
            time.sleep(0.1)
            run = Runs(RequestStore(self.engine), PriceStore(self.engine)).run(run.run_id)
        assert run.status == Status.COMPLETED, (run.status, run.message)
        return f"a worker process completed it, attempt {run.attempt}"

    def http(self) -> str:
        runs = Runs(RequestStore(self.engine), PriceStore(self.engine))
        with _served(runs, partial(schema_problem, self.engine)) as url:
            for path in ("/health", "/ready", "/rules", "/tickers", "/runs"):
                _get(url + path)
            document = _get(f"{url}/result/{REQUEST['run_id']}")
        assert json.loads(document)["num_trades"] == self.found["result"].num_trades
        theirs = BacktestResult(**json.loads(document))
        assert theirs.reproducible() == self.found["result"].reproducible(), "the bytes differ"
        return "the same bytes from the worker, over HTTP"


@contextmanager
def _served(runs: Runs, ready: Callable[[], str]) -> Any:
    server = make_server("127.0.0.1", 0, create_app(runs, ready), threaded=True)
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
    """Every step in turn; the first that fails ends the walk."""
    set_up_logging("ERROR")
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "verify.sqlite3"
        engine = connect(Config(sqlite_path=str(database)))
        migrate(engine)
        steps = Walk(engine, database)
        passed = all(
            _step(name, action)
            for name, action in {
                "data": steps.data,
                "rule": steps.rule,
                "engine, figure": steps.engine_and_figure,
                "store, worker": steps.store,
                "HTTP": steps.http,
            }.items()
        )
        engine.dispose()
    return 0 if passed else 1


def _step(name: str, action: Callable[[], str]) -> bool:
    start = time.perf_counter()
    try:
        verdict, what = "pass", action()
    except Exception as error:  # noqa: BLE001  whatever a step raises is its verdict
        verdict, what = "FAIL", f"{type(error).__name__}: {error}"
    print(f"{name:15} {verdict}  {time.perf_counter() - start:6.2f} s  {what}")
    return verdict == "pass"


def main(words: Sequence[str]) -> int:
    """The walk, or a replay."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--replay", metavar="RUN_ID")
    given = parser.parse_args(list(words))
    return replay(given.replay) if given.replay else walk()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
