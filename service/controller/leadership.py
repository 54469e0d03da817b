"""Which of several controllers is the active one."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from service.store.leases import CONTROLLER, LeaseStore

logger = logging.getLogger(__name__)

LEASE_SECONDS = 6
RENEW_SECONDS = 1.0  # a standby takes over at most lease + renewal after the active one fell silent


class Leadership:
    """A lease in the database, kept by a thread of its own so that a long pass does not lose it.

    An advisory lock of MySQL would live as long as its session: a controller that is paused would keep it. The lease
    runs out by the database's clock, and its holder stops believing in it before that.
    """

    def __init__(self, leases: LeaseStore, holder: str, lives: Callable[[], bool]) -> None:
        self._leases, self._holder, self._lives = leases, holder, lives
        self._until, self._stop = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)

    def start(self) -> None:
        """Begins to ask for the lease."""
        self._thread.start()

    @property
    def held(self) -> bool:
        """Whether this process may act now."""
        return time.monotonic() < self._until

    def take(self) -> None:
        """Takes or renews the lease, unless another one holds it; not for a loop that stands still."""
        asked = time.monotonic()
        if self._lives():
            taken = self._leases.take(CONTROLLER, self._holder, LEASE_SECONDS)
            self._until = asked + LEASE_SECONDS if taken else 0.0

    def _keep(self) -> None:
        while not self._stop.is_set():
            try:
                self.take()
            except Exception as error:  # noqa: BLE001  whatever it was: without this thread nobody starts runs
                logger.warning(
                    "The controller's lease could not be renewed: %s",
                    getattr(error, "orig", repr(error)),
                )
            self._stop.wait(RENEW_SECONDS)

    def stop(self) -> None:
        """Gives the lease up; raises DatabaseError when the database is away, and then it runs out by itself."""
        self._stop.set()
        self._thread.join()
        self._until = 0.0
        self._leases.drop(CONTROLLER, self._holder)
