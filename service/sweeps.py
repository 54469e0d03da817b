"""A parameter search on one price series: the table of all combinations, the best, and how much of it is luck."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from backtest.engine import BacktestResult
from backtest.kernel import Terms
from backtest.metrics import Floats, bar_returns, total_return
from rules.base_rule import BaseRule
from rules.optimizer import LESS_IS_BETTER, MOST_COMBINATIONS, Grid, ParameterOptimizer, Progress, SearchTable, grid
from service.contract.errors import InvalidRequest, NoData
from service.grid import AT_ONCE, DEFAULT_METRICS, ONE_BY_ONE, GridEvaluator, engine_on
from service.reality_check import RealityCheck
from service.search_statistics import (
    blocks_of,
    deflated_sharpe_ratio,
    overfitting_probability,
    sentence,
    skill_probability,
)

BLOCKS = 10  # of time, for the probability of overfitting: 252 ways to halve them


@dataclass(frozen=True)
class Sweep:
    """The table, and what can be said of its best row; NaN where something is undefined.

    `probabilistic_sharpe` is the probability of skill as if nothing else had been tried, `deflated_sharpe` that after
    all the tries, `overfitting` a probability too, `reality_check` the p-value against buy and hold on the same terms,
    where it was asked for. `too_short` counts the rows that need more bars than there are; `buy_and_hold_pct` is the
    total return of buy and hold.
    """

    table: SearchTable
    bars: int
    buy_and_hold_pct: float
    too_short: int
    probabilistic_sharpe: float
    deflated_sharpe: float
    overfitting: float
    reality_check: float

    @property
    def sentence(self) -> str:
        """What the statistics mean for this search."""
        return sentence(self.deflated_sharpe, self.overfitting)


def sweep(
    data: pd.DataFrame,
    rule: type[BaseRule],
    asked: Mapping[str, object],
    terms: Terms,
    metric: str = "sharpe_ratio",
    most: int = MOST_COMBINATIONS,
    progress: Progress = lambda done, every: None,
    reality_check: bool = False,
) -> Sweep:
    """Every combination of the values `asked` for (see `rules.optimizer.grid`) on the bars of `data`.

    Raises InvalidRule, InvalidRequest or NoData with a sentence that says how to mend it.
    """
    engine = engine_on(terms)
    wanted = dict.fromkeys([*DEFAULT_METRICS, _known(metric)])
    searched = grid(rule, asked, most)
    if len(data) < 2:
        raise NoData("There are {bars} bars in these dates; a search needs at least 2.", bars=len(data))
    blocks = blocks_of(len(data), BLOCKS)
    evaluate = GridEvaluator(data, rule, terms, list(wanted), blocks)
    table = ParameterOptimizer(evaluate, metric).run(searched, progress)
    too_short = int(np.count_nonzero(np.isnan(table.metrics["num_trades"])))
    if too_short == len(searched):
        least = searched.rule_at(0).warm_up + 1
        template = "None of the {count} combinations can be tried: {rule} needs {needed} bars, there are {bars}."
        values = {"count": len(searched), "rule": searched.rule_at(0).rule_id, "needed": least, "bars": len(data)}
        raise NoData(template, **values)
    best = engine.run(data, searched.rule_at(table.best).generate_signals)
    sharpe_ratios = table.metrics["sharpe_ratio"] / np.sqrt(evaluate.periods)
    returns = bar_returns(best.equity.to_numpy())
    alone, deflated = skill_probability(returns), deflated_sharpe_ratio(returns, sharpe_ratios)
    length = blocks[0].stop - blocks[0].start
    luck = overfitting_probability(table.metrics["block_sums"], table.metrics["block_squares"], length)
    checked = _reality_check(evaluate, searched, best) if reality_check else np.nan
    held = 100 * float(total_return(best.benchmark.to_numpy()))
    return Sweep(table, len(data), held, too_short, alone, deflated, luck, checked)


def _known(metric: str) -> str:
    names = (*AT_ONCE, *ONE_BY_ONE)
    if metric not in names:
        raise InvalidRequest(
            "There is no metric {name}; choose one of {names}.", name=metric[:40], names=", ".join(names)
        )
    return metric


def _reality_check(evaluate: GridEvaluator, searched: Grid, best: BacktestResult) -> float:
    held = bar_returns(best.benchmark.to_numpy())
    check = RealityCheck(len(held))
    for returns in evaluate.returns(searched.params):
        check.add(returns - held)
    return check.p_value


def across(sweeps: Sequence[Sweep]) -> tuple[Floats, Floats]:
    """Of the same combinations on several price series, (m,) each: the median of their ranks (1 is the best, equal ones
    share theirs), and on which share of the series they end above buy and hold."""
    ranks, beats = [], []
    for found in sweeps:
        score = found.table.metrics[found.table.metric]
        better = np.nan_to_num(score if found.table.metric in LESS_IS_BETTER else -score, nan=np.inf)
        ranks.append(1 + np.searchsorted(np.sort(better), better))
        beats.append(found.table.metrics["total_return_pct"] > found.buy_and_hold_pct)
    return np.median(ranks, axis=0), np.mean(beats, axis=0)
