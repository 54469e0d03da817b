"""Who sends a request: a user with a password, a user named by a trusted proxy, or a token."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import BoundedSemaphore

from flask import Flask, Request, g, request
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Unauthorized
from werkzeug.security import check_password_hash

from scripts.config import NAME, PASSWORD_METHOD, Config, name_and_secret
from service.web.middleware.guesses import Guesses
from service.web.server.event_loop import run_in_native_thread

logger = logging.getLogger(__name__)

OPEN = ("health.health", "health.ready", "static")
REALM = "Stock backtests"
SECRET_HEADER = "X-Auth-Proxy-Secret"  # noqa: S105
# Verified for unknown names, so that they take as long as known ones.
NOBODY = f"{PASSWORD_METHOD}$nobody$" + "0" * 128
MAX_REMEMBERED_LOGINS = 1024
# With more, passwords could keep all cores busy; the others wait.
MAX_HASHED_AT_ONCE = 2
MAX_CLIENT_CHARACTERS = 64


@dataclass(frozen=True)
class Login:
    """The users, the tokens and the proxy of one installation; `mode` is AUTH_MODE."""

    mode: str = "none"
    users: Mapping[str, str] = field(default_factory=dict, repr=False)
    tokens: Mapping[str, str] = field(default_factory=dict, repr=False)
    proxy_header: str = "X-Forwarded-User"
    proxy_secret: str = field(default="", repr=False)
    _key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    _verified: set[bytes] = field(default_factory=set, repr=False)
    guesses: Guesses = field(default_factory=Guesses, repr=False)
    _hashing: BoundedSemaphore = field(
        default_factory=lambda: BoundedSemaphore(MAX_HASHED_AT_ONCE), repr=False
    )

    def name(self, request: Request) -> str | None:
        """The name of the user or token of a request, None for an unknown one.

        Raises TooManyLogins.
        """
        authorization = request.authorization
        scheme = None if authorization is None else authorization.type
        if authorization is not None and scheme == "bearer":
            return self._name_of_token(authorization.token or "")
        if self.mode == "proxy-header":
            secret = request.headers.get(SECRET_HEADER, "")
            return self._name_from_proxy(secret, request.headers.get(self.proxy_header, ""))
        if authorization is not None and scheme == "basic":
            name, password = authorization.username or "", authorization.password or ""
            return self._checked_name(name, password, request.remote_addr or "")
        return None

    def challenges(self) -> list[WWWAuthenticate]:
        """The logins that a 401 offers; Basic makes browsers ask for name and password."""
        basic = WWWAuthenticate("basic", {"realm": REALM, "charset": "UTF-8"})
        bearer = WWWAuthenticate("bearer", {"realm": REALM})
        return [basic, bearer] if self.mode == "basic" else [bearer]

    def _name_of_token(self, token: str) -> str | None:
        digest = hashlib.sha256(token.encode()).hexdigest()
        matches = [
            name for name, known in self.tokens.items() if hmac.compare_digest(known, digest)
        ]
        return matches[0] if matches else None

    def _name_from_proxy(self, secret: str, name: str) -> str | None:
        sent = secret.encode("latin-1", "replace")
        is_trusted = hmac.compare_digest(sent, self.proxy_secret.encode())
        return name if is_trusted and re.fullmatch(NAME, name) else None

    def _checked_name(self, name: str, password: str, address: str) -> str | None:
        """The name where the password is right.

        Scrypt takes some 60 ms, too long for every request: a login that was right is remembered,
        as a keyed digest.
        """
        # Scrypt ignores a null character at the end of a password.
        if "\0" in password:
            return None
        login = hmac.digest(self._key, f"{name}:{password}".encode(), "sha256")
        if login in self._verified:
            return name
        with self.guesses.attempt(address, name) as attempt:
            attempt.is_right = self._is_right(name, password)
        if not attempt.is_right:
            return None
        if len(self._verified) >= MAX_REMEMBERED_LOGINS:
            self._verified.clear()
        self._verified.add(login)
        return name

    def _is_right(self, name: str, password: str) -> bool:
        known = self.users.get(name, NOBODY)
        with self._hashing:
            is_right = run_in_native_thread(check_password_hash, known, password)
        return is_right and name in self.users


def login_of(config: Config) -> Login:
    """The login of the settings."""
    return Login(
        mode=config.auth_mode,
        users=name_and_secret(config.auth_users),
        tokens=name_and_secret(config.auth_tokens),
        proxy_header=config.auth_proxy_header,
        proxy_secret=config.auth_proxy_secret,
    )


def install(app: Flask, login: Login) -> None:
    """Refuses unknown users with 401, where the login has a mode other than none."""
    if login.mode != "none":
        app.before_request(lambda: _check_login(login))


def client_name() -> str:
    """Who sends the present request: the name of the login, else the remote address."""
    return str(g.get("user") or request.remote_addr or "")[:MAX_CLIENT_CHARACTERS]


def _check_login(login: Login) -> None:
    if request.endpoint in OPEN:
        return
    g.user = login.name(request)
    if g.user is None:
        if "Authorization" in request.headers or SECRET_HEADER in request.headers:
            logger.warning("Login refused: name=%s, address=%s", _sent_name(login), client_name())
        raise Unauthorized(www_authenticate=login.challenges())


def _sent_name(login: Login) -> str:
    """The name that came with a refused login, where a user has it; a token has none.

    Another may be a password that was typed into the wrong field.
    """
    name = request.authorization.username if request.authorization else None
    if name is None:
        return "-"
    return name if name in login.users else "unknown"
