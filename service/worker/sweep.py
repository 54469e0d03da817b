"""What a job does for a sweep: claim a shard, compute its rows, and, with the last one, put the result together."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TypeVar

from service.contract.errors import RulesMismatch, UserError
from service.contract.status import ExitCode, Reason, Status
from service.contract.sweep import parse_sweep
from service.search.plan import SweepPlan
from service.search.result import EndedShard, judged
from service.store.database import AWAY, DatabaseError
from service.store.prices import PriceStore
from service.store.run_store import Run, RunStore, StoredResult
from service.store.shards import OVER, Shard
from service.worker.holding import DATABASE_PATIENCE_SECONDS, Stopped, lease, patiently, this_worker
from service.worker.run import Software, agreed_digest

logger = logging.getLogger(__name__)

T = TypeVar("T")
FAILED = "The search failed inside the engine; the log has the trace."


@dataclass(frozen=True)
class SweepWorker:
    """Performs the shards of recorded sweeps; each call ends with an exit code of the contract.

    `expected_rules`: see `agreed_digest`. `stopping` is set by who raises Stopped: what fails from then on is nobody's
    fault.
    """

    run_store: RunStore
    price_store: PriceStore
    software: Software
    expected_rules: str | None = None
    patience: float = DATABASE_PATIENCE_SECONDS
    stopping: threading.Event = field(default_factory=threading.Event)

    def work(self, run_id: str, index: int | None = None) -> int:
        """One shard, or all of them one after the other; then the result, once every shard has ended."""
        try:
            return self._work(run_id, index)
        except AWAY:
            logger.exception("The database is away")
            return ExitCode.DATABASE_AWAY
        except (Stopped, Exception) as error:  # noqa: BLE001  whatever a rule or a library raises: the reason is saved
            if isinstance(error, Stopped) or self.stopping.is_set():
                logger.warning("Stopped: the sweep goes back to the queue")
                return ExitCode.STOPPED
            return self._failed(run_id, error)

    def _work(self, run_id: str, index: int | None) -> int:
        self._patiently(lambda: self.run_store.start_sweep(run_id, this_worker()))
        run = self._patiently(lambda: self.run_store.get(run_id))
        if run is None or run.status != Status.RUNNING:
            logger.info(
                "Nothing to do: the sweep is %s", "not recorded" if run is None else run.status
            )
            return ExitCode.DONE
        plan, shards = self._plan(run), self._patiently(lambda: self.run_store.shards(run_id))
        run = self._agreed(run, plan, shards)
        codes = [self._shard(run, plan, shard) for shard in shards if index in (None, shard.shard)]
        ended = self._patiently(lambda: self.run_store.shards(run_id, numbers=True))
        if all(shard.status in OVER for shard in ended):
            self._finish(run, plan, ended)
        return max(codes, default=ExitCode.DONE) if index is not None else ExitCode.DONE

    def _plan(self, run: Run) -> SweepPlan:
        prices = self._patiently(lambda: self.run_store.prices_of_sweep(run.run_id))
        series_of = cache(
            lambda ticker: self._patiently(lambda: self.price_store.series(prices[ticker]))
        )
        return SweepPlan(parse_sweep(json.loads(run.request)), series_of)

    def _agreed(self, run: Run, plan: SweepPlan, shards: Sequence[Shard]) -> Run:
        """All of a sweep is computed with the same rules: with others it starts again. Raises RulesMismatch."""
        digest = agreed_digest(lambda: plan.rule, run.rules_digest, self.expected_rules)
        if digest == run.rules_digest:
            return run
        if shards[-1].end_row != plan.rows:
            raise RulesMismatch
        self._patiently(lambda: self.run_store.restart_sweep(run, digest))
        return self._patiently(lambda: self.run_store.get(run.run_id)) or run

    def _shard(self, run: Run, plan: SweepPlan, shard: Shard) -> int:
        """Claims and computes it, unless it has ended."""
        run_id, store = run.run_id, self.run_store
        attempt = self._claim(run, shard.shard)
        if attempt is None:
            return ExitCode.DONE
        rows = slice(shard.first_row, shard.end_row)
        try:
            with lease(
                lambda: store.renew_shard(run_id, shard.shard, attempt), store.lease_seconds
            ):
                logger.info(
                    "Shard %d started: rows %d to %d", shard.shard, rows.start, rows.stop - 1
                )
                numbers = plan.computed(rows)
                if not self._patiently(
                    lambda: store.finish_shard(run_id, shard.shard, attempt, numbers)
                ):
                    logger.warning("Shard %d is discarded: it was taken away", shard.shard)
            return ExitCode.DONE
        except AWAY:
            raise
        except (Stopped, Exception) as error:
            if (
                isinstance(error, Stopped) or self.stopping.is_set()
            ):  # libraries make other errors of a Stopped
                self._release(run_id, shard.shard, attempt)
                raise Stopped from error
            reason, message, code = _why(error)
            self._patiently(lambda: store.fail_shard(run_id, shard.shard, attempt, reason, message))
            return code

    def _claim(self, run: Run, shard: int) -> int | None:
        """Waits while another worker holds the shard: leaving at once would end the index that the other runs in."""
        name, waited = this_worker(), False
        while True:
            attempt = self._patiently(lambda: self.run_store.claim_shard(run, shard, name))
            if attempt is not None:
                return attempt
            now = self._patiently(lambda: self.run_store.get(run.run_id))
            shards = self._patiently(lambda: self.run_store.shards(run.run_id))
            at_work = now is not None and (now.status, now.rules_digest) == (
                Status.RUNNING,
                run.rules_digest,
            )
            if not at_work or shards[shard].status in OVER:
                return None
            if not waited:
                logger.info("Waiting: another worker holds shard %d", shard)
            waited = True
            time.sleep(1)

    def _release(self, run_id: str, shard: int, attempt: int) -> None:
        """At once or not at all: who says stop does not wait."""
        try:
            self.run_store.release_shard(run_id, shard, attempt)
        except DatabaseError:
            logger.exception("Stopped, and the shard could not be given back")

    def _finish(self, run: Run, plan: SweepPlan, shards: Sequence[Shard]) -> None:
        """Any worker may, and the first one counts: the result is the same."""
        if all(shard.numbers is None for shard in shards):
            self._end(run, shards[0].reason or Reason.ENGINE_ERROR, shards[0].message or FAILED)
            return
        software = {"code_revision": self.software.code_revision, "image": self.software.image}
        provenance = {"rules_digest": run.rules_digest, **software}
        ended = [
            EndedShard(part.first_row, part.end_row, part.numbers, part.reason, part.message)
            for part in shards
        ]
        done = judged(plan, ended, provenance)
        stored = StoredResult(
            replace(done.result, chart_base64=None).canonical(),
            done.table_csv,
            done.result.chart_base64,
        )
        # one with holes is nobody else's answer
        columns = {**done.headline, **({"leads": None} if done.result.failed else {})}
        if self._patiently(lambda: self.run_store.finish(run.run_id, run.attempt, stored, columns)):
            logger.info(
                "Sweep completed: %d combinations, %d tickers",
                len(plan.grid),
                len(plan.request.tickers),
            )
            self._patiently(self.run_store.forget_numbers)

    def _failed(self, run_id: str, error: Exception) -> int:
        """What went wrong outside of the shards: it would go wrong again."""
        run = self._patiently(lambda: self.run_store.get(run_id))
        reason, message, code = _why(error)
        if run is not None:
            self._end(run, reason, message)
        return code

    def _end(self, run: Run, reason: str, message: str) -> None:
        logger.warning("The sweep failed: %s: %s", reason, message)
        self._patiently(
            lambda: self.run_store.fail_attempt(run.run_id, run.attempt, reason, message)
        )

    def _patiently(self, action: Callable[[], T]) -> T:
        return patiently(action, self.patience)


def _why(error: Exception) -> tuple[str, str, int]:
    """Reason code, message and exit code; the trace is in the log."""
    if isinstance(error, UserError):
        logger.warning("Refused: %s", error)
        return (
            error.code,
            str(error),
            ExitCode.NO_DATA if error.code == Reason.NO_DATA else ExitCode.BAD_INPUT,
        )
    logger.error("The engine failed", exc_info=error)
    return Reason.ENGINE_ERROR, FAILED, ExitCode.ENGINE_ERROR
