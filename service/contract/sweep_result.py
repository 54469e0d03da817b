"""Sweep result v1: the best combinations of a parameter search, or why it failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from service.contract.documents import canonical_json, checker
from service.contract.result import NOT_REPRODUCED, fields_of_stored, stored_text

SCHEMA = "sweep_result.v1"
SWEEP_VERSION = 1


@dataclass(frozen=True)
class SweepResult:
    """Every field of the frozen contract; a failed sweep has only its error."""

    run_id: str
    status: str
    metric: str
    error_message: str | None = None
    error_code: str | None = None
    combinations: int = 0
    skipped: int = 0
    tickers: Sequence[Mapping[str, Any]] = ()
    across: Mapping[str, Any] | None = None
    failed: Sequence[Mapping[str, Any]] = ()
    undefined: Sequence[str] = ()
    chart_base64: str | None = None
    panels: Sequence[Mapping[str, Any]] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    superior: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The JSON document; raises ValueError when it breaks the contract."""
        lists = {
            name: [dict(element) for element in getattr(self, name)]
            for name in ("tickers", "failed", "panels")
        }
        document = {**asdict(self), **lists, "undefined": list(self.undefined)}
        fault = checker(SCHEMA)(document)
        if fault is not None:
            raise ValueError(
                f"the result breaks its contract at {list(fault.path)}: {fault.message[:200]}"
            )
        return document

    def canonical(self) -> str:
        """The canonical JSON text."""
        return canonical_json(self.document())

    def stored(self) -> str:
        """The text of it that a database keeps, without the figure.

        As in a result, what the release before does not know stands in the provenance.
        """
        return stored_text(replace(self, chart_base64=None).document(), "superior")

    def reproducible(self) -> str:
        """The canonical text of all that the same request must give again, byte for byte."""
        provenance = {
            name: value for name, value in self.provenance.items() if name not in NOT_REPRODUCED
        }
        return replace(self, run_id="", provenance=provenance).canonical()


def sweep_result_of_stored(text: str, run_id: str, chart_base64: str | None) -> SweepResult:
    """The result that was stored as this text, with its figure."""
    fields = {**fields_of_stored(text, "superior"), "run_id": run_id}
    return SweepResult(**{**fields, "chart_base64": chart_base64})
