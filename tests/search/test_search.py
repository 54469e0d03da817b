"""A search from the command line: its table, its statistics, and what it refuses."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from backtest.engine import BacktestEngine
from rules.optimizer import LESS_IS_BETTER
from rules.registry import BUILT_IN, rule_from_id
from scripts.config import ROOT
from scripts.sweep import main
from service.contract.errors import InvalidRequest, NoData
from service.search.evaluator import AT_ONCE, ONE_BY_ONE
from service.search.search import across, sweep
from tests.conftest import prices
from tests.search.test_evaluator import PLAIN

GRID = ("--grid", "fast=5:50:15", "--grid", "slow=20:100:20")
Said = Callable[[], object]


def test_every_metric_of_a_result_may_be_searched_by() -> None:
    result = BacktestEngine().run(prices(), rule_from_id("MA_CROSS").generate_signals)
    headline = {"total_return_pct", "sharpe_ratio", "max_drawdown_pct", "num_trades"}
    assert {*AT_ONCE, *ONE_BY_ONE} == headline | set(result["metrics"])
    assert set(AT_ONCE).isdisjoint(ONE_BY_ONE)
    assert {*AT_ONCE, *ONE_BY_ONE} > LESS_IS_BETTER


def test_the_best_its_statistics_and_the_table(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert (
        main(["GOOG", "MA_CROSS", *GRID, "--csv", str(tmp_path / "table.csv"), "--top", "2"]) == 0
    )
    said = capsys.readouterr().out
    table = pd.read_csv(tmp_path / "table.csv")
    assert "16 combinations on 2699 bars" in said
    assert "4 skipped as no rule" in said
    assert len(table) == 16
    assert table["sharpe_ratio"].is_monotonic_decreasing
    best = f"MA_CROSS_{table['fast'][0]}_{table['slow'][0]}"
    assert f"best by sharpe_ratio: {best}" in said
    assert "deflated Sharpe ratio 0." in said
    alone = BacktestEngine().run(prices(), rule_from_id(best).generate_signals)
    assert table["total_return_pct"][0] == alone["total_return_pct"]


def test_a_reality_check(capsys: pytest.CaptureFixture[str]) -> None:
    """GOOG held for these years is hard to beat."""
    assert main(["GOOG", "MA_CROSS", *GRID, "--reality-check"]) == 0
    said = capsys.readouterr().out
    assert float(said.partition("reality check against buy and hold, p ")[2][:5]) > 0.5


def test_a_walk_forward(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["GOOG", "MA_CROSS", *GRID, "--folds", "3"]) == 0
    said = capsys.readouterr().out
    assert said.count("  from 20") == 3
    assert "efficiency" in said
    assert "cross-validation: annual Sharpe ratio" in said
    assert "neighbours have sharpe_ratio" in said
    assert main(["GOOG", "MA_CROSS", *GRID, "--folds", "2000"]) == 64
    assert (
        "A walk forward of 2000 folds needs 4008 bars, there are 2699." in capsys.readouterr().err
    )


@pytest.mark.parametrize("metric", ["max_drawdown_pct", "profit_factor"])
def test_another_metric(metric: str) -> None:
    found = sweep(
        prices(), BUILT_IN["MA_CROSS"], {"fast": [5, 20], "slow": [50, 100]}, PLAIN, metric
    )
    scores = found.table.metrics[metric]
    assert found.table.best == (scores.argmin() if metric in LESS_IS_BETTER else scores.argmax())


def test_rows_that_need_more_bars_than_there_are_are_counted() -> None:
    found = sweep(prices(bars=100), BUILT_IN["MOMENTUM"], {"lookback": "50:150:50"}, PLAIN)
    assert (len(found.table.grid), found.too_short) == (3, 2)
    with pytest.raises(
        NoData,
        match="None of the 2 combinations can be tried: MOMENTUM_100 needs 102 bars, there are",
    ):
        sweep(prices(bars=100), BUILT_IN["MOMENTUM"], {"lookback": [100, 150]}, PLAIN)


def test_what_is_too_short_was_not_tried() -> None:
    """It changes nothing of what is said of the others."""
    data = prices("AMZN").iloc[-700:]
    fast, slow = [5, 10, 20], [30, 60, 100]
    alone = sweep(
        data, BUILT_IN["MA_CROSS"], {"fast": fast, "slow": slow}, PLAIN, reality_check=True
    )
    more = sweep(
        data,
        BUILT_IN["MA_CROSS"],
        {"fast": fast, "slow": [*slow, 800, 900]},
        PLAIN,
        reality_check=True,
    )
    assert more.too_short == 6
    assert (more.deflated_sharpe, more.overfitting) == (alone.deflated_sharpe, alone.overfitting)
    assert more.reality_check == alone.reality_check


def test_who_never_traded_comes_after_all_who_did() -> None:
    """Doing nothing has no drawdown."""
    asked = {"period": [20], "width": [1, 2, 10]}
    found = sweep(prices(), BUILT_IN["BB"], asked, PLAIN, "max_drawdown_pct")
    assert found.table.metrics["max_drawdown_pct"][2] == found.table.metrics["num_trades"][2] == 0
    assert found.table.best != 2
    assert found.table.order()[-1] == 2
    assert found.table.ranks().max() == found.table.ranks()[2] == 3
    count, mean, worst = found.table.beside()
    assert (count, mean, worst) == (
        1,
        *2 * [found.table.metrics["max_drawdown_pct"][1 - found.table.best]],
    )


def test_the_worst_neighbour_is_the_largest_where_less_is_better() -> None:
    asked = {"fast": [5, 10, 20], "slow": [50]}
    for metric, worst in (("max_drawdown_pct", np.max), ("sharpe_ratio", np.min)):
        table = sweep(prices(), BUILT_IN["MA_CROSS"], asked, PLAIN, metric).table
        assert table.beside()[2] == worst(table.metrics[metric][table.neighbours()])


def test_rows_without_the_metric_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    """A rule that never lost has no profit factor."""
    words = [
        "GOOG",
        "RSI",
        "--grid",
        "period=5",
        "--grid",
        "oversold=15",
        "--grid",
        "overbought=80,90",
    ]
    assert (
        main([*words, "--start", "2013-01-01", "--end", "2019-12-31", "--metric", "profit_factor"])
        == 0
    )
    assert (
        "best by profit_factor: RSI_5_15_80, 1 have none and come last" in capsys.readouterr().out
    )


def test_an_unknown_metric_is_refused_by_name() -> None:
    with pytest.raises(
        InvalidRequest,
        match="There is no metric sharp; choose one of total_return_pct, sharpe_ratio",
    ):
        sweep(prices(), BUILT_IN["MA_CROSS"], {"fast": [5]}, PLAIN, "sharp")


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["GOOG", "MA_CROS", *GRID], 64, "Did you mean MA_CROSS"),
        (["GOOG", "MA_CROSS"], 64, "A search needs values for at least one of fast, slow."),
        (["GOOG", "MA_CROSS", "--grid", "fast"], 64, "fast: values are written 5,10,20"),
        (["GOOG", "MA_CROSS", "--grid", "fast=1:9:0"], 64, "fast: a step of 0"),
        (
            ["GOOG", "MA_CROSS", "--grid", "fast=5", "--grid", "fast=6"],
            64,
            "--grid names a parameter twice",
        ),
        (["GOOG", "ALL(RSI,BB)", *GRID], 64, "A search takes one rule by its name"),
        (
            ["GOOG", "MA_CROSS", *GRID, "--capital", "0"],
            64,
            "initial_capital must be above 0 and finite, got 0.0.",
        ),
        (["GOOG", "MA_CROSS", *GRID, "--metric", "x"], 64, "There is no metric x"),
        (
            ["GOOG", "MA_CROSS", *GRID, "--csv", "nowhere/t.csv"],
            64,
            "There is no directory for nowhere/t.csv; make it",
        ),
        (["NONE", "MA_CROSS", *GRID], 65, "No prices of NONE in"),
        (
            ["GOOG", "MA_CROSS", *GRID, "--start", "2030-01-01"],
            65,
            "There are 0 bars in these dates; a search needs at least 2.",
        ),
    ],
)
def test_refusals(
    capsys: pytest.CaptureFixture[str], words: list[str], code: int, sentence: str
) -> None:
    assert main(words) == code
    assert sentence in capsys.readouterr().err


def test_numbers_in_the_name_stand_where_nothing_else_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["GOOG", "MA_CROSS_7_50", "--grid", "fast=5,9"]) == 0
    assert re.search(r"best by sharpe_ratio: MA_CROSS_[59]_50", capsys.readouterr().out)


def test_several_tickers(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    names = ["GOOG", "SPY", "AAPL"]
    assert (
        main([",".join(names), "MA_CROSS", *GRID, "--csv", str(tmp_path / "t.csv"), "--top", "3"])
        == 0
    )
    assert "across GOOG, SPY, AAPL" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "t.csv")
    ranks = table.groupby("prices")["sharpe_ratio"].rank(ascending=False, method="min")
    medians = ranks.groupby([table["fast"], table["slow"]]).median()
    found = [
        sweep(prices(name), BUILT_IN["MA_CROSS"], {"fast": "5:50:15", "slow": "20:100:20"}, PLAIN)
        for name in names
    ]
    median, share = across(found)
    assert medians.tolist() == median.tolist()
    for row in (0, 7):
        rule = found[0].table.grid.rule_at(row)
        runs = [BacktestEngine().run(prices(name), rule.generate_signals) for name in names]
        beaten = [
            run["total_return_pct"] > run["metrics"]["buy_and_hold_return_pct"] for run in runs
        ]
        assert share[row] == pytest.approx(sum(beaten) / 3)


def test_as_typed_from_the_root() -> None:
    words = [sys.executable, "-m", "scripts.sweep", "data/GOOG.csv", "RSI", "--grid", "period=7,14"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "2 combinations on 2699 bars" in done.stdout
