"""The statistics of a search equal those of ffn 1.4.1, and known answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest.metrics import deviation, mean
from service.doubt.luck import (
    deflated_sharpe_ratio,
    expected_maximum_sharpe,
    minimum_track_record,
    overfitting_probability,
    probabilistic_sharpe_ratio,
    timing_ratios,
    timing_returns,
)
from service.engine.metrics import excess_kurtosis, skewness
from service.search.folds import blocks_of

# Bars, trials, drift; then by ffn 1.4.1: calc_deflated_sharpe_ratio of the best,
# calc_expected_max_sharpe, calc_prob_backtest_overfitting with 6 and with 10 blocks.
BY_FFN = [
    (1000, 40, 0.0, 0.5176524737220702, 0.049610966562671034, 0.35, 0.6150793650793651),
    (2520, 400, 0.0, 0.5846456809074593, 0.04249023150861678, 0.5, 0.6071428571428571),
    (2520, 60, 0.0009, 0.9854348616917648, 0.03280361271764515, 0.65, 0.6507936507936508),
]


def made_up() -> list[np.ndarray]:
    """Trials that share half of what moves them, (trials, bars)."""
    random = np.random.Generator(np.random.PCG64(5))
    samples = []
    for bars, trials, drift, *_ in BY_FFN:
        common = random.normal(0, 0.008, bars)[:, None]
        samples.append(
            np.ascontiguousarray((common + random.normal(0, 0.01, (bars, trials)) + drift).T)
        )
    return samples


def overfitting(returns: np.ndarray, blocks: int) -> float:
    parts = [returns[:, block] for block in blocks_of(returns.shape[1], blocks)]
    sums = np.stack([part.sum(axis=1) for part in parts], axis=1)
    squares = np.stack([(part**2).sum(axis=1) for part in parts], axis=1)
    return overfitting_probability(sums, squares, parts[0].shape[1])


@pytest.mark.parametrize("case", range(3))
def test_equal_to_ffn(case: int) -> None:
    returns = made_up()[case]
    *_, deflated, maximum, six, ten = BY_FFN[case]
    sharpe_ratios = mean(returns) / deviation(returns)
    best = int(sharpe_ratios.argmax())
    spread = float(deviation(sharpe_ratios))
    assert expected_maximum_sharpe(len(returns), spread) == pytest.approx(maximum, abs=1e-12)
    assert deflated_sharpe_ratio(returns[best], sharpe_ratios) == pytest.approx(deflated, abs=1e-11)
    assert overfitting(returns, 6) == pytest.approx(six, abs=1e-12)
    assert overfitting(returns, 10) == pytest.approx(ten, abs=1e-12)


def test_probabilistic_sharpe_ratio_of_the_paper() -> None:
    """Bailey and Lopez de Prado (2014), section "A numerical example".

    5 years of daily returns, the best of 100 trials with annual Sharpe ratio 2.5, skewness -3,
    kurtosis 10, variance of the trials 1/2: expected maximum 0.1132, deflated Sharpe ratio 0.9004.
    """
    hurdle = expected_maximum_sharpe(100, math.sqrt(0.5 / 250))
    assert hurdle == pytest.approx(0.1132, abs=5e-5)
    assert probabilistic_sharpe_ratio(2.5 / math.sqrt(250), hurdle, 1250, -3, 10) == pytest.approx(
        0.9004, abs=5e-5
    )


def test_one_trial_has_no_hurdle() -> None:
    assert expected_maximum_sharpe(1, 0.3) == 0
    assert expected_maximum_sharpe(50, 0.0) == 0


def test_always_the_same_best_is_not_overfitted() -> None:
    random = np.random.Generator(np.random.PCG64(1))
    returns = random.normal(0, 0.001, (20, 1000))
    returns[7] += 0.01
    assert overfitting(returns, 10) == 0
    returns[7, ::2] -= 0.02  # as much down as up: nobody is best for long
    assert overfitting(returns, 10) > 0.2


def test_trials_that_never_move_count_as_nothing_gained() -> None:
    random = np.random.Generator(np.random.PCG64(2))
    returns = random.normal(0.001, 0.01, (10, 500))
    returns[3] = 0.0
    returns[4, :250] = 0.0
    assert 0 <= overfitting(returns, 4) <= 1
    assert overfitting(np.zeros((5, 100)), 4) == 1, "no better than the median, ever"


def test_undefined() -> None:
    assert math.isnan(deflated_sharpe_ratio(np.zeros(100), np.array([0.1, np.nan])))
    assert math.isnan(deflated_sharpe_ratio(np.array([0.1, 0.2, 0.3]), np.array([0.1])))
    assert math.isnan(overfitting(np.ones((1, 100)), 4))
    assert math.isnan(probabilistic_sharpe_ratio(2.0, 0.0, 100, 3.0, 1.0))


def test_what_never_traded_is_no_trial() -> None:
    returns = made_up()[0]
    ratios = mean(returns) / deviation(returns)
    best = returns[int(ratios.argmax())]
    with_undefined = np.concatenate([ratios, np.full(100, np.nan)])
    assert deflated_sharpe_ratio(best, with_undefined) == deflated_sharpe_ratio(best, ratios)


@settings(max_examples=50)
@given(st.integers(0, 10**6), st.floats(-0.003, 0.003), st.floats(0.0, 1.0))
def test_timing_is_what_a_regression_on_the_benchmark_leaves(
    seed: int, drift: float, exposure: float
) -> None:
    """Against NumPy's least squares: the slope is taken out, the intercept stays."""
    random = np.random.Generator(np.random.PCG64(seed))
    benchmark = random.normal(drift, 0.01, 300)
    returns = (random.random((5, 300)) < exposure) * benchmark + random.normal(0, 1e-4, (5, 300))
    ratios = timing_ratios(returns, benchmark)
    for trial, ratio in zip(returns, ratios, strict=True):
        slope, _ = np.polyfit(benchmark, trial, 1)
        left = trial - slope * benchmark
        assert timing_returns(trial, benchmark) == pytest.approx(left, abs=1e-12)
        assert ratio == pytest.approx(left.mean() / left.std(ddof=1), abs=1e-6)


