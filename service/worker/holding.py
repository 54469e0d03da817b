"""How a worker holds what it claimed: it waits its turn, renews its lease, and stops when told."""

from __future__ import annotations

import logging
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from functools import cache

from service.contract.status import ExitCode
from service.store.claims import RENEWALS_PER_LEASE
from service.store.database import DatabaseError

logger = logging.getLogger(__name__)

DATABASE_PATIENCE_SECONDS = 120.0
CLAIM_PAUSE_SECONDS = 1.0


class Stopped(BaseException):
    """The job was told to end (SIGTERM); its run goes back to the queue."""


@cache
def this_worker() -> str:
    """The name under which this process holds what it has claimed.

    The pods of an Indexed Job share a host name, and in each of them the worker has the same
    process number: the random part tells them apart.
    """
    return f"{platform.node()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"


def claim_or_wait(
    claim: Callable[[], int | None], is_open: Callable[[], bool], what: str
) -> int | None:
    """The attempt that `claim` answers, or None once there is nothing left to claim.

    Waits while another worker holds it: a worker that left at once would end the job in which
    the other one runs.
    """
    is_waiting = False
    while True:
        attempt = claim()
        if attempt is not None:
            return attempt
        if not is_open():
            return None
        if not is_waiting:
            logger.info("Waiting: another worker holds %s", what)
        is_waiting = True
        time.sleep(CLAIM_PAUSE_SECONDS)


def leave() -> None:
    """Ends the process at once, in the middle of its computation: the result is not wanted."""
    logger.warning("The run was taken away: stopping")
    logging.shutdown()
    os._exit(ExitCode.DONE)


@contextmanager
def lease(
    renew: Callable[[], bool], lease_seconds: float, on_loss: Callable[[], None] = leave
) -> Iterator[None]:
    """Renews a lease from a thread of its own while the body computes.

    `renew` answers False when the lease is lost, and then `on_loss` is called. No connection to
    the database is held between two renewals.
    """
    is_over = threading.Event()

    def keep_renewing() -> None:
        while not is_over.wait(lease_seconds / RENEWALS_PER_LEASE):
            try:
                is_kept = renew()
            except DatabaseError:
                logger.warning("The lease could not be renewed: the database is away")
                continue
            if not is_kept and not is_over.is_set():
                on_loss()

    # The copied context has the run_id for the thread's log lines.
    thread = threading.Thread(target=copy_context().run, args=(keep_renewing,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
