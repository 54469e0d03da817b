"""Brings daily prices into the price store: from Yahoo Finance, or from CSV files.

    python scripts/data_loader.py --tickers AAPL MSFT --start 2015-01-01 --end 2024-12-31
    python scripts/data_loader.py import data/*.csv          (import --help has more)

Each ticker is validated before it is stored, all of it or nothing. Exit code 1 when a ticker was refused.
"""

from __future__ import annotations

import argparse
import logging
import re
import sys
from collections.abc import Callable, Iterable, Sequence
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
from service.prices.series import PriceSeries, UnreadablePrices, read_csv
from service.store.migrate import open_database
from service.store.prices import PriceStore

STDIN = "-"
TICKER = re.compile(schema(SCHEMA)["properties"]["ticker"]["pattern"])


class Refused(Exception):
    """Prices that are not stored; the message says why and what to do."""


def load(series: PriceSeries, store: PriceStore) -> str:
    """Validates and stores one ticker; a line about it. Raises Refused."""
    if not TICKER.fullmatch(series.ticker):
        raise Refused(
            f"{series.ticker!r} is no ticker: use A-Z, 0-9 and . ^ = -; rename the file or pass --ticker"
        )
    findings = check_prices(series.data)
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors:
        more = (
            f" (and {len(errors) - 1} more; python scripts/qa_prices.py FILE lists them)"
            if len(errors) > 1
            else ""
        )
        where = f" at {errors[0].day}" if errors[0].day else ""
        raise Refused(f"{errors[0].code}{where}: {errors[0].message}{more}")
    store.save(series)
    noted = (
        f", {len(findings)} warnings (python scripts/qa_prices.py {series.ticker})"
        if findings
        else ""
    )
    return f"{series.ticker}: {len(series.data)} bars from {series.first} to {series.last}{noted}"


def from_csv(path: Path, ticker: str | None) -> PriceSeries:
    """One ticker from a file named after it, or from standard input."""
    try:
        if str(path) == STDIN:
            return read_csv(sys.stdin, str(ticker), source="standard input")
        return read_csv(path, ticker or path.stem.upper(), source=path.name)
    except UnreadablePrices as error:
        raise Refused(str(error)) from None


def from_yahoo(ticker: str, start: date, end: date) -> PriceSeries:
    """One ticker from Yahoo Finance, split-adjusted, dividends not reinvested; both days included."""
    import yfinance

    logging.getLogger("yfinance").setLevel(
        logging.CRITICAL
    )  # what it has to say comes with the exception
    try:
        until = end + pd.Timedelta(days=1)
        table = yfinance.Ticker(ticker).history(
            start=start, end=until, auto_adjust=False, raise_errors=True
        )
    except Exception as error:  # noqa: BLE001  the vendor's client raises whatever its transport does
        raise Refused(
            f"Yahoo Finance gave nothing ({type(error).__name__}): {_advice(str(error))}"
        ) from None
    if table.empty:
        raise Refused(
            f"Yahoo Finance has no prices of it from {start} to {end}; check the ticker and the dates"
        )
    data = table[list(COLUMNS)].astype(float)
    data.index = (
        pd.DatetimeIndex(data.index).tz_localize(None).normalize().as_unit("ns").rename("Date")
    )
    return PriceSeries(ticker, "Yahoo Finance via yfinance", data)


def _advice(error: str) -> str:
    if "Too Many Requests" in error or "429" in error or "Rate" in error:
        return "it refuses more requests for now; try again in an hour, or import a CSV instead"
    if any(
        word in error
        for word in ("resolve", "connect", "Connection", "timed out", "SSL", "proxy", "Proxy")
    ):
        return "the network is away; connect and try again, or import a CSV: python scripts/data_loader.py import FILE.csv"
    return f"{error.splitlines()[0] if error else 'no reason given'}; check the ticker, or import a CSV instead"


def arguments(words: Sequence[str]) -> argparse.Namespace:
    """`import FILES` or the download's options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if words[:1] == ["import"]:
        parser.add_argument("files", nargs="+", type=Path, help="CSV files; - is standard input")
        parser.add_argument("--ticker", help="for one file; else the file's name is the ticker")
        parser.add_argument(
            "--missing-only", action="store_true", help="leave tickers that are stored as they are"
        )
        parsed = parser.parse_args(words[1:])
        if parsed.ticker and len(parsed.files) > 1:
            parser.error("--ticker goes with one file")
        if Path(STDIN) in parsed.files and not parsed.ticker:
            parser.error("standard input has no name: say --ticker")
        return parsed
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
    parsed = parser.parse_args(words)
    if parsed.start >= parsed.end:
        parser.error(f"--start must be before --end, got {parsed.start} and {parsed.end}")
    return parsed


def sources(
    given: argparse.Namespace, store: PriceStore
) -> Iterable[tuple[str, Callable[[], PriceSeries]]]:
    """(name, how to read it) of everything asked for."""
    if "files" in given:
        for path in given.files:
            known = given.missing_only and store.ticker(given.ticker or path.stem.upper())
            if not known:
                yield str(path), partial(from_csv, path, given.ticker)
    else:
        for ticker in given.tickers:
            yield ticker, partial(from_yahoo, ticker, given.start, given.end)


def main(words: Sequence[str]) -> int:
    """Loads everything that can be loaded; 1 when something was refused."""
    given = arguments(list(words))
    store = PriceStore(open_database(load_config()))
    refused = 0
    for name, read in tqdm(list(sources(given, store)), unit="ticker", disable=None):
        try:
            tqdm.write(load(read(), store))
        except Refused as error:
            refused = 1
            tqdm.write(f"{name}: not stored. {error}", file=sys.stderr)
    return refused


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
