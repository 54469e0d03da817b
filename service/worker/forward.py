"""What a job does for the forward record: extend the starred runs of a ticker by newer prices."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from rules.plugins import rules_digest
from service.contract.documents import canonical_json
from service.contract.errors import UserError
from service.contract.request import parse_request
from service.contract.status import ExitCode
from service.doubt.forward import forward_of
from service.engine.adapter import refuse_errors, rule_of
from service.prices.checks import check_prices
from service.prices.series import PriceSeries
from service.store.forward import ForwardStore
from service.store.prices import PriceStore
from service.store.rows import Run
from service.worker.claimed import work_on_claimed
from service.worker.software import UNKNOWN_SOFTWARE, Software

logger = logging.getLogger(__name__)

FORWARD_FAILED_MESSAGE = "The starred runs could not be extended; the log has the trace."
RUNS_AT_ONCE = 500
KEPT_SERIES = 64  # that runs were asked for on


@dataclass(frozen=True)
class ForwardWorker:
    """Extends the starred runs of one ticker; each call ends with an exit code."""

    claims: ForwardStore
    prices: PriceStore
    software: Software = UNKNOWN_SOFTWARE
    stopping: threading.Event = field(default_factory=threading.Event)

    def work(self, run_id: str) -> int:
        """Claims and performs the run, unless it has ended or another worker performs it."""
        return work_on_claimed(
            self.claims,
            run_id,
            lambda attempt: self._perform(run_id, attempt),
            self.stopping,
            FORWARD_FAILED_MESSAGE,
        )

    def _perform(self, run_id: str, attempt: int) -> int:
        run = self.claims.get(run_id)
        assert run is not None  # it was claimed a moment ago
        series = self.prices.series(run.prices_fingerprint)
        refuse_errors(check_prices(series.data), series)
        known_series = lru_cache(KEPT_SERIES)(self.prices.series)
        extended, after = 0, 0
        while starred := self.claims.starred_behind(
            run.ticker, series.fingerprint, after, RUNS_AT_ONCE
        ):
            records = {
                each.id: record_of(each, known_series(each.prices_fingerprint), series)
                for each in starred
            }
            self.claims.save_forward(series.fingerprint, records)
            extended += len(records)
            after = starred[-1].id
        result = canonical_json({"extended": extended, **self.software.provenance()})
        if self.claims.finish_forward(run_id, attempt, result):
            logger.info("Extended %d starred runs of %s", extended, run.ticker)
        return ExitCode.DONE


def record_of(run: Run, known: PriceSeries, series: PriceSeries) -> Mapping[str, Any]:
    """The record of one run; of one that cannot go on, `problem` says why."""
    try:
        request = parse_request(json.loads(run.request))
        rule = rule_of(request.rule_id, request.params, validate=False)
        is_same_rule = rules_digest(rule) == run.rules_digest
        return {**forward_of(request, rule, known, series), "is_same_rule": is_same_rule}
    except UserError as error:
        return {"bars": 0, "problem": str(error)}
    except Exception:
        logger.exception("Run %s could not be extended", run.run_id)
        return {"bars": 0, "problem": FAILED_PROBLEM}


FAILED_PROBLEM = "The rule failed on the new prices; the log has the trace."
