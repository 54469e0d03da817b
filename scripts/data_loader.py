"""Brings daily prices into the price store: from Yahoo Finance, or from files.

    python scripts/data_loader.py --tickers AAPL MSFT --start 2015-01-01 --end 2024-12-31
    python scripts/data_loader.py import data/*.csv          (import --help has more)
    python scripts/data_loader.py fetch --tickers AAPL       (by jobs, which the controller starts)
    python scripts/data_loader.py names listing.csv          (names of tickers, for searching)

Each ticker is validated before it is stored, and stored as a whole or not at all; a file that is
refused stops no other. The exit code is 0 where all were stored, 1 where a ticker was refused, 2
where the options are wrong.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from textwrap import indent

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # run from the root, import from the root

from tqdm import tqdm

from scripts.config import load_config
from service.contract.errors import UserError
from service.contract.request import is_ticker
from service.prices.files.listing import names_in
from service.prices.files.reading import PriceFile, read_file, read_prices
from service.prices.finding import Finding
from service.prices.gate import gate_name
from service.prices.judging import RefusedPrices, judgement_of
from service.prices.series import UnreadablePrices
from service.store.migrate import open_database
from service.store.prices import PackedSeries, PriceStore, packed
from service.store.requests import RequestStore
from service.usecases.fetches import Fetches
from service.usecases.runs import Runs
from service.vendors import yahoo

STDIN = "-"
REFRESH = "refresh"  # the client of fetches that no user asked for
NO_TICKER = (
    "{ticker} is no ticker: use A-Z, 0-9 and . ^ = & _ / -, at most 32 characters; rename the file "
    "or pass --ticker."
)
SHOWN_BARS = 3
MAX_FINDINGS = 20
# Fewer files are read before other processes have started.
MANY_FILES = 50
FILES_AT_ONCE = 500
MAX_PROCESSES = 8  # a container may have less memory than the cores of its node could use
FILES_PER_CALL = 10

Read = Callable[[], PriceFile]


@dataclass(frozen=True)
class Source:
    """Prices of one ticker that can be had: a name for messages, and a function that reads them."""

    name: str
    read: Read
    ticker: str


@dataclass(frozen=True)
class Loaded:
    """What became of one source: lines about it, and the prices where they are to be stored.

    `error` says why they are not, "" where they are.
    """

    name: str
    text: str = ""
    packed: PackedSeries | None = None
    error: str = ""


def load(is_dry: bool, judged: Mapping[str, str], source: Source) -> Loaded:
    """Reads and validates one ticker. The surprise of one ends no other.

    `judged` are the fingerprints of tickers whose current prices the gate has judged already. A dry
    run says the first bars and all findings.
    """
    try:
        return _loaded(is_dry, judged, source)
    except UserError as error:
        return Loaded(source.name, error=str(error))
    except Exception:  # noqa: BLE001
        return Loaded(source.name, error=traceback.format_exc())


def _loaded(is_dry: bool, judged: Mapping[str, str], source: Source) -> Loaded:
    file = source.read()
    series = file.series
    if not is_ticker(series.ticker):
        raise RefusedPrices(NO_TICKER, ticker=series.ticker)
    line = f"{series.ticker}: {len(series.data)} bars"
    if not is_dry and judged.get(series.ticker) == series.fingerprint:
        return Loaded(source.name, f"{line}, as they are stored")
    judgement = judgement_of(file)
    if judgement.refusal is not None:
        return Loaded(source.name, error=f"{judgement.refusal}{_where_all_are(source.name)}")
    line += f" from {series.first} to {series.last}"
    said = "".join(f"\n    {note}" for note in file.notes)
    if is_dry:
        shown = _shown(series.data.head(SHOWN_BARS).to_string(), judgement.findings)
        return Loaded(source.name, "\n".join([line + said, *shown]))
    if judgement.findings:
        count = len(judgement.findings)
        line += f", {count} warnings (python scripts/qa_prices.py {series.ticker})"
    stored = packed(series, gate_name(), judgement.findings, file.actions)
    return Loaded(source.name, line + said, stored)


def _where_all_are(name: str) -> str:
    return f" (python scripts/qa_prices.py {name} lists all)" if name.endswith(".csv") else ""


def _shown(first_bars: str, findings: Sequence[Finding]) -> Iterator[str]:
    """The first bars as they would be stored, and what is to be known about them."""
    yield indent(first_bars, "    ")
    for finding in findings[:MAX_FINDINGS]:
        yield f"    {finding.code} {finding.day or ''}: {finding.message}"
    if len(findings) > MAX_FINDINGS:
        yield f"    and {len(findings) - MAX_FINDINGS} more"


def from_file(path: Path, ticker: str) -> PriceFile:
    """The prices of one ticker from a file, or from standard input."""
    if str(path) == STDIN:
        return read_prices(sys.stdin.buffer.read(), ticker, "standard input")
    return read_file(path, ticker)


def from_yahoo(ticker: str, start: date, end: date) -> PriceFile:
    """The prices of one ticker from Yahoo Finance, from `start` to `end`, both included."""
    return yahoo.fetched(ticker, start, end)


def parse_arguments(words: Sequence[str]) -> argparse.Namespace:
    """The options of `import FILES`, of `names FILE`, of `fetch`, or those of a download."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if words[:1] == ["import"]:
        return _parse_import(parser, words[1:])
    if words[:1] == ["names"]:
        parser.add_argument("listing", type=Path, help="a CSV with columns such as Code and Name")
        parser.add_argument(
            "--remove", action="store_true", help="take the names away instead of giving them"
        )
        return parser.parse_args(words[1:])
    is_by_jobs = words[:1] == ["fetch"]
    options = _parse_download(parser, words[1:] if is_by_jobs else words)
    options.is_by_jobs = is_by_jobs
    return options


