"""The connection: SQLite on a laptop, MySQL in a cluster, the same statements on both."""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pymysql
from pymysql.constants import ER
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
from sqlalchemy.exc import DisconnectionError, InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection
from sqlalchemy.sql.expression import FunctionElement

from scripts.config import Config, InvalidConfig

__all__ = [
    "AWAY",
    "DatabaseError",
    "Engine",
    "NoConnectionFree",
    "Store",
    "connect",
    "refuses_login",
    "utc_in",
]

logger = logging.getLogger(__name__)

T = TypeVar("T")

ANSWER_SECONDS = 30
LOCK_PAUSE_SECONDS = 0.02
FILE = "file"  # of a connection to SQLite: which file it has opened
MAX_RETRY_PAUSE_SECONDS = 10.0
MAX_DEADLOCK_TRIES = 5
# A wrong user or password, or one who may not use this database
LOGIN_REFUSED = (ER.ACCESS_DENIED_ERROR, ER.DBACCESS_DENIED_ERROR)
DEADLOCK = 1213  # MySQL ends one of two transactions that wait for each other

# What a driver raises while the database cannot serve; a full disk is PyMySQL's InternalError.
AWAY = (OperationalError, InterfaceError, InternalError)

# A process that stands still in a transaction, or whose node died, keeps its row locked: the
# others give up after two seconds, and MySQL ends the transaction.
SHORT_WAITS = f", wait_timeout={ANSWER_SECONDS}, innodb_lock_wait_timeout=2"


class utc_in(FunctionElement[Any]):  # noqa: N801  a function of SQL, spelled like one
    """The database's clock in UTC, some whole seconds from now."""

    type = DateTime()
    inherit_cache = True

    def __init__(self, seconds: int = 0) -> None:
        super().__init__(literal(seconds, Integer))


@compiles(utc_in, "sqlite")
def _in_sqlite(element: utc_in, compiler: Any, **options: Any) -> str:
    seconds = compiler.process(element.clauses, **options)
    return f"strftime('%Y-%m-%d %H:%M:%f000', 'now', {seconds} || ' seconds')"


@compiles(utc_in, "mysql")
def _in_mysql(element: utc_in, compiler: Any, **options: Any) -> str:
    seconds = compiler.process(element.clauses, **options)
    return f"(UTC_TIMESTAMP(6) + INTERVAL {seconds} SECOND)"


def connect(config: Config, patient: bool = False) -> Engine:
    """An engine for the configured database; nothing is opened yet.

    `patient`: a statement may take any time, as those of a migration do.
    """
    url = make_url(config.database_url)
    if url.get_backend_name() == "mysql":
        user, password = config.database_login()
        engine = create_engine(
            url.set(username=user, password=password),
            pool_pre_ping=True,
            pool_recycle=1800,  # a session keeps the packet size that it was opened with
            isolation_level="READ COMMITTED",
            connect_args={**_mysql_waits(patient), **_mysql_tls(config)},
        )
        event.listen(engine, "do_connect", partial(_log_in, config))
        return engine
    engine = create_engine(url, creator=partial(_open_sqlite, str(url.database)))
    watched = _WatchedFile(str(url.database))
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "connect", watched.note)
    event.listen(engine, "checkout", watched.check)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _log_in(config: Config, *context: Any) -> None:
    """Before each connection: the login as it is now, for an operator may change it at any time.

    PyMySQL would encode a password by Latin-1; MySQL and its own clients take UTF-8.
    """
    options: dict[str, Any] = context[-1]
    try:
        user, password = config.database_login()
    except InvalidConfig as error:
        raise pymysql.err.OperationalError(ER.ACCESS_DENIED_ERROR, str(error)) from None
    options.update(user=user, password=password.encode())


def refuses_login(error: DatabaseError) -> bool:
    """Whether the database answers, and lets this user not in."""
    return bool(error.orig and error.orig.args and error.orig.args[0] in LOGIN_REFUSED)


def _open_sqlite(path: str) -> sqlite3.Connection:
    """A connection to a file that is there: migrations make it, and nothing else does.

    A database whose file was deleted would otherwise be a new one, without a word and a table.
    Nothing waits inside SQLite for a lock of another process: all requests of the web share one
    thread, and it would stand still. `retry_while_locked` waits.
    """
    address = f"{Path(path).absolute().as_uri()}?mode=rw"
    return sqlite3.connect(address, uri=True, timeout=0, check_same_thread=False)


def _mysql_waits(patient: bool) -> dict[str, Any]:
    """Time limits of a session; without them a server whose node died is waited for for ever."""
    settings = "SET time_zone='+00:00', sql_mode='TRADITIONAL'"
    if patient:
        return {"connect_timeout": 5, "init_command": settings}
    return {
        "connect_timeout": 5,
        "read_timeout": ANSWER_SECONDS,
        "write_timeout": ANSWER_SECONDS,
        "init_command": settings + SHORT_WAITS,
    }


