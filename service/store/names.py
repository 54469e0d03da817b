"""Names of tickers, as people say them: 삼성전자 is 005930."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Mapping
from functools import partial
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from service.contract.request import is_ticker
from service.store.database import Store
from service.store.tables import ticker_names

MAX_NAME = 100
AT_ONCE = 500


def key_of(name: str) -> str:
    """As names are looked up: small letters, single blanks, and one form of each letter.

    Files of a Mac are named by the parts of letters, those of other systems by whole ones.
    """
    return _on_one_line(unicodedata.normalize("NFKC", name).casefold())


def shown_name(name: str) -> str:
    """As pages show it: on one line, as long as a column holds."""
    return _on_one_line(unicodedata.normalize("NFC", name))


def _on_one_line(text: str) -> str:
    plain = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(plain.split())[:MAX_NAME]


class NameStore(Store):
    """The names of tickers in one database."""

    def add_names(self, names: Iterable[tuple[str, str]]) -> None:
        """Gives each name to a ticker, by pairs of name and ticker; it is that of no other then."""
        rows = {
            key_of(name): {"name": shown_name(name), "ticker": ticker} for name, ticker in names
        }
        rows.pop("", None)
        items = list(rows.items())
        for first in range(0, len(items), AT_ONCE):
            chosen = dict(items[first : first + AT_ONCE])
            self._write(partial(_replace, chosen))

    def tickers_of(self, texts: Collection[str]) -> dict[str, str]:
        """The ticker of each text that is a name.

        What is written as tickers are is never a name here: GS is a share in New York, whatever
        is called GS in Seoul.
        """
        keys = {text: key_of(text) for text in texts if not is_ticker(text)}
        named = self._by_key(set(keys.values()))
        return {text: named[key] for text, key in keys.items() if key in named}

    def ticker_named(self, text: str) -> str | None:
        """The ticker that has this name, also where it is written as a ticker is."""
        return self._by_key({key_of(text)}).get(key_of(text))

    def _by_key(self, keys: Collection[str]) -> dict[str, str]:
        if not keys:
            return {}
        is_one = ticker_names.c.name_key.in_(keys)
        query = select(ticker_names.c.name_key, ticker_names.c.ticker).where(is_one)
        rows = self._read(lambda connection: connection.execute(query).all())
        return {row.name_key: row.ticker for row in rows}

    def remove_names(self, names: Iterable[str]) -> int:
        """Takes names from whatever tickers have them; answers how many."""
        is_one = ticker_names.c.name_key.in_({key_of(name) for name in names})
        statement = delete(ticker_names).where(is_one)
        return self._write(lambda connection: connection.execute(statement).rowcount)

    def names(self) -> dict[str, list[str]]:
        """The names of each ticker that has any, those without prices too."""
        query = select(ticker_names).order_by(ticker_names.c.ticker, ticker_names.c.name_key)
        found: dict[str, list[str]] = {}
        for row in self._read(lambda connection: connection.execute(query).all()):
            found.setdefault(row.ticker, []).append(row.name)
        return found


def _replace(rows: Mapping[str, Mapping[str, Any]], connection: Connection) -> None:
    connection.execute(delete(ticker_names).where(ticker_names.c.name_key.in_(rows)))
    connection.execute(
        insert(ticker_names), [{"name_key": key, **values} for key, values in rows.items()]
    )
