"""What the page of a run shows first: its tear sheet, and the chart of all its bars.

The web makes both from the table of a run when it is asked. For a long run that takes seconds, and
its worker stores them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rules.base_rule import BaseRule, Line
from service.report.bars import Bars
from service.report.chart import chart_of
from service.report.sheet import sheet_of

logger = logging.getLogger(__name__)

LONG_RUN = 20_000  # bars


def is_long(bars: Bars) -> bool:
    """Whether the worker stores what the page shows first."""
    return len(bars) > LONG_RUN


def overview_of(
    bars: Bars,
    trades: Sequence[Mapping[str, Any]],
    rule: BaseRule | None,
    initial_capital: float,
    risk_free_rate: float,
) -> dict[str, Any]:
    """The documents `sheet` and `chart`; `rule` is None where it is no longer there."""
    return {
        "sheet": sheet_of(bars, trades, initial_capital, risk_free_rate),
        "chart": chart_of(bars, trades, lines_of(rule, bars)),
    }


def lines_of(rule: BaseRule | None, bars: Bars) -> Sequence[Line]:
    """What the rule draws; a plug-in's rule that fails at it draws nothing."""
    if rule is None or bars.prices is None:
        return ()
    try:
        # A copy: a rule that changed the prices would change the candles.
        lines = rule.lines(bars.prices.copy())
        return [_checked(line, len(bars)) for line in lines]
    except Exception:
        logger.exception("The lines of %s cannot be drawn", rule.rule_id)
        return ()


def _checked(line: Line, bars: int) -> Line:
    """The line with an array of floats; raises ValueError where it is no line of these bars."""
    values = np.asarray(line.values, dtype=np.float64)
    if values.shape != (bars,):
        raise ValueError(f"the line {line.name} has the shape {values.shape}, not ({bars},)")
    return Line(str(line.name), values, str(line.scale))
