"""Every setting of the platform, and the only place that reads the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


class InvalidConfig(SystemExit):
    """A setting that cannot be used; the program ends with the message, which names the variable."""


def _setting(default: Any, help: str, *, secret: bool = False, choices: tuple[str, ...] = ()) -> Any:
    return field(default=default, repr=not secret, metadata={"help": help, "secret": secret, "choices": choices})


@dataclass(frozen=True)
class Config:
    """One field per variable, named as it is but in lower case. A secret is also read from the file <NAME>_FILE."""

    flask_env: str = _setting(
        "production", "development reloads changed templates", choices=("development", "production")
    )
    db_host: str = _setting("", "MySQL host; empty means SQLite")
    db_port: int = _setting(3306, "MySQL port")
    db_name: str = _setting("stock_backtest", "MySQL database")
    db_user: str = _setting("backtest", "MySQL user")
    db_password: str = _setting("", "MySQL password, or DB_PASSWORD_FILE", secret=True)
    sqlite_path: str = _setting("stock_backtest.sqlite3", "SQLite file, from the root, when DB_HOST is empty")
    log_level: str = _setting("INFO", "DEBUG, INFO, WARNING or ERROR", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
    log_format: str = _setting("text", "text or json", choices=("text", "json"))
    prices_dir: str = _setting("data", "CSV files for a worker without a database")
    max_active_runs: int = _setting(2, "runs that compute at the same time")
    max_pending_runs: int = _setting(1000, "runs that may wait; more are refused with 429")
    run_timeout_seconds: int = _setting(900, "a run that takes longer is stopped")
    lease_seconds: int = _setting(60, "how long a worker may be silent before it counts as lost")
    controller_poll_seconds: float = _setting(0.25, "pause between two passes of the controller")
    max_body_bytes: int = _setting(65_536, "largest request body")
    code_revision: str = _setting("", "revision of the code, for the provenance")
    image: str = _setting("", "container image, for the provenance")

    @property
    def database_url(self) -> str:
        """Without the password, which `service.store.database` adds; empty when there is no database."""
        if self.db_host:
            return f"mysql+pymysql://{self.db_user}@{self.db_host}:{self.db_port}/{self.db_name}?charset=utf8mb4"
        return f"sqlite:///{ROOT / self.sqlite_path}" if self.sqlite_path else ""


def load_config(environment: Mapping[str, str] | None = None) -> Config:
    """The settings of this process; raises InvalidConfig. An empty variable counts as set only for text."""
    given = os.environ if environment is None else environment
    values = {f.name: _read(given, f.name.upper(), f.default, f.metadata) for f in fields(Config)}
    return Config(**values)


def job_environment() -> dict[str, str]:
    """The environment of this process, which a worker is started in or started with."""
    return dict(os.environ)


def _read(given: Mapping[str, str], name: str, default: Any, metadata: Mapping[str, Any]) -> Any:
    text = given.get(name)
    if metadata["secret"] and text is None and f"{name}_FILE" in given:
        text = _read_secret(name, given[f"{name}_FILE"])
    if text is None or (text == "" and not isinstance(default, str)):
        return default
    if metadata["choices"] and text not in metadata["choices"]:
        raise InvalidConfig(f"{name} must be one of {', '.join(metadata['choices'])}, got {text!r}")
    return text if isinstance(default, str) else _number(name, text, type(default))


def _read_secret(name: str, path: str) -> str:
    try:
        return Path(path).read_text().rstrip("\n")
    except OSError as error:
        raise InvalidConfig(f"{name}_FILE cannot be read: {error}") from None


def _number(name: str, text: str, kind: type) -> Any:
    try:
        number = kind(text)
    except ValueError:
        raise InvalidConfig(f"{name} must be a number, got {text!r}") from None
    if not 0 < number < float("inf"):
        raise InvalidConfig(f"{name} must be above 0, got {text!r}")
    return number
