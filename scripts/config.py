"""Every setting of the platform, and the only place that reads the environment."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# The name of a user or of a token
NAME = r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}"
# The only method: a login with an unknown name must take as long as one with a known name.
PASSWORD_METHOD = "scrypt:32768:8:1"  # noqa: S105
USER_LINE = rf"{NAME}:{PASSWORD_METHOD}\$[A-Za-z0-9]+\$[0-9a-f]{{128}}"
MIN_SECRET_CHARACTERS = 16
TOKEN_LINE = rf"{NAME}:[0-9a-f]{{64}}"

MOST_GIB = 1_000_000

HOST = r"(\*|\.?[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?)"


class InvalidConfig(SystemExit):
    """A setting cannot be used; the program ends with the message, which names the variable."""


def _setting(default: Any, help: str, *, secret: bool = False, **limits: Any) -> Any:
    """A field of Config with its help text and the limits of its value.

    limits: `choices`, the values that a text may have; `form`, a regular expression for a text;
    `line`, a regular expression for each line of a text; `least` and `most`, the ends of a
    number.
    """
    return field(
        default=default, repr=not secret, metadata={"help": help, "secret": secret, **limits}
    )


@dataclass(frozen=True)
class Config:
    """One field for each environment variable, with the variable's name in lower case.

    A secret is also read from the file that <NAME>_FILE names. A variable wins over its file.
    """

    flask_env: str = _setting(
        "production", "development reloads changed templates", choices=("development", "production")
    )
    db_host: str = _setting("", "MySQL host; empty means SQLite")
    db_port: int = _setting(3306, "MySQL port")
    db_name: str = _setting("stock_backtest", "MySQL database")
    db_user: str = _setting("backtest", "MySQL user")
    db_user_file: str = _setting("", "file with the MySQL user, read at each connection")
    db_password: str = _setting("", "MySQL password", secret=True)
    db_password_file: str = _setting("", "file with the MySQL password, read at each connection")
    db_tls: str = _setting(
        "preferred",
        "preferred, required, or verify: with DB_TLS_CA",
        choices=("preferred", "required", "verify"),
    )
    db_tls_ca: str = _setting("", "file with the certificate authority of MySQL, for DB_TLS=verify")
    db_wait_seconds: int = _setting(600, "how long a migration waits for MySQL to answer")
    sqlite_path: str = _setting(
        "stock_backtest.sqlite3", "SQLite file, from the root, when DB_HOST is empty"
    )
    log_level: str = _setting(
        "INFO", "DEBUG, INFO, WARNING or ERROR", choices=("DEBUG", "INFO", "WARNING", "ERROR")
    )
    log_format: str = _setting("text", "text or json", choices=("text", "json"))
    prices_dir: str = _setting("data", "CSV files for a worker without a database")
    max_active_runs: int = _setting(2, "runs that compute at the same time")
    max_pending_runs: int = _setting(
        1000, "runs that may wait, shared by the clients; more are refused with 429"
    )
    max_pending_rows: int = _setting(
        2_000_000, "combinations of unfinished searches, shared by the clients; more get 429"
    )
    rate_limit_per_minute: int = _setting(
        600, "runs that one client may ask for in a minute; 0 for any", least=0
    )
    result_retention_days: float = _setting(
        0.0, "days after which ended runs are deleted; 0 keeps all", least=0
    )
    result_retention_gib: float = _setting(
        0.0,
        "GiB of results above which the oldest runs are deleted; 0 keeps all",
        least=0,
        most=MOST_GIB,
    )
    database_gib: float = _setting(
        0.0,
        "GiB that MySQL has room for: near it, warns; 0 where that is not known",
        least=0,
        most=MOST_GIB,
    )
    run_timeout_seconds: int = _setting(900, "a run that takes longer is stopped")
    image_pull_seconds: int = _setting(
        180, "how long a cluster may try to get the worker's image", least=0
    )
    unschedulable_seconds: int = _setting(
        900, "how long a worker may wait for a node with room", least=0
    )
    quota_seconds: int = _setting(86_400, "how long a run may wait for a cluster's quota", least=0)
    lease_seconds: int = _setting(60, "how long a worker may be silent before it counts as lost")
    controller_poll_seconds: float = _setting(0.25, "pause between two passes of the controller")
    controller_port: int = _setting(
        0, "port of the controller's /health, /ready and /metrics; 0 for none", least=0
    )
    launcher: str = _setting(
        "local", "local processes, or kubernetes Jobs", choices=("local", "kubernetes")
    )
    job_template: str = _setting("", "ConfigMap with the worker's Job, for LAUNCHER=kubernetes")
    max_upload_bytes: int = _setting(
        2**24, "largest files of prices that are sent to the web at once, in bytes"
    )
    price_writers: str = _setting(
        "",
        "users who may store prices by the web, with commas; empty: everybody",
        form=f"({NAME}(,{NAME})*)?",
    )
    price_vendors: str = _setting(
        "yahoo",
        "vendors that the web may have prices fetched from, with commas; empty: none",
        form="((yahoo|krx)(,(yahoo|krx))?)?",
    )
    max_body_bytes: int = _setting(65_536, "largest request body")
    application_root: str = _setting(
        "", "where the pages are below the host, /backtests for example", form=r"(/[\w.~-]+)*/?"
    )
    proxy_hops: int = _setting(
        0, "trusted proxies in front, whose X-Forwarded-* headers count", least=0
    )
    allowed_hosts: str = _setting(
        ".localhost",
        "names that the web is known by, with commas; .example.org has all below it, * is any name",
        form=rf"{HOST}(,{HOST})*",
    )
    web_bind: str = _setting("127.0.0.1:5000", "address and port of the web", form=r"\S+:\d+")
    web_workers: int = _setting(1, "processes of the web")
    web_threads: int = _setting(4, "requests that one process of the web works on at the same time")
    web_graceful_seconds: int = _setting(
        20, "how long a stopping web may take to answer what it has accepted"
    )
    web_keepalive_seconds: int = _setting(
        75, "how long a connection may take to send the next head; longer than a proxy keeps it"
    )
    web_timeout_seconds: int = _setting(
        60, "a process of the web that is silent for so long is replaced"
    )
    access_log: str = _setting("true", "a line for every request", choices=("true", "false"))
    metrics_dir: str = _setting(
        "", "folder in memory where processes of the web count together; empty: one is made"
    )
    auth_mode: str = _setting("none", "how users log in", choices=("none", "basic", "proxy-header"))
    auth_users: str = _setting(
        "",
        "lines of python -m scripts.make_login NAME, or AUTH_USERS_FILE",
        secret=True,
        line=USER_LINE,
    )
    auth_tokens: str = _setting(
        "",
        "lines of python -m scripts.make_login --token NAME, or AUTH_TOKENS_FILE",
        secret=True,
        line=TOKEN_LINE,
    )
    auth_proxy_header: str = _setting(
        "X-Forwarded-User",
        "where the proxy says who it is, for AUTH_MODE=proxy-header",
        form="[A-Za-z][A-Za-z0-9-]*",
    )
    auth_proxy_secret: str = _setting(
        "", "what the proxy sends as X-Auth-Proxy-Secret, or AUTH_PROXY_SECRET_FILE", secret=True
    )
    prices_command: str = _setting(
        "python scripts/data_loader.py", "how users add prices, for messages"
    )
    code_revision: str = _setting("", "revision of the code, for the provenance")
    image: str = _setting("", "container image, for the provenance")

    def database_login(self) -> tuple[str, str]:
        """User and password of MySQL, as their files have them at this moment.

        Raises InvalidConfig.
        """
        user = _read_secret("DB_USER", self.db_user_file) if self.db_user_file else self.db_user
        if self.db_password or not self.db_password_file:
            return user, self.db_password
        return user, _read_secret("DB_PASSWORD", self.db_password_file)

    @property
    def database_url(self) -> str:
        """The URL of the database without the login, which `service.store.database` adds.

        It is empty when there is no database.
        """
        if self.db_host:
            server = f"{self.db_host}:{self.db_port}"
            return f"mysql+pymysql://{server}/{self.db_name}?charset=utf8mb4"
        return f"sqlite:///{ROOT / self.sqlite_path}" if self.sqlite_path else ""


SETTINGS = frozenset(setting.name for setting in fields(Config))


def load_config(environment: Mapping[str, str] | None = None) -> Config:
    """The settings of this process; an empty variable counts as set only for a text setting.

    Raises InvalidConfig.
    """
    if environment is None:
        environment = os.environ
    config = Config(**{setting.name: _read(environment, setting) for setting in fields(Config)})
    if environment.get("DB_USER"):
        config = replace(config, db_user_file="")
    config.database_login()
    _check_login(config)
    return config


def name_and_secret(text: str) -> dict[str, str]:
    """The password hash or token hash of each name in AUTH_USERS or AUTH_TOKENS."""
    hashes = {}
    for _, line in _lines(text):
        name, _, hashed = line.partition(":")
        hashes[name] = hashed
    return hashes


def names_of_hosts(text: str) -> list[str]:
    """The names in ALLOWED_HOSTS."""
    return text.split(",")


def names_in_list(text: str) -> list[str]:
    """The names in PRICE_WRITERS or PRICE_VENDORS; none where it is empty."""
    return text.split(",") if text else []


def job_environment() -> dict[str, str]:
    """The environment of this process without the logins, which a worker must not know."""
    return {name: value for name, value in os.environ.items() if not name.startswith("AUTH_")}


def forget_logins() -> None:
    """Takes the logins out of the environment of a process that needs none."""
    replace_environment(job_environment())


def replace_environment(environment: Mapping[str, str]) -> None:
    """Gives this process another environment: a worker that is a fork gets that of its work."""
    os.environ.clear()
    os.environ.update(environment)


def _read(environment: Mapping[str, str], setting: Field[Any]) -> Any:
    name = setting.name.upper()
    text = environment.get(name)
    is_read_later = f"{setting.name}_file" in SETTINGS
    may_come_from_file = setting.metadata["secret"] and not is_read_later
    if may_come_from_file and text is None and f"{name}_FILE" in environment:
        text = _read_secret(name, environment[f"{name}_FILE"])
    if text is None:
        return setting.default
    if isinstance(setting.default, str):
        return _text(name, text, setting.metadata)
    if text == "":
        return setting.default
    return _number(name, text, type(setting.default), setting.metadata)


def _text(name: str, text: str, metadata: Mapping[str, Any]) -> str:
    if text not in metadata.get("choices", (text,)):
        raise InvalidConfig(f"{name} must be one of {', '.join(metadata['choices'])}, got {text!r}")
    if "line" in metadata:
        _check_lines(name, text, metadata["line"])
    elif not re.fullmatch(metadata.get("form", ".*"), text, re.ASCII | re.DOTALL):
        raise InvalidConfig(f"{name} must look like its example in .env.example, got {text!r}")
    return text


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines that are neither empty nor comments, with their numbers from 1."""
    for number, line in enumerate(map(str.strip, text.split("\n")), start=1):
        if line and not line.startswith("#"):
            yield number, line


