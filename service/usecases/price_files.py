"""Price files that users bring: judged as they would be stored, and stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import PurePath
from typing import Any

import pandas as pd

from service.contract.errors import UserError
from service.contract.request import TICKER
from service.contract.sentence import Sentence
from service.prices.checks import check_prices
from service.prices.files.reading import PriceFile, read_prices
from service.prices.finding import Finding, errors_among
from service.prices.series import PriceSeries, UnreadablePrices
from service.store.prices import PriceStore

MAX_QUOTED = 40
MAX_SOURCE = 200
MAX_FINDINGS = 1000  # in JSON
NAMELESS = "upload"
SECOND = "{ticker} stands there twice: send one file for each ticker."
NO_RANGE = {"first_day": None, "last_day": None, "bars": 0, "prices_fingerprint": None}


class RefusedPrices(UserError):
    """Prices that are not stored (400)."""

    code = "RefusedPrices"


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
    source = source_of(name)
    # Some letters of other alphabets become one of A to Z, or two, when they are made large.
    ticker = (ticker or PurePath(source).stem).strip()
    ticker = ticker.upper() if ticker.isascii() else ticker
    if not TICKER.fullmatch(ticker):
        template = "{ticker} is no ticker: use A-Z, 0-9 and . ^ = -, at most 15 characters."
        return Judged(name, ticker, refusal=RefusedPrices(template, ticker=ticker[:MAX_QUOTED]))
    try:
        file = read_prices(data, ticker, source)
    except UnreadablePrices as error:
        return Judged(name, ticker, refusal=error)
    findings = tuple(check_prices(file.series.data))
    return Judged(name, ticker, file, findings, _refusal(findings))


def source_of(name: str) -> str:
    """What results call the file: its name, on one line, as long as a column holds."""
    plain = "".join(letter for letter in PurePath(name).name if letter.isprintable())
    return plain[:MAX_SOURCE] or NAMELESS


def _refusal(findings: tuple[Finding, ...]) -> UserError | None:
    """The first error, and how many more there are."""
    errors = errors_among(findings)
    if not errors:
        return None
    first = errors[0]
    values = {"code": first.code, "day": first.day or "-", "message": first.message}
    if len(errors) == 1:
        return RefusedPrices("{code} at {day}: {message}.", **values)
    template = "{code} at {day}: {message} (errors besides: {more})."
    return RefusedPrices(template, more=len(errors) - 1, **values)


def stored(judgement: Judged, store: PriceStore) -> Judged:
    """The same after it was stored, whole; a refused one as it is."""
    if judgement.refusal is not None or judgement.series is None:
        return judgement
    store.save(judgement.series)
    return replace(judgement, is_stored=True)


def findings_in(bars: pd.DataFrame) -> list[dict[str, Any]]:
    """What the data gate finds, as JSON has it."""
    return _documents(check_prices(bars))


def _documents(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    return [asdict(finding) for finding in findings[:MAX_FINDINGS]]


def _range_of(series: PriceSeries) -> dict[str, Any]:
    return {
        "first_day": series.first.isoformat(),
        "last_day": series.last.isoformat(),
        "bars": len(series.data),
        "prices_fingerprint": series.fingerprint,
    }
