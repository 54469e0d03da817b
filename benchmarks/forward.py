"""Measures the forward record: `python -m benchmarks.forward`.

The first table counts how often the growth of the next bars lies where it was expected in 95 of
100 cases, on series of each kind, after ten years and after two. Then it has 10,000 starred runs
on ten tickers of 2,700 bars extended by one new bar, by two jobs at a time, in a new SQLite file.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from sqlalchemy import Engine

from benchmarks.bands import KINDS, returns_of
from rules.plugins import rules_digest
from rules.registry import rule_from_id
from scripts.config import Config
from service.contract.request import parse_request
from service.contract.status import FORWARD, Status
from service.doubt.forward import expected_growth
from service.prices.series import PriceSeries
from service.store.database import connect
from service.store.forward import ForwardStore
from service.store.migrate import migrate
from service.store.prices import PriceStore
from service.store.queue import QueueStore
from service.store.requests import NewRun, RequestStore
from service.store.upkeep import UpkeepStore
from service.worker.forward import ForwardWorker

BARS_BEFORE = (2520, 504)
BARS_AFTER = (1, 5, 21, 63, 252)
SERIES = 2000
BARS = 2700
TICKERS = 10
RULES = ("MA_CROSS_{0}_{1}", "RSI_{0}_30_70", "BB_{0}_2", "BREAKOUT_{0}_{0}")
RUNS_AT_ONCE = 1000


def covered(kind: str, before: int) -> list[float]:
    """The share of series whose next bars bring what was expected, by their number."""
    random = np.random.Generator(np.random.PCG64([2, list(KINDS).index(kind), before]))
    returns = returns_of(KINDS[kind], random, SERIES, before + max(BARS_AFTER))
    shares = []
    for after in BARS_AFTER:
        inside = 0
        for number, each in enumerate(returns):
            equity = np.cumprod(1 + each)
            expected = expected_growth(equity[:before], after, number)
            assert expected is not None
            low, high = expected
            inside += low <= equity[before - 1 + after] / equity[before - 1] <= high
        shares.append(inside / SERIES)
    return shares


def prices_of(ticker: str, bars: int) -> PriceSeries:
    """Made-up prices; more bars go on where fewer end."""
    random = np.random.Generator(np.random.PCG64(int.from_bytes(ticker.encode())))
    close = 100 * np.exp(np.cumsum(random.normal(0.0003, 0.012, BARS + 1)))[:bars]
    opened = np.append(100.0, close[:-1])
    columns = {
        "Open": opened,
        "High": np.maximum(opened, close),
        "Low": np.minimum(opened, close),
        "Close": close,
        "Volume": np.full(bars, 1e6),
    }
    index = pd.bdate_range("2014-01-01", periods=bars, name="Date")
    return PriceSeries(ticker, "made up", pd.DataFrame(columns, index=index))


def record_runs(engine: Engine, tickers: Sequence[str], count: int) -> None:
    """Starred runs that have completed, as if they had been asked for on the prices there are."""
    store, prices = RequestStore(engine), PriceStore(engine)
    fingerprints = {ticker: prices.save(prices_of(ticker, BARS)) for ticker in tickers}
    new = []
    for number in range(count):
        ticker = tickers[number % len(tickers)]
        template = RULES[number // len(tickers) % len(RULES)]
        rule_id = template.format(5 + number % 40, 60 + number % 90)
        request = parse_request(
            {
                "run_id": str(uuid.uuid4()),
                "ticker": ticker,
                "rule_id": rule_id,
                "start_date": "2014-01-01",
                "end_date": "2030-01-01",
            }
        )
        row = {
            "run_id": request.run_id,
            "request": request.canonical(),
            "ticker": ticker,
            "rule_id": rule_id,
            "prices_fingerprint": fingerprints[ticker],
            "rules_digest": rules_digest(rule_from_id(rule_id)),
            "status": Status.COMPLETED,
        }
        new.append(NewRun(row))
    for start in range(0, count, RUNS_AT_ONCE):
        store.add_all(new[start : start + RUNS_AT_ONCE])
    every = store.by_ids([run.values["run_id"] for run in new])
    store.star([run.id for run in every.values()], is_starred=True)


def work(path: str, run_id: str) -> None:
    """What the job of one ticker does."""
    engine = connect(Config(sqlite_path=path))
    ForwardWorker(ForwardStore(engine), PriceStore(engine)).work(run_id)


def extend_all(path: str) -> tuple[float, float, int]:
    """Seconds of the controller's look and of all jobs, two at a time; how many records."""
    engine = connect(Config(sqlite_path=path))
    upkeep, queue = UpkeepStore(engine), QueueStore(engine)
    started = time.perf_counter()
    upkeep.record_forward_runs(TICKERS)
    looked = time.perf_counter() - started
    waiting = [run.run_id for run in queue.queued(TICKERS) if run.kind == FORWARD]
    for run_id in waiting:
        queue.mark_launched(run_id)
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(partial(work, path), waiting))
    seconds = time.perf_counter() - started
    found = [RequestStore(engine).result(run_id) for run_id in waiting]
    extended = sum(json.loads(each.result)["extended"] for each in found if each is not None)
    return looked, seconds, extended


def main() -> None:
    """Prints the shares and the time."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--no-shares", action="store_true")
    arguments = parser.parse_args()
    if not arguments.no_shares:
        print("| returns | bars before |", " | ".join(f"next {bars}" for bars in BARS_AFTER), "|")
        for kind in KINDS:
            for before in BARS_BEFORE:
                shares = " | ".join(f"{share:.1%}" for share in covered(kind, before))
                print(f"| {kind} | {before} | {shares} |", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "forward.sqlite3")
        engine = connect(Config(sqlite_path=path))
        migrate(engine)
        tickers = [f"T{number}" for number in range(TICKERS)]
        record_runs(engine, tickers, arguments.records)
        for ticker in tickers:
            PriceStore(engine).save(prices_of(ticker, BARS + 1))
        looked, seconds, count = extend_all(path)
        print(f"{count} records in {seconds:.1f} s, {looked:.2f} s of it the controller's look")


if __name__ == "__main__":
    main()
