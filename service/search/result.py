"""From the numbers of a sweep's shards to its result: tables, the best, how much of it is luck.

No clock, no output.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from backtest.metrics import Floats
from rules.base_rule import InvalidRule
from rules.optimizer import Grid, SearchTable
from service.contract.errors import InvalidRequest
from service.contract.result import HEADLINE
from service.contract.sweep_result import SWEEP_VERSION, SweepResult
from service.doubt.reality_check import superior_trials
from service.engine.thinning import extremes
from service.engine.version import ENGINE_VERSION
from service.search.cross_validation import cross_validate
from service.search.figure import draw_sweep
from service.search.numbers import SearchNumbers
from service.search.plan import SweepPlan
from service.search.search import (
    AcrossTickers,
    JudgedSearch,
    Search,
    compare_across_tickers,
    joined_trials,
)
from service.search.verdict import USUAL_SIGNIFICANCE
from service.search.walk_forward import WalkForward, WalkForwardStep, walk_forward
from service.trials.records import Tried
from service.trials.skill import Judged

TOO_SHORT = "needs {needed} bars"
STAYS_IN_CASH = "no combination traded in the training: in cash"
KEEPS_POSITION = "no combination traded in the training: the position is kept"
WHOLE_NUMBERS = ("num_trades",)  # whatever they were computed with
CURVE_COLUMNS = 150  # of pixels: each keeps its lowest and its highest bar
WALK_FORWARD_METRICS = ("total_return_pct", "sharpe_ratio", "max_drawdown_pct")


@dataclass(frozen=True)
class EndedShard:
    """Some rows of a sweep with the bytes of their `SearchNumbers`, or why they have none."""

    first_row: int
    end_row: int
    numbers: bytes | None
    reason: str | None = None
    message: str | None = None


@dataclass(frozen=True)
class JudgedSweep:
    """A result, its table, and what the best combination of the first ticker came to.

    `tried` is what it adds to the ledger of all trials, by ticker, `judged` the best of them.
    """

    result: SweepResult
    table_csv: str
    headline: Mapping[str, float | int | None]
    tried: Mapping[str, Tried]
    judged: Mapping[str, Judged | None]


def judge_sweep(
    plan: SweepPlan, shards: Sequence[EndedShard], provenance: Mapping[str, Any]
) -> JudgedSweep:
    """The result of a sweep whose shards have all ended, one of them well at least.

    `provenance` is added to that of the request. Raises InvalidRequest where no row has the metric.
    """
    contents = {shard.first_row: shard.numbers for shard in shards if shard.numbers is not None}
    lost = [shard for shard in shards if shard.numbers is None]
    numbers = plan.numbers_by_ticker(contents)
    tables = {ticker: plan.search(ticker).table(of_ticker) for ticker, of_ticker in numbers.items()}
    judged = _judge_searches(plan, numbers)
    across = _compare_tickers(judged)
    png, panels = draw_sweep(plan.request, tables)
    result = SweepResult(
        run_id=plan.request.run_id,
        status="completed",
        metric=plan.request.metric,
        combinations=len(plan.grid),
        skipped=plan.grid.skipped,
        tickers=[
            _ticker_document(ticker, plan.search(ticker), numbers[ticker], search)
            for ticker, search in judged.items()
        ],
        across=_across_document(plan.grid, across),
        failed=[document for shard in lost for document in _failure_documents(plan, shard)],
        undefined=_tickers_without_the_metric(tables, judged),
        chart_base64="data:image/png;base64," + base64.b64encode(png).decode(),
        panels=panels,
        provenance={**_provenance(plan), **provenance},
        superior=_superior_documents(plan, numbers),
    )
    headline = _headline(judged.get(plan.request.tickers[0]))
    return JudgedSweep(
        result=result,
        table_csv=_table_csv(plan, tables, lost, across),
        headline=headline,
        tried={ticker: plan.search(ticker).tried(numbers[ticker]) for ticker in numbers},
        judged={ticker: search.judged for ticker, search in judged.items()},
    )


def _superior_documents(
    plan: SweepPlan, numbers: Mapping[str, SearchNumbers]
) -> dict[str, dict[str, Any]]:
    """What beats holding by more than luck, by ticker; the tickers share the level (Bonferroni)."""
    found = {}
    for ticker, of_ticker in numbers.items():
        if ticker in of_ticker.contenders:
            level = USUAL_SIGNIFICANCE / len(numbers)
            superior = superior_trials(of_ticker.contenders[ticker], level)
            rule_ids = [plan.grid.rule_at(row).rule_id for row in superior.numbers]
            found[ticker] = {"rule_ids": rule_ids, "is_all": superior.is_all}
    return found


def _judge_searches(
    plan: SweepPlan, numbers: Mapping[str, SearchNumbers]
) -> dict[str, JudgedSearch]:
    """Of each ticker that has the metric in some row; raises InvalidRequest where none has it."""
    judged: dict[str, JudgedSearch] = {}
    errors: list[InvalidRule] = []
    searches = {ticker: plan.search(ticker) for ticker in numbers}
    trials = joined_trials([searches[ticker].trials(numbers[ticker]) for ticker in numbers])
    for ticker, of_ticker in numbers.items():
        reality_check = of_ticker.reality_checks.get(ticker)
        try:
            judged[ticker] = searches[ticker].judge(of_ticker, trials, reality_check)
        except InvalidRule as error:
            errors.append(error)
    if not judged:
        raise InvalidRequest(errors[0].template, **errors[0].values)
    return judged


def _tickers_without_the_metric(
    tables: Mapping[str, SearchTable], judged: Mapping[str, JudgedSearch]
) -> list[str]:
    """Those that were tried, so that their rows stand in the table, and have no best row."""
    return [
        ticker
        for ticker, table in tables.items()
        if ticker not in judged and not np.isnan(table.metrics["num_trades"]).all()
    ]


def _headline(first: JudgedSearch | None) -> dict[str, float | int | None]:
    if first is None:
        return dict.fromkeys(HEADLINE)
    metrics = _metrics_of_row(first.table, first.table.best)
    return {name: metrics.get(name) for name in HEADLINE}


def _ticker_document(
    ticker: str, search: Search, numbers: SearchNumbers, judged: JudgedSearch
) -> dict[str, Any]:
    table = judged.table
    neighbour_count, neighbour_mean, neighbour_worst = table.beside()
    return {
        "ticker": ticker,
        "bars": judged.bars,
        "first_bar": str(search.data.index[0].date()),
        "last_bar": str(search.data.index[-1].date()),
        "too_short": judged.too_short,
        "undefined": judged.undefined,
        "untraded": judged.untraded,
        "tries": judged.tries,
        "buy_and_hold_pct": judged.buy_and_hold_pct,
        "best": {
            **_combination(table.grid, table.best),
            "metrics": _metrics_of_row(table, table.best),
        },
        "neighbours": {
            "count": neighbour_count,
            "mean": _number_or_none(neighbour_mean),
            "worst": _number_or_none(neighbour_worst),
        },
        "statistics": {
            "probabilistic_sharpe_ratio": _number_or_none(judged.probabilistic_sharpe),
            "deflated_sharpe_ratio": _number_or_none(judged.deflated_sharpe),
            "timing_probability": _number_or_none(judged.timing),
            "overfitting_probability": _number_or_none(judged.overfitting),
            "reality_check_p": _number_or_none(judged.reality_check),
        },
        "sentence": judged.sentence,
        "walk_forward": _walk_forward_document(search, numbers),
        "cross_validation": _cross_validation_document(search, numbers),
    }


def _combination(grid: Grid, row: int) -> dict[str, Any]:
    rule = grid.rule_at(row)
    return {"rule_id": rule.rule_id, "params": dict(rule.params)}


def _metrics_of_row(table: SearchTable, row: int) -> dict[str, float | int | None]:
    result: dict[str, float | int | None] = {}
    for name, values in table.metrics.items():
        value = _number_or_none(values[row])
        is_whole = value is not None and name in WHOLE_NUMBERS
        result[name] = int(values[row]) if is_whole else value
    return result


def _walk_forward_document(search: Search, numbers: SearchNumbers) -> dict[str, Any] | None:
    """None without folds."""
    if not search.folds:
        return None
    walk = walk_forward(search, numbers)
    document = {name: walk.result[name] for name in WALK_FORWARD_METRICS}
    document["efficiency"] = _number_or_none(walk.efficiency)
    tested = Tested.of(walk)
    document["curve"] = tested.curve()
    document["folds"] = [_step_document(search, step, tested) for step in walk.steps]
    return document


@dataclass(frozen=True)
class Tested:
    """The bars of all tests of a walk forward: days, equity and buy and hold, all of shape (n,)."""

    days: Sequence[str]
    equity: Floats
    holding: Floats
    first: int  # bar of the search

    @classmethod
    def of(cls, walk: WalkForward) -> Tested:
        """Those of a walk forward."""
        equity = walk.result.equity
        return cls(
            [str(moment.date()) for moment in equity.index],
            equity.to_numpy(dtype=np.float64),
            walk.result.benchmark.to_numpy(dtype=np.float64),
            walk.steps[0].fold.test.start,
        )

    def curve(self) -> list[list[Any]]:
        """Day, equity and buy and hold, both 100 at the start, thinned to what can be seen."""
        bars = len(self.equity)
        kept = {0, bars - 1} | extremes(self.equity, min(bars, CURVE_COLUMNS))
        return [
            [self.days[bar], round(self._value(self.equity, bar), 3), self._held(bar)]
            for bar in sorted(kept)
        ]

    def _value(self, values: Floats, bar: int) -> float:
        return float(100 * values[bar] / values[0])

    def _held(self, bar: int) -> float:
        return round(self._value(self.holding, bar), 3)

    def returns_pct(self, test: slice) -> dict[str, float]:
        """Of one test: from the close before it, or its first one, to its last."""
        last = test.stop - 1 - self.first
        before = max(0, test.start - 1 - self.first)
        return {
            name: round(float(100 * (values[last] / values[before] - 1)), 6)
            for name, values in (("return_pct", self.equity), ("holding_pct", self.holding))
        }


def _step_document(search: Search, step: WalkForwardStep, tested: Tested) -> dict[str, Any]:
    index = search.data.index
    document: dict[str, Any] = {
        "first_bar": str(index[step.fold.test.start].date()),
        "last_bar": str(index[step.fold.test.stop - 1].date()),
        **tested.returns_pct(step.fold.test),
    }
    if step.rule is None:
        note = KEEPS_POSITION if search.terms.allow_short else STAYS_IN_CASH
        return {**document, "rule_id": "", "note": note}
    return {**document, "rule_id": step.rule.rule_id, "note": ""}


def _cross_validation_document(search: Search, numbers: SearchNumbers) -> dict[str, Any] | None:
    """None without folds."""
    if not search.folds:
        return None
    validated = cross_validate(search, numbers)
    return {
        "in_sample": _number_or_none(validated.in_sample),
        "out_of_sample": _number_or_none(validated.out_of_sample),
    }


def _compare_tickers(judged: Mapping[str, JudgedSearch]) -> AcrossTickers | None:
    """None where there is one ticker alone."""
    if len(judged) < 2:
        return None
    return compare_across_tickers(list(judged.values()))


def _across_document(grid: Grid, across: AcrossTickers | None) -> dict[str, Any] | None:
    if across is None:
        return None
    best = int(across.median_ranks.argmin())
    return {
        **_combination(grid, best),
        "median_rank": float(across.median_ranks[best]),
        "beats_buy_and_hold": float(across.shares_above_buy_and_hold[best]),
    }


def _failure_documents(plan: SweepPlan, shard: EndedShard) -> list[dict[str, Any]]:
    """The rows of a lost shard, ticker by ticker, as the result names them."""
    documents = []
    for ticker, rows in plan.pieces(slice(shard.first_row, shard.end_row)):
        document = {
            "ticker": ticker,
            "combinations": rows.stop - rows.start,
            "first": plan.grid.rule_at(rows.start).rule_id,
            "last": plan.grid.rule_at(rows.stop - 1).rule_id,
            "reason": shard.reason or "",
            "message": shard.message or "",
        }
        documents.append(document)
    return documents


def _table_csv(
    plan: SweepPlan,
    tables: Mapping[str, SearchTable],
    lost: Sequence[EndedShard],
    across: AcrossTickers | None,
) -> str:
    """A line for each row of the sweep, in order.

    It has ticker, parameters, metrics, what there is across tickers, and a note where a row has no
    numbers.
    """
    frames = [
        _table_of_ticker(ticker, plan.search(ticker), table, across)
        for ticker, table in tables.items()
    ]
    whole = pd.concat(frames, ignore_index=True)
    for shard in lost:
        whole.loc[shard.first_row : shard.end_row - 1, "note"] = f"failed: {shard.reason}"
    return str(whole.to_csv(index=False, lineterminator="\n"))


def _table_of_ticker(
    ticker: str, search: Search, table: SearchTable, across: AcrossTickers | None
) -> pd.DataFrame:
    columns: dict[str, Any] = {"ticker": ticker, **table.grid.params, **table.metrics}
    for name in WHOLE_NUMBERS:
        columns[name] = pd.array(table.metrics[name], dtype="Int64")
    if across is not None:
        columns["median_rank"] = across.median_ranks
        columns["beats_buy_and_hold"] = across.shares_above_buy_and_hold
    notes = [TOO_SHORT.format(needed=needed + 1) for needed in table.grid.needed]
    columns["note"] = np.where(search.too_short, notes, "")
    return pd.DataFrame(columns)


def _provenance(plan: SweepPlan) -> dict[str, Any]:
    request = plan.request.document()
    del request["run_id"]
    return {
        **request,
        "fill": "next_open",
        "prices_fingerprints": {
            ticker: plan.series_of(ticker).fingerprint for ticker in plan.request.priced_tickers
        },
        "engine_version": ENGINE_VERSION,
        "contract_version": SWEEP_VERSION,
    }


def _number_or_none(value: Any) -> float | None:
    """None for NaN, which JSON does not know."""
    return None if np.isnan(value) else float(value)
