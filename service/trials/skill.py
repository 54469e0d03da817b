"""How likely a result is more than luck, after all that was tried on its prices."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass
from typing import Any

import numpy as np

from backtest.metrics import Floats
from service.contract.documents import canonical_json
from service.doubt.luck import (
    LEAST_VARIANCE,
    Moments,
    minimum_backtest_years,
    moments_of,
    timing_returns,
)
from service.trials.haircut import Haircut, haircut
from service.trials.ledger import Tries
from service.trials.records import Tried

TARGET = 1.0  # the Sharpe ratio of a year that a backtest must be long enough for


@dataclass(frozen=True)
class Judged:
    """The trial that a result shows: its key, and what its returns are like.

    `periods` is the number of bars in a year; `excess` are the moments of the returns above the
    risk-free rate, `timing` those of `luck.timing_returns`, None where nothing moved.
    """

    key: int
    periods: float
    excess: Moments
    timing: Moments | None

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Judged:
        """The inverse; raises KeyError or TypeError."""
        timing = document["timing"]
        return cls(
            key=int(document["key"]),
            periods=float(document["periods"]),
            excess=Moments(**document["excess"]),
            timing=None if timing is None else Moments(**timing),
        )

    @property
    def years(self) -> float:
        """How long its record is."""
        return self.excess.bars / self.periods

    @property
    def sharpe(self) -> float:
        """The Sharpe ratio of a year."""
        return self.excess.sharpe * math.sqrt(self.periods)


def entry_of(ticker: str, tried: Tried, judged: Judged | None) -> dict[str, Any]:
    """What was tried on a ticker, in the columns of the database."""
    text = None if judged is None else canonical_json(judged.document())
    return {"ticker": ticker, **tried.columns(), "judged": text}


def judged_of(
    key: int, returns: Floats, risk_free: float, held: Floats, periods: float
) -> Judged | None:
    """Of returns (n,) and those of holding the ticker (n,), per bar.

    `risk_free` is the rate of a bar. None where nothing moved, or where a number has no end.
    """
    excess = moments_of(returns - risk_free)
    if excess is None or not np.isfinite(astuple(excess)).all():
        return None
    apart = timing_returns(returns, held)
    timing = moments_of(apart) if float(np.var(apart, ddof=1)) > LEAST_VARIANCE else None
    return Judged(key, periods, excess, timing)


@dataclass(frozen=True)
class Skill:
    """What is left of a result after all tries; probabilities from 0 to 1, NaN where undefined.

    `tries` are about so many where not `is_exact`; `groups` are those of alike ones, and
    `effective` independent tries bring as much luck. `luck` is the Sharpe ratio of a year that the
    best of them is expected to show without skill; in `needed_years` it would be 1. `probabilistic`
    is the probability that the Sharpe ratio is above 0 if nothing else was tried, `deflated` after
    all tries, `timing` the same of `luck.timing_returns`. `left` is the Sharpe ratio after a
    haircut.
    """

    tries: int
    is_exact: bool
    groups: int
    effective: float
    luck: float
    needed_years: float
    years: float
    sharpe: float
    probabilistic: float
    deflated: float
    timing: float
    left: Haircut


def skill_of(judged: Judged, tries: Tries, place: int = 0) -> Skill:
    """Of a trial among all, on the price series with the number `place` in `tries`."""
    spread_of_one = 1 / math.sqrt(judged.years)
    root = math.sqrt(judged.periods)
    luck = tries.luck(tries.sharpe, spread_of_one)
    timing = math.nan
    if judged.timing is not None:
        timing = judged.timing.probability(tries.luck(tries.timing, spread_of_one).best / root)
    return Skill(
        tries=tries.count,
        is_exact=tries.is_exact,
        groups=max(1, round(tries.groups.count)),
        effective=luck.effective,
        luck=luck.best,
        needed_years=minimum_backtest_years(luck.effective, TARGET),
        years=judged.years,
        sharpe=judged.sharpe,
        probabilistic=judged.excess.probability(),
        deflated=judged.excess.probability(luck.best / root),
        timing=timing,
        left=_left(judged, tries, place),
    )


def _left(judged: Judged, tries: Tries, place: int) -> Haircut:
    """After the other tries; one without a ratio is as bad as one of 0."""
    is_other = tries.are_others(judged.key, place)
    return haircut(
        judged.sharpe,
        judged.periods,
        judged.excess.bars,
        np.nan_to_num(tries.sharpe[is_other]),
        tries.groups.weights[is_other],
    )
