"""The use case of comparing runs: their curves, their metrics, and what was asked differently."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from service.contract.errors import InvalidRequest, RunNotFound
from service.contract.request import parse_request
from service.contract.result import HEADLINE
from service.contract.status import BACKTEST, Status
from service.report.comparison import (
    Comparison,
    comparison_of,
    daily_equity,
    kept_days,
    seconds_of,
)
from service.store.rows import Run, reading
from service.usecases.runs import Runs
from service.usecases.views import called_here

MAX_COMPARED = 20

Compute = Callable[..., Any]


@dataclass(frozen=True)
class Curve:
    """One run as it is drawn; `number` is its place among the runs that are compared.

    `values` has 100 on the first common day, `drawdowns` are percentages; both by day, thinned to
    what can be seen, and `seconds` has the same days as seconds since 1970.
    """

    number: int
    run: Run
    seconds: Sequence[int]
    values: pd.Series
    drawdowns: pd.Series


@dataclass(frozen=True)
class Compared:
    """Runs to be compared, in the order in which they were named.

    What costs time is made once, when it is asked for, by `compute`.
    """

    runs: Runs
    rows: Sequence[Run]
    compute: Compute = called_here

    @property
    def completed(self) -> list[Run]:
        """Those that have a result."""
        return [run for run in self.rows if run.status == Status.COMPLETED]

    @cached_property
    def comparison(self) -> Comparison | None:
        """On the common period, by run_id; None where there is none."""
        equities: dict[str, pd.Series] = {}
        for run in self.completed:
            table = self.runs.run_store.table_of(run)
            if table is not None:
                equities[run.run_id] = self.compute(daily_equity, table)
        return comparison_of(equities) if equities else None

    @cached_property
    def curves(self) -> list[Curve]:
        """A curve for each run that has a result; none without a common period."""
        comparison = self.comparison
        if comparison is None:
            return []
        curves = []
        days = kept_days(comparison.values)
        for number, run in enumerate(self.rows):
            if run.run_id in comparison.values:
                values = comparison.values[run.run_id].loc[days].dropna()
                drawdowns = comparison.drawdowns[run.run_id].loc[values.index]
                curves.append(Curve(number, run, seconds_of(values.index), values, drawdowns))
        return curves

    @cached_property
    def metrics(self) -> dict[str, Mapping[str, Any]]:
        """All metrics of each completed run, by run_id."""
        found: dict[str, Mapping[str, Any]] = {}
        for run in self.completed:
            document = self.runs.run_store.document_of(run)
            if document is not None:
                with reading(f"The result of run {run.run_id}"):
                    result = json.loads(document)
                    headline = {name: result[name] for name in HEADLINE}
                    found[run.run_id] = {**result["metrics"], **headline}
        return found

    @cached_property
    def differences(self) -> dict[str, list[Any]]:
        """The fields of the requests that differ, with the value of each run."""
        documents = [
            # The rule as performed has the parameters in its name.
            {**parse_request(json.loads(run.request)).document(), "rule_id": run.rule_id}
            for run in self.rows
        ]
        fields = [name for name in documents[0] if name not in ("run_id", "params")]
        values = {name: [document[name] for document in documents] for name in fields}
        return {name: each for name, each in values.items() if each.count(each[0]) < len(each)}


def compared(runs: Runs, run_ids: Sequence[str], compute: Compute = called_here) -> Compared:
    """The runs to compare; raises InvalidRequest for too few or too many, or RunNotFound."""
    different = list(dict.fromkeys(run_ids))
    if not 2 <= len(different) <= MAX_COMPARED:
        template = "Choose 2 to {most} runs to compare; got {count}."
        raise InvalidRequest(template, most=MAX_COMPARED, count=len(different))
    rows = runs.run_store.by_ids(different)
    for run_id in different:
        if run_id not in rows:
            raise RunNotFound(run_id)
        if rows[run_id].bad_columns:
            raise InvalidRequest("Run {run_id} cannot be read; compare without it.", run_id=run_id)
        if rows[run_id].kind != BACKTEST:
            template = "{run_id} is no backtest; only backtests can be compared."
            raise InvalidRequest(template, run_id=run_id)
    return Compared(runs, [rows[run_id] for run_id in different], compute)
