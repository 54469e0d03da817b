"""Requests in which tickers are called by their names: 삼성전자 for 005930."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches

from service.contract.errors import UnknownTicker
from service.store.finding import Condition
from service.store.names import key_of
from service.store.prices import PriceStore, Ticker

FIELDS = ("ticker", "benchmark")
LIST = "tickers"
MAX_NEAR = 3
MAX_LENGTH = 100


def with_tickers(document: object, store: PriceStore) -> object:
    """The document of a request with the ticker in the place of each name.

    What is neither stays: the contract says what is wrong with it. Raises UnknownTicker where that
    would be no help, since the letters are those of a name.
    """
    if not isinstance(document, dict):
        return document
    texts = {text for text in _texts(document) if 0 < len(text) <= MAX_LENGTH}
    if not texts:
        return document
    found = store.tickers_of(texts)
    for text in sorted(texts - set(found)):
        if not text.isascii() and text.replace(" ", "").isalnum():
            raise UnknownTicker(text, _near(text, store.names()))
    replaced: dict[str, object] = {
        name: found.get(document[name], document[name])
        for name in FIELDS
        if isinstance(document.get(name), str)
    }
    if isinstance(document.get(LIST), list):
        replaced[LIST] = [
            found.get(each, each) if isinstance(each, str) else each for each in document[LIST]
        ]
    return {**document, **replaced}


def with_named_tickers(conditions: Sequence[Condition], store: PriceStore) -> list[Condition]:
    """The conditions with tickers in the place of their names."""
    asked = {
        str(value)
        for condition in conditions
        if condition.name == "ticker"
        for value in condition.values
    }
    found = store.tickers_of(asked) if asked else {}
    return [
        replace(condition, values=[found.get(str(value), value) for value in condition.values])
        if condition.name == "ticker" and condition.comparison != "~"
        else condition
        for condition in conditions
    ]


def found_by(text: str, tickers: Sequence[Ticker]) -> list[Ticker]:
    """Tickers that begin so, then those with a name that has this in it."""
    symbol, key = text.strip().upper(), key_of(text)
    begin = [each for each in tickers if each.ticker.startswith(symbol)]
    if not key:
        return begin
    others = [each for each in tickers if not each.ticker.startswith(symbol)]
    named = [each for each in others if any(key in key_of(name) for name in each.names)]
    # Those first whose whole name it is.
    named.sort(key=lambda each: key not in map(key_of, each.names))
    return begin + named


def _texts(document: Mapping[str, object]) -> Iterator[str]:
    listed = document.get(LIST)
    values = [document.get(name) for name in FIELDS] + (listed if isinstance(listed, list) else [])
    yield from (value for value in values if isinstance(value, str))


def _near(name: str, names: Mapping[str, list[str]]) -> list[str]:
    """Tickers whose names are like this one, each with its name."""
    by_name = {each: ticker for ticker, all_names in names.items() for each in all_names}
    near = get_close_matches(name, by_name, n=MAX_NEAR)
    return [f"{by_name[each]} ({each})" for each in near]
