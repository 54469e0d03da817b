"""Price files that users bring: judged as they would be stored, and stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import PurePath
from typing import Any

import pandas as pd

from service.contract.errors import UserError
from service.contract.request import in_capitals, is_ticker
from service.contract.sentence import Sentence
from service.prices.action import Action
from service.prices.checks import check_prices, missing_sessions
from service.prices.files.reading import PriceFile, read_prices
from service.prices.finding import Finding
from service.prices.gate import gate_name
from service.prices.judging import RefusedPrices, judgement_of
from service.prices.series import PriceSeries, UnreadablePrices
from service.store.prices import PackedSeries, PriceStore, Ticker, Version, packed

MAX_QUOTED = 40
MAX_SOURCE = 200
MAX_FINDINGS = 1000  # in JSON
MAX_VERSIONS = 20
NAMELESS = "upload"
SECOND = "{ticker} stands there twice: send one file for each ticker."
NO_TICKER = "{ticker} is no ticker: use A-Z, 0-9 and . ^ = & _ / -, at most 32 characters."
NO_NAME = (
    "No ticker has the name {ticker}: say which ticker it is, such as 005930, and give this as its "
    "name."
)
NO_RANGE = {"first_day": None, "last_day": None, "bars": 0, "prices_fingerprint": None}


@dataclass(frozen=True)
class Judged:
    """A file as it would be stored: `refusal` says why it would not be, None where it would.

    `file` is None where it cannot be read. `is_stored` once it is.
    """

    name: str
    ticker: str
    file: PriceFile | None = None
    findings: tuple[Finding, ...] = ()
    refusal: UserError | None = None
    is_stored: bool = False

    @property
    def series(self) -> PriceSeries | None:
        """What was read."""
        return None if self.file is None else self.file.series

    @cached_property
    def packed(self) -> PackedSeries:
        """As it would be stored; of a file that is not refused alone."""
        assert self.file is not None
        return packed(self.file.series, gate_name(), self.findings, self.file.actions)

    @property
    def bars(self) -> pd.DataFrame:
        """As they would be stored; none where there are none, or one has no date."""
        if self.series is None or self.series.data.index.hasnans:
            return pd.DataFrame()
        return self.series.data

    @property
    def range(self) -> dict[str, Any]:
        """From where to where its bars go; None and 0 where there are none."""
        has_bars = self.series is not None and len(self.bars) > 0
        return _range_of(self.series) if self.series and has_bars else NO_RANGE

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "name": self.name,
            "ticker": self.ticker,
            "stored": self.is_stored,
            "error": None if self.refusal is None else str(self.refusal),
            "code": None if self.refusal is None else self.refusal.code,
            "notes": [str(note) for note in self.notes],
            "findings": _documents(self.findings),
            **self.range,
        }

    @property
    def notes(self) -> tuple[Sentence, ...]:
        """What was recognised."""
        return () if self.file is None else self.file.notes


def judged(name: str, data: bytes, ticker: str = "") -> Judged:
    """The file as it would be stored; without `ticker` its name says which it is."""
    ticker = ticker or ticker_in_name(name)
    if not is_ticker(ticker):
        template = NO_TICKER if ticker.isascii() else NO_NAME
        return Judged(name, ticker, refusal=RefusedPrices(template, ticker=ticker[:MAX_QUOTED]))
    try:
        file = read_prices(data, ticker, source_of(name))
    except UnreadablePrices as error:
        return Judged(name, ticker, refusal=error)
    judgement = judgement_of(file)
    judged_file = Judged(name, ticker, file, judgement.findings, judgement.refusal)
    if judgement.refusal is None:
        # Compressed here, where nobody else waits for it.
        assert judged_file.packed
    return judged_file


def refused_as_second(judgement: Judged) -> Judged:
    """The same, refused because another file of the request is the same ticker."""
    return replace(judgement, refusal=RefusedPrices(SECOND, ticker=judgement.ticker))


def ticker_in_name(name: str) -> str:
    """The ticker that the name of a file says."""
    return written(PurePath(source_of(name)).stem)


def written(text: str) -> str:
    """As tickers are written; what has other letters is the name of one and stays."""
    return in_capitals(text.strip())


def known_ticker(text: str, store: PriceStore) -> str:
    """The ticker that has this name; else what was written, as a ticker is written."""
    ticker = written(text)
    return store.tickers_of([ticker]).get(ticker, ticker)


def source_of(name: str) -> str:
    """What results call the file: its name, on one line, as long as a column holds."""
    plain = "".join(letter for letter in PurePath(name).name if letter.isprintable())
    return plain[:MAX_SOURCE] or NAMELESS


def stored(judgement: Judged, store: PriceStore, client: str = "") -> Judged:
    """The same after it was stored, whole; a refused one as it is. `client` stores it."""
    if judgement.refusal is not None or judgement.series is None:
        return judgement
    store.save_packed(judgement.packed, client)
    return replace(judgement, is_stored=True)


@dataclass(frozen=True)
class KnownPrices:
    """What is stored of a ticker, and what is to be known about it.

    `missing_sessions` is None where the bars follow another calendar than the NYSE. The versions
    have the current prices first.
    """

    ticker: Ticker
    bars: pd.DataFrame
    findings: Sequence[Finding]
    missing_sessions: int | None
    versions: Sequence[Version]

    @property
    def actions(self) -> Sequence[Action]:
        """The dividends and splits of the current prices, oldest first."""
        current = [each for each in self.versions if each.fingerprint == self.ticker.fingerprint]
        return current[0].actions if current else ()


# Calls a function with arguments, in a thread of its own or not.
Call = Callable[..., Any]


def known_prices(ticker: Ticker, store: PriceStore, call: Call) -> KnownPrices:
    """The prices of a ticker; the data gate is asked where nobody asked it before."""
    bars = store.series(ticker.fingerprint).data
    findings = store.findings(ticker.fingerprint, gate_name())
    if findings is None:
        findings = call(check_prices, bars)
        store.keep_findings(ticker.fingerprint, gate_name(), findings)
    missing = call(missing_sessions, bars)
    versions = store.versions(ticker.ticker, MAX_VERSIONS)
    return KnownPrices(ticker, bars, findings, missing, versions)


def _documents(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    return [finding.document() for finding in findings[:MAX_FINDINGS]]


def _range_of(series: PriceSeries) -> dict[str, Any]:
    return {
        "first_day": series.first.isoformat(),
        "last_day": series.last.isoformat(),
        "bars": len(series.data),
        "prices_fingerprint": series.fingerprint,
    }
