"""Who asks: a user with a password, a user that a trusted proxy names, or a program with a token."""

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
from service.contract.errors import TooManyLogins

logger = logging.getLogger(__name__)

OPEN = ("health.health", "health.ready", "static")
REALM = "Stock backtests"
SECRET_HEADER = "X-Auth-Proxy-Secret"  # noqa: S105
NOBODY = (
    f"{PASSWORD_METHOD}$nobody$" + "0" * 128
)  # verified for names that nobody has: they take as long as others
MOST_VERIFIED = 1024
HASHED_AT_ONCE = 2  # more would let guesses keep all threads busy
MOST_CLIENT = 64


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
    _hashing: BoundedSemaphore = field(
        default_factory=lambda: BoundedSemaphore(HASHED_AT_ONCE), repr=False
    )

    def name(self, asked: Request) -> str | None:
        """The user's or the token's name; None for somebody unknown. Raises TooManyLogins."""
        given = asked.authorization
        if given is not None and given.type == "bearer":
            return self._of_token(given.token or "")
        if self.mode == "proxy-header":
            return self._of_proxy(
                asked.headers.get(SECRET_HEADER, ""), asked.headers.get(self.proxy_header, "")
            )
        if given is not None and given.type == "basic":
            return self._of_password(given.username or "", given.password or "")
        return None

    def challenges(self) -> list[WWWAuthenticate]:
        """What a 401 asks for; Basic makes browsers ask their user."""
        basic = WWWAuthenticate("basic", {"realm": REALM, "charset": "UTF-8"})
        bearer = WWWAuthenticate("bearer", {"realm": REALM})
        return [basic, bearer] if self.mode == "basic" else [bearer]

    def _of_token(self, token: str) -> str | None:
        digest = hashlib.sha256(token.encode()).hexdigest()
        matches = [
            name for name, known in self.tokens.items() if hmac.compare_digest(known, digest)
        ]
        return matches[0] if matches else None

    def _of_proxy(self, secret: str, name: str) -> str | None:
        trusted = hmac.compare_digest(
            secret.encode("latin-1", "replace"), self.proxy_secret.encode()
        )
        return name if trusted and re.fullmatch(NAME, name) else None

    def _of_password(self, name: str, password: str) -> str | None:
        """Scrypt takes some 60 ms, too long for every request: what was right once is remembered, as a keyed digest."""
        if "\0" in password:  # scrypt takes one at the end for no character at all
            return None
        seen = hmac.digest(self._key, f"{name}:{password}".encode(), "sha256")
        if seen in self._verified:
            return name
        right = self._is_right(self.users.get(name, NOBODY), password)
        if not right or name not in self.users:
            return None
        if len(self._verified) >= MOST_VERIFIED:
            self._verified.clear()
        self._verified.add(seen)
        return name

    def _is_right(self, known: str, password: str) -> bool:
        if not self._hashing.acquire(blocking=False):
            raise TooManyLogins(HASHED_AT_ONCE)
        try:
            return check_password_hash(known, password)
        finally:
            self._hashing.release()


def login_of(config: Config) -> Login:
    """The login that the settings ask for."""
    users, tokens = name_and_secret(config.auth_users), name_and_secret(config.auth_tokens)
    return Login(
        config.auth_mode, users, tokens, config.auth_proxy_header, config.auth_proxy_secret
    )


def install(app: Flask, login: Login) -> None:
    """Refuses with 401 whoever is not known, wherever a login is asked for."""
    app.extensions["login"] = login
    if login.mode != "none":
        app.before_request(lambda: _ask(login))


def client() -> str:
    """Whom the present request comes from: the name that it logged in with, else the remote address."""
    return str(g.get("user") or request.remote_addr or "")[:MOST_CLIENT]


def _ask(login: Login) -> None:
    if request.endpoint in OPEN:
        return
    g.user = login.name(request)
    if g.user is None:
        if "Authorization" in request.headers or SECRET_HEADER in request.headers:
            logger.warning("Login refused: client=%s", client())
        raise Unauthorized(www_authenticate=login.challenges())
