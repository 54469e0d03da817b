"""Runs side by side: curves from a common start, metrics, differences, correlation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, jsonify, make_response, render_template, request

from service.store.rows import Run
from service.usecases.comparing import MAX_COMPARED, Compared, compared
from service.web.drawings import lines_over_time
from service.web.errors import wants_json
from service.web.middleware.conditional import conditional
from service.web.middleware.texts import text
from service.web.openapi.document import answer, cached, describe, json_of, query, text_of
from service.web.openapi.schemas import RUN_ID
from service.web.pages.common import PAGE_OR_JSON
from service.web.pages.files import csv_file
from service.web.presentation import FIELD_LABELS, METRICS, period_of, run_document, shown, utc
from service.web.server.event_loop import run_in_native_thread
from service.web.services import runs_service

bp = Blueprint("compare", __name__)

RUNS = {
    **query(
        "run",
        f"2 to {MAX_COMPARED} different run_ids",
        type="array",
        items=RUN_ID,
        minItems=2,
        maxItems=MAX_COMPARED,
        uniqueItems=True,
    ),
    "required": True,
}
# Of the metrics that say which run is the better one
MORE_IS_BETTER = frozenset(
    {
        "total_return_pct",
        "cagr_pct",
        "sharpe_ratio",
        "sortino_ratio",
        "calmar_ratio",
        "omega_ratio",
        "win_rate_pct",
        "profit_factor",
        "expectancy",
        "avg_trade_pct",
        "alpha",
        "information_ratio",
        "value_at_risk_pct",
        "expected_shortfall_pct",
    }
)
LESS_IS_BETTER = frozenset(
    {"max_drawdown_pct", "max_drawdown_days", "volatility_pct", "total_costs"}
)


@dataclass(frozen=True)
class Row:
    """One line of a table with a column for each run; `best` are the places of the best values."""

    label: str
    values: Sequence[str]
    best: frozenset[int] = frozenset()


@bp.get("/compare")
@describe(
    {200: answer("The runs side by side.", {**json_of("Comparison"), **text_of("text/html")})},
    RUNS,
    PAGE_OR_JSON,
    errors=(400, 404),
)
def compare() -> Response:
    """Compares 2 to 20 runs on the days that they have in common."""
    found = _compared()
    if wants_json():
        return jsonify(_document(found))
    return make_response(render_template("compare.html", **comparison_values(found)))


def comparison_values(found: Compared) -> dict[str, Any]:
    """What the templates of a comparison need."""
    values: dict[str, Any] = {
        "runs": found.rows,
        "comparison": found.comparison,
        "completed": found.completed,
        "differences": list(_differences(found)),
        "metrics": list(_metric_rows(found)),
        "period_of": period_of,
        "shown": shown,
        "utc": utc,
    }
    if found.comparison is not None:
        values |= {
            "common": list(_common_rows(found)),
            "curves": list(_curve_values(found)),
            "lines": lines_over_time([curve.values for curve in found.curves]),
            "correlation": list(_correlation_rows(found)),
        }
    return values


@bp.get("/compare.csv")
@describe(cached("A line per day, a column per run.", text_of("text/csv")), RUNS, errors=(400, 404))
def compare_csv() -> Response:
    """The value of each run, 100 on the first common day."""
    found = _compared()
    comparison = found.comparison
    if comparison is None:
        return conditional(csv_file("date\n", "comparison.csv"))
    names = {run.run_id: f"{label_of_run(run)} {run.run_id[:8]}" for run in found.rows}
    return csv_file(comparison.csv(names), "comparison.csv")


def _compared() -> Compared:
    return compared(runs_service(), request.args.getlist("run"), run_in_native_thread)


def label_of_run(run: Run) -> str:
    """Ticker and rule, as runs are called beside each other."""
    return f"{run.ticker} {run.rule_id}"


def _differences(found: Compared) -> Iterator[Row]:
    for name, values in found.differences.items():
        yield Row(text(FIELD_LABELS[name]), [_asked_text(name, value) for value in values])


def _asked_text(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return text("yes") if value else text("no")
    if name.endswith("_rate"):
        return f"{100 * value:.6g} %"
    return f"{value:,.15g}" if isinstance(value, float) else str(value) or "–"


def _common_rows(found: Compared) -> Iterator[Row]:
    """What the runs came to in the common period."""
    comparison = found.comparison
    assert comparison is not None
    for label, value_of, is_less_better in (
        (text("Return in the common period"), comparison.total_return_pct, False),
        (text("Maximum drawdown in the common period"), comparison.max_drawdown_pct, True),
    ):
        values: list[float | None] = [None] * len(found.rows)
        for curve in found.curves:
            values[curve.number] = value_of(curve.run.run_id)
        traded = [
            value if run.num_trades else None for run, value in zip(found.rows, values, strict=True)
        ]
        best = frozenset(best_of(traded, is_less_better))
        yield Row(label, [shown(value, "%") for value in values], best)


def _metric_rows(found: Compared) -> Iterator[Row]:
    """A row for each metric that any of the runs has."""
    metrics = [found.metrics.get(run.run_id, {}) for run in found.rows]
    for metric in METRICS:
        if not any(metric.name in each for each in metrics):
            continue
        values = [each.get(metric.name) for each in metrics]
        # A run that never traded has no drawdown by no merit of its own.
        traded = [each.get(metric.name) if each.get("num_trades") else None for each in metrics]
        best: set[int] = set()
        if metric.name in MORE_IS_BETTER | LESS_IS_BETTER:
            best = best_of(traded, metric.name in LESS_IS_BETTER)
        yield Row(text(metric.label), [metric.shown(value) for value in values], frozenset(best))


def best_of(values: Sequence[float | None], is_less_better: bool) -> set[int]:
    """The places of the best values; none where all are the same or only one is known."""
    known = [value for value in values if value is not None]
    if len(known) < 2 or min(known) == max(known):
        return set()
    best = min(known) if is_less_better else max(known)
    return {place for place, value in enumerate(values) if value == best}


def _curve_values(found: Compared) -> Iterator[dict[str, Any]]:
    """What the chart in a browser shows of each run; times are in seconds since 1970."""
    for curve in found.curves:
        yield {
            "number": curve.number,
            "label": label_of_run(curve.run),
            "time": curve.seconds,
            "value": curve.values.round(4).tolist(),
            "drawdown": curve.drawdowns.round(4).tolist(),
        }


def _correlation_rows(found: Compared) -> Iterator[dict[str, Any]]:
    assert found.comparison is not None
    for curve in found.curves:
        values = found.comparison.correlations_of(curve.run.run_id)
        yield {
            "number": curve.number + 1,
            "label": label_of_run(curve.run),
            "cells": [shown(None if math.isnan(value) else value, "ratio") for value in values],
        }


def _document(found: Compared) -> dict[str, Any]:
    comparison = found.comparison
    marks = runs_service().run_store.marks_of([run.id for run in found.rows])
    document: dict[str, Any] = {
        "runs": [run_document(run, marks[run.id]) for run in found.rows],
        "metrics": found.metrics,
        "differences": found.differences,
        "first_day": None,
        "last_day": None,
        "correlation": None,
        "shared_days": 0,
    }
    if comparison is not None:
        correlation = comparison.correlation.astype(object)
        document |= {
            "first_day": comparison.first.isoformat(),
            "last_day": comparison.last.isoformat(),
            "correlation": correlation.where(correlation.notna(), None).to_numpy().tolist(),
            "shared_days": comparison.shared_days,
        }
    return document