def _check_lines(name: str, text: str, form: str) -> None:
    """Raises InvalidConfig with the number of a wrong line, never with its text, a secret."""
    seen_names = set()
    for number, line in _lines(text):
        if not re.fullmatch(form, line):
            raise InvalidConfig(
                f"{name}: line {number} is none that python -m scripts.make_login prints"
            )
        login_name = line.partition(":")[0]
        if login_name in seen_names:
            raise InvalidConfig(f"{name}: line {number} has the name of an earlier line")
        seen_names.add(login_name)


def _check_login(config: Config) -> None:
    """Raises InvalidConfig where logins are set that do not count, or nobody could log in."""
    users = name_and_secret(config.auth_users)
    tokens = name_and_secret(config.auth_tokens)
    if config.auth_mode == "none" and (users or tokens):
        raise InvalidConfig(
            "AUTH_USERS and AUTH_TOKENS count with AUTH_MODE=basic or proxy-header only"
        )
    if config.auth_mode == "basic" and not users and not tokens:
        raise InvalidConfig(
            "AUTH_MODE=basic needs AUTH_USERS or AUTH_TOKENS, or a file AUTH_..._FILE"
        )
    if config.auth_mode == "proxy-header":
        _check_proxy_login(config, users)


def _check_proxy_login(config: Config, users: Mapping[str, str]) -> None:
    if users:
        raise InvalidConfig("AUTH_USERS counts with AUTH_MODE=basic only")
    if len(config.auth_proxy_secret) < MIN_SECRET_CHARACTERS:
        raise InvalidConfig(
            "AUTH_MODE=proxy-header needs an AUTH_PROXY_SECRET of at least "
            f"{MIN_SECRET_CHARACTERS} characters"
        )


def _read_secret(name: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").rstrip("\n")
    except OSError as error:
        raise InvalidConfig(f"{name}_FILE cannot be read: {error}") from None
    except UnicodeDecodeError:
        raise InvalidConfig(f"{name}_FILE is no text") from None


def _number(name: str, text: str, kind: type, limits: Mapping[str, Any]) -> Any:
    least = limits.get("least")
    most = limits.get("most", math.inf)
    try:
        number = kind(text)
    except ValueError:
        raise InvalidConfig(f"{name} must be a number, got {text!r}") from None
    if least is None:
        is_large_enough = number > 0
        limit = "above 0"
    else:
        is_large_enough = number >= least
        limit = f"at least {least}"
    if not is_large_enough or not number < math.inf:
        raise InvalidConfig(f"{name} must be {limit}, got {text!r}")
    if number > most:
        raise InvalidConfig(f"{name} must be at most {most}, got {text!r}")
    return number
