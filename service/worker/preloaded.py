"""Imports all that a worker needs, for the process that local workers are forks of.

A fork has the code that was imported, whatever has become of the files since: so their digest,
which the provenance of a result has, is taken here too. Who changes the code starts the platform
again.
"""

from __future__ import annotations

import gc
import logging
import uuid

import numpy as np
import pandas as pd

from rules.base_rule import BaseRule
from rules.plugins import installed_rules, rules_digest
from service.contract.request import parse_request
from service.prices.series import PriceSeries
from service.store import claims, database, prices, shards
from service.worker import sweep
from service.worker.run import perform
from service.worker.software import UNKNOWN_SOFTWARE

__all__ = ["claims", "database", "prices", "shards", "sweep"]

logger = logging.getLogger(__name__)

BARS = 300
COLUMNS = ("Open", "High", "Low", "Close", "Volume")


def warm_up() -> None:
    """Does once what costs more the first time: sources are hashed, fonts are read."""
    for rule in installed_rules(validate=False).values():
        _hash_sources_of(rule)
    _perform_made_up_run()
    # What is there now stays: a fork whose collector touched it would copy the memory.
    gc.collect()
    gc.freeze()


def _hash_sources_of(rule: type[BaseRule]) -> None:
    try:
        rules_digest(rule())
    except Exception as error:  # noqa: BLE001  somebody else's rule may fail in any way
        logger.debug("A rule that is left out: %s", error)


def _perform_made_up_run() -> None:
    days = pd.bdate_range("2000-01-03", periods=BARS, name="Date")
    close = 100 + 10 * np.sin(np.arange(BARS) / 9)
    table = np.column_stack([close, close + 1, close - 1, close, np.full(BARS, 1e6)])
    series = PriceSeries("WARM", "made up", pd.DataFrame(table, days, list(COLUMNS)))
    request = parse_request(
        {
            "run_id": str(uuid.uuid4()),
            "ticker": series.ticker,
            "rule_id": "MA_CROSS",
            "start_date": str(series.first),
            "end_date": str(series.last),
        }
    )
    perform(request, series, UNKNOWN_SOFTWARE)


try:
    warm_up()
except Exception:
    # Forks of a process that is not warm are slower, and right.
    logger.exception("Workers will start slowly")
