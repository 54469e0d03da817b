"""What a job does for a sweep: compute shards and, with the last one, put the result together."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

from service.contract.errors import RulesMismatch
from service.contract.status import ExitCode, Reason, Status
from service.contract.sweep import parse_sweep
from service.search.numbers import UnreadableNumbers
from service.search.plan import SweepPlan
from service.search.result import EndedShard, judge_sweep
from service.store.prices import PriceStore
from service.store.rows import Run, StoredResult
from service.store.shards import Shard, ShardStore
from service.trials.skill import entry_of
from service.worker.holding import claim_or_wait, lease, this_worker
from service.worker.outcome import failure_of, guarded
from service.worker.software import UNKNOWN_SOFTWARE, Software, agreed_digest

logger = logging.getLogger(__name__)

SWEEP_FAILED_MESSAGE = "The search failed inside the engine; the log has the trace."
# After these the worker does no other shard: it is told to stop, or can store nothing.
ENDS_THE_WORKER = (ExitCode.STOPPED, ExitCode.DATABASE_AWAY)


@dataclass(frozen=True)
class SweepWorker:
    """Performs the shards of recorded sweeps; each call ends with an exit code.

    `expected_rules` is explained at `agreed_digest`, `stopping` at `guarded`.
    """

    claims: ShardStore
    prices: PriceStore
    software: Software = UNKNOWN_SOFTWARE
    expected_rules: str | None = None
    stopping: threading.Event = field(default_factory=threading.Event)

    def work(self, run_id: str, index: int | None = None) -> int:
        """Computes the shard `index`, or all of them one after the other where it is None.

        Then the result, once every shard has ended.
        """

        def store_failure(error: Exception) -> int:
            """What fails outside of the shards would fail again: it ends the sweep."""
            failure = failure_of(error, SWEEP_FAILED_MESSAGE)
            run = self.claims.get(run_id)
            if run is not None:
                self._fail(run, failure.reason, failure.message)
            return failure.exit_code

        return guarded(
            lambda: self._work(run_id, index),
            self.stopping,
            give_back=lambda: None,
            store_failure=store_failure,
        )

    def _work(self, run_id: str, index: int | None) -> int:
        self.claims.start_sweep(run_id, this_worker())
        run = self.claims.get(run_id)
        if run is None or run.status != Status.RUNNING:
            state = "not recorded" if run is None else run.status
            logger.info("Nothing to do: the sweep is %s", state)
            return ExitCode.DONE
        plan = self._plan(run)
        shards = self.claims.shards(run_id)
        run = self._with_agreed_rules(run, plan, shards)
        exit_code: int = ExitCode.DONE
        for shard in shards if index is None else shards[index : index + 1]:
            exit_code = self._claim_and_compute(run, plan, shard)
            if exit_code in ENDS_THE_WORKER:
                return exit_code
        try:
            self._finish_if_all_ended(run, plan)
        except UnreadableNumbers:
            logger.warning("Another release computed some of the shards: the sweep begins again")
            self.claims.restart_sweep(run, run.rules_digest)
            # The pod of one index has the time for one shard: the controller launches the sweep
            # again, with a pod for each.
            return self._work(run_id, None) if index is None else ExitCode.DONE
        # Of a worker for all shards the result says how each of them ended.
        return ExitCode.DONE if index is None else exit_code

    def _plan(self, run: Run) -> SweepPlan:
        fingerprints = self.claims.fingerprints(run.run_id)
        series_of = cache(lambda ticker: self.prices.series(fingerprints[ticker]))
        return SweepPlan(parse_sweep(json.loads(run.request)), series_of)

    def _with_agreed_rules(self, run: Run, plan: SweepPlan, shards: Sequence[Shard]) -> Run:
        """The sweep as it stands with the rules to compute with; raises RulesMismatch.

        All of a sweep is computed with the same rules: with other ones it begins again.
        """
        digest = agreed_digest(lambda: plan.asked_rule, run.rules_digest, self.expected_rules)
        if digest == run.rules_digest:
            return run
        if shards[-1].end_row != plan.rows:
            raise RulesMismatch
        self.claims.restart_sweep(run, digest)
        return self.claims.get(run.run_id) or run

    def _claim_and_compute(self, run: Run, plan: SweepPlan, shard: Shard) -> int:
        """One shard, unless it has ended or another worker brings it to its end."""
        run_id = run.run_id
        number = shard.shard
        worker = this_worker()
        attempt = claim_or_wait(
            claim=lambda: self.claims.claim_shard(run, number, worker),
            is_open=lambda: self._is_open(run, number),
            what=f"shard {number}",
        )
        if attempt is None:
            return ExitCode.DONE

        def store_failure(error: Exception) -> int:
            failure = failure_of(error, SWEEP_FAILED_MESSAGE)
            self.claims.fail_shard(run_id, number, attempt, failure.reason, failure.message)
            return failure.exit_code

        def renew() -> bool:
            return self.claims.renew_shard(run_id, number, attempt)

        with lease(renew, self.claims.lease_seconds):
            return guarded(
                lambda: self._compute(run_id, plan, shard, attempt),
                self.stopping,
                give_back=lambda: self.claims.release_shard(run_id, number, attempt),
                store_failure=store_failure,
            )

    def _is_open(self, run: Run, number: int) -> bool:
        """Whether the shard may still be there to claim, of the sweep with the same rules."""
        now = self.claims.get(run.run_id)
        if now is None or now.status != Status.RUNNING or now.rules_digest != run.rules_digest:
            return False
        return not self.claims.shards(run.run_id)[number].has_ended

    def _compute(self, run_id: str, plan: SweepPlan, shard: Shard, attempt: int) -> int:
        last_row = shard.end_row - 1
        logger.info("Shard %d started: rows %d to %d", shard.shard, shard.first_row, last_row)
        numbers = plan.compute_shard(slice(shard.first_row, shard.end_row))
        if not self.claims.finish_shard(run_id, shard.shard, attempt, numbers):
            logger.warning("Shard %d is discarded: it was taken away", shard.shard)
        return ExitCode.DONE

    def _finish_if_all_ended(self, run: Run, plan: SweepPlan) -> None:
        """Any worker may, and the first one counts: the result is the same."""
        shards = self.claims.shards(run.run_id, with_numbers=True)
        if not all(shard.has_ended for shard in shards):
            return
        if all(shard.numbers is None for shard in shards):
            reason = shards[0].reason or Reason.ENGINE_ERROR
            self._fail(run, reason, shards[0].message or SWEEP_FAILED_MESSAGE)
            return
        self._finish(run, plan, shards)

    def _finish(self, run: Run, plan: SweepPlan, shards: Sequence[Shard]) -> None:
        ended_shards = [
            EndedShard(
                first_row=shard.first_row,
                end_row=shard.end_row,
                numbers=shard.numbers,
                reason=shard.reason,
                message=shard.message,
            )
            for shard in shards
        ]
        provenance = {"rules_digest": run.rules_digest, **self.software.provenance()}
        outcome = judge_sweep(plan, ended_shards, provenance)
        stored = StoredResult(
            result=outcome.result.stored(),
            table_csv=outcome.table_csv,
            chart_base64=outcome.result.chart_base64,
            trials=[
                entry_of(ticker, tried, outcome.judged.get(ticker))
                for ticker, tried in outcome.tried.items()
                if tried.count
            ],
        )
        columns = dict(outcome.headline)
        if outcome.result.failed:
            # A result with lost shards answers no other request.
            columns["leads"] = None
        if self.claims.finish_sweep(run.run_id, run.attempt, stored, columns):
            message = "Sweep completed: %d combinations, %d tickers"
            logger.info(message, len(plan.grid), len(plan.request.tickers))

    def _fail(self, run: Run, reason: str, message: str) -> None:
        logger.warning("The sweep failed: %s: %s", reason, message)
        self.claims.fail_attempt(run.run_id, run.attempt, reason, message)
