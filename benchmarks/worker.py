"""worker.py from start to exit against the bare imports it cannot do without: `python -m benchmarks.worker`.

Both are whole processes taking turns; a fresh SQLite database holds the run, as it does after `make run`.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from scripts.config import ROOT, Config
from service.contract.request import parse_request, text_from_request
from service.prices.series import read_csv
from service.store.database import connect
from service.store.migrate import migrate
from service.store.prices import PriceStore
from service.usecases.runs import Runs
from tests.support.stores import EveryStore

ROUNDS = 15
BASELINE = [sys.executable, "-c", "import pandas, sqlalchemy, matplotlib.figure"]
REQUEST = {
    "ticker": "GOOG",
    "rule_id": "MA_CROSS_10_30",
    "start_date": "2013-01-02",
    "end_date": "2020-02-07",
}


def seconds(command: list[str], environment: dict[str, str]) -> float:
    """Wall time of one process."""
    start = time.perf_counter()
    subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, check=True, capture_output=True
    )
    return time.perf_counter() - start


def main() -> None:
    """Medians and the median of the ratios, round by round."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.sqlite3"
        engine = connect(Config(sqlite_path=str(path)))
        migrate(engine)
        PriceStore(engine).save(read_csv(ROOT / "data" / "GOOG.csv", "GOOG", "GOOG.csv"))
        runs = Runs(EveryStore(engine), PriceStore(engine))
        worker, baseline = [], []
        for number in range(ROUNDS + 1):
            run, _ = runs.submit({**REQUEST, "initial_capital": 1000 + number})
            request = text_from_request(parse_request(json.loads(run.request)))
            baseline.append(seconds(BASELINE, {}))
            worker.append(
                seconds(
                    [sys.executable, "worker.py"],
                    {**request, "DB_HOST": "", "SQLITE_PATH": str(path)},
                )
            )
            assert runs.run(run.run_id).status == "completed"
        engine.dispose()
    worker, baseline = worker[1:], baseline[1:]  # the first round warms the disk
    ratio = statistics.median(mine / base for mine, base in zip(worker, baseline, strict=True))
    print(
        f"imports alone {statistics.median(baseline):.3f} s, worker.py {statistics.median(worker):.3f} s: {ratio:.2f} x"
    )


if __name__ == "__main__":
    main()
