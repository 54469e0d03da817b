"""Does a search call luck by its name? `python -m benchmarks.luck`: 200 seeded random walks of 10 years, where the best
of a grid is luck alone, and 200 with a planted skill, where holding has an annual Sharpe ratio of 1.5.

Shares of the winners whose Sharpe ratio is above 0; above 0 at 5 % as if it were the only one tried; and that the
deflated Sharpe ratio calls more than luck at 5 %.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from backtest.kernel import Terms
from rules.registry import BUILT_IN
from service.search.search import sweep

SEEDS, BARS, SIGMA = range(200), 2520, 0.012
TERMS = Terms(100_000.0, 0.001, 0.0, 0.0, False)
ASKED = {"fast": "5:50:5", "slow": "20:200:10"}


def walk(seed: int, annual_sharpe: float) -> pd.DataFrame:
    """A daily walk of log returns with that Sharpe ratio."""
    random = np.random.Generator(np.random.PCG64(seed))
    close = 100 * np.exp(
        np.cumsum(random.normal(annual_sharpe / math.sqrt(252) * SIGMA, SIGMA, BARS))
    )
    open_ = np.append(100.0, close[:-1]) * np.exp(random.normal(0.0, SIGMA / 4, BARS))
    columns = {
        "Open": open_,
        "High": np.maximum(open_, close),
        "Low": np.minimum(open_, close),
        "Close": close,
    }
    return pd.DataFrame(
        {**columns, "Volume": 1.0}, index=pd.bdate_range("2014-01-01", periods=BARS)
    )


def judged(annual_sharpe: float) -> list[float]:
    """The three shares."""
    found = [sweep(walk(seed, annual_sharpe), BUILT_IN["MA_CROSS"], ASKED, TERMS) for seed in SEEDS]
    positive = [each.table.metrics["sharpe_ratio"][each.table.best] > 0 for each in found]
    alone = [each.probabilistic_sharpe >= 0.95 for each in found]
    return [
        float(np.mean(share))
        for share in (positive, alone, [each.deflated_sharpe >= 0.95 for each in found])
    ]


def main() -> None:
    """A line for walks without skill, and one for those with it."""
    for name, annual_sharpe in (("random walks", 0.0), ("planted Sharpe ratio 1.5", 1.5)):
        positive, alone, deflated = judged(annual_sharpe)
        print(
            f"{name:25} above 0 {positive:6.1%}   as if alone {alone:6.1%}   deflated {deflated:6.1%}"
        )


if __name__ == "__main__":
    main()
