"""What one performed run adds to the ledger of trials."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from backtest.kernel import Terms
from backtest.metrics import bar_returns
from service.doubt.luck import timing_ratios
from service.engine.metrics import risk_free_per_bar
from service.prices.periods import bars_a_year
from service.trials.records import Sketching, Tried, days_of, keys_of, records_of, tried_on
from service.trials.skill import Judged, judged_of


def tried_by_run(
    bars: pd.DataFrame,
    rule_id: str,
    terms: Terms,
    plugin_digest: str,
    sharpe: float | None,
    risk_free_rate: float,
) -> tuple[Tried, Judged | None]:
    """The trial of a run that traded, and how it is judged.

    `bars` has equity and buy_and_hold of each bar; `sharpe` is the ratio of a year that the result
    shows, `risk_free_rate` that of a year.
    """
    index = pd.DatetimeIndex(bars.index)
    periods = bars_a_year(index)
    returns = bar_returns(bars["equity"].to_numpy())
    held = bar_returns(bars["buy_and_hold"].to_numpy())
    keys = keys_of([rule_id], terms, plugin_digest)
    tried = tried_on(
        (str(index[0].date()), str(index[-1].date())),
        records_of(
            keys,
            np.array([math.nan if sharpe is None else sharpe]),
            timing_ratios(returns[np.newaxis], held) * math.sqrt(periods),
            Sketching(held, days_of(index)).sketches(returns[np.newaxis]),
        ),
        count=1,
    )
    risk_free = risk_free_per_bar(risk_free_rate, periods)
    return tried, judged_of(int(keys[0]), returns, risk_free, held, periods)
