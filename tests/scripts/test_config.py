"""Settings: defaults, strict reading, secrets from files, and one list of them everywhere."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from scripts.config import ROOT, Config, InvalidConfig, job_environment, load_config


def test_defaults_and_values() -> None:
    assert load_config({}) == Config()
    config = load_config(
        {
            "DB_PORT": "3307",
            "LOG_LEVEL": "DEBUG",
            "CONTROLLER_POLL_SECONDS": "0.5",
            "MAX_ACTIVE_RUNS": "",
        }
    )
    assert (
        config.db_port,
        config.log_level,
        config.controller_poll_seconds,
        config.max_active_runs,
    ) == (
        3307,
        "DEBUG",
        0.5,
        2,
    )


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"DB_PORT": "many"}, "DB_PORT must be a number, got 'many'"),
        ({"MAX_ACTIVE_RUNS": "0"}, "MAX_ACTIVE_RUNS must be above 0"),
        ({"RUN_TIMEOUT_SECONDS": "-5"}, "RUN_TIMEOUT_SECONDS must be above 0"),
        ({"CONTROLLER_POLL_SECONDS": "nan"}, "CONTROLLER_POLL_SECONDS must be above 0"),
        ({"CONTROLLER_POLL_SECONDS": "inf"}, "CONTROLLER_POLL_SECONDS must be above 0"),
        ({"LOG_LEVEL": "loud"}, "LOG_LEVEL must be one of DEBUG, INFO, WARNING, ERROR, got 'loud'"),
        ({"FLASK_ENV": ""}, "FLASK_ENV must be one of development, production"),
        ({"DB_PASSWORD_FILE": "/nowhere"}, "DB_PASSWORD_FILE cannot be read"),
    ],
)
def test_bad_values_are_named(environment: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidConfig, match=message):
        load_config(environment)


TOKEN = f"nightly:{'0' * 64}"


def test_secrets_come_from_files_too_and_are_never_shown(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text(f"{TOKEN}\n")
    config = load_config({"AUTH_TOKENS_FILE": str(tmp_path / "tokens"), "AUTH_MODE": "basic"})
    assert config.auth_tokens == TOKEN
    assert TOKEN not in repr(config)


def test_the_login_of_the_database_is_read_anew_each_time(tmp_path: Path) -> None:
    """An operator rotates it, and nothing is restarted."""
    user, password = tmp_path / "user", tmp_path / "password"
    user.write_text("alice\n")
    password.write_text("s3cret\n")
    config = load_config({"DB_USER_FILE": str(user), "DB_PASSWORD_FILE": str(password)})
    assert config.database_login() == ("alice", "s3cret")
    assert "s3cret" not in repr(config)
    user.write_text("bob")
    password.write_text("비밀번호")
    assert config.database_login() == ("bob", "비밀번호")
    password.write_bytes(b"\xff")
    with pytest.raises(InvalidConfig, match="DB_PASSWORD_FILE is no text"):
        config.database_login()
    direct = load_config(
        {
            "DB_USER": "carol",
            "DB_USER_FILE": "/nowhere",
            "DB_PASSWORD": "direct",
            "DB_PASSWORD_FILE": "/nowhere",
        }
    )
    assert direct.database_login() == ("carol", "direct"), "a variable wins over its file"


def test_no_secret_has_a_default() -> None:
    for field in fields(Config):
        assert field.metadata["help"]
        if field.metadata["secret"]:
            assert field.default == ""


def test_database_urls() -> None:
    assert Config(sqlite_path="x.db").database_url == f"sqlite:///{ROOT / 'x.db'}"
    assert Config(sqlite_path="").database_url == ""
    assert (
        Config(db_host="db", db_name="n").database_url
        == "mysql+pymysql://db:3306/n?charset=utf8mb4"
    )


def test_the_example_file_lists_every_setting_with_its_default() -> None:
    text = (ROOT / ".env.example").read_text()
    listed = dict(re.findall(r"^([A-Z_]+)=(.*)$", text, flags=re.MULTILINE))
    assert listed == {field.name.upper(): str(field.default) for field in fields(Config)}
    assert load_config(listed) == Config()


def test_a_worker_does_not_get_the_logins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTH_USERS", "alice:hash")
    monkeypatch.setenv("AUTH_TOKENS_FILE", "/run/secrets/tokens")
    monkeypatch.setenv("TICKER", "GOOG")
    environment = job_environment()
    assert environment["TICKER"] == "GOOG"
    assert not [name for name in environment if name.startswith("AUTH_")]
