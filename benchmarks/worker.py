"""Times worker.py from start to exit, and the imports that it needs: `python -m benchmarks.worker`.

Both are whole processes that take turns; a new SQLite database holds the runs, as after `make run`.
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

from scripts.config import ROOT
from service.contract.request import parse_request, text_from_request
from service.store.prices import PriceStore
from service.usecases.runs import Runs
from tests.support.databases import database_environment, migrated_database
from tests.support.prices import series
from tests.support.requests import REQUEST
from tests.support.stores import EveryStore

ROUNDS = 15
IMPORTS = [sys.executable, "-c", "import pandas, sqlalchemy, matplotlib.figure"]
WORKER = [sys.executable, "worker.py"]


def seconds(command: list[str], environment: dict[str, str]) -> float:
    """Wall time of one process."""
    start = time.perf_counter()
    subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, check=True, capture_output=True
    )
    return time.perf_counter() - start


def main() -> None:
    """Prints the medians of both, and the median of the ratio in each round."""
    with (
        tempfile.TemporaryDirectory() as folder,
        migrated_database(Path(folder)) as engine,
    ):
        PriceStore(engine).save(series("GOOG"))
        runs = Runs(EveryStore(engine), PriceStore(engine))
        worker_seconds = []
        import_seconds = []
        for number in range(ROUNDS + 1):
            run, _ = runs.submit({**REQUEST, "initial_capital": 1000 + number})
            request = text_from_request(parse_request(json.loads(run.request)))
            import_seconds.append(seconds(IMPORTS, {}))
            worker_seconds.append(seconds(WORKER, {**request, **database_environment(engine)}))
            assert runs.run(run.run_id).status == "completed"
    # The first round reads files into the cache of the operating system.
    worker_seconds = worker_seconds[1:]
    import_seconds = import_seconds[1:]
    ratios = [
        worker / imports for worker, imports in zip(worker_seconds, import_seconds, strict=True)
    ]
    print(f"imports alone {statistics.median(import_seconds):.3f} s")
    print(f"worker.py {statistics.median(worker_seconds):.3f} s")
    print(f"ratio {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
