"""Which of several controllers is the active one."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from service.store.leases import CONTROLLER, LEADERSHIP_SECONDS, LeaseStore

logger = logging.getLogger(__name__)

RENEW_SECONDS = (
    1.0  # a standby takes over one lease and one renewal after the active one fell silent
)


class Leadership:
    """A lease in the database, kept by a thread of its own so that a long pass does not lose it.

    An advisory lock of MySQL would live as long as its session: a controller that is paused would
    keep it. A lease that is not renewed runs out by the clocks of those who watch it, and its
    holder stops believing in it before that. `is_alive` answers whether the loop of this
    controller still turns: one that stands still gives the lease up. `problem` says why the lease
    could not be asked for, "" where it could.
    """

    def __init__(self, leases: LeaseStore, holder: str, is_alive: Callable[[], bool]) -> None:
        self._leases = leases
        self._holder = holder
        self._is_alive = is_alive
        self._held_until = 0.0
        self.problem = ""
        self._is_stopped = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)

    def start(self) -> None:
        """Begins to ask for the lease."""
        self._thread.start()

    @property
    def held(self) -> bool:
        """Whether this process may act now."""
        return time.monotonic() < self._held_until

    def take(self) -> None:
        """Takes or renews the lease, unless another process holds it."""
        asked = time.monotonic()
        if self._is_alive():
            is_taken = self._leases.take(CONTROLLER, self._holder, LEADERSHIP_SECONDS)
            self._held_until = asked + LEADERSHIP_SECONDS if is_taken else 0.0

    def _keep(self) -> None:
        while not self._is_stopped.is_set():
            try:
                self.take()
                self.problem = ""
            except Exception as error:  # noqa: BLE001  without this thread nobody starts runs
                reason = getattr(error, "orig", repr(error))
                self.problem = f"The controller's lease could not be renewed: {reason}"
                logger.warning("%s", self.problem)
            self._is_stopped.wait(RENEW_SECONDS)

    def stop(self) -> None:
        """Gives the lease up; raises DatabaseError when the database is away: then it runs out."""
        self._is_stopped.set()
        self._thread.join()
        self._held_until = 0.0
        self._leases.drop(CONTROLLER, self._holder)
