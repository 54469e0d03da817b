"""Batch request v1: several tickers and several rules, and what their runs have in common."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from service.contract.checks import checked
from service.contract.documents import canonical_json
from service.contract.errors import InvalidRequest
from service.contract.sweep import SHARED_FIELDS

SCHEMA = "batch.v1"
MAX_RUNS = 500


@dataclass(frozen=True)
class BatchRequest:
    """Every rule on every ticker; a rule has `rule_id` and `params`.

    `shared` are the other fields of a backtest request, the same for all runs.
    """

    batch_id: str
    tickers: tuple[str, ...]
    rules: tuple[Mapping[str, Any], ...]
    shared: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """SHA-256 of all that is asked for, and of the batch_id."""
        document = [self.batch_id, self.tickers, self.rules, self.shared]
        return hashlib.sha256(canonical_json(document).encode()).hexdigest()

    def documents(self) -> Iterator[dict[str, Any]]:
        """A request without a run_id for each run, ticker after ticker."""
        for ticker in self.tickers:
            for rule in self.rules:
                yield {**self.shared, "ticker": ticker, **rule}


def parse_batch(document: object) -> BatchRequest:
    """Raises InvalidRequest with one sentence on what is wrong with the batch as a whole.

    Tickers, rules and parameters are checked with the requests of the single runs.
    """
    fields = checked(document, SCHEMA)
    count = len(fields["tickers"]) * len(fields["rules"])
    if count > MAX_RUNS:
        template = "A batch has at most {most} runs; {count} are asked for."
        raise InvalidRequest(template, most=MAX_RUNS, count=count)
    assert isinstance(document, dict)
    shared = {name: document[name] for name in SHARED_FIELDS if name in document}
    rules = tuple(_rule(entry) for entry in fields["rules"])
    return BatchRequest(fields["batch_id"], tuple(fields["tickers"]), rules, shared)


def _rule(entry: str | Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(entry, str):
        return {"rule_id": entry, "params": {}}
    return {"rule_id": entry["rule_id"], "params": entry.get("params", {})}
