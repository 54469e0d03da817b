"""How much room the database takes, and how much it has."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Engine, text

from service.store.database import Store

GIB = 2**30
LEAST_FREE_BYTES = GIB  # on the disk of an SQLite file
LEAST_FREE_SHARE = 0.15  # of what MySQL has room for
# Otherwise MySQL answers with sizes that are up to a day old; now it is half a minute.
WITH_FRESH_SIZES = text("SET SESSION information_schema_stats_expiry = 0")
SIZE_OF_TABLES = text(
    "SELECT sum(data_length + index_length) FROM information_schema.tables"
    " WHERE table_schema = database()"
)


@dataclass(frozen=True)
class Room:
    """Bytes: what the database takes, has room for, and should have left.

    `limit_bytes` is None where nobody knows.
    """

    used_bytes: int
    limit_bytes: int | None
    least_free_bytes: int

    @property
    def is_nearly_full(self) -> bool:
        """Whether an operator should do something about it."""
        if self.limit_bytes is None:
            return False
        return self.limit_bytes - self.used_bytes < self.least_free_bytes


class RoomStore(Store):
    """The room of one database. `mysql_gib`: what MySQL has room for, 0 where nobody knows."""

    def __init__(self, engine: Engine, mysql_gib: float = 0.0) -> None:
        super().__init__(engine)
        self._mysql_gib = mysql_gib

    def room(self) -> Room:
        """As it is now."""
        if self._engine.dialect.name == "sqlite":
            return self._room_of_file()
        used_bytes = int(self._read(_size_of_tables))
        limit_bytes = int(self._mysql_gib * GIB)
        return Room(used_bytes, limit_bytes or None, int(limit_bytes * LEAST_FREE_SHARE))

    def _room_of_file(self) -> Room:
        used_bytes, file_bytes = self._read(_size_of_pages)
        folder = Path(str(self._engine.url.database)).absolute().parent
        return Room(used_bytes, file_bytes + shutil.disk_usage(folder).free, LEAST_FREE_BYTES)


def _size_of_tables(connection: Connection) -> int:
    connection.execute(WITH_FRESH_SIZES)
    return int(connection.scalar(SIZE_OF_TABLES) or 0)


def _size_of_pages(connection: Connection) -> tuple[int, int]:
    """Of the pages that are used, and of all: those that are free again are used first."""
    pages, free, size = (
        connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size, pages * size
