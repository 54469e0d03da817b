"""What vendors call the columns of prices, in English and Korean."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from service.prices.series import UnreadablePrices

DATE = "date"
TIME = "time"
PRICES = ("open", "high", "low", "close")
VOLUME = "volume"
INSTRUMENT = "instrument"
DIVIDEND = "dividend"
SPLIT = "split"
NEEDED = (DATE, *PRICES, VOLUME)
# Yahoo, Alpha Vantage, TradingView, Nasdaq, Stooq, investing.com, KRX, Naver
NAMES: Mapping[str, tuple[str, ...]] = {
    DATE: (
        "datetime",
        "date",
        "timestamp",
        "open_time",
        "open time",
        "day",
        "일자",
        "날짜",
        "거래일",
        "거래일자",
        "일시",
        "exchange date",
        "datum",
    ),
    TIME: ("time", "시간", "시각"),
    "open": ("open", "시가", "px_open", "eröffnung"),
    "high": ("high", "고가", "px_high", "hoch"),
    "low": ("low", "저가", "px_low", "tief"),
    "close": ("close", "종가", "close/last", "px_last", "schluss"),
    INSTRUMENT: ("ticker", "symbol", "종목코드", "종목명", "contract", "#ric"),
    VOLUME: ("volume", "vol", "거래량", "tick volume", "px_volume", "volumen"),
    DIVIDEND: ("dividends", "dividend", "dividend amount", "divcash", "배당금", "배당"),
    SPLIT: ("stock splits", "split", "splits", "split coefficient", "splitfactor", "액면분할"),
}
MEANING = {name: meaning for meaning, names in NAMES.items() for name in names}
# Names that stand for a column only where nothing better does, the better ones first.
SPARE: Mapping[str, tuple[str, ...]] = {
    DATE: ("time", "", "index", "price"),
    "close": ("price", "last", "latest", "settle"),
    VOLUME: ("tickvol", "tick_volume"),
}
ORNAMENT = re.compile(r"^\d+\.\s*|[<>*.\"']|\s*\((?:krw|usd|원|주)\)$")


def plain(name: str) -> str:
    """The name without numbers, brackets and signs that vendors put around it."""
    return ORNAMENT.sub("", name.strip().lower()).strip()


def places(header: Sequence[str]) -> dict[str, int]:
    """Where each column stands that is known; raises UnreadablePrices where two are the same."""
    found: dict[str, int] = {}
    for place, name in enumerate(header):
        meaning = MEANING.get(plain(name))
        if meaning is None:
            continue
        if meaning in found:
            _refuse_twice(meaning, header[found[meaning]], name)
        if meaning == DATE and meaning in found and not _is_better_date(name, header[found[DATE]]):
            continue
        found[meaning] = place
    for meaning, spare in SPARE.items():
        if meaning not in found:
            _add_spare(found, meaning, spare, header)
    if found.get(TIME) == found.get(DATE):
        found.pop(TIME, None)
    return found


def _is_better_date(name: str, before: str) -> bool:
    names = NAMES[DATE]
    return names.index(plain(name)) < names.index(plain(before))


def _refuse_twice(meaning: str, first: str, second: str) -> None:
    # The date may be there as a number, too; the first one is as good.
    if meaning in NEEDED and meaning != DATE:
        raise UnreadablePrices(
            "Two columns are its {column}: {first} and {second}; leave one of them out.",
            column=meaning,
            first=repr(first),
            second=repr(second),
        )


def _add_spare(
    found: dict[str, int], meaning: str, spare: Sequence[str], header: Sequence[str]
) -> None:
    taken = {place for name, place in found.items() if name != TIME}
    places_of = {plain(name): place for place, name in enumerate(header) if place not in taken}
    for name in spare:
        if name in places_of:
            found[meaning] = places_of[name]
            return
