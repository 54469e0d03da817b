"""Counts how often a house without skill is told that it has some: `python -m benchmarks.houses`.

A house tries 1 to 1,000 rules on prices that nobody can foresee, in random order, single runs and
searches mixed, and believes the best of them. The ledger of all tries should call it more than
luck in at most 5 of 100 houses. Beside it stands how often it would be believed if only its last
search counted, or only itself.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from backtest.kernel import Terms
from backtest.metrics import Floats, bar_returns
from rules.base_rule import BaseRule, InvalidRule
from rules.optimizer import Columns
from rules.registry import BUILT_IN
from service.doubt.luck import timing_ratios
from service.search.evaluator import SearchEvaluator, engine_on, has_only_conditions
from service.search.sampling import rule_ids
from service.trials.ledger import Entry, ledger_of, tries_of
from service.trials.records import Sketching, Tried, days_of, keys_of, records_of, tried_on
from service.trials.skill import judged_of, skill_of

BARS = 1260
BARS_PER_YEAR = 252
VOLATILITY = 0.012
DRIFT = 0.0006  # of a rising market, in a day
MOST_TRIES = 1000
CONFIDENCE = 0.95
REACH = 3.0  # parameters are drawn from a third of the default to three times it
RULES = [rule for rule in BUILT_IN.values() if has_only_conditions(rule)]

Random = np.random.Generator
Returns = Callable[[Random], Floats]


def flat(random: Random) -> Floats:
    """Daily returns of a market that goes nowhere, (n,)."""
    return VOLATILITY * random.normal(size=BARS)


def rising(random: Random) -> Floats:
    """Those of one that rises, with fat tails."""
    return DRIFT + VOLATILITY * random.standard_t(4, size=BARS) / math.sqrt(2)


def in_waves(random: Random) -> Floats:
    """Those of one with calm and wild times."""
    waves = np.sin(np.arange(BARS) / 40) / 2 + 1
    return np.asarray(VOLATILITY * waves * random.normal(size=BARS))


MARKETS: Mapping[str, Returns] = {"flat": flat, "rising": rising, "in waves": in_waves}


def prices_of(returns: Floats) -> pd.DataFrame:
    """Bars with these returns from close to close."""
    close = 100 * np.exp(np.cumsum(returns))
    opened = np.concatenate([[100.0], close[:-1]])
    columns = {
        "Open": opened,
        "High": np.maximum(opened, close) * 1.002,
        "Low": np.minimum(opened, close) * 0.998,
        "Close": close,
        "Volume": np.full(BARS, 1e6),
    }
    return pd.DataFrame(columns, index=pd.bdate_range("2010-01-04", periods=BARS))


def drawn_parameters(random: Random, rule: type[BaseRule], count: int) -> Columns:
    """Parameters of `count` rules of a kind, by lot."""
    rows: list[list[float]] = []
    parameters = rule.metadata.parameters
    while len(rows) < count:
        row = []
        for parameter in parameters:
            ends = sorted((parameter.default / REACH, parameter.default * REACH))
            value = random.uniform(max(parameter.low, ends[0]), min(parameter.high, ends[1]))
            row.append(round(value) if isinstance(parameter.default, int) else round(value, 2))
        try:
            rule(**{each.name: value for each, value in zip(parameters, row, strict=True)})
        except InvalidRule:
            continue
        rows.append(row)
    columns = zip(*rows, strict=True)
    return {each.name: np.array(column) for each, column in zip(parameters, columns, strict=True)}


@dataclass(frozen=True)
class House:
    """What a house has tried, search by search; the best of all is of the search `search`.

    `held` (n,) are the returns of holding the ticker, `returns` (n,) those of the best, whose key
    is `key`.
    """

    entries: Sequence[Entry]
    held: Floats
    returns: Floats
    key: int
    search: int


def house_of(market: str, number: int) -> House | None:
    """The house with that number; None where no rule traded."""
    random = np.random.Generator(np.random.PCG64([list(MARKETS).index(market), number]))
    data = prices_of(MARKETS[market](random))
    terms = Terms(100_000.0, 0.0, 0.0, 0.0, allow_short=bool(random.integers(2)))
    engine = engine_on(terms)
    held = bar_returns(
        engine.run(data, lambda each: np.zeros(len(each), np.int8)).benchmark.to_numpy()
    )
    entries: list[Entry] = []
    found: House | None = None
    best = -math.inf
    for rule, count in searches_of(random):
        params = drawn_parameters(random, rule, count)
        returns = np.concatenate(list(SearchEvaluator(data, rule, terms).returns(params)))
        has_traded = returns.any(axis=1)
        if not has_traded.any():
            continue
        tried, returns = tried_of(rule, params, returns, has_traded, terms, held, data.index)
        entries.append(Entry(len(entries), tried))
        timing = np.nan_to_num(tried.records["timing"], nan=-np.inf)
        top = int(timing.argmax())
        if timing[top] > best:
            best = float(timing[top])
            key = int(tried.records["key"][top])
            found = House(entries, held, returns[top], key, len(entries) - 1)
    return found


def searches_of(random: Random) -> Iterator[tuple[type[BaseRule], int]]:
    """The rules that a house tries, in random order, and with how many numbers each."""
    tries = round(math.exp(random.uniform(0.0, math.log(MOST_TRIES))))
    chosen = random.integers(0, len(RULES), tries if random.random() < 0.5 else 1)
    counts = np.bincount(np.resize(chosen, tries), minlength=len(RULES))
    for place in random.permutation(len(RULES)).tolist():
        if counts[place]:
            yield RULES[place], int(counts[place])


def told_skill(market: str, number: int) -> tuple[bool, bool, bool] | None:
    """Whether a house is told that its best rule has skill: by the ledger, by its last search.

    And if nothing but that rule had been tried. None where no rule traded.
    """
    house = house_of(market, number)
    if house is None:
        return None
    judged = judged_of(house.key, house.returns, 0.0, house.held, BARS_PER_YEAR)
    if judged is None or judged.timing is None:
        return None
    days = house.entries[0].tried.first_day, house.entries[0].tried.last_day
    by_ledger, by_search = (
        skill_of(judged, tries_of([ledger_of(some, *days)])).timing
        for some in (house.entries, [house.entries[house.search]])
    )
    alone = judged.timing.probability()
    return by_ledger >= CONFIDENCE, by_search >= CONFIDENCE, alone >= CONFIDENCE


def tried_of(
    rule: type[BaseRule],
    params: Columns,
    returns: Floats,
    has_traded: np.ndarray,
    terms: Terms,
    held: Floats,
    index: pd.DatetimeIndex,
) -> tuple[Tried, Floats]:
    """What the rows that traded add to the ledger, and their returns."""
    names = [
        name for name, traded in zip(rule_ids(rule, params), has_traded, strict=True) if traded
    ]
    traded = returns[has_traded]
    root = math.sqrt(BARS_PER_YEAR)
    records = records_of(
        keys_of(names, terms),
        traded.mean(axis=1) / traded.std(axis=1, ddof=1) * root,
        timing_ratios(traded, held) * root,
        Sketching(held, days_of(index)).sketches(traded),
    )
    days = str(index[0].date()), str(index[-1].date())
    # In the order of the keys, as the records are kept.
    return tried_on(days, records, len(records)), traded[np.argsort(records["key"])]


def main() -> None:
    """Prints a line for each market."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--houses", type=int, default=400)
    houses = parser.parse_args().houses
    print("| market | houses | ledger | last search alone | nothing else |")
    for market in MARKETS:
        with ProcessPoolExecutor() as pool:
            told = pool.map(partial(told_skill, market), range(houses), chunksize=10)
            known = np.array([each for each in told if each is not None])
        shares = " | ".join(f"{share:.1%}" for share in known.mean(axis=0))
        print(f"| {market} | {len(known)} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
