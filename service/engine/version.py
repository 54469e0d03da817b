"""The version of all that decides a result: the frozen engine, and what is around it.

1.0.0: the frozen engine alone. 1.1.0: powers and probabilities are rounded correctly, so that every
processor gives the same bytes; fewer than 20 bars give no numbers per year; the information ratio
of a run that never traded is undefined; the data gate sees more. 1.2.0: the stored figure is small;
of bars that are longer than a day as many count as a year as there are in one.
"""

from collections.abc import Callable

import pandas as pd

import backtest.engine
from backtest.metrics import bars_per_year
from service.prices.periods import bars_a_year

FROZEN_VERSION = backtest.engine.ENGINE_VERSION
LARGE_FIGURE_VERSION = "1.1.0"
ENGINE_VERSION = "1.2.0"


def periods_of_version(version: str) -> Callable[[pd.DatetimeIndex], float]:
    """By which a version of the engine counts the bars of a year."""
    is_early = version in (FROZEN_VERSION, LARGE_FIGURE_VERSION)
    return bars_per_year if is_early else bars_a_year
