"""Brings the database's schema up to date: `python -m service.store.migrate`."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.exc import OperationalError

from scripts.config import Config, load_config
from scripts.logger_config import set_up_logging
from service.store.database import connect

logger = logging.getLogger(__name__)

REFUSED = (1044, 1045, 1049)  # MySQL knows the caller and says no: waiting changes nothing
BEHIND = "The database is at revision {have}, this program needs {known}: run python -m service.store.migrate."
NEWER = (
    "The database is at revision {have}, this program knows {known} and cannot work with it: use the release that"
    " migrated it, or restore a backup."
)
PAUSE_SECONDS = 2.0
LOCK_WAIT_SECONDS = 10


def _settings() -> AlembicConfig:
    settings = AlembicConfig()
    settings.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return settings


class DatabaseRefused(SystemExit):
    """The database cannot be used as configured; the message says why."""


def migrate(engine: Engine) -> None:
    """Upgrades to the newest schema; does nothing when it is there. Any number at once wait for each other.

    Raises DatabaseRefused when a later release left a schema that this one cannot work with.
    """
    settings = _settings()
    with (
        engine.connect().execution_options(begin="BEGIN IMMEDIATE") as connection,
        _alone(connection),
    ):
        settings.attributes["connection"] = connection
        have = _revision(connection)
        if not _is_newer(have):
            command.upgrade(settings, "head")
        elif not _only_adds(have):
            raise DatabaseRefused(NEWER.format(have=have, known=_head()))
        connection.commit()


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _head() -> str:
    return str(ScriptDirectory.from_config(_settings()).get_current_head())


def _is_newer(revision: str | None) -> bool:
    """Whether a later release was here."""
    known = {
        script.revision for script in ScriptDirectory.from_config(_settings()).walk_revisions()
    }
    return revision is not None and revision not in known


def _only_adds(revision: str | None) -> bool:
    """Whether this code works on a later schema: within a thousand, revisions only add to each other.

    So an upgrade can be taken back without its schema; a revision that drops or renames begins the next thousand.
    """
    return revision is not None and revision[:-3] == _head()[:-3]


@contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    """MySQL commits at every change of a table, so a transaction keeps nobody out there: an advisory lock does."""
    if connection.dialect.name != "mysql":
        yield
        return
    database = hashlib.sha256(str(connection.engine.url.database).encode()).hexdigest()
    name = (
        f"migrate-{database[:40]}"  # locks are the server's, and their names at most 64 characters
    )
    while not connection.scalar(select(func.get_lock(name, LOCK_WAIT_SECONDS))):
        logger.info("Another process migrates the database; waiting")
    try:
        yield
    finally:
        connection.execute(select(func.release_lock(name)))


def wait_for(engine: Engine, seconds: float) -> None:
    """Returns once the database answers; raises DatabaseRefused when it does not in time, or says no."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            with engine.connect():
                return
        except OperationalError as error:
            code, reason = error.orig.args[0], error.orig.args[-1]  # type: ignore[union-attr]
            if code in REFUSED or time.monotonic() > deadline:
                raise DatabaseRefused(
                    f"{engine.url.render_as_string()} cannot be used: {reason}"
                ) from None
            logger.info("Waiting for %s:%s: %s", engine.url.host, engine.url.port, reason)
            time.sleep(PAUSE_SECONDS)


def open_database(config: Config) -> Engine:
    """Connected; the embedded SQLite is brought up to date on the way, MySQL is migrated by whoever operates it."""
    engine = connect(config)
    if not config.db_host:
        migrate(engine)
    return engine


def schema_problem(engine: Engine) -> str:
    """Why this code cannot work with the database's schema, naming both revisions; empty when it can."""
    with engine.connect() as connection:
        have = _revision(connection)
    if _is_newer(have):
        return "" if _only_adds(have) else NEWER.format(have=have, known=_head())
    return "" if have == _head() else BEHIND.format(have=have or "none", known=_head())


def check(engine: Engine) -> None:
    """Raises when the migrations and `tables.py` disagree."""
    settings = _settings()
    with engine.connect() as connection:
        settings.attributes["connection"] = connection
        command.check(settings)


def main(config: Config) -> None:
    """Waits for the database, then migrates it."""
    engine = connect(config, patient=True)
    wait_for(engine, config.db_wait_seconds)
    migrate(engine)
    logger.info("The database is at the newest schema")


if __name__ == "__main__":
    given = load_config()
    set_up_logging("WARNING" if not given.db_host else given.log_level, given.log_format)
    main(given)
