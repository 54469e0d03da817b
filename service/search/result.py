"""From the numbers of a sweep's shards to its result: tables, the best, how much of it is luck. No clock, no output."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from backtest.engine import ENGINE_VERSION
from rules.base_rule import InvalidRule
from rules.optimizer import Grid, SearchTable
from service.contract.errors import InvalidRequest
from service.contract.result import HEADLINE
from service.contract.sweep_result import SWEEP_VERSION, SweepResult
from service.search.cross_validation import cross_validate
from service.search.figure import draw_sweep
from service.search.plan import Arrays, SweepPlan, lucks
from service.search.search import BLOCKS, Sweep, across
from service.search.walk_forward import walk_forward

TOO_SHORT = "needs {needed} bars"
COUNTS = ("num_trades",)  # whole numbers, whatever they were computed with


@dataclass(frozen=True)
class EndedShard:
    """Some rows of a sweep and what they came to (npz), or why they have no numbers."""

    first_row: int
    end_row: int
    numbers: bytes | None
    reason: str | None = None
    message: str | None = None


@dataclass(frozen=True)
class Judged:
    """A result, the table that belongs to it, and what the best combination of the first ticker came to."""

    result: SweepResult
    table_csv: str
    headline: Mapping[str, float | int | None]


def judged(plan: SweepPlan, shards: Sequence[EndedShard], provenance: Mapping[str, Any]) -> Judged:
    """The result of a sweep whose shards have all ended, one of them well at least; raises InvalidRequest."""
    done = {shard.first_row: shard.numbers for shard in shards if shard.numbers is not None}
    tables = plan.tables(done)
    lost = {shard.first_row: shard for shard in shards if shard.numbers is None}
    sweeps = _sweeps(plan, tables, lucks(done.values()))
    common = across(list(sweeps.values())) if len(sweeps) > 1 else None
    png, panels = draw_sweep(plan.request, tables)
    result = SweepResult(
        run_id=plan.request.run_id,
        status="completed",
        metric=plan.request.metric,
        combinations=len(plan.grid),
        skipped=plan.grid.skipped,
        tickers=[_ticker(plan, name, found) for name, found in sweeps.items()],
        across=None if common is None else _across(plan.grid, *common),
        failed=[each for shard in lost.values() for each in _failed(plan, shard)],
        undefined=[name for name in tables if name not in sweeps and _tried(tables[name])],
        chart_base64="data:image/png;base64," + base64.b64encode(png).decode(),
        panels=panels,
        provenance={**_provenance(plan), **provenance},
    )
    asked_first = sweeps.get(plan.request.tickers[0])
    first = {} if asked_first is None else _metrics(asked_first.table, asked_first.table.best)
    return Judged(
        result, _csv(plan, tables, lost, common), {name: first.get(name) for name in HEADLINE}
    )


def _sweeps(plan: SweepPlan, tables: Mapping[str, SearchTable], luck: Arrays) -> dict[str, Sweep]:
    """Of each ticker that has the metric in some row; raises InvalidRequest where none has."""
    found, errors = dict[str, Sweep](), list[InvalidRule]()
    for name, table in tables.items():
        try:
            found[name] = plan.search(name).judged(table, luck.get(name))
        except InvalidRule as error:
            errors.append(error)
    if not found:
        raise InvalidRequest(errors[0].template, **errors[0].values)
    return found


def _ticker(plan: SweepPlan, name: str, found: Sweep) -> dict[str, Any]:
    data, table = plan.search(name).data, found.table
    statistics = {
        "probabilistic_sharpe_ratio": found.probabilistic_sharpe,
        "deflated_sharpe_ratio": found.deflated_sharpe,
        "overfitting_probability": found.overfitting,
        "reality_check_p": found.reality_check,
    }
    return {
        "ticker": name,
        "bars": found.bars,
        "first_bar": str(data.index[0].date()),
        "last_bar": str(data.index[-1].date()),
        "too_short": found.too_short,
        "undefined": found.undefined,
        "buy_and_hold_pct": found.buy_and_hold_pct,
        "best": {**_named(table.grid, table.best), "metrics": _metrics(table, table.best)},
        "neighbours": _neighbours(table),
        "statistics": {key: _number(value) for key, value in statistics.items()},
        "sentence": found.sentence,
        "walk_forward": _walked(plan, data, table) if plan.request.folds else None,
        "cross_validation": _validated(plan, data, table) if plan.request.folds else None,
    }


def _named(searched: Grid, row: int) -> dict[str, Any]:
    rule = searched.rule_at(row)
    return {"rule_id": rule.rule_id, "params": dict(rule.params)}


def _metrics(table: SearchTable, row: int) -> dict[str, float | int | None]:
    values = {name: _number(each[row]) for name, each in table.metrics.items() if each.ndim == 1}
    return {
        name: int(value) if name in COUNTS and value is not None else value
        for name, value in values.items()
    }


def _neighbours(table: SearchTable) -> dict[str, Any]:
    count, mean, worst = table.beside()
    return {"count": count, "mean": _number(mean), "worst": _number(worst)}


def _walked(plan: SweepPlan, data: pd.DataFrame, table: SearchTable) -> dict[str, Any] | None:
    """None where the metric is undefined for every combination in one of the trainings."""
    request = plan.request
    try:
        terms, metric = plan.terms, request.metric
        walk = walk_forward(
            data, plan.grid, terms, metric, request.folds, request.anchored, table.metrics
        )
    except InvalidRule:
        return None
    folds = [
        {
            "first_bar": str(data.index[fold.test.start].date()),
            "last_bar": str(data.index[fold.test.stop - 1].date()),
            "rule_id": fold.rule.rule_id,
        }
        for fold in walk.folds
    ]
    kept = {
        name: walk.result[name] for name in ("total_return_pct", "sharpe_ratio", "max_drawdown_pct")
    }
    return {**kept, "efficiency": _number(walk.efficiency), "folds": folds}


def _validated(plan: SweepPlan, data: pd.DataFrame, table: SearchTable) -> dict[str, Any]:
    blocks = {name: table.metrics[name][:, BLOCKS:] for name in ("block_sums", "block_squares")}
    numbers = {"num_trades": table.metrics["num_trades"], **blocks}
    found = cross_validate(data, plan.grid, plan.terms, plan.request.folds, numbers)
    return {"in_sample": _number(found.in_sample), "out_of_sample": _number(found.out_of_sample)}


def _across(searched: Grid, ranks: Any, beats: Any) -> dict[str, Any]:
    best = int(ranks.argmin())
    numbers = {"median_rank": float(ranks[best]), "beats_buy_and_hold": float(beats[best])}
    return {**_named(searched, best), **numbers}


def _tried(table: SearchTable) -> bool:
    return not np.isnan(table.metrics["num_trades"]).all()


def _failed(plan: SweepPlan, shard: EndedShard) -> list[dict[str, Any]]:
    """Its rows, ticker by ticker, as the result names them."""
    why = {"reason": shard.reason or "", "message": shard.message or ""}
    found = []
    for ticker, rows in plan.pieces(slice(shard.first_row, shard.end_row)):
        ends = {
            "first": plan.grid.rule_at(rows.start).rule_id,
            "last": plan.grid.rule_at(rows.stop - 1).rule_id,
        }
        found.append({"ticker": ticker, "combinations": rows.stop - rows.start, **ends, **why})
    return found


def _csv(
    plan: SweepPlan, tables: Mapping[str, SearchTable], lost: Mapping[int, EndedShard], common: Any
) -> str:
    """ticker, parameters, metrics, what there is across tickers, and a note where a row has no numbers."""
    parts = []
    for name, table in tables.items():
        metrics: dict[str, Any] = {
            key: each for key, each in table.metrics.items() if each.ndim == 1
        }
        metrics |= {key: pd.array(metrics[key], dtype="Int64") for key in COUNTS}
        ranks = (
            {} if common is None else {"median_rank": common[0], "beats_buy_and_hold": common[1]}
        )
        search = plan.search(name)
        notes = np.where(
            search.too_short, [TOO_SHORT.format(needed=each + 1) for each in plan.grid.needed], ""
        )
        parts.append(
            pd.DataFrame({"ticker": name, **plan.grid.params, **metrics, **ranks, "note": notes})
        )
    whole = pd.concat(parts, ignore_index=True)
    for first, shard in lost.items():
        whole.loc[first : shard.end_row - 1, "note"] = f"failed: {shard.reason}"
    return str(whole.to_csv(index=False, lineterminator="\n"))


def _provenance(plan: SweepPlan) -> dict[str, Any]:
    asked = plan.request.document()
    del asked["run_id"]
    prices = {name: plan.series_of(name).fingerprint for name in plan.request.tickers}
    versions = {"engine_version": ENGINE_VERSION, "contract_version": SWEEP_VERSION}
    return {**asked, "fill": "next_open", "prices_fingerprints": prices, **versions}


def _number(value: Any) -> float | None:
    """JSON knows no NaN."""
    return None if np.isnan(value) else float(value)
