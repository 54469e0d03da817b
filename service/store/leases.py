"""Leases by name: which of several processes is the active one.

A lease is free once whoever wants it has watched it for its whole length and nobody has renewed it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Engine, String, and_, cast, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from service.store.database import Store, utc_in
from service.store.tables import leases
from service.store.watching import Watched

CONTROLLER = "controller"  # the lease of the one active controller
LEADERSHIP_SECONDS = 6  # its length

# What its holder changes with every renewal, as a text: it may be no moment at all.
STAMP = leases.c.holder + " " + cast(leases.c.until, String)


class LeaseStore(Store):
    """The leases of one database, as one process sees them."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._watched = Watched()

    def take(self, name: str, holder: str, seconds: int) -> bool:
        """Takes or keeps the lease; False while another holder may have it."""
        values = {"holder": holder, "until": utc_in(seconds)}
        is_ours = and_(leases.c.name == name, leases.c.holder == holder)
        renewal = update(leases).where(is_ours).values(values)
        if self._write(lambda connection: connection.execute(renewal).rowcount):
            return True
        query = select(STAMP).where(leases.c.name == name)
        stamp = self._read(lambda connection: connection.scalar(query))
        if stamp is None:
            return self._insert(name, values)
        if self._watched.seconds(name, stamp) <= seconds:
            return False
        is_unchanged = and_(leases.c.name == name, stamp == STAMP)
        takeover = update(leases).where(is_unchanged).values(values)
        return self._write(lambda connection: connection.execute(takeover).rowcount) == 1

    def _insert(self, name: str, values: Mapping[str, Any]) -> bool:
        statement = insert(leases).values(name=name, **values)
        try:
            self._write(lambda connection: connection.execute(statement))
        except IntegrityError:
            return False
        return True

    def is_held(self, name: str, seconds: int = LEADERSHIP_SECONDS) -> bool:
        """Whether a process is active; a lease that ends later than it could be is none."""
        is_honest = leases.c.until.between(utc_in(), utc_in(seconds + 1))
        query = select(leases.c.name).where(leases.c.name == name, is_honest)
        return self._read(lambda connection: connection.scalar(query)) is not None

    def drop(self, name: str, holder: str) -> None:
        """Gives the lease up."""
        statement = delete(leases).where(leases.c.name == name, leases.c.holder == holder)
        self._write(lambda connection: connection.execute(statement))
