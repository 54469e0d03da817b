"""Lists of tickers and their names, as exchanges publish them."""

from __future__ import annotations

import csv

from service.contract.request import is_ticker
from service.prices.files.columns import plain
from service.prices.files.text import decoded
from service.prices.series import UnreadablePrices

TICKER_NAMES = ("ticker", "symbol", "code", "종목코드", "단축코드")
NAME_NAMES = (
    "name",
    "security name",
    "company name",
    "종목명",
    "회사명",
    "한글 종목명",
    "한글종목명",
)
SEPARATORS = ",;\t|"
NO_COLUMNS = "It needs a line of names with a column such as Code or Symbol, and one such as Name."


def names_in(data: bytes) -> list[tuple[str, str]]:
    """Pairs of name and ticker; rows without either are left out. Raises UnreadablePrices."""
    text, _ = decoded(data)
    lines = text.splitlines()
    first = lines[0] if lines else ""
    separator = max(SEPARATORS, key=first.count)
    try:
        rows = list(csv.reader(lines, delimiter=separator, skipinitialspace=True))
    except csv.Error as error:
        raise UnreadablePrices("It cannot be read as CSV: {error}.", error=error) from None
    header = [plain(cell) for cell in rows[0]] if rows else []
    tickers = [place for place, cell in enumerate(header) if cell in TICKER_NAMES]
    names = [place for place, cell in enumerate(header) if cell in NAME_NAMES]
    if not tickers or not names:
        raise UnreadablePrices(NO_COLUMNS)
    needed = max(tickers[0], names[0])
    pairs = [
        (row[names[0]], row[tickers[0]].strip().upper()) for row in rows[1:] if len(row) > needed
    ]
    return [(name.strip(), ticker) for name, ticker in pairs if name.strip() and is_ticker(ticker)]
