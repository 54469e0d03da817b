"""What an operator should look at while the pages work: `/ready` and the dashboard say it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from threading import Lock

from service.contract.sentence import Sentence
from service.contract.status import NO_CONTROLLER
from service.store.database import DatabaseError
from service.store.leases import CONTROLLER, LeaseStore
from service.store.requests import RequestStore
from service.store.room import GIB, Room, RoomStore

logger = logging.getLogger(__name__)

KEPT_SECONDS = 15.0
# No start of a Job takes so long where one can start.
STANDS_SECONDS = 600.0

QUEUE_STANDS = "A run has waited for {minutes} minutes and none is at work; its page says why."
BAD_ROWS = (
    "Runs in the database that cannot be read: {count}. See what else writes into it; the list of "
    "all runs shows them as BadRow."
)
SET_ASIDE = (
    "Runs set aside in the last day because their rows could not be read: {count}. Their pages "
    "have what stood there."
)
NEARLY_FULL = (
    "The database is nearly full: {used} of {limit} GiB. Delete runs, set RESULT_RETENTION_GIB, or "
    "give it more room."
)
TROUBLES = (QUEUE_STANDS, BAD_ROWS, SET_ASIDE, NEARLY_FULL)


class Troubles:
    """Those of one installation; most are asked of the database at most every KEPT_SECONDS.

    Without `leases` nobody says whether a controller is active, without `room_store` how much room
    there is.
    """

    def __init__(
        self,
        store: RequestStore,
        leases: LeaseStore | None = None,
        room_store: RoomStore | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._leases = leases
        self._room_store = room_store
        self._clock = clock
        self._kept: list[Sentence] = []
        self._until = float("-inf")
        self._lock = Lock()

    def now(self) -> list[Sentence]:
        """The most urgent first; raises DatabaseError."""
        urgent = []
        if self._leases is not None and not self._leases.is_held(CONTROLLER):
            urgent.append(Sentence(NO_CONTROLLER))
        with self._lock:
            if self._clock() >= self._until:
                self._until = self._clock() + KEPT_SECONDS
                self._kept = list(self._look())
            return [*urgent, *self._kept]

    def room(self) -> Room | None:
        """None where nobody looks after it, or it cannot be told."""
        if self._room_store is None:
            return None
        try:
            return self._room_store.room()
        except (DatabaseError, OSError):
            logger.exception("How much room the database has cannot be told")
            return None

    def _look(self) -> Iterator[Sentence]:
        waited_seconds = self._store.queue_age() or 0.0
        if waited_seconds > STANDS_SECONDS and not self._store.is_any_at_work():
            yield Sentence(QUEUE_STANDS, {"minutes": int(waited_seconds / 60)})
        bad_rows, set_aside = self._store.bad_rows()
        if bad_rows:
            yield Sentence(BAD_ROWS, {"count": bad_rows})
        if set_aside:
            yield Sentence(SET_ASIDE, {"count": set_aside})
        room = self.room()
        if room is not None and room.limit_bytes is not None and room.is_nearly_full:
            sizes = {"used": room.used_bytes, "limit": room.limit_bytes}
            yield Sentence(NEARLY_FULL, {name: f"{size / GIB:.1f}" for name, size in sizes.items()})
