"""Counts how often a search takes luck for skill, and finds skill: `python -m benchmarks.luck`.

It searches made-up prices of 10 years and counts verdicts. In the first table nobody can earn by
timing: the prices drift up or down, with normal or fat-tailed returns, with volatility that comes
in waves, with returns that depend on the one before. Whatever is called more than luck there is a
false alarm. In the second table the drift itself turns up and down, so that timing earns; what is
called more than luck there is found. Each price series is made from the number of its walk.

Columns: how often the best combination beats holding; how often release 0.2.0 called it more than
luck (the deflated Sharpe ratio, combinations without a trade counted as tries); how often the
verdict does, with the standard error of that share.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from backtest.kernel import Terms
from backtest.metrics import Floats
from rules.optimizer import grid
from rules.registry import BUILT_IN
from service.doubt.luck import deflated_sharpe_ratio
from service.search.numbers import SearchNumbers
from service.search.search import JudgedSearch, Search
from service.trials.ledger import Entry, ledger_of, tries_of
from service.trials.skill import skill_of

BARS = 2520
BARS_PER_YEAR = 252
VOLATILITY = 0.012  # a day
CONFIDENCE = 0.95
TERMS = Terms(100_000.0, 0.001, 0.0, 0.0, False)
CROSSINGS: Mapping[str, object] = {"fast": "5:50:5", "slow": "20:200:10"}
# Many of these never trade: RSI rarely falls to 5, or rises from there to 75.
THRESHOLDS: Mapping[str, object] = {
    "period": "10:30:5",
    "oversold": "5:40:5",
    "overbought": "60:75:5",
}
GARCH_START = 1.0
GARCH_WEIGHTS = (0.05, 0.08, 0.87)  # of the constant, the last square, the last variance
DEGREES_OF_FREEDOM = 3  # of the fat tails

Random = np.random.Generator
Noise = Callable[[Random], Floats]


def normal(random: Random) -> Floats:
    """Returns of unit variance."""
    return random.normal(0.0, 1.0, BARS)


def fat_tailed(random: Random) -> Floats:
    """Student's t of unit variance."""
    scale = math.sqrt(DEGREES_OF_FREEDOM / (DEGREES_OF_FREEDOM - 2))
    return random.standard_t(DEGREES_OF_FREEDOM, BARS) / scale


def in_waves(random: Random) -> Floats:
    """A GARCH(1, 1) of unit variance in the long run."""
    constant, of_square, of_variance = GARCH_WEIGHTS
    shocks = random.normal(0.0, 1.0, BARS)
    returns = np.empty(BARS)
    variance = GARCH_START
    for bar, shock in enumerate(shocks):
        returns[bar] = math.sqrt(variance) * shock
        variance = constant + of_square * returns[bar] ** 2 + of_variance * variance
    return returns


def autocorrelated(correlation: float) -> Noise:
    """Returns of which each keeps that share of the one before."""

    def noise(random: Random) -> Floats:
        shocks = random.normal(0.0, math.sqrt(1 - correlation**2), BARS)
        returns = np.empty(BARS)
        before = 0.0
        for bar, shock in enumerate(shocks):
            before = correlation * before + shock
            returns[bar] = before
        return returns

    return noise


def turning(annual_sharpe: float, bars: int) -> Noise:
    """A drift that is up or down by as much, and turns every `bars` bars on average.

    Who knew the direction would earn `annual_sharpe`.
    """

    def noise(random: Random) -> Floats:
        is_up = np.cumsum(random.random(BARS) < 1 / bars) % 2
        drift = annual_sharpe / math.sqrt(BARS_PER_YEAR)
        return random.normal(0.0, 1.0, BARS) + np.where(is_up, drift, -drift)

    return noise


@dataclass(frozen=True)
class Scenario:
    """One line of a table: how prices move, and what is searched on them."""

    name: str
    drift: float  # as an annual Sharpe ratio of holding
    noise: Noise
    rule: str = "MA_CROSS"
    values: Mapping[str, object] = field(default_factory=lambda: CROSSINGS)


