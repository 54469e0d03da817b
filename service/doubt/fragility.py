"""What a run would have come to, had one thing been a little different.

A rule that earns only with these very parameters, on these very prices, filled at once and for
nothing, is fragile: it has learned the past by heart.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from functools import cached_property, partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from backtest.engine import BacktestEngine, BacktestResult
from backtest.metrics import Floats, bar_returns, drawdowns, mean, sharpe_ratio
from rules.base_rule import BaseRule, CompositeRule, InvalidRule
from service.contract.request import BacktestRequest
from service.doubt.best_trades import without_best_trades
from service.doubt.digits import six_digits
from service.engine.adapter import engine_of
from service.engine.metrics import LEAST_BARS, annual_growth, risk_free_per_bar
from service.prices.periods import bars_a_year

Signals = NDArray[np.int8]
Row = dict[str, Any]

COST_FACTORS = (2, 5)
PARAMETER_FACTORS = (Decimal("0.9"), Decimal("1.1"))
LEAST_YEARS = 2.5  # of a run of which a year is left out
DAYS_OF_YEAR = 365.25
ATR_BARS = 14
NOISE = 0.25  # of the average true range, the most that is added to a price or taken from it
NOISY_SERIES = 9
LEAST_NOISY_SERIES = 3  # of a long run, so that it does not take long
FULL_BARS = 20_000
BEST_TRADES = 5
MOST_COST = 0.5  # of a trade's value: nobody pays that
COST_STEPS = 32  # of the bisection

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Performance:
    """A run that was performed: its request and rule, the prices of its bars, its signals (n,).

    `equity` is money at each close, `position` are the shares then, (n,) each. `trades` are those
    of the result.
    """

    request: BacktestRequest
    rule: BaseRule
    data: pd.DataFrame
    signals: Signals
    equity: Floats
    position: Floats
    trades: Sequence[Mapping[str, Any]]

    @cached_property
    def periods(self) -> float:
        """How many bars are a year."""
        return bars_a_year(pd.DatetimeIndex(self.data.index))

    @cached_property
    def risk_free(self) -> float:
        """The rate of one bar."""
        return risk_free_per_bar(self.request.risk_free_rate, self.periods)

    def engine(self, cost_factor: float = 1.0) -> BacktestEngine:
        """The engine on the terms of the run, its costs multiplied."""
        asked = self.request
        return self._engine_with(
            cost_factor * asked.commission_rate, cost_factor * asked.slippage_rate
        )

    def return_at(self, cost: float) -> float:
        """The total return, a fraction, where each purchase and each sale costs this share."""
        result = self._engine_with(cost, 0.0).run(self.data, lambda _: self.signals)
        return float(result["total_return_pct"]) / 100

    def _engine_with(self, commission_rate: float, slippage_rate: float) -> BacktestEngine:
        asked = replace(self.request, commission_rate=commission_rate, slippage_rate=slippage_rate)
        return engine_of(asked)


def rows_of(run: Performance, seed: int) -> list[Row]:
    """A row for each change: `change` says which, beside it stand the numbers that it leads to.

    The first row is the run as it was asked for. A change that cannot be made has no row. The
    numbers are cagr_pct, sharpe_ratio, max_drawdown_pct and num_trades.
    """
    rows = [_row("asked", _numbers(run, run.equity, len(run.trades)))]
    if not run.trades:
        return rows
    changes = (_fills, _costs, _years, _parameters)
    rows += [row for change in changes for row in change(run)]
    rows += _noise(run, seed)
    rows += _without_best_trades(run)
    return rows


def break_even_cost(run: Performance) -> float | None:
    """The costs of each purchase and each sale, in percent of its value, that leave nothing earned.

    0 where nothing was earned without costs, None where nothing was traded or no costs are enough.
    """
    if not run.trades or run.return_at(MOST_COST) > 0:
        return None
    if run.return_at(0.0) <= 0:
        return 0.0
    low, high = 0.0, MOST_COST
    for _ in range(COST_STEPS):
        middle = (low + high) / 2
        if run.return_at(middle) > 0:
            low = middle
        else:
            high = middle
    return float(f"{100 * low:.4g}")


def _fills(run: Performance) -> Iterator[Row]:
    late = np.concatenate([np.zeros(1, np.int8), run.signals[:-1]])
    yield from _result_row("late", run, lambda: run.engine().run(run.data, lambda _: late))
    at_close = run.data.assign(Open=run.data["Close"])
    yield from _result_row("close", run, lambda: run.engine().run(at_close, lambda _: run.signals))


def _costs(run: Performance) -> Iterator[Row]:
    highest = max(run.request.commission_rate, run.request.slippage_rate)
    for factor in COST_FACTORS:
        if 0 < factor * highest < 1:
            yield from _result_row("costs", run, partial(_with_costs, run, factor), factor=factor)


def _with_costs(run: Performance, factor: float) -> BacktestResult:
    return run.engine(factor).run(run.data, lambda _: run.signals)


def _years(run: Performance) -> Iterator[Row]:
    """The run begun a year later, or ended a year earlier."""
    index = pd.DatetimeIndex(run.data.index)
    first, last = index[0], index[-1]
    if (last - first).days < LEAST_YEARS * DAYS_OF_YEAR:
        return
    year = pd.DateOffset(years=1)
    for change, data in (
        ("first_year", run.data.loc[first + year :]),
        ("last_year", run.data.loc[: last - year]),
    ):
        yield from _rule_row(change, run, lambda: run.rule, data)


def _parameters(run: Performance) -> Iterator[Row]:
    """Each number of the rule, or of the rules of a combination, a tenth lower and higher."""
    members = run.rule.members if isinstance(run.rule, CompositeRule) else (run.rule,)
    for place, member in enumerate(members):
        for name, value in member.params.items():
            for other in neighbours(value):
                changed = partial(_with_parameter, run.rule, place, member, name, other)
                details = {"member": member.rule_id, "name": name, "asked": value, "value": other}
                yield from _rule_row("parameter", run, changed, run.data, **details)


def neighbours(value: int | float) -> Iterator[int | float]:
    """A tenth below and above; a whole number differs by at least a tenth, and by one."""
    exact = Decimal(repr(value))
    for factor in PARAMETER_FACTORS:
        other = exact * factor
        if isinstance(value, int):
            is_above = factor > 1
            farther = ROUND_CEILING if is_above == (value > 0) else ROUND_FLOOR
            whole = int(other.to_integral_value(farther))
            yield whole if whole != value else value + (1 if is_above else -1)
        elif other != exact:
            yield float(other)


def _with_parameter(
    rule: BaseRule, place: int, member: BaseRule, name: str, value: int | float
) -> BaseRule:
    return _with_member(rule, place, type(member)(**{**member.params, name: value}))


def _with_member(rule: BaseRule, place: int, member: BaseRule) -> BaseRule:
    if not isinstance(rule, CompositeRule):
        return member
    members = [*rule.members[:place], member, *rule.members[place + 1 :]]
    return CompositeRule(rule.mode, members)


def _noise(run: Performance, seed: int) -> Iterator[Row]:
    """The middle and the worst of some series of which every price is a little different."""
    random = np.random.Generator(np.random.PCG64(seed))
    count = max(LEAST_NOISY_SERIES, NOISY_SERIES * FULL_BARS // max(len(run.data), FULL_BARS))
    rows: list[Row] = []
    for _ in range(count):
        noisy = with_noise(run.data, random)
        rows += _rule_row("noise", run, lambda: run.rule, noisy, series=count)
    if len(rows) == count:
        rows.sort(key=lambda row: float(row["sharpe_ratio"] or 0))
        yield rows[count // 2]
        yield {**rows[0], "change": "worst_noise"}


def with_noise(data: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
    """The bars, with up to a quarter of their average true range added to each price or taken away.

    The prices of a bar stay in their order, and above 0.
    """
    prices = data[["Open", "High", "Low", "Close"]].to_numpy(dtype=np.float64)
    opens, highs, lows, closes = prices.T
    before = np.concatenate([opens[:1], closes[:-1]])
    ranges = np.maximum(highs, before) - np.minimum(lows, before)
    padded = np.concatenate([np.repeat(ranges[:1], ATR_BARS - 1), ranges])
    usual = mean(np.lib.stride_tricks.sliding_window_view(padded, ATR_BARS))
    moved = prices + NOISE * usual[:, np.newaxis] * random.uniform(-1, 1, prices.shape)
    moved = np.maximum(moved, prices / 2)
    changed = data.copy()
    changed["Open"], changed["Close"] = moved[:, 0], moved[:, 3]
    changed["High"], changed["Low"] = moved.max(axis=1), moved.min(axis=1)
    return changed


def _without_best_trades(run: Performance) -> Iterator[Row]:
    """The money stays out of the market while the best trades last."""
    if len(run.trades) <= BEST_TRADES:
        return
    equity = without_best_trades(run.equity, run.position, run.trades, BEST_TRADES)
    if equity is not None:
        yield _row("best_trades", _numbers(run, equity, len(run.trades) - BEST_TRADES))


def _rule_row(
    change: str,
    run: Performance,
    make_rule: Callable[[], BaseRule],
    data: pd.DataFrame,
    **details: object,
) -> Sequence[Row]:
    """Of a rule on bars; none where those are too few for it, or it cannot be made."""

    def perform() -> BacktestResult | None:
        rule = make_rule()
        if len(data) < max(rule.warm_up + 1, LEAST_BARS):
            return None
        # A rule of somebody else may change what it gets.
        return run.engine().run(data, lambda bars: rule.generate_signals(bars.copy()))

    return _result_row(change, run, perform, **details)


def _result_row(
    change: str, run: Performance, perform: Callable[[], BacktestResult | None], **details: object
) -> Sequence[Row]:
    try:
        result = perform()
    except InvalidRule:
        return []
    except Exception:
        # A rule of somebody else may fail on other prices; the run itself is done.
        logger.warning("The change %s cannot be tried", change, exc_info=True)
        return []
    if result is None:
        return []
    numbers = _numbers(run, result.equity.to_numpy(), int(result["num_trades"]))
    return [_row(change, numbers, **details)]


def _numbers(run: Performance, equity: Floats, trades: int) -> Mapping[str, float | int | None]:
    returns = bar_returns(equity)
    bars = len(equity)
    growth = float(annual_growth(equity[-1:] / equity[:1], bars, run.periods)[0])
    sharpe = float(sharpe_ratio(returns, run.periods, run.risk_free))
    is_long = bars >= LEAST_BARS
    return {
        "cagr_pct": six_digits(100 * growth) if is_long else None,
        "sharpe_ratio": six_digits(sharpe) if is_long else None,
        "max_drawdown_pct": six_digits(100 * float(drawdowns(equity).max())),
        "num_trades": trades,
    }


def _row(change: str, numbers: Mapping[str, float | int | None], **details: object) -> Row:
    return {"change": change, **details, **numbers}
