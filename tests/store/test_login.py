"""The login at MySQL: read anew for each connection, in any alphabet, refused in words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import OperationalError

from scripts.config import Config
from service.store.database import connect, refuses_login
from tests.support.databases import MYSQL, mysql_config


def asked(monkeypatch: pytest.MonkeyPatch, config: Config) -> list[tuple[str, bytes]]:
    """User and password of each connection that the engine opens."""
    logins = []

    def refuse(*_: Any, **options: Any) -> None:
        logins.append((options["user"], options["password"]))
        raise pymysql.err.OperationalError(1045, "Access denied")

    engine = connect(config)
    monkeypatch.setattr(engine.dialect, "connect", refuse)
    for _ in range(2):
        with pytest.raises(OperationalError) as caught:
            engine.connect()
        assert refuses_login(caught.value)
        for path in (config.db_user_file, config.db_password_file):
            Path(path).write_text("비밀번호")
    return logins


def test_each_connection_reads_the_login_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    user, password = tmp_path / "user", tmp_path / "password"
    user.write_text("alice")
    password.write_text("first")
    config = Config(db_host="db", db_user_file=str(user), db_password_file=str(password))
    assert asked(monkeypatch, config) == [
        ("alice", b"first"),
        ("비밀번호", "비밀번호".encode()),
    ]


def test_a_file_that_cannot_be_read_is_a_refused_login(tmp_path: Path) -> None:
    """The process goes on, and says which file; the next connection tries again."""
    password = tmp_path / "password"
    password.write_text("first")
    engine = connect(Config(db_host="127.0.0.1", db_port=9, db_password_file=str(password)))
    password.unlink()
    with pytest.raises(OperationalError, match="DB_PASSWORD_FILE cannot be read") as caught:
        engine.connect()
    assert refuses_login(caught.value)


@pytest.fixture
def root() -> Iterator[Engine]:
    engine = create_engine(f"mysql+pymysql://{MYSQL}/mysql")
    yield engine
    with engine.begin() as connection:
        connection.execute(text("DROP USER IF EXISTS 'rotated'@'%'"))
    engine.dispose()


@pytest.mark.skipif(not MYSQL, reason="needs MySQL")
def test_mysql_lets_in_who_has_the_password_of_today(root: Engine, tmp_path: Path) -> None:
    """A password in Korean, as MySQL's own client sets it, and a rotation in two steps."""
    password = tmp_path / "password"
    config = mysql_config()
    rotated = Config(
        db_host=config.db_host,
        db_port=config.db_port,
        db_name="information_schema",
        db_user="rotated",
        db_password_file=str(password),
    )

    def sets(statement: str) -> None:
        with root.begin() as connection:
            connection.execute(text(statement))

    def is_let_in() -> bool:
        try:
            with connect(rotated).connect() as connection:
                return connection.scalar(text("SELECT 1")) == 1
        except OperationalError as error:
            assert refuses_login(error)
            return False

    password.write_text("비밀번호 하나")
    sets("CREATE USER 'rotated'@'%' IDENTIFIED BY '비밀번호 하나'")
    assert is_let_in()
    sets("ALTER USER 'rotated'@'%' IDENTIFIED BY 'zwei' RETAIN CURRENT PASSWORD")
    assert is_let_in(), "the old one counts until it is discarded"
    password.write_text("zwei")
    assert is_let_in()
    sets("ALTER USER 'rotated'@'%' DISCARD OLD PASSWORD")
    assert is_let_in()
    password.write_text("비밀번호 하나")
    assert not is_let_in()
