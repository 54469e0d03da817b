"""A run that a worker claims, performs and ends, whatever its kind."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from service.contract.status import ExitCode, Status
from service.store.claims import ClaimStore
from service.store.rows import Run
from service.worker.holding import claim_or_wait, lease, this_worker
from service.worker.outcome import failure_of, guarded

logger = logging.getLogger(__name__)


def work_on_claimed(
    claims: ClaimStore,
    run_id: str,
    perform: Callable[[Run, int], int],
    stopping: threading.Event,
    failed_message: str,
) -> int:
    """Claims the run and performs it, unless it has ended or another worker performs it.

    `perform` gets the run and the number of the attempt, stores what the run came to and answers
    with an exit code. `failed_message` is the sentence for an error that is not the user's to mend.
    `stopping` is explained at `guarded`.
    """

    def raise_error(error: Exception) -> int:
        raise error

    return guarded(
        lambda: _claim_and_perform(claims, run_id, perform, stopping, failed_message),
        stopping,
        give_back=lambda: None,
        store_failure=raise_error,
    )


def _claim_and_perform(
    claims: ClaimStore,
    run_id: str,
    perform: Callable[[Run, int], int],
    stopping: threading.Event,
    failed_message: str,
) -> int:
    worker = this_worker()
    attempt = claim_or_wait(
        claim=lambda: claims.claim(run_id, worker),
        is_open=lambda: _is_open(claims, run_id),
        what="the run",
    )
    if attempt is None:
        return ExitCode.DONE

    def perform_claimed() -> int:
        run = claims.get(run_id)
        assert run is not None  # it was claimed a moment ago
        return perform(run, attempt)

    def store_failure(error: Exception) -> int:
        failure = failure_of(error, failed_message)
        claims.fail_attempt(run_id, attempt, failure.reason, failure.message)
        return failure.exit_code

    with lease(lambda: claims.renew(run_id, attempt), claims.lease_seconds):
        return guarded(
            perform_claimed,
            stopping,
            give_back=lambda: claims.release(run_id, attempt),
            store_failure=store_failure,
        )


def _is_open(claims: ClaimStore, run_id: str) -> bool:
    """Whether the run may still be there to claim."""
    run = claims.get(run_id)
    if run is None or run.status.final or run.status == Status.CANCELLING:
        state = "not recorded" if run is None else run.status
        logger.info("Nothing to do: the run is %s", state)
        return False
    return True