def without_skill() -> list[Scenario]:
    """Where timing earns nothing."""
    kinds: Sequence[tuple[str, Noise]] = [
        ("normal", normal),
        ("fat tails", fat_tailed),
        ("GARCH", in_waves),
        ("autocorrelation -0.10", autocorrelated(-0.1)),
        ("autocorrelation 0.05", autocorrelated(0.05)),
        ("autocorrelation 0.15", autocorrelated(0.15)),
    ]
    drifts = (0.0, 0.4, 0.8, 1.2)
    return [
        *(Scenario("normal", drift, normal) for drift in (-0.8, -0.4)),
        *(Scenario(name, drift, noise) for name, noise in kinds for drift in drifts),
        *(
            Scenario("normal, idle rows", drift, normal, "RSI", THRESHOLDS)
            for drift in (-0.4, *drifts)
        ),
        *(
            Scenario(f"{name}, idle rows", 0.8, noise, "RSI", THRESHOLDS)
            for name, noise in kinds[1:]
        ),
    ]


def with_skill() -> list[Scenario]:
    """Where timing earns, whatever the mean drift is."""
    return [
        Scenario(f"turns after {bars} bars, {sharpe:g} a year", drift, turning(sharpe, bars))
        for bars in (60, 120)
        for sharpe in (1.5, 2.0, 3.0)
        for drift in (0.0, 0.8)
    ]


def walk(seed: int, scenario: Scenario) -> pd.DataFrame:
    """Daily bars of a scenario, the same ones for the same number."""
    random = np.random.Generator(np.random.PCG64(seed))
    drift = scenario.drift / math.sqrt(BARS_PER_YEAR)
    close = 100 * np.exp(np.cumsum(VOLATILITY * (drift + scenario.noise(random))))
    gaps = random.normal(0.0, VOLATILITY / 4, BARS)
    open_ = np.append(100.0, close[:-1]) * np.exp(gaps)
    columns = {
        "Open": open_,
        "High": np.maximum(open_, close),
        "Low": np.minimum(open_, close),
        "Close": close,
        "Volume": np.ones(BARS),
    }
    return pd.DataFrame(columns, index=pd.bdate_range("2014-01-01", periods=BARS))


@dataclass(frozen=True)
class Verdicts:
    """Of one search: whether its best beats holding, and who calls it more than luck."""

    beats_holding: bool
    earlier: bool
    now: bool


def verdicts(data: pd.DataFrame, scenario: Scenario) -> Verdicts:
    """Searches all combinations, and judges them as 0.2.0 did and as today."""
    searched = grid(BUILT_IN[scenario.rule], scenario.values)
    search = Search(data, searched, TERMS, "sharpe_ratio")
    numbers = search.numbers()
    judged = search.judge(numbers)
    evidence = replace(judged.evidence, timing=timing_after_all_tries(search, numbers, judged))
    return Verdicts(
        beats_holding=evidence.best_pct > evidence.holding_pct,
        earlier=_called_skill_by_0_2_0(search, judged),
        now=evidence.is_more_than_luck,
    )


def timing_after_all_tries(search: Search, numbers: SearchNumbers, judged: JudgedSearch) -> float:
    """As pages show it, where nothing but this search was tried on the prices."""
    if judged.judged is None:
        return math.nan
    tried = search.tried(numbers)
    ledger = ledger_of([Entry(1, tried)], tried.first_day, tried.last_day)
    return skill_of(judged.judged, tries_of([ledger])).timing


def _called_skill_by_0_2_0(search: Search, judged: JudgedSearch) -> bool:
    """The deflated Sharpe ratio over all rows, those without a trade as ratios of 0."""
    table = judged.table
    ratios = np.nan_to_num(table.metrics["sharpe_ratio"]) / math.sqrt(BARS_PER_YEAR)
    returns = search.returns_of(table.grid.rule_at(table.best))
    return deflated_sharpe_ratio(returns, ratios) >= CONFIDENCE


def print_table(title: str, scenarios: Sequence[Scenario], walks: int) -> None:
    """A line for each scenario: the shares of so many walks."""
    print(f"{title}; {walks} walks each, numbers 0 to {walks - 1}")
    print(f"{'':38} drift   beats holding   0.2.0      now")
    for scenario in scenarios:
        found = [verdicts(walk(seed, scenario), scenario) for seed in range(walks)]
        beats = np.mean([each.beats_holding for each in found])
        earlier = np.mean([each.earlier for each in found])
        now = float(np.mean([each.now for each in found]))
        error = math.sqrt(now * (1 - now) / walks)
        shares = f"{beats:13.1%}   {earlier:6.1%}   {now:6.1%} +- {error:.1%}"
        print(f"{scenario.name:38} {scenario.drift:5.1f}   {shares}", flush=True)


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--walks", type=int, default=200)
    walks = parser.parse_args().walks
    print_table("false alarms: nobody can earn by timing", without_skill(), walks)
    print_table("skill found: timing earns", with_skill(), walks)


if __name__ == "__main__":
    main()
