"""Equity and trades to named numbers, one small function each.

Unless said otherwise r is the equity return per bar, the flat first ones included, n of them along the last axis;
P is bars per year; a standard deviation has n - 1 in its denominator. A number that is undefined is NaN here and None
in `PerformanceMetrics.as_dict`. Returns and drawdowns are fractions in the functions, percent in the dictionary.

Definitions are those of empyrical-reloaded 0.7.1 where it has the metric.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]

TRADING_DAYS = 252
ONE_DAY = np.timedelta64(1, "D")


def bars_per_year(index: pd.DatetimeIndex) -> float:
    """252 for bars a day or more apart, else 252 times the mean number of bars in a session (calendar day)."""
    stamps = wall_clock(index)
    if (stamps[1:] - stamps[:-1] >= ONE_DAY).all():
        return float(TRADING_DAYS)
    return TRADING_DAYS * len(stamps) / len(np.unique(stamps.astype("datetime64[D]")))


def wall_clock(index: pd.DatetimeIndex) -> NDArray[np.datetime64]:
    """The index as datetime64, each stamp as the clocks of its own time zone showed it."""
    return (index if index.tz is None else index.tz_localize(None)).values


def bar_returns(equity: Floats) -> Floats:
    """equity[t] / equity[t-1] - 1 along the last axis; 0 on the first bar and once nothing is left."""
    returns = np.zeros_like(equity)
    before = equity[..., :-1]
    np.divide(equity[..., 1:], before, out=returns[..., 1:], where=before > 0)
    np.subtract(returns[..., 1:], before > 0, out=returns[..., 1:])
    return returns


def total_return(equity: Floats) -> Floats:
    """end / initial - 1."""
    return np.asarray(equity[..., -1] / equity[..., 0] - 1)


def drawdowns(equity: Floats) -> Floats:
    """1 - equity / running maximum, each in 0..1."""
    return np.asarray(1 - equity / np.maximum.accumulate(equity, axis=-1))


def mean(values: Floats) -> Floats:
    """Arithmetic mean along the last axis."""
    return np.asarray(np.add.reduce(values, axis=-1) / values.shape[-1])


def deviation(values: Floats) -> Floats:
    """Standard deviation along the last axis, n - 1 in the denominator; exactly 0 where all values are equal."""
    apart = values - mean(values)[..., None]
    np.multiply(apart, apart, out=apart)
    spread = np.sqrt(np.add.reduce(apart, axis=-1) / max(values.shape[-1] - 1, 1))
    return np.where(values.max(axis=-1) == values.min(axis=-1), 0.0, spread)  # rounding leaves 1e-18 there


def ratio(numerator: Floats | float, denominator: Floats | float) -> Floats:
    """numerator / denominator, NaN where the denominator is 0 (or too small for a finite quotient)."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        quotient = np.asarray(np.divide(numerator, denominator))
    return np.where(np.isfinite(quotient), quotient, np.nan)


def sharpe_ratio(returns: Floats, periods: float, risk_free: float = 0.0) -> Floats:
    """mean(r - rf) / std(r - rf) * sqrt(P); `risk_free` per bar. Sharpe (1994)."""
    excess = returns - risk_free if risk_free else returns
    return ratio(mean(excess), deviation(excess)) * math.sqrt(periods)


def sortino_ratio(returns: Floats, periods: float, risk_free: float = 0.0) -> Floats:
    """mean(r - rf) / sqrt(mean(min(r - rf, 0)^2)) * sqrt(P). Sortino and Price (1994)."""
    excess = returns - risk_free
    return ratio(mean(excess), np.sqrt(mean(np.minimum(excess, 0.0) ** 2))) * math.sqrt(periods)


def annual_growth(growth: Floats | float, bars: int, periods: float) -> Floats:
    """growth^(P / n) - 1: the compound annual growth rate of end / initial over n bars."""
    with np.errstate(over="ignore"):
        return np.asarray(np.power(growth, periods / bars) - 1)


def max_drawdown_days(equity: Floats, index: pd.DatetimeIndex) -> int:
    """Calendar days of the longest time from a peak to its recovery, or to the end; 0 without a drawdown."""
    days = wall_clock(index).astype("datetime64[D]").astype(np.int64)
    peaks = np.append(np.flatnonzero(equity >= np.maximum.accumulate(equity)), len(equity))
    ends = np.minimum(peaks[1:], len(equity) - 1)
    below = peaks[1:] - peaks[:-1] > 1
    return int((days[ends] - days[peaks[:-1]])[below].max(initial=0))


def beta(returns: Floats, benchmark: Floats) -> float:
    """cov(r, b) / var(b)."""
    apart = benchmark - mean(benchmark)
    if deviation(benchmark) == 0:
        return math.nan
    return float(ratio(np.add.reduce((returns - mean(returns)) * apart), np.add.reduce(apart * apart)))


def alpha(returns: Floats, benchmark: Floats, periods: float, risk_free: float = 0.0) -> float:
    """(1 + mean(r - rf - beta * (b - rf)))^P - 1, a fraction. Jensen (1968)."""
    unexplained = returns - risk_free - beta(returns, benchmark) * (benchmark - risk_free)
    return float((1 + mean(unexplained)) ** periods - 1)


def information_ratio(returns: Floats, benchmark: Floats, periods: float) -> float:
    """mean(r - b) / std(r - b) * sqrt(P)."""
    return float(sharpe_ratio(returns - benchmark, periods))


