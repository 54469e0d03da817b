"""What a job does for the forward record: extend the starred runs of a ticker by newer prices."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from rules.plugins import rules_digest
from service.contract.documents import canonical_json
from service.contract.errors import NoData, UserError
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
FAILED_PROBLEM = "The rule failed on the new prices; the log has the trace."
UNFINISHED_PROBLEM = "The rule did not come to its end on the new prices."
RUNS_AT_ONCE = 500
KEPT_SERIES = 16  # that runs were asked for on
SECONDS_OF_BATCH = 5.0


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
            self._perform,
            self.stopping,
            FORWARD_FAILED_MESSAGE,
        )

    def _perform(self, run: Run, attempt: int) -> int:
        current = self.prices.ticker(run.ticker)
        if current is None:
            raise NoData("There are no prices of {ticker}.", ticker=run.ticker)
        extension = Extension(self.prices, self.prices.series(current.fingerprint), self.stopping)
        # Where a run before died of one of them, each is marked before it is begun.
        is_careful = attempt > 1 or self.claims.has_failed_before(run.ticker)
        batch = Batch(self.claims, run, attempt, current.fingerprint, is_careful)
        after = 0
        while starred := self.claims.starred_behind(run.ticker, after, RUNS_AT_ONCE):
            for each in starred:
                if not batch.add(each, extension):
                    logger.warning("The records are discarded: the run was taken away")
                    return ExitCode.DONE
            after = starred[-1].id
        if not batch.save():
            return ExitCode.DONE
        result = canonical_json({"extended": batch.count, **self.software.provenance()})
        if self.claims.finish_forward(run.run_id, attempt, result):
            logger.info("Extended %d starred runs of %s", batch.count, run.ticker)
        return ExitCode.DONE


class Batch:
    """Records on their way into the database, some at a time or after some seconds."""

    def __init__(
        self, claims: ForwardStore, run: Run, attempt: int, fingerprint: str, is_careful: bool
    ) -> None:
        self._claims = claims
        self._run = run
        self._attempt = attempt
        self._fingerprint = fingerprint
        self._is_careful = is_careful
        self._records: dict[int, Mapping[str, Any]] = {}
        self._saved_at = time.monotonic()
        self.count = 0

    def add(self, run: Run, extension: Extension) -> bool:
        """Extends a run; False where nothing may be stored any more."""
        if self._is_careful:
            self._records[run.id] = problem_of(UserError(UNFINISHED_PROBLEM))
            if not self.save():
                return False
        self._records[run.id] = extension.record_of(run)
        self.count += 1
        is_time = time.monotonic() - self._saved_at > SECONDS_OF_BATCH
        if is_time or self._is_careful or len(self._records) >= RUNS_AT_ONCE:
            return self.save()
        return True

    def save(self) -> bool:
        """False where nothing may be stored any more."""
        if not self._records:
            return True
        is_saved = self._claims.save_forward(
            self._run, self._attempt, self._fingerprint, self._records
        )
        self._records = {}
        self._saved_at = time.monotonic()
        return is_saved


class Extension:
    """Extends runs by a price series; what goes wrong with one stops no other."""

    def __init__(self, prices: PriceStore, series: PriceSeries, stopping: threading.Event) -> None:
        self._series = series
        self._stopping = stopping
        self._known_series = lru_cache(KEPT_SERIES)(prices.series)
        self._findings = check_prices(series.data)

    def record_of(self, run: Run) -> Mapping[str, Any]:
        """The record of one run; of one that cannot go on, `problem` says why."""
        try:
            return self._extended(run)
        except UserError as error:
            return problem_of(error)
        except MemoryError:
            raise
        except Exception:
            if self._stopping.is_set():
                # Libraries turn the stop into other errors.
                raise
            logger.exception("Run %s could not be extended", run.run_id)
            return problem_of(UserError(FAILED_PROBLEM))

    def _extended(self, run: Run) -> Mapping[str, Any]:
        refuse_errors(self._findings, self._series)
        request = parse_request(json.loads(run.request))
        rule = rule_of(request.rule_id, request.params, validate=False)
        known = self._known_series(run.prices_fingerprint)
        is_same_rule = rules_digest(rule) == run.rules_digest
        return {**forward_of(request, rule, known, self._series), "is_same_rule": is_same_rule}


def problem_of(error: UserError) -> Mapping[str, Any]:
    """The record of a run that cannot go on."""
    values = {
        name: value if isinstance(value, int | float) else str(value)
        for name, value in error.values.items()
    }
    return {"bars": 0, "problem": str(error), "template": error.template, "values": values}
