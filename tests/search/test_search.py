"""A search on one price series: its table, its statistics, and what it refuses."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest

from backtest.engine import BacktestEngine
from backtest.kernel import Terms
from rules.optimizer import LESS_IS_BETTER, grid
from rules.registry import BUILT_IN, rule_from_id
from service.contract.errors import InvalidRequest, NoData
from service.doubt.reality_check import superior_trials
from service.search.chunk_metrics import CHUNK_METRICS, SEARCH_METRICS, SINGLE_RUN_METRICS
from service.search.evaluator import CELLS_PER_CHUNK
from service.search.search import (
    JudgedSearch,
    Search,
    compare_across_tickers,
    joined_trials,
)
from tests.support.prices import prices
from tests.support.searches import PLAIN

SIXTEEN = {"fast": "5:50:15", "slow": "20:100:20"}


def searched(
    data: pd.DataFrame,
    rule: str,
    asked: Mapping[str, object],
    metric: str = "sharpe_ratio",
    reality_check: bool = False,
) -> JudgedSearch:
    search = Search(data, grid(BUILT_IN[rule], asked), PLAIN, metric)
    checked = search.reality_check().largest if reality_check else None
    return search.judge(search.numbers(), reality_check=checked)


def test_every_metric_of_a_result_may_be_searched_by() -> None:
    result = BacktestEngine().run(prices(), rule_from_id("MA_CROSS").generate_signals)
    headline = {"total_return_pct", "sharpe_ratio", "max_drawdown_pct", "num_trades"}
    assert set(SEARCH_METRICS) == headline | set(result["metrics"])
    assert set(CHUNK_METRICS).isdisjoint(SINGLE_RUN_METRICS)
    assert set(SEARCH_METRICS) > LESS_IS_BETTER


def test_the_best_its_statistics_and_the_table() -> None:
    judged = searched(prices(), "MA_CROSS", SIXTEEN)
    table = judged.table
    assert (len(table.grid), judged.bars, table.grid.skipped) == (16, 2699, 4)
    assert (np.diff(table.metrics["sharpe_ratio"][table.order()]) <= 0).all()
    best = table.grid.rule_at(table.best)
    alone = BacktestEngine().run(prices(), best.generate_signals)
    assert table.metrics["total_return_pct"][table.best] == alone["total_return_pct"]
    assert table.metrics["sharpe_ratio"].max() == alone["sharpe_ratio"]
    assert 0 < judged.deflated_sharpe < judged.probabilistic_sharpe < 1
    assert math.isnan(judged.reality_check), "nobody asked for it"
    count, mean, worst = table.beside()
    assert count > 0
    assert worst <= mean <= alone["sharpe_ratio"]


def test_combinations_that_beat_holding_are_named_also_of_later_chunks() -> None:
    """A price that turns every 40 bars: crossings of a few bars follow it."""
    random = np.random.Generator(np.random.PCG64(3))
    drift = np.where(np.arange(1500) // 40 % 2, 0.012, -0.012)
    close = 100 * np.exp(np.cumsum(drift + random.normal(0.0, 0.004, 1500)))
    opened = np.append(100.0, close[:-1])
    columns = {
        "Open": opened,
        "High": np.maximum(opened, close),
        "Low": np.minimum(opened, close),
        "Close": close,
        "Volume": np.ones(1500),
    }
    data = pd.DataFrame(columns, index=pd.bdate_range("2014-01-01", periods=1500))
    slow_first = {"fast": [*range(200, 10, -5), 3, 2], "slow": [10, 210, 300, 400, 500, 600]}
    rows = grid(BUILT_IN["MA_CROSS"], slow_first)
    assert len(rows) > CELLS_PER_CHUNK // len(data), "there are two chunks"
    check = Search(data, rows, PLAIN, "sharpe_ratio").reality_check()
    named = {rows.rule_at(row).rule_id for row in superior_trials(check.contenders).numbers}
    assert {"MA_CROSS_2_10", "MA_CROSS_3_10"} <= named
    assert len(named) < 20


def test_a_reality_check() -> None:
    """GOOG held for these years is hard to beat."""
    assert searched(prices(), "MA_CROSS", SIXTEEN, reality_check=True).reality_check > 0.5


def test_more_folds_than_there_are_bars_for() -> None:
    sentence = "A walk forward of 2000 folds needs 4008 bars, there are 2699."
    with pytest.raises(InvalidRequest, match=sentence):
        Search(prices(), grid(BUILT_IN["MA_CROSS"], SIXTEEN), PLAIN, "sharpe_ratio", folds=2000)


@pytest.mark.parametrize("metric", ["max_drawdown_pct", "profit_factor"])
def test_another_metric(metric: str) -> None:
    judged = searched(prices(), "MA_CROSS", {"fast": [5, 20], "slow": [50, 100]}, metric)
    scores = judged.table.metrics[metric]
    assert judged.table.best == (scores.argmin() if metric in LESS_IS_BETTER else scores.argmax())


def test_rows_that_need_more_bars_than_there_are_are_counted() -> None:
    judged = searched(prices(bars=100), "MOMENTUM", {"lookback": "50:150:50"})
    assert (len(judged.table.grid), judged.too_short) == (3, 2)
    with pytest.raises(
        NoData,
        match="None of the 2 combinations can be tried: MOMENTUM_100 needs 102 bars, there are",
    ):
        searched(prices(bars=100), "MOMENTUM", {"lookback": [100, 150]})


def test_no_bars() -> None:
    sentence = "There are 0 bars in these dates; a search needs at least 2."
    with pytest.raises(NoData, match=sentence):
        searched(prices(bars=0), "MA_CROSS", SIXTEEN)


def test_what_is_too_short_was_not_tried() -> None:
    """It changes nothing of what is said of the others."""
    data = prices("AMZN").iloc[-700:]
    short = {"fast": [5, 10, 20], "slow": [30, 60, 100]}
    alone = searched(data, "MA_CROSS", short, reality_check=True)
    longer = {"fast": [5, 10, 20], "slow": [30, 60, 100, 800, 900]}
    more = searched(data, "MA_CROSS", longer, reality_check=True)
    assert more.too_short == 6
    assert (more.deflated_sharpe, more.overfitting) == (alone.deflated_sharpe, alone.overfitting)
    assert more.reality_check == alone.reality_check


def test_who_never_traded_comes_after_all_who_did() -> None:
    """Doing nothing has no drawdown."""
    judged = searched(prices(), "BB", {"period": [20], "width": [1, 2, 10]}, "max_drawdown_pct")
    assert judged.table.metrics["max_drawdown_pct"][2] == judged.table.metrics["num_trades"][2] == 0
    assert judged.table.best != 2
    assert judged.table.order()[-1] == 2
    assert judged.table.ranks().max() == judged.table.ranks()[2] == 3
    neighbour = judged.table.metrics["max_drawdown_pct"][1 - judged.table.best]
    assert judged.table.beside() == (1, neighbour, neighbour)


def test_the_worst_neighbour_is_the_largest_where_less_is_better() -> None:
    values = {"fast": [5, 10, 20], "slow": [50]}
    for metric, worst in (("max_drawdown_pct", np.max), ("sharpe_ratio", np.min)):
        table = searched(prices(), "MA_CROSS", values, metric).table
        assert table.beside()[2] == worst(table.metrics[metric][table.neighbours()])


def test_rows_without_the_metric_are_counted() -> None:
    """A rule that never lost has no profit factor."""
    data = prices().loc["2013-01-01":"2019-12-31"]
    values = {"period": 5, "oversold": 15, "overbought": [80, 90]}
    judged = searched(data, "RSI", values, "profit_factor")
    assert judged.undefined == 1
    assert judged.table.grid.rule_at(judged.table.best).rule_id == "RSI_5_15_80"


def test_an_unknown_metric_is_refused_by_name() -> None:
    with pytest.raises(
        InvalidRequest,
        match="There is no metric sharp; choose one of total_return_pct, sharpe_ratio",
    ):
        searched(prices(), "MA_CROSS", {"fast": [5]}, "sharp")


def test_terms_that_the_engine_refuses() -> None:
    free_of_capital = Terms(0.0, 0.001, 0.0, 0.0, False)
    with pytest.raises(
        InvalidRequest, match=r"initial_capital must be above 0 and finite, got 0\.0\."
    ):
        Search(prices(), grid(BUILT_IN["RSI"], {"period": [7]}), free_of_capital, "sharpe_ratio")


def test_several_tickers() -> None:
    names = ["GOOG", "SPY", "AAPL"]
    searches = [searched(prices(name), "MA_CROSS", SIXTEEN) for name in names]
    across = compare_across_tickers(searches)
    scores = pd.DataFrame([judged.table.metrics["sharpe_ratio"] for judged in searches])
    medians = scores.rank(axis=1, ascending=False, method="min").median()
    assert medians.tolist() == across.median_ranks.tolist()
    for row in (0, 7):
        rule = searches[0].table.grid.rule_at(row)
        runs = [BacktestEngine().run(prices(name), rule.generate_signals) for name in names]
        beaten = [
            run["total_return_pct"] > run["metrics"]["buy_and_hold_return_pct"] for run in runs
        ]
        assert across.shares_above_buy_and_hold[row] == pytest.approx(sum(beaten) / 3)


RSI_GRID = {"period": "10:30:5", "oversold": "5:40:5", "overbought": "60:75:5"}


@pytest.mark.parametrize(
    ("ticker", "traded", "overfitting"), [("GOOG", 60, 0.83), ("SPY", None, 0.29)]
)
def test_rows_that_never_trade_are_in_no_statistic(
    ticker: str, traded: int | None, overfitting: float
) -> None:
    """Most of these combinations never buy; those that do are mostly overfitted."""
    data = prices(ticker).loc["2013-01-02":"2020-02-07"]  # type: ignore[misc]
    judged = searched(data, "RSI", RSI_GRID, reality_check=True)
    trades = judged.table.metrics["num_trades"]
    assert (len(trades), judged.untraded) == (160, np.count_nonzero(trades == 0))
    assert judged.tries == 160 - judged.untraded
    assert traded is None or judged.tries == traded
    assert judged.overfitting == pytest.approx(overfitting, abs=0.01)


def test_more_rows_that_never_trade_change_nothing() -> None:
    """RSI of 14 bars never falls to 1 there: values that nobody could trade prove no skill."""
    data = prices("SPY").loc["2013-01-02":"2020-02-07"]  # type: ignore[misc]
    asked = {"period": [14], "oversold": [30, 35, 40], "overbought": "60:75:5"}
    alone = searched(data, "RSI", asked, "total_return_pct", reality_check=True)
    idle = [round(0.01 * number, 2) for number in range(1, 101)]
    padded = {**asked, "oversold": [*idle, 30, 35, 40]}
    more = searched(data, "RSI", padded, "total_return_pct", reality_check=True)
    assert (alone.untraded, more.untraded) == (0, 400)
    for name in ("deflated_sharpe", "timing", "overfitting", "reality_check", "tries", "sentence"):
        assert getattr(more, name) == getattr(alone, name), name


def test_nothing_traded_at_all() -> None:
    asked = {"period": [14], "oversold": [1], "overbought": [98, 99]}
    judged = searched(prices(), "RSI", asked, "total_return_pct", reality_check=True)
    assert (judged.tries, judged.untraded) == (0, 2)
    assert judged.sentence == "No combination traded: there is nothing to judge."
    assert math.isnan(judged.timing)
    assert math.isnan(judged.overfitting)
    assert math.isnan(judged.reality_check)


def test_who_is_chosen_among_several_tickers_was_tried_on_all_of_them() -> None:
    searches = [
        Search(prices(name), grid(BUILT_IN["MA_CROSS"], SIXTEEN), PLAIN, "sharpe_ratio")
        for name in ("GOOG", "SPY", "AAPL")
    ]
    numbers = [search.numbers() for search in searches]
    trials = joined_trials(
        [search.trials(own) for search, own in zip(searches, numbers, strict=True)]
    )
    for search, own in zip(searches, numbers, strict=True):
        reality_check = search.reality_check().largest
        alone = search.judge(own, reality_check=reality_check)
        among = search.judge(own, trials, reality_check)
        assert (alone.tries, among.tries) == (16, 48)
        assert among.deflated_sharpe < alone.deflated_sharpe
        assert among.reality_check == pytest.approx(min(1, 3 * alone.reality_check))
        assert among.probabilistic_sharpe == alone.probabilistic_sharpe


def test_cash_does_not_beat_a_falling_ticker() -> None:
    """Who never trades ends above a ticker that falls, and has beaten nobody."""
    falling = prices().iloc[:400].copy()
    for name in ("Open", "High", "Low", "Close"):
        falling[name] = 100 * 0.999 ** np.arange(400)
    asked = {"fast": [10], "slow": [30]}
    judged = [searched(falling, "MA_CROSS", asked, "total_return_pct") for _ in range(2)]
    assert judged[0].untraded == 1
    assert judged[0].buy_and_hold_pct < 0
    assert compare_across_tickers(judged).shares_above_buy_and_hold.tolist() == [0.0]
