"""Counts how often the bands of a run hold the truth: `python -m benchmarks.bands`.

It makes series of which the truth is known, 2,000 of each kind, each of ten years of days and of
trades of ten days, and asks for their bands. A band of 95 % should hold the truth in 92 to 97 of
100 series. The truth of the Sharpe ratio is exact; that of the others is measured on a sample of
four million days. That of the drawdown is the drawdown of another series.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np

from backtest.metrics import Floats, drawdowns
from service.doubt.bands import Sample, bands_of

BARS = 2520
BARS_PER_YEAR = 252
BARS_OF_TRADE = 10
CAPITAL = 100_000.0
DRIFT = 0.0005
VOLATILITY = 0.01
DEGREES_OF_FREEDOM = 4
GARCH_WEIGHTS = (0.05, 0.08, 0.87)  # of the constant, the last square, the last variance
CORRELATION = 0.1
BARS_OF_TRUTH = 4_000_000

Random = np.random.Generator
Noise = Callable[[Random, int, int], Floats]


def normal(random: Random, series: int, bars: int) -> Floats:
    """Independent, of unit variance, (series, bars)."""
    return random.normal(0.0, 1.0, (series, bars))


def fat_tailed(random: Random, series: int, bars: int) -> Floats:
    """Student's t of unit variance."""
    scale = math.sqrt(DEGREES_OF_FREEDOM / (DEGREES_OF_FREEDOM - 2))
    return random.standard_t(DEGREES_OF_FREEDOM, (series, bars)) / scale


def in_waves(random: Random, series: int, bars: int) -> Floats:
    """GARCH(1,1) of unit variance on average."""
    constant, of_square, of_variance = GARCH_WEIGHTS
    drawn = random.normal(0.0, 1.0, (bars, series))
    variance = np.ones(series)
    for bar in range(bars):
        drawn[bar] *= np.sqrt(variance)
        variance = constant + of_square * drawn[bar] ** 2 + of_variance * variance
    return np.ascontiguousarray(drawn.T)


def dependent(random: Random, series: int, bars: int) -> Floats:
    """Each depends on the one before, AR(1), of unit variance."""
    drawn = random.normal(0.0, math.sqrt(1 - CORRELATION**2), (bars, series))
    drawn[0] /= math.sqrt(1 - CORRELATION**2)
    for bar in range(1, bars):
        drawn[bar] += CORRELATION * drawn[bar - 1]
    return np.ascontiguousarray(drawn.T)


KINDS: Mapping[str, Noise] = {
    "normal": normal,
    "Student's t, 4 degrees": fat_tailed,
    "GARCH(1,1)": in_waves,
    "AR(1), 0.1": dependent,
}


def returns_of(noise: Noise, random: Random, series: int, bars: int) -> Floats:
    """Returns of days, (series, bars)."""
    return DRIFT + VOLATILITY * noise(random, series, bars)


def gains_of(returns: Floats) -> Floats:
    """What trades of the same capital gain, each of ten days, in money."""
    whole = returns.shape[-1] // BARS_OF_TRADE * BARS_OF_TRADE
    days = returns[..., :whole].reshape(*returns.shape[:-1], -1, BARS_OF_TRADE)
    return np.asarray(CAPITAL * days.sum(axis=-1))


def truth_of(kind: str) -> dict[str, float]:
    """The numbers of a series without an end, except the drawdown, which has none there."""
    random = np.random.Generator(np.random.PCG64([1, list(KINDS).index(kind)]))
    noise = KINDS[kind]
    long = returns_of(noise, random, BARS_OF_TRUTH // BARS, BARS)
    gains = gains_of(long)
    return {
        "sharpe_ratio": DRIFT / VOLATILITY * math.sqrt(BARS_PER_YEAR),
        "cagr_pct": 100 * math.expm1(BARS_PER_YEAR * float(np.log1p(long).mean())),
        "win_rate_pct": 100 * float((gains > 0).mean()),
        "profit_factor": float(np.maximum(gains, 0).sum() / -np.minimum(gains, 0).sum()),
        "expectancy": float(gains.mean()),
    }


def _equity(returns: Floats) -> Floats:
    return np.concatenate([[CAPITAL], CAPITAL * np.cumprod(1 + returns)])


def held_by(kind: str, truth: Mapping[str, float], number: int) -> dict[str, bool]:
    """Which bands of one series hold the truth."""
    random = np.random.Generator(np.random.PCG64([2, list(KINDS).index(kind), number]))
    returns, others = returns_of(KINDS[kind], random, 2, BARS)
    sample = Sample(_equity(returns), gains_of(returns), BARS_PER_YEAR, 0.0)
    bands = bands_of(sample, number)
    truth = {**truth, "max_drawdown_pct": 100 * float(drawdowns(_equity(others)).max())}
    return {
        name: (low is None or low <= truth[name]) and (high is None or truth[name] <= high)
        for name, (low, high) in bands.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=2000)
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    print("Percent of series whose band holds the truth")
    for kind in KINDS:
        truth = truth_of(kind)
        with ProcessPoolExecutor(asked.processes) as pool:
            found = list(pool.map(partial(held_by, kind, truth), range(asked.series), chunksize=20))
        shares = {name: 100 * sum(each[name] for each in found) / len(found) for name in found[0]}
        shown = "  ".join(f"{name} {share:5.1f}" for name, share in shares.items())
        print(f"{kind:24} {shown}", flush=True)


if __name__ == "__main__":
    main()