def _parse_import(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    parser.add_argument(
        "files", nargs="+", type=Path, help="CSV or Parquet files; - is standard input"
    )
    parser.add_argument("--ticker", help="for one file; else the file's name is the ticker")
    parser.add_argument("--name", help="of the ticker of one file, by which it is found too")
    parser.add_argument(
        "--missing-only", action="store_true", help="leave tickers that are stored as they are"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="store nothing: show first bars and findings"
    )
    options = parser.parse_args(words)
    if (options.ticker or options.name) and len(options.files) > 1:
        parser.error("--ticker and --name go with one file")
    if Path(STDIN) in options.files and not options.ticker:
        parser.error("standard input has no name: say --ticker")
    return options


def _parse_download(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    parser.add_argument("--tickers", nargs="+", required=True, type=str.upper)
    parser.add_argument(
        "--start", type=date.fromisoformat, default=date(2000, 1, 1), help="first day, 2000-01-01"
    )
    parser.add_argument(
        "--end",
        type=date.fromisoformat,
        default=datetime.now(UTC).date(),
        help="last day, included; today",
    )
    options = parser.parse_args(words)
    if options.start >= options.end:
        parser.error(f"--start must be before --end, got {options.start} and {options.end}")
    return options


def sources(options: argparse.Namespace, store: PriceStore) -> Iterator[Source]:
    """All prices that are to be loaded."""
    if "files" not in options:
        for ticker in options.tickers:
            read = partial(from_yahoo, ticker, options.start, options.end)
            yield Source(ticker, read, ticker)
        return
    known = {ticker.ticker for ticker in store.tickers()} if options.missing_only else set()
    stems = {options.ticker or path.stem for path in options.files}
    named = store.tickers_of({text for text in stems if not is_ticker(text.upper())})
    for path in options.files:
        text = options.ticker or path.stem
        ticker = named.get(text, text.upper())
        if ticker not in known:
            yield Source(str(path), partial(from_file, path, ticker), ticker)


@contextmanager
def mapping(count: int) -> Iterator[Callable[..., Iterator[Loaded]]]:
    """A function that maps in order, as `map` does: on all cores where the files are many."""
    if count < MANY_FILES:
        yield map
        return
    # Started anew: a fork would have the database's connections.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(usable_cores(), MAX_PROCESSES), context) as pool:
        yield partial(_mapped, pool)


def usable_cores() -> int:
    """Those of the machine that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _mapped(
    pool: ProcessPoolExecutor, function: Callable[[Source], Loaded], chosen: Sequence[Source]
) -> Iterator[Loaded]:
    """So many at once that the results which wait to be stored fit into memory."""
    waiting = iter(chosen)
    while group := list(islice(waiting, FILES_AT_ONCE)):
        yield from pool.map(function, group, chunksize=FILES_PER_CALL)


def main(words: Sequence[str]) -> int:
    """Loads everything that can be loaded; returns 1 when something was refused."""
    options = parse_arguments(list(words))
    engine = open_database(load_config())
    store = PriceStore(engine)
    if "listing" in options:
        return _load_names(options.listing, options.remove, store)
    if getattr(options, "is_by_jobs", False):
        return _fetch_by_jobs(options, Runs(RequestStore(engine), store, max_pending=sys.maxsize))
    is_dry = getattr(options, "dry_run", False)
    chosen = list(sources(options, store))
    # Of two files of one ticker the second may be what was there before the first.
    count = Counter(source.ticker for source in chosen)
    judged = store.judged_by(gate_name())
    once = {ticker: fingerprint for ticker, fingerprint in judged.items() if count[ticker] == 1}
    function = partial(load, is_dry, once)
    with mapping(len(chosen) if "files" in options else 0) as map_all:
        refused = store_all(store, map_all(function, chosen), len(chosen))
    if getattr(options, "name", None) and not refused and not is_dry:
        store.add_names([(options.name, source.ticker) for source in chosen])
    if len(chosen) > 1:
        tqdm.write(_summary(len(chosen), refused, is_dry), file=sys.stderr)
    return 1 if refused else 0


def store_all(store: PriceStore, results: Iterator[Loaded], count: int) -> list[str]:
    """Stores them as they come, and answers the names of those that were refused."""
    refused = []
    for loaded in tqdm(results, total=count, unit="ticker", disable=None):
        if loaded.error:
            refused.append(loaded.name)
            tqdm.write(f"{loaded.name}: not stored. {loaded.error}", file=sys.stderr)
            continue
        if loaded.packed is not None:
            store.save_packed(loaded.packed)
        tqdm.write(loaded.text)
    return refused


def _fetch_by_jobs(options: argparse.Namespace, runs_service: Runs) -> int:
    """Records a fetch for each ticker; their jobs ask the vendor."""
    fields = {"start_date": options.start.isoformat(), "end_date": options.end.isoformat()}
    try:
        runs = Fetches(runs_service).submit_all(options.tickers, fields, client=REFRESH)
    except UserError as error:
        print(f"Nothing is asked for. {error}", file=sys.stderr)
        return 1
    for run in runs:
        print(f"{run.ticker}: {run.run_id}")
    return 0


def _load_names(path: Path, is_removal: bool, store: PriceStore) -> int:
    """Gives names to tickers, also to those that have no prices yet, or takes them away."""
    try:
        names = names_in(path.read_bytes())
    except OSError as error:
        print(f"{path}: {error.strerror}", file=sys.stderr)
        return 1
    except UnreadablePrices as error:
        print(f"{path}: {error}", file=sys.stderr)
        return 1
    if is_removal:
        print(f"{store.remove_names(name for name, _ in names)} names removed")
    else:
        store.add_names(names)
        print(f"{len(names)} names")
    return 0


def _summary(count: int, refused: Sequence[str], is_dry: bool) -> str:
    """How many were stored, and the names of those that were not."""
    done = "can be stored" if is_dry else "stored"
    line = f"{count - len(refused)} of {count} {done}"
    return f"{line}; not stored: {', '.join(refused)}" if refused else line


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
