"""The metrics of a run since version 1.1.0: those of the frozen engine, and what it lacks.

Definitions are those of `backtest.metrics`. Powers are rounded correctly. A run of fewer than
LEAST_BARS bars has no numbers per year. A run that never traded has no information ratio.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from backtest import metrics as frozen
from backtest.engine import BacktestResult
from backtest.metrics import Floats, bar_returns, deviation, mean, ratio
from service.engine.exact import power, powers
from service.prices.periods import bars_a_year

Metrics = Mapping[str, float | int | None]
PeriodsOf = Callable[[pd.DatetimeIndex], float]

LEAST_BARS = 20  # about a month of days
# These say what would happen in a year.
ANNUAL_METRICS = frozenset(
    {
        "alpha",
        "cagr_pct",
        "calmar_ratio",
        "information_ratio",
        "sharpe_ratio",
        "sortino_ratio",
        "volatility_pct",
    }
)


@dataclass(frozen=True)
class Reference:
    """What a run is measured against.

    `risk_free_rate` is a fraction a year. `benchmark` is equity on the bars of the run, (n,); None
    is buy and hold of the run's own ticker.
    """

    risk_free_rate: float = 0.0
    benchmark: Floats | None = None

    def of_bars(self, bars: slice) -> Reference:
        """The same for some of the bars."""
        if self.benchmark is None:
            return self
        return replace(self, benchmark=self.benchmark[bars])


PLAIN = Reference()


def metrics_of(
    result: BacktestResult, reference: Reference = PLAIN, periods_of: PeriodsOf = bars_a_year
) -> Metrics:
    """Every metric of a run by name, the four of its headline too; None where undefined.

    `periods_of` says how many bars are a year.
    """
    # The frozen alpha may overflow; it is computed anew below.
    with np.errstate(over="ignore", invalid="ignore"):
        names = {**result, **result.metrics}
    del names["metrics"], names["trades"]
    measured = _Measured.of(result, reference, periods_of)
    numbers = {**names, **{name: compute(measured) for name, compute in COMPUTED.items()}}
    if reference.benchmark is not None:
        benchmark = reference.benchmark
        numbers["benchmark_return_pct"] = 100 * float(frozen.total_return(benchmark))
    if len(result.equity) < LEAST_BARS:
        numbers |= dict.fromkeys(ANNUAL_METRICS)
    return {name: _defined(number) for name, number in numbers.items()}


@dataclass(frozen=True)
class _Measured:
    """One run and its reference: returns per bar (n,), bars in a year, rate per bar."""

    equity: Floats
    returns: Floats
    benchmark: Floats
    has_traded: bool
    periods: float
    risk_free: float

    @classmethod
    def of(cls, result: BacktestResult, reference: Reference, periods_of: PeriodsOf) -> _Measured:
        equity = result.equity.to_numpy()
        benchmark = reference.benchmark
        if benchmark is None:
            benchmark = result.benchmark.to_numpy()
        index = result.equity.index
        assert isinstance(index, pd.DatetimeIndex)
        periods = periods_of(index)
        return cls(
            equity=equity,
            returns=bar_returns(equity),
            benchmark=bar_returns(benchmark),
            has_traded=result["num_trades"] > 0,
            periods=periods,
            risk_free=risk_free_per_bar(reference.risk_free_rate, periods),
        )

    @property
    def beta(self) -> float:
        return frozen.beta(self.returns, self.benchmark)


def risk_free_per_bar(yearly: float, periods: float) -> float:
    """The rate of one bar that compounds to the yearly one."""
    return power(1 + yearly, 1 / periods) - 1 if yearly else 0.0


def annual_growth(growth: Floats, bars: int, periods: float) -> Floats:
    """growth ** (periods / bars) - 1 of each of `growth` (k,), a fraction, (k,)."""
    return powers(growth, periods / bars) - 1


def skewness(returns: Floats) -> float:
    """As `backtest.metrics.skewness`, by multiplications alone."""
    n = len(returns)
    if n < 3 or deviation(returns) == 0:
        return math.nan
    apart = returns - mean(returns)
    variance = float(mean(apart * apart))
    plain = float(ratio(mean(apart * apart * apart), variance * math.sqrt(variance)))
    return math.sqrt(n * (n - 1)) / (n - 2) * plain


def excess_kurtosis(returns: Floats) -> float:
    """As `backtest.metrics.excess_kurtosis`, by multiplications alone."""
    n = len(returns)
    if n < 4 or deviation(returns) == 0:
        return math.nan
    squares = (returns - mean(returns)) ** 2
    variance = float(mean(squares))
    plain = float(ratio(mean(squares * squares), variance * variance)) - 3
    return (n - 1) / ((n - 2) * (n - 3)) * ((n + 1) * plain + 6)


def _growth(run: _Measured) -> float:
    growth = np.array([run.equity[-1] / run.equity[0]])
    return float(annual_growth(growth, len(run.equity), run.periods)[0])


def _calmar_ratio(run: _Measured) -> float:
    return float(ratio(_growth(run), frozen.drawdowns(run.equity).max()))


def _alpha(run: _Measured) -> float:
    excess = run.returns - run.risk_free
    unexplained = excess - run.beta * (run.benchmark - run.risk_free)
    return power(1 + float(mean(unexplained)), run.periods) - 1


def _information_ratio(run: _Measured) -> float:
    """Undefined where nothing was traded: that says nothing of a choice."""
    if not run.has_traded:
        return math.nan
    return frozen.information_ratio(run.returns, run.benchmark, run.periods)


COMPUTED: Mapping[str, Callable[[_Measured], float]] = {
    "sharpe_ratio": lambda run: float(frozen.sharpe_ratio(run.returns, run.periods, run.risk_free)),
    "sortino_ratio": lambda run: float(
        frozen.sortino_ratio(run.returns, run.periods, run.risk_free)
    ),
    "volatility_pct": lambda run: 100 * float(deviation(run.returns)) * math.sqrt(run.periods),
    "cagr_pct": lambda run: 100 * _growth(run),
    "calmar_ratio": _calmar_ratio,
    "skew": lambda run: skewness(run.returns),
    "kurtosis": lambda run: excess_kurtosis(run.returns),
    "beta": lambda run: run.beta,
    "alpha": _alpha,
    "information_ratio": _information_ratio,
}


def _defined(number: float | int | None) -> float | int | None:
    return number if number is not None and math.isfinite(number) else None
