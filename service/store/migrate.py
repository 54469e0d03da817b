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
from service.store.database import connect, retry_while_locked

logger = logging.getLogger(__name__)

# MySQL's error numbers for a wrong user, password or database: waiting changes nothing.
REFUSED = (1044, 1045, 1049)
BEHIND = (
    "The database is at revision {current}, this program needs {known}: "
    "run python -m service.store.migrate."
)
NEWER = (
    "The database is at revision {current}, this program knows {known} and cannot work with it: "
    "use the release that migrated it, or restore a backup."
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
    """Upgrades to the newest schema; does nothing when the database has it.

    Several processes may call it at the same time: they wait for each other. Raises DatabaseRefused
    when a later release left a schema that this one cannot work with.
    """
    _create_file(engine)
    retry_while_locked(lambda: _migrate(engine))


def _migrate(engine: Engine) -> None:
    settings = _settings()
    with (
        engine.connect().execution_options(begin="BEGIN IMMEDIATE") as connection,
        _migration_lock(connection),
    ):
        settings.attributes["connection"] = connection
        current = _revision(connection)
        if not _is_newer(current):
            command.upgrade(settings, "head")
        elif not _only_adds(current):
            raise DatabaseRefused(NEWER.format(current=current, known=_head()))
        connection.commit()


def _create_file(engine: Engine) -> None:
    """Makes the file of an SQLite database, empty, where there is none."""
    if engine.dialect.name != "sqlite":
        return
    path = Path(str(engine.url.database))
    try:
        path.touch()
    except OSError as error:
        raise DatabaseRefused(f"{path} cannot be used: {error.strerror}") from None


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _head() -> str:
    return str(ScriptDirectory.from_config(_settings()).get_current_head())


def _is_newer(revision: str | None) -> bool:
    """Whether a later release has migrated the database to this revision."""
    scripts = ScriptDirectory.from_config(_settings()).walk_revisions()
    known = {script.revision for script in scripts}
    return revision is not None and revision not in known


def _only_adds(revision: str | None) -> bool:
    """Whether the later revision has only added to the schema that this code knows.

    Revisions with the same thousands only add, so that an upgrade can be taken back without its
    schema; a revision that drops or renames begins the next thousand.
    """
    return revision is not None and revision[:-3] == _head()[:-3]


@contextmanager
def _migration_lock(connection: Connection) -> Iterator[None]:
    """Holds an advisory lock on MySQL, where a transaction keeps no other migration out.

    MySQL commits at every change of a table.
    """
    if connection.dialect.name != "mysql":
        yield
        return
    database = hashlib.sha256(str(connection.engine.url.database).encode()).hexdigest()
    # All databases of a server share its locks; a lock's name has at most 64 characters.
    name = f"migrate-{database[:40]}"
    while not connection.scalar(select(func.get_lock(name, LOCK_WAIT_SECONDS))):
        logger.info("Another process migrates the database; waiting")
    try:
        yield
    finally:
        connection.execute(select(func.release_lock(name)))


def wait_for(engine: Engine, seconds: float) -> None:
    """Returns once the database answers.

    Raises DatabaseRefused when it does not answer within so many seconds, or refuses the caller.
    """
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
    """Connects to the database; SQLite is migrated too, MySQL is migrated by its operator.

    Raises DatabaseRefused as `migrate` does.
    """
    engine = connect(config)
    if not config.db_host:
        migrate(engine)
    return engine


def schema_problem(engine: Engine) -> str:
    """Why this code cannot work with the database's schema, with both revisions; "" when it can."""
    with engine.connect() as connection:
        current = _revision(connection)
    known = _head()
    if _is_newer(current):
        return "" if _only_adds(current) else NEWER.format(current=current, known=known)
    if current == known:
        return ""
    return BEHIND.format(current=current or "none", known=known)


def check(engine: Engine) -> None:
    """Raises when the migrations and `tables.py` disagree."""
    settings = _settings()
    with engine.connect() as connection:
        settings.attributes["connection"] = connection
        command.check(settings)


def main(config: Config) -> None:
    """Waits for the database, then migrates it."""
    engine = connect(config, patient=True)
    _create_file(engine)
    wait_for(engine, config.db_wait_seconds)
    migrate(engine)
    logger.info("The database is at the newest schema")


if __name__ == "__main__":
    configuration = load_config()
    level = configuration.log_level if configuration.db_host else "WARNING"
    set_up_logging(level, configuration.log_format)
    main(configuration)
