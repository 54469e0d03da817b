"""Bands: what is known of normal returns, extremes, and how often they hold the truth."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from backtest.metrics import drawdowns
from benchmarks import bands as measured
from service.doubt import bands as room
from service.doubt import bootstrap
from service.doubt.bands import Sample, bands_of, bounds_of, student_quantile

NAMES = [
    "sharpe_ratio",
    "cagr_pct",
    "max_drawdown_pct",
    "win_rate_pct",
    "profit_factor",
    "expectancy",
]


def random(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def sample(returns: np.ndarray, gains: np.ndarray | None = None, risk_free: float = 0.0) -> Sample:
    equity = np.concatenate([[1000.0], 1000.0 * np.cumprod(1 + returns)])
    return Sample(equity, np.zeros(0) if gains is None else gains, 252, risk_free)


def test_of_normal_returns_they_are_what_theory_says() -> None:
    returns = random(1).normal(0.0005, 0.01, 2519)
    gains = random(2).normal(100.0, 1000.0, 400)
    bands = bands_of(sample(returns, gains), 5)
    assert list(bands) == NAMES
    ratio = returns.mean() / returns.std(ddof=1)
    error = math.sqrt((1 + ratio**2 / 2) / 2519 * 252)
    assert bands["sharpe_ratio"] == pytest.approx(
        [ratio * math.sqrt(252) - 1.96 * error, ratio * math.sqrt(252) + 1.96 * error], abs=0.06
    )
    error = gains.std(ddof=1) / math.sqrt(400)
    assert bands["expectancy"] == pytest.approx(
        [gains.mean() - 1.96 * error, gains.mean() + 1.96 * error], abs=15
    )
    share = (gains > 0).mean()
    error = math.sqrt(share * (1 - share) / 400)
    assert bands["win_rate_pct"] == pytest.approx(
        [100 * (share - 1.96 * error), 100 * (share + 1.96 * error)], abs=1
    )
    growth = np.log1p(returns)
    error = growth.std() * math.sqrt(252 / 10)
    yearly = [100 * math.expm1(252 * growth.mean() + sign * 1.96 * error) for sign in (-1, 1)]
    assert bands["cagr_pct"] == pytest.approx(yearly, abs=1.5)


def test_a_risk_free_rate_moves_the_band_of_the_sharpe_ratio_alone() -> None:
    returns = random(1).normal(0.0005, 0.01, 1000)
    plain, charged = (bands_of(sample(returns, risk_free=rate), 5) for rate in (0.0, 0.0005))
    assert plain["cagr_pct"] == charged["cagr_pct"]
    moved = np.subtract(plain["sharpe_ratio"], charged["sharpe_ratio"])  # type: ignore[arg-type]
    assert moved == pytest.approx(0.05 * math.sqrt(252), rel=0.1)


def test_how_many_resamples_are_made_at_a_time_decides_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = sample(measured.in_waves(random(4), 1, 400)[0] * 0.01, random(2).normal(5, 20, 50))
    before = bands_of(asked, 9)
    for cells in (1, 401, 5000):
        monkeypatch.setattr(bootstrap, "CELLS_AT_ONCE", cells)
        assert bands_of(asked, 9) == before


def test_the_drawdown_of_another_time_has_another_drift_and_its_wild_days_together() -> None:
    """Of 3,000 true other times, whose own drift is drawn as the one seen was, 95 % are in it."""
    returns = measured.in_waves(random(6), 1, 1000)[0] * 0.01 + 0.0005
    low, high = bands_of(sample(returns), 3)["max_drawdown_pct"]
    others = measured.in_waves(random(7), 3000, 1000) * 0.01
    shifts = random(8).normal(returns.mean(), returns.std() / math.sqrt(1000), 3000)
    paths = np.cumprod(1 + others + shifts[:, np.newaxis], axis=1)
    falls = 100 * drawdowns(paths).max(axis=1)
    assert np.mean((low <= falls) & (falls <= high)) == pytest.approx(0.95, abs=0.04)


def test_wild_days_that_come_together_make_the_drawdown_of_another_time_less_certain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wild = np.repeat([0.002, 0.002, 0.002, 0.04], 100)
    returns = random(5).normal(0.0, 1.0, 400) * wild
    low, high = bands_of(sample(returns), 1)["max_drawdown_pct"]
    monkeypatch.setattr(room, "block_length", lambda _: 1.0)
    low_alone, high_alone = bands_of(sample(returns), 1)["max_drawdown_pct"]
    assert high - low > 1.1 * (high_alone - low_alone)  # type: ignore[operator]


def test_the_seed_decides() -> None:
    asked = sample(random(1).normal(0.0005, 0.01, 300), random(2).normal(0, 1, 30))
    assert bands_of(asked, 2**255) == bands_of(asked, 2**255)
    assert bands_of(asked, 1) != bands_of(asked, 2)


def test_trades_that_all_won_are_no_certainty() -> None:
    won = bands_of(sample(np.zeros(5), np.full(20, 3.0)), 1)
    z = NormalDist().inv_cdf(0.975) ** 2
    assert won["win_rate_pct"] == pytest.approx([100 * 20 / (20 + z), 100])
    assert won["profit_factor"] == (None, None)
    assert won["expectancy"] == (3.0, 3.0)
    lost = bands_of(sample(np.zeros(5), np.full(20, -3.0)), 1)
    assert lost["win_rate_pct"] == pytest.approx([0, 100 * z / (20 + z)])
    assert lost["profit_factor"] == (0.0, 0.0)


def test_few_losses_leave_the_profit_factor_open_above() -> None:
    gains = np.array([5.0] * 20 + [-1.0])
    low, high = bands_of(sample(np.zeros(5), gains), 1)["profit_factor"]
    assert low is not None
    assert low > 1
    assert high is None


def test_what_a_few_bars_or_trades_do_not_bear_is_missing() -> None:
    returns = random(1).normal(0, 0.01, 18)
    assert bands_of(sample(returns, np.ones(19)), 1) == {}
    short = bands_of(sample(np.append(returns, 0.01)), 1)
    assert list(short) == ["sharpe_ratio", "max_drawdown_pct"], "no growth a year of a month"
    assert list(bands_of(sample(random(1).normal(0, 0.01, 62)), 1)) == NAMES[:3]
    assert list(bands_of(sample(np.zeros(100), np.arange(20.0) - 4), 1)) == NAMES[3:]


def test_a_run_that_lost_all_has_bands() -> None:
    returns = np.append(random(1).normal(0, 0.05, 60), [-1.0, *np.zeros(10)])
    bands = bands_of(sample(returns), 1)
    assert bands["cagr_pct"][0] == -100
    assert bands["max_drawdown_pct"][1] == 100


@settings(max_examples=30)
@given(
    npst.arrays(np.float64, st.integers(20, 60), elements=st.floats(-0.5, 0.5)),
    npst.arrays(np.float64, st.integers(0, 30), elements=st.floats(-1e6, 1e6)),
)
def test_any_run_has_bands_in_their_order(returns: np.ndarray, gains: np.ndarray) -> None:
    for name, (low, high) in bands_of(sample(returns, gains), 7).items():
        if low is not None and high is not None:
            assert low <= high, name
    bands = bands_of(sample(returns, gains), 7)
    for name in {"max_drawdown_pct", "win_rate_pct"} & bands.keys():
        low, high = bands[name]
        assert low is not None
        assert high is not None
        assert 0 <= low <= high <= 100


@pytest.mark.parametrize("kind", measured.KINDS)
def test_bands_of_each_kind_of_series_hold_the_truth(kind: str) -> None:
    """As `benchmarks.bands` measures it on 2,000 series of ten years; here on 30 of a year."""
    noise = measured.KINDS[kind]
    held = []
    for number in range(30):
        returns, others = measured.returns_of(noise, random(number), 2, 252)
        band = bands_of(sample(returns, measured.gains_of(returns)), number)
        true = {
            "sharpe_ratio": 0.05 * math.sqrt(252),
            "max_drawdown_pct": 100 * drawdowns(np.cumprod(1 + others)).max(),
            "expectancy": 1e5 * 10 * measured.DRIFT,
        }
        held.append([band[name][0] <= true[name] <= band[name][1] for name in true])  # type: ignore[operator]
    assert (np.mean(held, axis=0) > 0.8).all()


@pytest.mark.parametrize(
    ("freedom", "expected"), [(9, 2.262157), (19, 2.093024), (99, 1.984217), (10**9, 1.959964)]
)
def test_the_quantiles_of_student(freedom: int, expected: float) -> None:
    assert student_quantile(freedom) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    ("count", "cut"),
    [(20, 15), (100, 23), (10**6, 24)],  # 1,000 times the tail of sqrt(n / (n - 1)) t
)
def test_the_tails_of_a_few_values_are_cut_farther_out(count: int, cut: int) -> None:
    values = np.append(random(1).permutation(np.arange(1000.0)), [math.nan, math.nan])
    assert bounds_of(values, count) == [cut, 999 - cut]
