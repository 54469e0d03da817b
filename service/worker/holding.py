"""What a worker does while it holds something: renews its lease, waits for a database that is away, stops when told."""

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
from typing import TypeVar

from service.contract.status import ExitCode
from service.store.database import AWAY, DatabaseError

logger = logging.getLogger(__name__)

T = TypeVar("T")
DATABASE_PATIENCE_SECONDS = 120
PROCESS = uuid.uuid4().hex[
    :8
]  # the pods of an index have the same name, and each its worker the same number


class Stopped(BaseException):
    """The job was told to end (SIGTERM); the run goes back to the queue."""


def patiently(action: Callable[[], T], seconds: float = DATABASE_PATIENCE_SECONDS) -> T:
    """Retries while the database is away, then lets its error through; one that it means at once."""
    deadline, pause = time.monotonic() + seconds, 0.1
    while True:
        try:
            return action()
        except AWAY as error:
            if time.monotonic() + pause > deadline:
                raise
            logger.warning("The database is away; trying again in %.1f s: %s", pause, error.orig)
            time.sleep(pause)
            pause = min(pause * 2, 10)


def leave() -> None:
    """Ends the process at once, whatever the computation is doing: nobody waits for its result any more."""
    logger.warning("The run was taken away: stopping")
    logging.shutdown()
    os._exit(ExitCode.DONE)


@contextmanager
def lease(
    renewed: Callable[[], bool], seconds: float, lost: Callable[[], None] = leave
) -> Iterator[None]:
    """Renews a lease of so many seconds while the body computes, without holding a connection in between.

    `lost` is called when it is no more.
    """
    done = threading.Event()

    def renew() -> None:
        while not done.wait(seconds / 3):
            try:
                if not renewed() and not done.is_set():
                    lost()
            except DatabaseError:
                logger.warning("The lease could not be renewed: the database is away")

    thread = threading.Thread(
        target=copy_context().run, args=(renew,), daemon=True
    )  # with the run_id for its lines
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def this_worker() -> str:
    """Who holds what this process has claimed."""
    return f"{platform.node()}:{os.getpid()}:{PROCESS}"
