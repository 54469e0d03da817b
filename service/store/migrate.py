"""Brings the database's schema up to date: `python -m service.store.migrate`."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

from scripts.config import Config, load_config
from service.store.database import connect


def _settings() -> AlembicConfig:
    settings = AlembicConfig()
    settings.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return settings


def migrate(engine: Engine) -> None:
    """Upgrades to the newest schema; does nothing when it is there. Two at once wait for each other on SQLite."""
    settings = _settings()
    with engine.connect().execution_options(begin="BEGIN IMMEDIATE") as connection:
        settings.attributes["connection"] = connection
        command.upgrade(settings, "head")
        connection.commit()


def open_database(config: Config) -> Engine:
    """Connected; the embedded SQLite is brought up to date on the way, MySQL is migrated by whoever operates it."""
    engine = connect(config)
    if not config.db_host:
        migrate(engine)
    return engine


def schema_is_current(engine: Engine) -> bool:
    """Whether the database is at the newest schema that this code knows."""
    with engine.connect() as connection:
        have = MigrationContext.configure(connection).get_current_revision()
    return have == ScriptDirectory.from_config(_settings()).get_current_head()


def check(engine: Engine) -> None:
    """Raises when the migrations and `tables.py` disagree."""
    settings = _settings()
    with engine.connect() as connection:
        settings.attributes["connection"] = connection
        command.check(settings)


if __name__ == "__main__":
    migrate(connect(load_config()))
