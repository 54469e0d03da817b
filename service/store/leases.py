"""Leases by name: who of several processes is the active one, by the database's clock."""

from __future__ import annotations

from sqlalchemy import Engine, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from service.store.database import utc_in
from service.store.tables import leases

CONTROLLER = "controller"  # who is the active one


class LeaseStore:
    """The leases of one database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def take(self, name: str, holder: str, seconds: int) -> bool:
        """Takes or keeps the lease; False while another holder's has not run out."""
        free = or_(leases.c.holder == holder, leases.c.until < utc_in())
        mine = {"holder": holder, "until": utc_in(seconds)}
        with self._engine.begin() as connection:
            if connection.execute(
                update(leases).where(leases.c.name == name, free).values(mine)
            ).rowcount:
                return True
        try:
            with self._engine.begin() as connection:
                connection.execute(insert(leases).values(name=name, **mine))
        except IntegrityError:
            return False
        return True

    def is_held(self, name: str) -> bool:
        """Whether somebody is active."""
        query = select(leases.c.name).where(leases.c.name == name, leases.c.until >= utc_in())
        with self._engine.connect() as connection:
            return connection.scalar(query) is not None

    def drop(self, name: str, holder: str) -> None:
        """Gives the lease up."""
        with self._engine.begin() as connection:
            connection.execute(
                delete(leases).where(leases.c.name == name, leases.c.holder == holder)
            )
