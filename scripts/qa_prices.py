"""The data gate as a command: what is wrong with the stored prices, or with CSV files before they are imported.

    python scripts/qa_prices.py                      every stored ticker
    python scripts/qa_prices.py GOOG my/PRICES.csv   these
    python scripts/qa_prices.py --json

Exit code 0: no errors (warnings are no errors); 1: at least one error; 2: something could not be read.
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
from service.prices.checks import Finding, check_prices
from service.prices.series import PriceSeries, UnreadablePrices, read_csv
from service.store.migrate import open_database
from service.store.prices import PriceStore


def series_of(names: Sequence[str]) -> Iterator[PriceSeries]:
    """Each name's series: a CSV file where it ends so, else a stored ticker; all stored ones without names."""
    files = [name for name in names if name.lower().endswith(".csv")]
    for name in files:
        try:
            yield read_csv(Path(name), Path(name).stem.upper(), source=Path(name).name)
        except UnreadablePrices as error:
            raise UnreadablePrices(f"{name}: {error}") from None
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
                f"there are no stored prices of {name}; a file's name ends in .csv"
            )
        yield series


def table(found: Sequence[tuple[str, Finding]]) -> str:
    """Aligned columns, one finding a line."""
    rows = [(ticker, f.severity, f.code, f.day or "-", f.message) for ticker, f in found]
    rows.insert(0, ("ticker", "severity", "code", "day", "what"))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    return "\n".join(
        "  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[4]])
        for row in rows
    )


def main(words: Sequence[str]) -> int:
    """Prints the findings and answers with the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="TICKER_OR_CSV")
    parser.add_argument("--json", action="store_true", help="the findings as JSON")
    given = parser.parse_args(list(words))
    try:
        checked = [(series, check_prices(series.data)) for series in series_of(given.names)]
    except UnreadablePrices as error:
        print(f"Cannot be read: {error}", file=sys.stderr)
        return 2
    found = [(series.ticker, finding) for series, findings in checked for finding in findings]
    if given.json:
        print(
            json.dumps(
                [{"ticker": ticker, **asdict(finding)} for ticker, finding in found], indent=1
            )
        )
    else:
        print(table(found) if found else "nothing found")
        print(
            f"\n{len(checked)} tickers, {sum(len(series.data) for series, _ in checked)} bars, {len(found)} findings"
        )
    return int(any(finding.severity == "error" for _, finding in found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
