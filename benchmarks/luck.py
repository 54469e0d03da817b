"""Counts how often a search takes luck for skill: `python -m benchmarks.luck`.

It searches 200 seeded random walks of 10 years, where the best combination is luck alone, and 200
that rise with an annual Sharpe ratio of 1.5. It prints three shares of the best ones: those with
a Sharpe ratio above 0; those that are above 0 at 5 % as if no other had been tried; and those that
are more than luck at 5 % by the deflated Sharpe ratio. `--walks` takes another number than 200.
"""

from __future__ import annotations

import argparse
import math

import numpy as np
import pandas as pd

from backtest.kernel import Terms
from rules.optimizer import grid
from rules.registry import BUILT_IN
from service.search.search import JudgedSearch, Search

BARS = 2520
VOLATILITY = 0.012  # a day
CONFIDENCE = 0.95
TERMS = Terms(100_000.0, 0.001, 0.0, 0.0, False)
VALUES = {"fast": "5:50:5", "slow": "20:200:10"}


def walk(seed: int, annual_sharpe: float) -> pd.DataFrame:
    """A daily walk of log returns with that Sharpe ratio."""
    random = np.random.Generator(np.random.PCG64(seed))
    drift = annual_sharpe / math.sqrt(252) * VOLATILITY
    close = 100 * np.exp(np.cumsum(random.normal(drift, VOLATILITY, BARS)))
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


def judged_search(data: pd.DataFrame) -> JudgedSearch:
    """The search of all combinations."""
    search = Search(data, grid(BUILT_IN["MA_CROSS"], VALUES), TERMS, "sharpe_ratio")
    return search.judge(search.numbers())


def print_shares(name: str, annual_sharpe: float, walks: int) -> None:
    """Prints the three shares of the searches on so many walks."""
    searches = [judged_search(walk(seed, annual_sharpe)) for seed in range(walks)]
    best_ratios = [search.table.metrics["sharpe_ratio"][search.table.best] for search in searches]
    positive = np.mean([ratio > 0 for ratio in best_ratios])
    alone = np.mean([search.probabilistic_sharpe >= CONFIDENCE for search in searches])
    deflated = np.mean([search.deflated_sharpe >= CONFIDENCE for search in searches])
    shares = f"above 0 {positive:6.1%}   as if alone {alone:6.1%}   deflated {deflated:6.1%}"
    print(f"{name:25} {shares}")


def main() -> None:
    """Prints a line for random walks, and one for walks that rise."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--walks", type=int, default=200)
    walks = parser.parse_args().walks
    print_shares("random walks", 0.0, walks)
    print_shares("planted Sharpe ratio 1.5", 1.5, walks)


if __name__ == "__main__":
    main()
