"""Backtest result v1: the numbers of a run, or why it failed."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from service.contract.documents import canonical_json, checker, schema

SCHEMA = "result.v1"
RESULT_VERSION = 1
TRADE_FIELDS = tuple(schema(SCHEMA)["properties"]["trades"]["items"]["required"])
# The metrics in the lists of runs.
HEADLINE = ("total_return_pct", "sharpe_ratio", "max_drawdown_pct", "num_trades")
# Fields of the provenance that may differ between two runs with the same result.
NOT_REPRODUCED = ("code_revision", "image")


@dataclass(frozen=True)
class BacktestResult:
    """Every field of the frozen contract; a failed run has None in every number."""

    run_id: str
    status: str
    total_return_pct: float | None = None
    sharpe_ratio: float | None = None
    max_drawdown_pct: float | None = None
    num_trades: int | None = None
    chart_base64: str | None = None
    error_message: str | None = None
    error_code: str | None = None
    metrics: Mapping[str, float | int | None] = field(default_factory=dict)
    trades: Sequence[Mapping[str, Any]] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    doubt: Mapping[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The JSON document; raises ValueError when it breaks the contract."""
        document = {**asdict(self), "trades": [dict(trade) for trade in self.trades]}
        fault = checker(SCHEMA)(document)
        if fault is not None:
            raise ValueError(
                f"the result breaks its contract at {list(fault.path)}: {fault.message[:200]}"
            )
        return document

    def canonical(self) -> str:
        """The canonical JSON text."""
        return canonical_json(self.document())

    def reproducible(self) -> str:
        """The canonical text of all that the same request must give again, byte for byte."""
        provenance = {
            name: value for name, value in self.provenance.items() if name not in NOT_REPRODUCED
        }
        return replace(self, run_id="", provenance=provenance).canonical()

    def stored(self) -> str:
        """The text of it that a database keeps, without the figure.

        Release 0.2.0 reads it as well, while it is upgraded or after a rollback, and knows no
        `doubt`: there it stands in the provenance, which may have any field.
        """
        return stored_text(replace(self, chart_base64=None).document(), "doubt")

    def headline(self) -> dict[str, float | int | None]:
        """The four metrics that are fields of their own in the contract."""
        return {name: getattr(self, name) for name in HEADLINE}

    def with_figure(self, png: bytes | None) -> BacktestResult:
        """The result with the figure as a data URL in it."""
        if png is None:
            return self
        encoded = base64.b64encode(png).decode()
        return replace(self, chart_base64=f"data:image/png;base64,{encoded}")


def stored_text(document: Mapping[str, Any], added: str) -> str:
    """The canonical text of a result whose field `added` stands in its provenance.

    So a release reads it that does not know the field.
    """
    rest = {name: value for name, value in document.items() if name != added}
    if document[added]:
        rest["provenance"] = {**document["provenance"], added: document[added]}
    return canonical_json(rest)


def fields_of_stored(text: str, added: str) -> dict[str, Any]:
    """The fields of a result that `stored_text` gave."""
    # Raises TypeError where the text is no object.
    fields: dict[str, Any] = {**json.loads(text)}
    provenance = dict(fields.get("provenance", {}))
    return {**fields, added: provenance.pop(added, {}), "provenance": provenance}


def result_of_stored(text: str, chart_base64: str | None) -> BacktestResult:
    """The result that was stored as this text, with its figure."""
    return BacktestResult(**{**fields_of_stored(text, "doubt"), "chart_base64": chart_base64})


def failed_result(
    run_id: str, code: str | None, message: str | None, provenance: Mapping[str, Any] | None = None
) -> BacktestResult:
    """The result of a run that ended without numbers."""
    return BacktestResult(
        run_id, "failed", error_code=code, error_message=message, provenance=provenance or {}
    )
