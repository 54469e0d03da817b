"""Measures how long `import` takes for thousands of price files, and how much memory.

    python -m benchmarks.imports                    (5,000 files of 2,520 bars)

The files are made up, with a seed. They are imported as a user does it, into an empty SQLite
database, then once more without any change. Beside it stands what pandas alone needs to read them
on one core. It fails when the first import takes more than 60 seconds.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

from scripts.config import ROOT
from tests.support.prices import random_walk

MAX_SECONDS = 60
SIGMA = 0.015
DIFFERENT = 40  # made-up series; files with the same bars are different series by their tickers
MB = 1e6


def write_files(folder: Path, count: int, bars: int) -> list[Path]:
    """CSV files as yfinance writes them."""
    texts = [random_walk(bars, seed, SIGMA).round(4).to_csv() for seed in range(DIFFERENT)]
    paths = [folder / f"T{number:05}.csv" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_text(texts[number % DIFFERENT])
    return paths


def seconds_of_import(paths: list[Path], database: Path) -> float:
    """Of the command, from its start to its end."""
    environment = {**os.environ, "DB_HOST": "", "SQLITE_PATH": str(database)}
    command = [sys.executable, "scripts/data_loader.py", "import", *map(str, paths)]
    start = time.perf_counter()
    subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> int:
    """Prints the figures; returns 1 where the import is too slow."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--bars", type=int, default=2520)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        paths = write_files(Path(name), options.files, options.bars)
        start = time.perf_counter()
        for path in paths[:100]:
            pd.read_csv(path)
        pandas_alone = (time.perf_counter() - start) / 100 * options.files
        database = Path(name) / "prices.sqlite3"
        first = seconds_of_import(paths, database)
        again = seconds_of_import(paths, database)
        size = database.stat().st_size / MB
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / MB
    print(f"{options.files} files of {options.bars} bars, {os.cpu_count()} cores")
    print(f"first import     {first:6.1f} s, {first / pandas_alone:.1f} x pandas alone on one core")
    print(f"again, unchanged {again:6.1f} s, {again / first:.2f} of the first")
    print(f"largest process  {largest:6.0f} MB; database {size:.0f} MB")
    return int(first > MAX_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
