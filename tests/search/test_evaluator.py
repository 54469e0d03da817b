"""Every row of a search has the bits of a single run, for all rules, terms and sizes of chunks."""

from __future__ import annotations

import tracemalloc
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from backtest.engine import BacktestEngine
from backtest.kernel import Terms
from rules.base_rule import (
    BaseRule,
    ConditionRule,
    Mask,
    Parameter,
    RuleMetadata,
)
from rules.features import Features, lagged
from rules.optimizer import Columns, Grid, ParameterOptimizer, grid
from rules.registry import BUILT_IN
from service.engine.metrics import metrics_of
from service.search.chunk_metrics import BARS_PER_SPAN, CHUNK_METRICS, lowest_below_peak
from service.search.evaluator import SearchEvaluator
from tests.support.prices import prices, random_walk
from tests.support.rules import Fancy
from tests.support.searches import PLAIN

EVERY = (
    *CHUNK_METRICS,
    "win_rate_pct",
    "profit_factor",
    "value_at_risk_pct",
    "max_drawdown_days",
    "alpha",
)
TERMS = {
    "plain": PLAIN,
    "free": Terms(1.0, 0.0, 0.0, 0.0, False),
    "slippage": Terms(100_000.0, 0.001, 0.002, 0.0, False),
    "whole shares": Terms(3_000.0, 0.001, 0.0, 1.0, False),
    "short": Terms(100_000.0, 0.001, 0.001, 0.0, True),
    "short in lots": Terms(50_000.0, 0.001, 0.0, 10.0, True),
}
ASKED: dict[str, dict[str, object]] = {
    "MA_CROSS": {"fast": "2:20:3", "slow": "15:60:9"},
    "RSI": {"period": [7, 14], "oversold": "20:40:5", "overbought": "55:80:5"},
    "BB": {"period": "5:40:7", "width": "0.5:3:0.5"},
    "MACD": {"fast": "5:15:5", "slow": "12:30:6", "signal": "3:12:3"},
    "VOLUME": {"period": "5:40:7", "multiple": "0.5:3:0.5"},
    "TREND": {"period": "5:20:5", "threshold": "10:40:5"},
    "ATR": {"period": "5:30:5", "multiple": "0.5:4:0.5"},
    "MOMENTUM": {"lookback": "1:200:5"},
    "VALUE": {"lookback": "20:200:20", "discount": "0:20:4"},
    "MEAN_REVERSION": {"period": "5:40:7", "entry": "0.5:3:0.5"},
    "BREAKOUT": {"entry": "5:60:9", "exit": "3:40:9"},
}


class Deaf(ConditionRule):
    """A rule to which one of its parameters makes no difference."""

    metadata = RuleMetadata("DEAF", "Rises.", "A test", (Parameter("unused", 1, 1, 9, "Nothing"),))

    @classmethod
    def bars_needed(cls, p: Mapping[str, Any]) -> Any:
        return 2

    @classmethod
    def conditions(cls, prices: Features, p: Mapping[str, Any]) -> tuple[Mask, Mask]:
        close = prices.column("Close")
        before = prices.of(lagged, "Close", 1 + 0 * p["unused"])
        return close > before, close < before


class Contrary(BUILT_IN["MA_CROSS"]):  # type: ignore[misc]
    """A rule that changes what another one says."""

    def generate_signals(self, data: pd.DataFrame) -> pd.Series:
        return -super().generate_signals(data)


def single(rule: BaseRule, data: pd.DataFrame, terms: Terms) -> dict[str, Any]:
    """A fresh run of its own, every number of it by name."""
    engine = BacktestEngine(
        terms.initial_capital,
        terms.commission_rate,
        terms.slippage_rate,
        terms.lot_size,
        terms.allow_short,
    )
    return dict(metrics_of(engine.run(data, rule.generate_signals)))


def searched(
    data: pd.DataFrame, combinations: Grid, terms: Terms = PLAIN, **options: Any
) -> Columns:
    return (
        ParameterOptimizer(SearchEvaluator(data, combinations.rule, terms, **options))
        .run(combinations)
        .metrics
    )


def assert_rows_are_runs(data: pd.DataFrame, combinations: Grid, terms: Terms, rows: int) -> None:
    metrics = searched(data, combinations, terms, wanted=EVERY)
    chosen = np.random.Generator(np.random.PCG64(7)).choice(
        len(combinations), min(rows, len(combinations)), replace=False
    )
    for row in chosen.tolist():
        alone = single(combinations.rule_at(row), data, terms)
        together = {
            name: None if np.isnan(values[row]) else float(values[row])
            for name, values in metrics.items()
        }
        assert together == {name: alone[name] for name in EVERY}, combinations.rule_at(row).rule_id


@pytest.mark.parametrize("name", ASKED)
def test_every_rule(name: str) -> None:
    assert_rows_are_runs(prices(bars=600), grid(BUILT_IN[name], ASKED[name]), PLAIN, 8)


def test_no_rule_is_left_out() -> None:
    assert set(ASKED) == set(BUILT_IN)


@pytest.mark.parametrize("terms", TERMS)
def test_all_terms(terms: str) -> None:
    """The walk moves so much that shorts are ruined and lots are not affordable."""
    data = random_walk(500, 11, 0.12)
    for name in ("MA_CROSS", "RSI", "BREAKOUT"):
        assert_rows_are_runs(data, grid(BUILT_IN[name], ASKED[name]), TERMS[terms], 6)


def test_some_shorts_are_ruined() -> None:
    combinations = grid(BUILT_IN["MA_CROSS"], ASKED["MA_CROSS"])
    returns = searched(random_walk(500, 11, 0.12), combinations, TERMS["short"])["total_return_pct"]
    assert (returns == -100).any(), "or the test above does not try it"


