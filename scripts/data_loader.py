"""Brings daily prices into the price store: from Yahoo Finance, or from CSV files.

    python scripts/data_loader.py --tickers AAPL MSFT --start 2015-01-01 --end 2024-12-31
    python scripts/data_loader.py import data/*.csv          (import --help has more)

Each ticker is validated before it is stored, and stored as a whole or not at all. The exit code is
1 when a ticker was refused.
"""

from __future__ import annotations

import argparse
import logging
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # run from the root, import from the root

import pandas as pd
from tqdm import tqdm

from backtest.prices import COLUMNS
from scripts.config import load_config
from service.contract.documents import schema
from service.contract.request import SCHEMA
from service.prices.checks import check_prices
from service.prices.finding import Finding
from service.prices.series import PriceSeries, UnreadablePrices, read_csv
from service.store.migrate import open_database
from service.store.prices import PriceStore

STDIN = "-"
TICKER = re.compile(schema(SCHEMA)["properties"]["ticker"]["pattern"])
RATE_LIMIT_WORDS = ("Too Many Requests", "429", "Rate")
NETWORK_WORDS = ("resolve", "connect", "Connection", "timed out", "SSL", "proxy", "Proxy")


class Refused(Exception):
    """Prices are not stored; the message says why and what to do."""


def load(series: PriceSeries, store: PriceStore) -> str:
    """Validates and stores one ticker; returns a line about it. Raises Refused."""
    if not TICKER.fullmatch(series.ticker):
        raise Refused(
            f"{series.ticker!r} is no ticker: use A-Z, 0-9 and . ^ = -; "
            "rename the file or pass --ticker"
        )
    findings = check_prices(series.data)
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors:
        raise Refused(_sentence(errors))
    store.save(series)
    line = f"{series.ticker}: {len(series.data)} bars from {series.first} to {series.last}"
    if findings:
        line += f", {len(findings)} warnings (python scripts/qa_prices.py {series.ticker})"
    return line


def _sentence(errors: Sequence[Finding]) -> str:
    """The first error, and how many more there are."""
    first = errors[0]
    day = f" at {first.day}" if first.day else ""
    sentence = f"{first.code}{day}: {first.message}"
    if len(errors) > 1:
        sentence += f" (and {len(errors) - 1} more; python scripts/qa_prices.py FILE lists them)"
    return sentence


def read_from_csv(path: Path, ticker: str | None) -> PriceSeries:
    """The prices of one ticker from a file named after it, or from standard input.

    Raises Refused.
    """
    try:
        if str(path) == STDIN:
            return read_csv(sys.stdin, str(ticker), source="standard input")
        return read_csv(path, ticker or path.stem.upper(), source=path.name)
    except UnreadablePrices as error:
        raise Refused(str(error)) from None


def download_from_yahoo(ticker: str, start: date, end: date) -> PriceSeries:
    """The prices of one ticker from Yahoo Finance, from `start` to `end`, both included.

    They are adjusted for splits; dividends are not reinvested. Raises Refused.
    """
    import yfinance

    # It logs what its exceptions say.
    logging.getLogger("yfinance").setLevel(logging.CRITICAL)
    until = end + pd.Timedelta(days=1)
    try:
        table = yfinance.Ticker(ticker).history(
            start=start, end=until, auto_adjust=False, raise_errors=True
        )
    # The vendor's client raises whatever its transport raises.
    except Exception as error:  # noqa: BLE001
        raise Refused(
            f"Yahoo Finance gave nothing ({type(error).__name__}): {_advice(str(error))}"
        ) from None
    if table.empty:
        raise Refused(
            f"Yahoo Finance has no prices of it from {start} to {end}; "
            "check the ticker and the dates"
        )
    data = table[list(COLUMNS)].astype(float)
    days = pd.DatetimeIndex(data.index).tz_localize(None).normalize()
    data.index = days.as_unit("ns").rename("Date")
    return PriceSeries(ticker, "Yahoo Finance via yfinance", data)


def _advice(error: str) -> str:
    """What to do about an error of Yahoo's client."""
    if _has_any(error, RATE_LIMIT_WORDS):
        return "it refuses more requests for now; try again in an hour, or import a CSV instead"
    if _has_any(error, NETWORK_WORDS):
        return (
            "the network is away; connect and try again, or import a CSV: "
            "python scripts/data_loader.py import FILE.csv"
        )
    reason = error.splitlines()[0] if error else "no reason given"
    return f"{reason}; check the ticker, or import a CSV instead"


def _has_any(text: str, words: Iterable[str]) -> bool:
    return any(word in text for word in words)


def parse_arguments(words: Sequence[str]) -> argparse.Namespace:
    """The options of `import FILES`, or those of a download."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if words[:1] == ["import"]:
        return _parse_import(parser, words[1:])
    return _parse_download(parser, words)


def _parse_import(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    parser.add_argument("files", nargs="+", type=Path, help="CSV files; - is standard input")
    parser.add_argument("--ticker", help="for one file; else the file's name is the ticker")
    parser.add_argument(
        "--missing-only", action="store_true", help="leave tickers that are stored as they are"
    )
    options = parser.parse_args(words)
    if options.ticker and len(options.files) > 1:
        parser.error("--ticker goes with one file")
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


def sources(
    options: argparse.Namespace, store: PriceStore
) -> Iterator[tuple[str, Callable[[], PriceSeries]]]:
    """A name for messages, and a function that reads the prices, for everything to be loaded."""
    if "files" not in options:
        for ticker in options.tickers:
            yield ticker, partial(download_from_yahoo, ticker, options.start, options.end)
        return
    for path in options.files:
        ticker = options.ticker or path.stem.upper()
        if not options.missing_only or store.ticker(ticker) is None:
            yield str(path), partial(read_from_csv, path, options.ticker)


def main(words: Sequence[str]) -> int:
    """Loads everything that can be loaded; returns 1 when something was refused."""
    options = parse_arguments(list(words))
    store = PriceStore(open_database(load_config()))
    exit_code = 0
    for name, read in tqdm(list(sources(options, store)), unit="ticker", disable=None):
        try:
            tqdm.write(load(read(), store))
        except Refused as error:
            exit_code = 1
            tqdm.write(f"{name}: not stored. {error}", file=sys.stderr)
    return exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
