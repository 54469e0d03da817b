"""Databases of a test's own: a SQLite file, or a new one on the MySQL server of TEST_MYSQL."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy import Engine, make_url

from scripts.config import Config
from service.store.database import connect
from service.store.migrate import migrate

# root:<password>@<host>:<port>, or empty
MYSQL = os.environ.get("TEST_MYSQL", "")


@contextmanager
def migrated_database(folder: Path, patient: bool = False) -> Iterator[Engine]:
    """A migrated, empty database: on MySQL where there is one, else a file in the folder.

    patient: connections wait longer for locks, as those of a migration.
    """
    if not MYSQL:
        with connected(Config(sqlite_path=str(folder / "test.sqlite3")), patient) as engine:
            migrate(engine)
            yield engine
        return
    config = mysql_config()
    _execute_as_root(f"CREATE DATABASE {config.db_name}")
    try:
        with connected(config, patient) as engine:
            migrate(engine)
            yield engine
    finally:
        _execute_as_root(f"DROP DATABASE {config.db_name}")


@dataclass(frozen=True)
class Template:
    """A migrated database on MySQL: its name, the statements that make it, its tables with rows."""

    name: str
    statements: tuple[str, ...]
    filled: tuple[str, ...]

    @classmethod
    def of(cls, engine: Engine) -> Template:
        """As the database is at this moment, views and foreign keys too."""
        name = str(engine.url.database)
        statements, filled = [], []
        with engine.connect() as connection:
            for table, kind in connection.exec_driver_sql("SHOW FULL TABLES").all():
                is_view = kind == "VIEW"
                what = "VIEW" if is_view else "TABLE"
                created = connection.exec_driver_sql(f"SHOW CREATE {what} `{table}`").one()[1]
                statements.append(str(created).replace(f"`{name}`.", "").replace("%", "%%"))
                rows = f"SELECT EXISTS (SELECT 1 FROM `{table}`)"
                if not is_view and connection.exec_driver_sql(rows).scalar():
                    filled.append(str(table))
        return cls(name, tuple(sorted(statements, key=_is_view)), tuple(filled))

    @contextmanager
    def copy(self) -> Iterator[Engine]:
        """A new database of the same content: a migration for each test would take a second."""
        config = mysql_config()
        _execute_as_root(f"CREATE DATABASE {config.db_name}")
        try:
            with connected(config) as engine:
                with engine.begin() as connection:
                    connection.exec_driver_sql("SET foreign_key_checks = 0")
                    for statement in self.statements:
                        connection.exec_driver_sql(statement)
                    for table in self.filled:
                        rows = f"SELECT * FROM {self.name}.{table}"
                        connection.exec_driver_sql(f"INSERT INTO {table} {rows}")
                    connection.exec_driver_sql("SET foreign_key_checks = 1")
                yield engine
        finally:
            _execute_as_root(f"DROP DATABASE {config.db_name}")


def _is_view(statement: str) -> bool:
    """A view is made after the tables that it reads."""
    return not statement.startswith("CREATE TABLE")


@contextmanager
def connected(config: Config, patient: bool = False) -> Iterator[Engine]:
    """An engine whose connections are closed at the end."""
    engine = connect(config, patient=patient)
    try:
        yield engine
    finally:
        engine.dispose()


def database_environment(engine: Engine) -> dict[str, str]:
    """The environment variables of a process that uses the same database."""
    url = engine.url
    if url.get_backend_name() == "sqlite":
        return {"DB_HOST": "", "SQLITE_PATH": str(url.database)}
    return {
        "DB_HOST": str(url.host),
        "DB_PORT": str(url.port),
        "DB_NAME": str(url.database),
        "DB_USER": str(url.username),
        "DB_PASSWORD": str(url.password),
    }


def mysql_config() -> Config:
    """The settings for a new database, which does not exist yet, on the server of TEST_MYSQL."""
    url = make_url(f"mysql://{MYSQL}")
    return Config(
        db_name=f"test_{uuid.uuid4().hex[:12]}",
        db_user=str(url.username),
        db_password=str(url.password),
        db_host=str(url.host),
        db_port=int(url.port or 3306),
    )


def _execute_as_root(statement: str) -> None:
    with (
        connected(replace(mysql_config(), db_name="mysql")) as server,
        server.begin() as connection,
    ):
        connection.exec_driver_sql(statement)
