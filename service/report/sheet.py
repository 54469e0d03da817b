"""The tear sheet of a run: which months, which falls, which trades made its result.

Every number is made from the run's table of bars, its trades and its prices, in percent unless said
otherwise. Means of returns are arithmetic. The document is JSON: what is undefined is None.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from backtest.metrics import bar_returns, drawdowns, sharpe_ratio
from service.engine.metrics import (
    LEAST_BARS,
    annual_growth,
    excess_kurtosis,
    risk_free_per_bar,
    skewness,
)
from service.engine.version import ENGINE_VERSION, periods_of_version
from service.report.bars import Bars, Floats
from service.report.chart import bars_of_trades

MONTHS = 12
WEEKDAYS = 7
WORST_DRAWDOWNS = 5
ROLLING_POINTS = 240
ROLLING_YEARS = 0.5
HISTOGRAM_BINS = 20
QUANTILE_95 = 1.959963984540054  # of the normal distribution: 95 % lie between it and its negative


@dataclass(frozen=True)
class Crisis:
    """A fall of the S&P 500 from its peak to its low, by its closes."""

    name: str
    first: str
    last: str


CRISES = (
    Crisis("Dot-com bust", "2000-03-24", "2002-10-09"),
    Crisis("Financial crisis", "2007-10-09", "2009-03-09"),
    Crisis("Downgrade of the United States", "2011-04-29", "2011-10-03"),
    Crisis("Growth fears in China", "2015-05-21", "2016-02-11"),
    Crisis("Fourth quarter of 2018", "2018-09-20", "2018-12-24"),
    Crisis("Covid-19", "2020-02-19", "2020-03-23"),
    Crisis("Inflation and rate rises", "2022-01-03", "2022-10-12"),
    Crisis("Tariffs", "2025-02-19", "2025-04-08"),
)


def sheet_of(
    bars: Bars,
    trades: Sequence[Mapping[str, Any]],
    initial_capital: float,
    risk_free_rate: float,
    version: str = ENGINE_VERSION,
) -> dict[str, Any]:
    """The document; `risk_free_rate` is a fraction a year, as in the request.

    `version` is that of the engine which performed the run.
    """
    periods = periods_of_version(version)(bars.index)
    risk_free = risk_free_per_bar(risk_free_rate, periods)
    return {
        "sharpe_band": sharpe_band(bar_returns(bars.equity) - risk_free, periods),
        "holding": _holding_of(bars, initial_capital, periods, risk_free),
        "years": years_of(bars, initial_capital),
        "month_means": _month_means(bars, initial_capital),
        "weekdays": weekdays_of(bars, initial_capital),
        "drawdowns": drawdowns_of(bars),
        "rolling": rolling_of(bars, periods, risk_free),
        "crises": crises_of(bars),
        "excursions": excursions_of(bars, trades),
        "returns": histogram_of([trade["return_pct"] for trade in trades if trade["exit_date"]]),
        "holding_days": histogram_of(
            [trade["holding_days"] for trade in trades if trade["exit_date"]], whole=True
        ),
    }


def sharpe_band(excess: Floats, periods: float) -> list[float] | None:
    """Between what the true Sharpe ratio a year lies in 95 of 100 cases; [low, high].

    The standard error allows for skew and fat tails, but takes returns for independent: Mertens
    (2002), equation of Bailey and Lopez de Prado (2012). None for fewer than 20 bars.
    """
    count = len(excess)
    spread = excess.std(ddof=1) if count >= LEAST_BARS else 0.0
    if spread == 0 or excess.max() == excess.min():
        return None
    ratio = excess.mean() / spread
    variance = 1 - skewness(excess) * ratio + (excess_kurtosis(excess) + 2) / 4 * ratio**2
    if not variance > 0:
        return None
    reach = QUANTILE_95 * math.sqrt(variance / (count - 1))
    return [float(bound * math.sqrt(periods)) for bound in (ratio - reach, ratio + reach)]


def _holding_of(
    bars: Bars, initial_capital: float, periods: float, risk_free: float
) -> dict[str, float | None]:
    """What buy and hold came to, by the definitions of the run's own metrics."""
    growth = bars.holding[-1] / initial_capital
    enough = len(bars) >= LEAST_BARS
    yearly = None
    if enough and growth > 0:
        yearly = float(annual_growth(np.array([growth]), len(bars), periods)[0])
    sharpe = float(sharpe_ratio(bar_returns(bars.holding), periods, risk_free)) if enough else None
    return {
        "max_drawdown_pct": 100 * float(drawdowns(bars.holding).max()),
        "cagr_pct": None if yearly is None else 100 * yearly,
        "sharpe_ratio": None if sharpe is None or math.isnan(sharpe) else sharpe,
    }