def value_at_risk(returns: Floats, cutoff: float = 0.05) -> float:
    """The `cutoff` quantile of r, linearly interpolated; negative for a loss."""
    return float(np.quantile(returns, cutoff))


def expected_shortfall(returns: Floats, cutoff: float = 0.05) -> float:
    """Mean of the int(cutoff * (n - 1)) + 1 smallest r; negative for a loss."""
    count = int(cutoff * (len(returns) - 1)) + 1
    return float(mean(np.sort(returns)[:count]))


def omega_ratio(returns: Floats) -> float:
    """Sum of gains over sum of losses, threshold 0. Keating and Shadwick (2002)."""
    return float(ratio(np.maximum(returns, 0.0).sum(), -np.minimum(returns, 0.0).sum()))


def skewness(returns: Floats) -> float:
    """Bias-corrected (Fisher-Pearson G1), as in pandas; NaN below 3 values or without variance."""
    n = len(returns)
    if n < 3 or deviation(returns) == 0:
        return math.nan
    apart = returns - mean(returns)
    return float(math.sqrt(n * (n - 1)) / (n - 2) * ratio(mean(apart**3), mean(apart**2) ** 1.5))


def excess_kurtosis(returns: Floats) -> float:
    """Bias-corrected (G2), 0 for the normal distribution, as in pandas; NaN below 4 values or without variance."""
    n = len(returns)
    if n < 4 or deviation(returns) == 0:
        return math.nan
    apart = returns - mean(returns)
    plain = ratio(mean(apart**4), mean(apart**2) ** 2) - 3
    return float((n - 1) / ((n - 2) * (n - 3)) * ((n + 1) * plain + 6))


def trade_metrics(closed: pd.DataFrame) -> dict[str, float]:
    """Of the closed trades, net of costs; all NaN without any. `expectancy` in money, the rest in their units."""
    names = ["win_rate_pct", "profit_factor", "avg_trade_pct", "best_trade_pct", "worst_trade_pct"]
    if closed.empty:
        return dict.fromkeys([*names, "avg_holding_days", "expectancy"], math.nan)
    pnl, percent = closed["pnl"].to_numpy(float), closed["return_pct"].to_numpy(float)
    return {
        "win_rate_pct": 100 * int(np.count_nonzero(pnl > 0)) / len(pnl),
        "profit_factor": float(ratio(pnl[pnl > 0].sum(), -pnl[pnl < 0].sum())),
        "avg_trade_pct": float(mean(percent)),
        "best_trade_pct": float(percent.max()),
        "worst_trade_pct": float(percent.min()),
        "avg_holding_days": float(mean(closed["holding_days"].to_numpy(float))),
        "expectancy": float(mean(pnl)),
    }


@dataclass(frozen=True)
class PerformanceMetrics:
    """Every metric of one run beside the four that its result names.

    `equity`, `positions` (shares at closes) and `benchmark` (equity of buy and hold on the same terms) have shape (n,);
    `trades` is the table of the run's trades, `traded` the notional of both sides and `costs` the commission and
    slippage paid, in money. `risk_free_rate` is a yearly fraction.
    """

    equity: Floats
    positions: Floats
    benchmark: Floats
    index: pd.DatetimeIndex
    trades: pd.DataFrame
    traded: float
    costs: float
    risk_free_rate: float = 0.0

    def as_dict(self) -> dict[str, float | int | None]:
        """Name to number; None where the metric is undefined."""
        closed = self.trades[self.trades["exit_date"].notna()]
        numbers = {**self._growth(), **self._risk(), **self._against_benchmark(), **trade_metrics(closed)}
        return {name: _defined(number) for name, number in numbers.items()}

    def _growth(self) -> dict[str, float]:
        periods = bars_per_year(self.index)
        growth = self.equity[-1] / self.equity[0]
        cagr = annual_growth(growth, len(self.equity), periods)
        return {
            "cagr_pct": 100 * float(cagr),
            "calmar_ratio": float(ratio(cagr, drawdowns(self.equity).max())),
            "max_drawdown_days": max_drawdown_days(self.equity, self.index),
            "exposure_pct": 100 * int(np.count_nonzero(self.positions)) / len(self.positions),
            "turnover": self.traded / float(mean(self.equity)),
            "total_costs": self.costs,
        }

    def _risk(self) -> dict[str, float]:
        r, periods, risk_free = bar_returns(self.equity), bars_per_year(self.index), self._risk_free_per_bar()
        return {
            "volatility_pct": 100 * float(deviation(r)) * math.sqrt(periods),
            "sortino_ratio": float(sortino_ratio(r, periods, risk_free)),
            "value_at_risk_pct": 100 * value_at_risk(r),
            "expected_shortfall_pct": 100 * expected_shortfall(r),
            "omega_ratio": omega_ratio(r),
            "skew": skewness(r),
            "kurtosis": excess_kurtosis(r),
        }

    def _against_benchmark(self) -> dict[str, float]:
        r, b, periods = bar_returns(self.equity), bar_returns(self.benchmark), bars_per_year(self.index)
        return {
            "buy_and_hold_return_pct": 100 * float(total_return(self.benchmark)),
            "beta": beta(r, b),
            "alpha": alpha(r, b, periods, self._risk_free_per_bar()),
            "information_ratio": information_ratio(r, b, periods),
        }

    def _risk_free_per_bar(self) -> float:
        return float((1 + self.risk_free_rate) ** (1 / bars_per_year(self.index)) - 1)


def _defined(number: float | int) -> float | int | None:
    return number if math.isfinite(number) else None