def test_holding_a_constant_share_is_no_timing() -> None:
    random = np.random.Generator(np.random.PCG64(3))
    benchmark = random.normal(0.001, 0.01, 500)
    shares = np.array([0.0, 0.3, 1.0, -1.0])
    assert np.isnan(timing_ratios(shares[:, np.newaxis] * benchmark, benchmark)).all()


def test_nothing_is_held_constant_against_a_price_that_never_moves() -> None:
    random = np.random.Generator(np.random.PCG64(4))
    returns = random.normal(0.001, 0.01, (2, 100))
    ratios = timing_ratios(returns, np.zeros(100))
    assert ratios == pytest.approx(mean(returns) / deviation(returns))
    assert (timing_returns(returns[0], np.zeros(100)) == returns[0]).all()


def test_a_record_of_the_minimum_length_is_as_certain_as_asked() -> None:
    random = np.random.Generator(np.random.PCG64(3))
    returns = random.standard_t(5, 700) * 0.01 + 0.0005
    sharpe = float(mean(returns) / deviation(returns))
    moments = skewness(returns), excess_kurtosis(returns) + 3
    for confidence in (0.9, 0.95, 0.99):
        bars = minimum_track_record(returns, confidence)
        assert bars is not None
        assert probabilistic_sharpe_ratio(sharpe, 0.0, bars, *moments) >= confidence
        assert probabilistic_sharpe_ratio(sharpe, 0.0, bars - 1, *moments) < confidence


def test_no_record_makes_a_loser_certain() -> None:
    random = np.random.Generator(np.random.PCG64(3))
    returns = random.normal(0, 0.01, 700)
    assert minimum_track_record(returns - mean(returns) - 1e-4) is None
    assert minimum_track_record(np.zeros(50)) is None
    assert minimum_track_record(np.ones(3)) is None
