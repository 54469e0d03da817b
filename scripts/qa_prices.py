"""Checks stored prices, or CSV files before they are imported, and prints what is wrong with them.

    python scripts/qa_prices.py                      every stored ticker
    python scripts/qa_prices.py GOOG my/PRICES.csv   these
    python scripts/qa_prices.py --json

Exit code 0: no errors (warnings are no errors); 1: at least one error; 2: something could not be
read.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # run from the root, import from the root

from scripts.config import load_config
from service.prices.checks import check_prices
from service.prices.files.reading import read_file
from service.prices.finding import Finding
from service.prices.series import PriceSeries, UnreadablePrices
from service.store.migrate import open_database
from service.store.prices import PriceStore


def series_of(names: Sequence[str]) -> Iterator[PriceSeries]:
    """The price series of each name, or all stored ones where there are no names.

    A name that ends in .csv is a file, others are stored tickers. Raises UnreadablePrices.
    """
    files = [name for name in names if name.lower().endswith(".csv")]
    for name in files:
        try:
            yield read_file(Path(name), Path(name).stem.upper()).series
        except UnreadablePrices as error:
            raise UnreadablePrices("{name}: {error}", name=name, error=error) from None
    stored = [name for name in names if name not in files]
    if stored or not names:
        yield from _stored(stored)


def _stored(names: Sequence[str]) -> Iterator[PriceSeries]:
    store = PriceStore(open_database(load_config()))
    for name in names or [ticker.ticker for ticker in store.tickers()]:
        ticker = store.ticker(name)
        series = None if ticker is None else store.read(ticker.fingerprint)
        if series is None:
            raise UnreadablePrices(
                "There are no stored prices of {name}; a file's name ends in .csv.", name=name
            )
        yield series


def table(findings: Sequence[tuple[str, Finding]]) -> str:
    """Tickers and their findings in aligned columns, one finding a line."""
    rows = [("ticker", "severity", "code", "day", "what")]
    for ticker, finding in findings:
        day = finding.day or "-"
        rows.append((ticker, finding.severity, finding.code, day, finding.message))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    widths[-1] = 0  # what is last needs no blanks after it
    return "\n".join("  ".join(map(str.ljust, row, widths)) for row in rows)


def main(words: Sequence[str]) -> int:
    """Prints the findings and returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="TICKER_OR_CSV")
    parser.add_argument("--json", action="store_true", help="the findings as JSON")
    options = parser.parse_args(list(words))
    try:
        all_series = list(series_of(options.names))
    except UnreadablePrices as error:
        print(f"Cannot be read: {error}", file=sys.stderr)
        return 2
    findings = [
        (series.ticker, finding) for series in all_series for finding in check_prices(series.data)
    ]
    if options.json:
        documents = [{"ticker": ticker, **asdict(finding)} for ticker, finding in findings]
        print(json.dumps(documents, indent=1))
    else:
        bars = sum(len(series.data) for series in all_series)
        print(table(findings) if findings else "nothing found")
        print(f"\n{len(all_series)} tickers, {bars} bars, {len(findings)} findings")
    return int(any(finding.severity == "error" for _, finding in findings))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