def _mysql_tls(config: Config) -> dict[str, Any]:
    """PyMySQL's options; by itself it uses TLS where the server offers it and checks nothing."""
    if config.db_tls == "verify":
        return {
            "ssl_ca": config.db_tls_ca or None,
            "ssl_verify_cert": True,
            "ssl_verify_identity": True,
        }
    if config.db_tls == "required":
        return {"ssl": {"check_hostname": False, "verify_mode": "none"}}
    return {}


def _prepare_sqlite(connection: sqlite3.Connection, _: object) -> None:
    # SQLite keeps any bytes as a text: those that are none must not stop whoever reads the others.
    connection.text_factory = partial(str, encoding="utf-8", errors="replace")
    connection.isolation_level = None  # the driver begins nothing by itself: `_begin_sqlite` does
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA foreign_keys=ON")


class _WatchedFile:
    """A connection whose file was deleted or replaced is not used any more.

    It would go on reading and writing what nobody else sees.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def note(self, _: sqlite3.Connection, record: ConnectionPoolEntry) -> None:
        """Of a new connection."""
        record.info[FILE] = self._number()

    def check(
        self, _: sqlite3.Connection, record: ConnectionPoolEntry, proxy: PoolProxiedConnection
    ) -> None:
        """Raises DisconnectionError, for which the pool opens another connection."""
        number = self._number()
        if number is None or number != record.info[FILE]:
            raise DisconnectionError("the file of the database was deleted or replaced")

    def _number(self) -> tuple[int, int] | None:
        """Device and number of the file that has the name now."""
        try:
            status = os.stat(self._path)
        except FileNotFoundError:
            return None
        return status.st_dev, status.st_ino


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))


class Store:
    """What one process asks of the database, a method for each question.

    `patience_seconds`: how long a call tries again while the database is away, before it raises
    one of `AWAY`. `pause` waits while another process has an SQLite file locked.
    """

    def __init__(
        self,
        engine: Engine,
        patience_seconds: float = 0.0,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._engine = engine
        self._patience_seconds = patience_seconds
        self._pause = pause

    def _read(self, query: Callable[[Connection], T]) -> T:
        """What `query` answers on a connection of its own."""

        def read() -> T:
            with self._engine.connect() as connection:
                return query(connection)

        return _retry_while_away(
            lambda: retry_while_locked(read, self._pause), self._patience_seconds
        )

    def _write(self, change: Callable[[Connection], T]) -> T:
        """What `change` answers; all that it does is one transaction."""
        return _retry_while_away(lambda: self._write_now(change), self._patience_seconds)

    def _write_now(self, change: Callable[[Connection], T]) -> T:
        """As `_write`, without patience: tried again only where MySQL ended it for another one.

        It may read before it writes: an SQLite transaction that did not say so at its beginning
        could not wait for another writer.
        """

        def write() -> T:
            with self._engine.connect() as plain:
                connection = plain.execution_options(begin="BEGIN IMMEDIATE")
                with connection.begin():
                    return change(connection)

        for tries_left in reversed(range(MAX_DEADLOCK_TRIES)):
            try:
                return retry_while_locked(write, self._pause)
            except OperationalError as error:
                if not tries_left or not _is_deadlock(error):
                    raise
        raise AssertionError("the last try returns or raises")


def retry_while_locked(action: Callable[[], T], pause: Callable[[float], None] = time.sleep) -> T:
    """Tries again while another process has an SQLite file locked, for ANSWER_SECONDS at most.

    No connection is held meanwhile: who only reads does not wait for those who write.
    """
    deadline = time.monotonic() + ANSWER_SECONDS
    while True:
        try:
            return action()
        except OperationalError as error:
            if not _is_locked(error) or time.monotonic() > deadline:
                raise
        pause(LOCK_PAUSE_SECONDS)


def _is_locked(error: OperationalError) -> bool:
    """SQLite's extended codes have the plain one in their lowest byte."""
    code = getattr(error.orig, "sqlite_errorcode", None)
    return code is not None and code & 0xFF == sqlite3.SQLITE_BUSY


def _is_deadlock(error: OperationalError) -> bool:
    return error.orig is not None and error.orig.args[0] == DEADLOCK


def _retry_while_away(action: Callable[[], T], patience_seconds: float) -> T:
    """Tries again after longer and longer pauses; the last error is raised when the time is up."""
    deadline = time.monotonic() + patience_seconds
    pause_seconds = 0.1
    while True:
        try:
            return action()
        except AWAY as error:
            if time.monotonic() + pause_seconds > deadline:
                raise
            message = "The database is away; trying again in %.1f s: %s"
            logger.warning(message, pause_seconds, error.orig)
            time.sleep(pause_seconds)
            pause_seconds = min(pause_seconds * 2, MAX_RETRY_PAUSE_SECONDS)
