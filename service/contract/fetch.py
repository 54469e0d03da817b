"""Fetch request v1: prices that a vendor is asked for, and what came of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

from service.contract.checks import checked
from service.contract.documents import canonical_json

SCHEMA = "fetch.v1"
YAHOO = "yahoo"
KRX = "krx"
# What vendors are called in sentences, by their names in requests.
VENDORS = {YAHOO: "Yahoo Finance", KRX: "Korea Exchange"}

BUSY = "{vendor} refuses more requests for now; try again in an hour, or store a file instead."
AWAY = (
    "{vendor} cannot be reached ({error}): the network is away, or does not let this program out; "
    "try again, or store a file instead."
)
FAILED = "{vendor} gave nothing ({error}); check the ticker, or store a file instead."
NOTHING = "{vendor} has no prices of {ticker} from {start} to {end}; check the ticker."
LACKS = "{vendor} answered without {column}; try again later, or store a file instead."
NOT_INSTALLED = (
    "{vendor} needs FinanceDataReader, which the worker does not have: "
    "pip install -r requirements-krx.txt."
)
FAILURES = (BUSY, AWAY, FAILED, NOTHING, LACKS, NOT_INSTALLED)


@dataclass(frozen=True)
class FetchRequest:
    """The daily prices of a ticker from `start_date` to `end_date`, both included."""

    run_id: str
    ticker: str
    start_date: date
    end_date: date
    vendor: str = YAHOO

    def document(self) -> dict[str, Any]:
        """The JSON document, with every default filled in."""
        dates = {"start_date": self.start_date.isoformat(), "end_date": self.end_date.isoformat()}
        return {**asdict(self), **dates}

    def canonical(self) -> str:
        """The canonical JSON text, as it is stored."""
        return canonical_json(self.document())


def parse_fetch(document: object) -> FetchRequest:
    """Raises InvalidRequest with one sentence on the first field that is wrong."""
    return FetchRequest(**checked(document, SCHEMA))


@dataclass(frozen=True)
class FetchResult:
    """What came of a fetch.

    `is_new` says whether the prices differ from those before. `notes` are sentences about what was
    changed in them: templates and their values. `findings` is how many things the data gate found.
    """

    run_id: str
    status: str
    ticker: str
    vendor: str
    prices_fingerprint: str | None = None
    first_day: str | None = None
    last_day: str | None = None
    bars: int = 0
    is_new: bool = False
    findings: int = 0
    dividends: int = 0
    splits: int = 0
    notes: list[dict[str, Any]] = field(default_factory=list)
    error_code: str | None = None
    error_message: str | None = None
    provenance: dict[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The JSON document."""
        return asdict(self)

    def canonical(self) -> str:
        """The canonical JSON text."""
        return canonical_json(self.document())