def years_of(bars: Bars, initial_capital: float) -> list[dict[str, Any]]:
    """Returns by month and by year; the months of one year multiply to its total.

    `months` has 12 places, None where the run has no bar in the month.
    """
    months = bars.stamps.astype("datetime64[M]").astype(np.int64)
    equity = _growth_by(months, bars.equity, initial_capital)
    holding = _growth_by(months, bars.holding, initial_capital)
    years: dict[int, dict[str, Any]] = {}
    for month, growth, held in zip(np.unique(months).tolist(), equity, holding, strict=True):
        number, place = divmod(month, MONTHS)
        year = years.setdefault(
            1970 + number, {"months": [None] * MONTHS, "growth": 1.0, "holding": 1.0}
        )
        year["months"][place] = _pct(growth)
        year["growth"] *= growth
        year["holding"] *= held
    return [
        {
            "year": number,
            "months": year["months"],
            "total": _pct(year["growth"]),
            "holding": _pct(year["holding"]),
        }
        for number, year in years.items()
    ]


def _growth_by(groups: NDArray[np.int64], money: Floats, initial: float) -> Floats:
    """What each stretch of bars in the same group multiplies the money by, in order of time."""
    is_last = np.append(groups[1:] != groups[:-1], True)
    ends = money[is_last]
    starts = np.concatenate([[initial], ends[:-1]])
    growth = np.ones(len(ends))
    np.divide(ends, starts, out=growth, where=starts > 0)
    return growth


def _month_means(bars: Bars, initial_capital: float) -> list[float | None]:
    """The mean return of each of the 12 months of the calendar."""
    months = bars.stamps.astype("datetime64[M]").astype(np.int64)
    growth = _growth_by(months, bars.equity, initial_capital)
    places = np.unique(months) % MONTHS
    return [_mean_pct(growth[places == place]) for place in range(MONTHS)]


def weekdays_of(bars: Bars, initial_capital: float) -> list[dict[str, Any]]:
    """The mean return of the days of each weekday that has any, Monday is 0."""
    days = bars.stamps.astype("datetime64[D]").astype(np.int64)
    growth = _growth_by(days, bars.equity, initial_capital)
    # 1970-01-01 was a Thursday.
    weekdays = (np.unique(days) + 3) % WEEKDAYS
    return [
        {
            "weekday": weekday,
            "mean": _mean_pct(growth[weekdays == weekday]),
            "days": int((weekdays == weekday).sum()),
        }
        for weekday in range(WEEKDAYS)
        if (weekdays == weekday).any()
    ]


def drawdowns_of(bars: Bars) -> list[dict[str, Any]]:
    """The deepest falls from a peak, the deepest first; `recovered` is None where it never was.

    Days are those of the calendar, from the peak.
    """
    under = bars.drawdown > 0
    edges = np.flatnonzero(np.diff(under.astype(np.int8), prepend=0))
    starts = edges[::2]
    ends = edges[1::2]
    if len(starts) > len(ends):
        ends = np.append(ends, len(bars))
    if len(starts) == 0:
        return []
    depths = np.maximum.reduceat(bars.drawdown, starts)
    worst = np.argsort(-depths, kind="stable")[:WORST_DRAWDOWNS]
    return [_drawdown_document(bars, int(starts[at]), int(ends[at])) for at in worst]


def _drawdown_document(bars: Bars, start: int, end: int) -> dict[str, Any]:
    """Of the bars from `start` up to `end`, not included, which are below the peak before them."""
    stamps = bars.stamps
    peak = max(start - 1, 0)
    trough = start + int(bars.drawdown[start:end].argmax())
    is_recovered = end < len(bars)
    last = end if is_recovered else end - 1
    return {
        "depth": 100 * float(bars.drawdown[trough]),
        "peak": _day(stamps[peak]),
        "trough": _day(stamps[trough]),
        "recovered": _day(stamps[end]) if is_recovered else None,
        "days_down": _days_between(stamps[peak], stamps[trough]),
        "days": _days_between(stamps[peak], stamps[last]),
    }