def test_a_rule_from_elsewhere() -> None:
    assert_rows_are_runs(prices(bars=400), grid(Fancy, {"days": "1:9"}), PLAIN, 5)
    assert_rows_are_runs(prices(bars=400), grid(Deaf, {"unused": "1:9"}), PLAIN, 9)
    assert_rows_are_runs(prices(bars=400), grid(Contrary, {"fast": "2:9"}), PLAIN, 8)


@pytest.mark.parametrize("name", ["MA_CROSS", "RSI", "TREND"])
def test_the_size_of_chunks_changes_no_bit(name: str) -> None:
    data = prices(bars=500)
    combinations = grid(BUILT_IN[name], ASKED[name])
    whole = searched(data, combinations, cells_per_chunk=10**9)
    for cells in (1, 500 * 2, 500 * 7, 65_536):
        parts = searched(data, combinations, cells_per_chunk=cells)
        assert all(whole[key].tobytes() == parts[key].tobytes() for key in whole)


@pytest.mark.parametrize("name", ["MA_CROSS", "MACD"])
def test_the_number_of_threads_changes_no_bit(name: str) -> None:
    data = prices(bars=500)
    combinations = grid(BUILT_IN[name], ASKED[name])
    alone = searched(data, combinations, threads=1, cells_per_chunk=1500)
    for threads in (2, 5):
        together = searched(data, combinations, threads=threads, cells_per_chunk=1500)
        assert all(alone[key].tobytes() == together[key].tobytes() for key in alone)


@settings(max_examples=300)
@given(st.data())
def test_a_drawdown_is_found_wherever_it_is(data: st.DataObject) -> None:
    """Steps among few levels: blocks with and without new peaks, ties, ruin, a short last block."""
    bars = data.draw(
        st.sampled_from(
            [1, 2, BARS_PER_SPAN - 1, BARS_PER_SPAN, BARS_PER_SPAN + 1, 3 * BARS_PER_SPAN + 7]
        )
    )
    levels = np.array([0.0, 1.0, 1.0 + 2**-52, 3.0, 7.0, 1e5])
    drawn = data.draw(
        arrays(np.int64, (4, bars), elements=st.integers(0, 5), fill=st.integers(0, 5))
    )
    equity = levels[drawn] * data.draw(st.sampled_from([1.0, 0.1, 1e-300]))
    equity[:, 0] = np.maximum(equity[:, 0], 1e-300)
    expected = (equity / np.maximum.accumulate(equity, axis=-1)).min(axis=-1)
    assert lowest_below_peak(equity).tobytes() == expected.tobytes()


@pytest.mark.parametrize("seed", range(20))
def test_a_drawdown_of_a_walk(seed: int) -> None:
    random = np.random.Generator(np.random.PCG64(seed))
    steps = random.normal(random.uniform(-0.002, 0.002), 0.02, (50, 2699)) * (
        random.random((50, 1)) < 0.9
    )
    equity = 1e5 * np.exp(np.cumsum(steps, axis=-1))
    expected = (equity / np.maximum.accumulate(equity, axis=-1)).min(axis=-1)
    assert lowest_below_peak(equity).tobytes() == expected.tobytes()


@pytest.mark.parametrize("rule", [BUILT_IN["RSI"], BUILT_IN["BB"], Fancy])
def test_after_warm_bars_a_rule_stands_where_it_stood(rule: type[BaseRule]) -> None:
    """It may be long before the first bar that counts, and have no signal for many bars after."""
    data = prices(bars=600)
    combinations = grid(rule, {"days": "1:9"} if rule is Fancy else ASKED[rule.metadata.name])
    stood = set()
    for warm in (200, 333):
        together = searched(data, combinations, warm=warm)
        for row in range(len(combinations)):
            signals = combinations.rule_at(row).generate_signals(data).to_numpy()
            stands = next((signal for signal in signals[warm::-1] if signal), 0)
            stood.add((int(stands), signals[warm] == 0))
            mine = np.concatenate([[stands], signals[warm + 1 :]]).astype(np.int8)
            alone = BacktestEngine().run(data.iloc[warm:], lambda _, mine=mine: mine)
            assert together["total_return_pct"][row] == alone["total_return_pct"]
    assert (1, True) in stood, "or the test tries nothing"


def test_rows_without_enough_bars_are_undefined() -> None:
    combinations = grid(BUILT_IN["MOMENTUM"], {"lookback": [10, 97, 98, 99, 150]})
    metrics = searched(prices(bars=100), combinations)
    assert np.isnan(metrics["total_return_pct"]).tolist() == [False, False, False, True, True]
    assert np.isnan(metrics["num_trades"]).tolist() == [False, False, False, True, True]


def test_features_are_made_once_and_one_row_serves_equal_parameters() -> None:
    computed = []

    def double(close: np.ndarray, number: int) -> np.ndarray:
        computed.append(number)
        return close * number

    features = Features(prices(bars=50))
    close = prices(bars=50)["Close"].to_numpy()
    assert features.of(double, "Close", np.array([[3], [3], [3]])).tolist() == [
        (close * 3).tolist()
    ]
    assert features.of(double, "Close", np.array([[3], [4]])).tolist() == [
        (close * n).tolist() for n in (3, 4)
    ]
    assert features.of(double, "Close", 4).tolist() == (close * 4).tolist()
    assert computed == [3, 4]


def test_memory_does_not_grow_with_the_grid() -> None:
    data = prices(bars=1000)
    peaks = []
    for last in (50, 500):
        combinations = grid(
            BUILT_IN["RSI"],
            {"period": "2:20", "oversold": "1:20", "overbought": f"{50}:{50 + last / 10}:1"},
        )
        tracemalloc.start()
        searched(data, combinations)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 8 * 10**6
