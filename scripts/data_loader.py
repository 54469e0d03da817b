"""Brings daily prices into the price store: from Yahoo Finance, or from files.

    python scripts/data_loader.py --tickers AAPL MSFT --start 2015-01-01 --end 2024-12-31
    python scripts/data_loader.py import data/*.csv          (import --help has more)

Each ticker is validated before it is stored, and stored as a whole or not at all; a file that is
refused stops no other. The exit code is 0 where all were stored, 1 where a ticker was refused, 2
where the options are wrong.
"""

from __future__ import annotations

import argparse
import logging
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from textwrap import indent

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # run from the root, import from the root

import pandas as pd
from tqdm import tqdm

from backtest.prices import COLUMNS
from scripts.config import load_config
from service.contract.request import is_ticker
from service.prices.checks import check_prices
from service.prices.files.reading import PriceFile, read_file, read_prices, tidied
from service.prices.finding import Finding, errors_among
from service.prices.series import PriceSeries, UnreadablePrices
from service.store.database import DatabaseError
from service.store.migrate import open_database
from service.store.prices import PriceStore

STDIN = "-"
SHOWN_BARS = 3
MAX_FINDINGS = 20
RATE_LIMIT_WORDS = ("Too Many Requests", "429", "Rate")
NETWORK_WORDS = ("resolve", "connect", "Connection", "timed out", "SSL", "proxy", "Proxy")


class Refused(Exception):
    """Prices are not stored; the message says why and what to do."""


def load(file: PriceFile, store: PriceStore | None) -> str:
    """Validates and stores one ticker; returns lines about it. Raises Refused.

    Without a store nothing is stored: the lines have the first bars and all findings instead.
    """
    series = file.series
    if not is_ticker(series.ticker):
        raise Refused(
            f"{series.ticker!r} is no ticker: use A-Z, 0-9 and . ^ = -; "
            "rename the file or pass --ticker"
        )
    findings = check_prices(series.data)
    errors = errors_among(findings)
    if errors:
        raise Refused(_sentence(errors))
    line = f"{series.ticker}: {len(series.data)} bars from {series.first} to {series.last}"
    said = "".join(f"\n    {note}" for note in file.notes)
    if store is None:
        return "\n".join([line + said, *_shown(series, findings)])
    store.save(series)
    if findings:
        line += f", {len(findings)} warnings (python scripts/qa_prices.py {series.ticker})"
    return line + said


def _shown(series: PriceSeries, findings: Sequence[Finding]) -> Iterator[str]:
    """The first bars as they would be stored, and what is to be known about them."""
    yield indent(series.data.head(SHOWN_BARS).to_string(), "    ")
    for finding in findings[:MAX_FINDINGS]:
        yield f"    {finding.code} {finding.day or ''}: {finding.message}"
    if len(findings) > MAX_FINDINGS:
        yield f"    and {len(findings) - MAX_FINDINGS} more"


def _sentence(errors: Sequence[Finding]) -> str:
    """The first error, and how many more there are."""
    first = errors[0]
    day = f" at {first.day}" if first.day else ""
    sentence = f"{first.code}{day}: {first.message}"
    if len(errors) > 1:
        sentence += f" (and {len(errors) - 1} more; python scripts/qa_prices.py FILE lists them)"
    return sentence


def read_from_file(path: Path, ticker: str | None) -> PriceFile:
    """The prices of one ticker from a file named after it, or from standard input.

    Raises Refused.
    """
    try:
        if str(path) == STDIN:
            return read_prices(sys.stdin.buffer.read(), str(ticker), "standard input")
        return read_file(path, ticker or path.stem.upper())
    except UnreadablePrices as error:
        raise Refused(str(error)) from None


def download_from_yahoo(ticker: str, start: date, end: date) -> PriceFile:
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
    return tidied(PriceSeries(ticker, "Yahoo Finance via yfinance", data))


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
    parser.add_argument(
        "files", nargs="+", type=Path, help="CSV or Parquet files; - is standard input"
    )
    parser.add_argument("--ticker", help="for one file; else the file's name is the ticker")
    parser.add_argument(
        "--missing-only", action="store_true", help="leave tickers that are stored as they are"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="store nothing: show first bars and findings"
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
) -> Iterator[tuple[str, Callable[[], PriceFile]]]:
    """A name for messages, and a function that reads the prices, for everything to be loaded."""
    if "files" not in options:
        for ticker in options.tickers:
            yield ticker, partial(download_from_yahoo, ticker, options.start, options.end)
        return
    for path in options.files:
        ticker = options.ticker or path.stem.upper()
        if not options.missing_only or store.ticker(ticker) is None:
            yield str(path), partial(read_from_file, path, options.ticker)


def main(words: Sequence[str]) -> int:
    """Loads everything that can be loaded; returns 1 when something was refused."""
    options = parse_arguments(list(words))
    store = PriceStore(open_database(load_config()))
    is_dry = getattr(options, "dry_run", False)
    chosen = list(sources(options, store))
    refused = []
    for name, read in tqdm(chosen, unit="ticker", disable=None):
        try:
            tqdm.write(load(read(), None if is_dry else store))
        except Refused as error:
            refused.append(name)
            tqdm.write(f"{name}: not stored. {error}", file=sys.stderr)
        except DatabaseError:
            raise
        except Exception:  # noqa: BLE001  the surprise of one file ends no other
            refused.append(name)
            tqdm.write(f"{name}: not stored. {traceback.format_exc()}", file=sys.stderr)
    if len(chosen) > 1:
        tqdm.write(_summary(len(chosen), refused, is_dry), file=sys.stderr)
    return 1 if refused else 0


def _summary(count: int, refused: Sequence[str], is_dry: bool) -> str:
    """How many were stored, and the names of those that were not."""
    done = "can be stored" if is_dry else "stored"
    line = f"{count - len(refused)} of {count} {done}"
    return f"{line}; not stored: {', '.join(refused)}" if refused else line


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
