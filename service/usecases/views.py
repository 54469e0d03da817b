"""What pages show of a completed run beyond its result: the tear sheet, the chart, its figure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pandas as pd

from rules.base_rule import BaseRule
from service.contract.documents import canonical_json
from service.contract.errors import InvalidRequest, NoResult
from service.contract.request import BacktestRequest, parse_request
from service.contract.result import BacktestResult, result_of_stored
from service.contract.status import Status
from service.engine.adapter import rule_of
from service.engine.look import WORDS, Look
from service.engine.version import ENGINE_VERSION, FROZEN_VERSION
from service.report.bars import Bars, bars_from_csv
from service.report.chart import chart_of
from service.report.overview import lines_of
from service.report.sheet import sheet_of
from service.store.rows import Run, reading
from service.usecases.runs import Runs

FIGURE_WORDS = WORDS

# Calls a function with its arguments, perhaps in another thread.
Compute = Callable[..., Any]


def called_here(function: Callable[..., Any], *arguments: object) -> Any:
    """The simplest Compute."""
    return function(*arguments)


@dataclass(frozen=True)
class View:
    """One completed run as it is shown; what costs time is made once, when it is asked for."""

    runs: Runs
    run: Run
    result: BacktestResult
    compute: Compute = called_here

    @cached_property
    def request(self) -> BacktestRequest:
        """What was asked."""
        return parse_request(json.loads(self.run.request))

    @cached_property
    def sheet(self) -> Mapping[str, Any]:
        """The tear sheet: stored with a long run, else made of its bars."""
        if self._overview is not None:
            return dict(self._overview["sheet"])
        asked = self.request
        version = self.result.provenance.get("engine_version", ENGINE_VERSION)
        terms = (asked.initial_capital, asked.risk_free_rate, version)
        return dict(self.compute(sheet_of, self.bars, self.trades, *terms))

    def chart(self, first: int = 0, end: int | None = None) -> str:
        """The chart of the bars from `first` up to `end`, not included, as JSON."""
        if first == 0 and end is None and self._overview is not None:
            return canonical_json(self._overview["chart"])
        chart = self.compute(_chart, self.bars, self.trades, self.rule, first, end)
        return canonical_json(chart)

    @cached_property
    def _overview(self) -> Mapping[str, Any] | None:
        stored = self.runs.run_store.overview_of(self.run)
        with reading(f"What is shown of run {self.run.run_id}"):
            return None if stored is None else json.loads(stored)

    def figure(
        self, words: Mapping[str, str], is_dark: bool, draw: Compute = called_here
    ) -> bytes | None:
        """The figure as PNG, with a translation of each of FIGURE_WORDS, or English without any.

        None where its prices are gone. Only one figure may be drawn at a time: `draw` sees to it.
        """
        # Few ask for it, and Matplotlib takes half a second and 40 MB.
        from service.engine.figure import draw_figure

        bars = self.bars
        if bars.prices is None:
            return None
        columns = {
            "close": bars.prices["Close"].to_numpy(),
            "equity": bars.equity,
            "drawdown": bars.drawdown,
            "buy_and_hold": bars.holding,
        }
        png: bytes = draw(
            draw_figure,
            pd.DataFrame(columns, index=bars.index),
            self.trades,
            f"{self.run.ticker}  {self.run.rule_id}",
            self.result.provenance.get("engine_version") == FROZEN_VERSION,
            Look(words, is_dark),
        )
        return png

    @property
    def trades(self) -> Sequence[Mapping[str, Any]]:
        """The trades of the result, in order of their entries."""
        return self.result.trades

    @cached_property
    def bars(self) -> Bars:
        """Every bar of the run."""
        table_csv = self.runs.run_store.table_of(self.run)
        if table_csv is None:
            raise NoResult(self.run.run_id, self.run.status)
        series = self.runs.price_store.read(self.run.prices_fingerprint)
        bars: Bars = self.compute(bars_from_csv, table_csv, series)
        return bars

    @cached_property
    def rule(self) -> BaseRule | None:
        """The rule of the run, None where it is no longer installed."""
        try:
            return rule_of(self.request.rule_id, self.request.params, validate=False)
        except InvalidRequest:
            return None


def _chart(
    bars: Bars,
    trades: Sequence[Mapping[str, Any]],
    rule: BaseRule | None,
    first: int,
    end: int | None,
) -> dict[str, Any]:
    return chart_of(bars, trades, lines_of(rule, bars), first, end)


def view_of(runs: Runs, run: Run, compute: Compute = called_here) -> View:
    """The view of a completed run; raises NoResult.

    `compute` calls functions that compute for long and read nothing.
    """
    text = runs.run_store.document_of(run) if run.status == Status.COMPLETED else None
    if text is None:
        raise NoResult(run.run_id, run.status)
    with reading(f"The result of run {run.run_id}"):
        result = replace(result_of_stored(text, None), run_id=run.run_id)
    return View(runs, run, result, compute)
