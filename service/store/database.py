"""The connection: SQLite on a laptop, MySQL in a cluster, the same statements on both."""

from __future__ import annotations

import sqlite3
from typing import Any

from sqlalchemy import (
    Connection,
    DateTime,
    Engine,
    Integer,
    create_engine,
    event,
    literal,
    make_url,
)
from sqlalchemy.exc import DBAPIError as DatabaseError
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import FunctionElement

from scripts.config import Config

__all__ = ["AWAY", "DatabaseError", "Engine", "NoConnectionFree", "connect", "utc_in"]

ANSWER_SECONDS = 30
AWAY = (OperationalError, InterfaceError, InternalError)
"""What a driver raises when the database cannot do it now; a full disk is PyMySQL's InternalError."""
IMPATIENT = f", wait_timeout={ANSWER_SECONDS}, innodb_lock_wait_timeout=2"
"""A process that stands still in a transaction, or whose node died, keeps its row: others give up, MySQL ends it."""


class utc_in(FunctionElement[Any]):  # noqa: N801  a function of SQL, spelled like one
    """The database's clock in UTC, some whole seconds from now."""

    type = DateTime()
    inherit_cache = True

    def __init__(self, seconds: int = 0) -> None:
        super().__init__(literal(seconds, Integer))


@compiles(utc_in, "sqlite")
def _in_sqlite(element: utc_in, compiler: Any, **options: Any) -> str:
    return f"strftime('%Y-%m-%d %H:%M:%f000', 'now', {compiler.process(element.clauses, **options)} || ' seconds')"


@compiles(utc_in, "mysql")
def _in_mysql(element: utc_in, compiler: Any, **options: Any) -> str:
    return f"(UTC_TIMESTAMP(6) + INTERVAL {compiler.process(element.clauses, **options)} SECOND)"


def connect(config: Config, patient: bool = False) -> Engine:
    """An engine for the configured database; nothing is opened yet. `patient`: a statement may take its time.

    In SQLite a transaction that reads before it writes must say so (`begin`), else it cannot wait for another writer.
    """
    url = make_url(config.database_url)
    if url.get_backend_name() == "mysql":
        return create_engine(
            url.set(password=config.db_password),
            pool_pre_ping=True,
            pool_recycle=1800,  # a session keeps the packet size it was opened with
            isolation_level="READ COMMITTED",
            connect_args={
                "connect_timeout": 5,
                "read_timeout": None
                if patient
                else ANSWER_SECONDS,  # a server whose node died never answers
                "write_timeout": None if patient else ANSWER_SECONDS,
                "init_command": "SET time_zone='+00:00', sql_mode='TRADITIONAL'"
                + ("" if patient else IMPATIENT),
                **_tls(config),
            },
        )
    engine = create_engine(url, connect_args={"timeout": 30})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _tls(config: Config) -> dict[str, Any]:
    """What PyMySQL is told; by itself it uses TLS where the server offers it and checks nothing."""
    if config.db_tls == "verify":
        return {
            "ssl_ca": config.db_tls_ca or None,
            "ssl_verify_cert": True,
            "ssl_verify_identity": True,
        }
    return (
        {"ssl": {"check_hostname": False, "verify_mode": "none"}}
        if config.db_tls == "required"
        else {}
    )


def _prepare_sqlite(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself: "begin" above does
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA foreign_keys=ON")


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))
