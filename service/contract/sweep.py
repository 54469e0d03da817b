"""Sweep request v1: a parameter search, checked, with its defaults filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from service.contract.checks import checked
from service.contract.documents import canonical_json
from service.contract.request import (
    BacktestRequest,
    parse_request,
    without_defaults_of_added,
)

SCHEMA = "sweep.v1"
# The fields that a sweep and the run of one of its combinations have in common.
SHARED_FIELDS = (
    "start_date",
    "end_date",
    "initial_capital",
    "commission_rate",
    "slippage_rate",
    "lot_size",
    "allow_short",
    "risk_free_rate",
    "benchmark",
)


@dataclass(frozen=True)
class SweepRequest:
    """A search of one rule's parameters on the prices of some tickers.

    Dates, rates and capital are those of a BacktestRequest; `grid` has the values of each
    parameter in the forms that `rules.optimizer.grid` takes.
    """

    run_id: str
    tickers: tuple[str, ...]
    rule_id: str
    grid: Mapping[str, Any]
    start_date: date
    end_date: date
    metric: str = "sharpe_ratio"
    initial_capital: float = 100_000.0
    commission_rate: float = 0.001
    slippage_rate: float = 0.0
    lot_size: float = 0.0
    allow_short: bool = False
    folds: int = 0
    anchored: bool = False
    reality_check: bool = False
    risk_free_rate: float = 0.0
    benchmark: str = ""

    def document(self) -> dict[str, Any]:
        """The JSON document, with every default filled in."""
        dates = {"start_date": self.start_date.isoformat(), "end_date": self.end_date.isoformat()}
        return {**asdict(self), "tickers": list(self.tickers), "grid": dict(self.grid), **dates}

    @property
    def priced_tickers(self) -> tuple[str, ...]:
        """The tickers whose prices it needs: its own, and the benchmark."""
        benchmark = (self.benchmark,) if self.benchmark else ()
        return tuple(dict.fromkeys([*self.tickers, *benchmark]))

    def canonical(self) -> str:
        """The canonical JSON text, as it is stored.

        Fields that are younger than the contract are left out where they have their defaults:
        the same request is the same text in every release, and the one before can read it.
        """
        return canonical_json(without_defaults_of_added(self.document()))

    def single(
        self, run_id: str, ticker: str, rule: str, params: Mapping[str, Any]
    ) -> BacktestRequest:
        """The run of one combination on one ticker."""
        document = self.document()
        shared = {name: document[name] for name in SHARED_FIELDS}
        return parse_request(
            {"run_id": run_id, "ticker": ticker, "rule_id": rule, "params": dict(params), **shared}
        )


def parse_sweep(document: object) -> SweepRequest:
    """Raises InvalidRequest with one sentence on the first field that is wrong."""
    fields = checked(document, SCHEMA)
    return SweepRequest(**{**fields, "tickers": tuple(fields["tickers"])})
