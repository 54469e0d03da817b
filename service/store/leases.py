"""Leases by name: which of several processes is the active one, by the database's clock."""

from __future__ import annotations

from sqlalchemy import delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from service.store.database import Store, utc_in
from service.store.tables import leases

CONTROLLER = "controller"  # the lease of the one active controller


class LeaseStore(Store):
    """The leases of one database."""

    def take(self, name: str, holder: str, seconds: int) -> bool:
        """Takes or keeps the lease; False while another holder's has not run out."""
        values = {"holder": holder, "until": utc_in(seconds)}
        is_free = or_(leases.c.holder == holder, leases.c.until < utc_in())
        renewal = update(leases).where(leases.c.name == name, is_free).values(values)
        if self._write(lambda connection: connection.execute(renewal).rowcount):
            return True
        first = insert(leases).values(name=name, **values)
        try:
            self._write(lambda connection: connection.execute(first))
        except IntegrityError:
            return False
        return True

    def is_held(self, name: str) -> bool:
        """Whether a process is active."""
        query = select(leases.c.name).where(leases.c.name == name, leases.c.until >= utc_in())
        return self._read(lambda connection: connection.scalar(query)) is not None

    def drop(self, name: str, holder: str) -> None:
        """Gives the lease up."""
        statement = delete(leases).where(leases.c.name == name, leases.c.holder == holder)
        self._write(lambda connection: connection.execute(statement))