def rolling_of(bars: Bars, periods: float, risk_free: float) -> dict[str, Any] | None:
    """Sharpe ratio and volatility a year, and beta to holding, of each half year.

    There are at most 240 of them, evenly spaced; `bars` is the length of a window. None where the
    run is shorter than two windows.
    """
    window = max(LEAST_BARS, round(periods * ROLLING_YEARS))
    if len(bars) < 2 * window:
        return None
    returns = pd.Series(bar_returns(bars.equity))
    held = pd.Series(bar_returns(bars.holding))
    rolling = returns.rolling(window)
    deviation = rolling.std()
    # What is left of a flat window after rounding
    deviation = deviation.where(rolling.max() > rolling.min(), 0.0)
    sharpe = (rolling.mean() - risk_free) / deviation.where(deviation > 0) * math.sqrt(periods)
    spread = held.rolling(window).var()
    beta = rolling.cov(held) / spread.where(spread > 0)
    at = np.unique(np.linspace(window, len(bars) - 1, ROLLING_POINTS).astype(np.intp))
    return {
        "bars": window,
        "days": [_day(stamp) for stamp in bars.stamps[at]],
        "sharpe": _numbers(sharpe.to_numpy()[at]),
        "volatility": _numbers(100 * deviation.to_numpy()[at] * math.sqrt(periods)),
        "beta": _numbers(beta.to_numpy()[at]),
    }


def crises_of(bars: Bars) -> list[dict[str, Any]]:
    """Returns of the run and of holding in each crisis that lies within the run."""
    days = bars.stamps.astype("datetime64[D]")
    found = []
    for crisis in CRISES:
        first, last = np.datetime64(crisis.first), np.datetime64(crisis.last)
        if first < days[0] or last > days[-1]:
            continue
        start = int(np.searchsorted(days, first, side="right")) - 1
        end = int(np.searchsorted(days, last, side="right")) - 1
        if end > start:
            returns = {
                name: _pct(money[end] / money[start]) if money[start] > 0 else None
                for name, money in (("strategy", bars.equity), ("holding", bars.holding))
            }
            found.append(
                {"name": crisis.name, "first": crisis.first, "last": crisis.last, **returns}
            )
    return found


def excursions_of(bars: Bars, trades: Sequence[Mapping[str, Any]]) -> list[list[float]] | None:
    """How far the price went against each trade and in its favour: [adverse, favourable].

    In percent of the entry price, both at least 0, from the entry's fill to that of the exit. None
    where prices are gone.
    """
    if bars.prices is None:
        return None
    highs = bars.prices["High"].to_numpy()
    lows = bars.prices["Low"].to_numpy()
    entries, exits = bars_of_trades(trades, bars.stamps)
    found = []
    for trade, entry, left in zip(trades, entries.tolist(), exits.tolist(), strict=True):
        end = len(bars) if left < 0 else max(left, entry)
        entry_price = trade["entry_price"]
        # A fill is at an open: of the bar of the exit nothing but its fill counts.
        prices = [entry_price, trade["exit_price"] if left >= 0 else entry_price]
        lowest = min([*prices, *([lows[entry:end].min()] if end > entry else [])])
        highest = max([*prices, *([highs[entry:end].max()] if end > entry else [])])
        down = 100 * (entry_price - lowest) / entry_price
        up = 100 * (highest - entry_price) / entry_price
        adverse, favourable = (down, up) if trade["direction"] == "long" else (up, down)
        found.append([round(float(adverse), 4), round(float(favourable), 4)])
    return found


def histogram_of(values: Sequence[float], whole: bool = False) -> dict[str, Any] | None:
    """How many of the values lie between each two of the `edges`; None for fewer than two values.

    `whole`: the values are whole numbers, and so are the edges.
    """
    if len(values) < 2 or min(values) == max(values):
        return None
    low, high = float(min(values)), float(max(values))
    if whole:
        step = max(1, math.ceil((high - low + 1) / HISTOGRAM_BINS))
        edges = np.arange(low, high + step + 1, step)
    else:
        edges = np.linspace(low, high, HISTOGRAM_BINS + 1)
    counts, _ = np.histogram(values, edges)
    return {"edges": edges.tolist(), "counts": counts.tolist()}


def _pct(growth: float) -> float:
    return 100 * (float(growth) - 1)


def _mean_pct(growth: Floats) -> float | None:
    return _pct(growth.mean()) if len(growth) else None


def _day(stamp: np.datetime64) -> str:
    return str(stamp.astype("datetime64[D]"))


def _days_between(first: np.datetime64, last: np.datetime64) -> int:
    return int((last.astype("datetime64[D]") - first.astype("datetime64[D]")).astype(int))


def _numbers(values: Floats) -> list[float | None]:
    return [round(value, 6) if math.isfinite(value) else None for value in values.tolist()]
