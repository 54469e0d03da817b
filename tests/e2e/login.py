"""A user and a program that may log in, as `make_login` makes them, and requests that they make."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from base64 import b64encode
from dataclasses import dataclass

from tests.e2e.cluster import run
from tests.e2e.waiters import Object
from tests.e2e.web import Web

PASSWORD = "her own~p@ss+w/rd?>%20"  # in URLs and in base64 it looks different


@dataclass(frozen=True)
class Login:
    """The lines for alice and for the token `nightly`, and the token."""

    users: str
    tokens: str
    token: str

    @property
    def secrets(self) -> dict[str, str]:
        """All secrets of the login; of users and tokens also the hashes."""
        return {
            "her password": PASSWORD,
            "her hash": self.users.strip().rpartition("$")[2],
            "the token": self.token,
            "the token's hash": self.tokens.strip().rpartition(":")[2],
        }

    @property
    def keys(self) -> dict[str, str]:
        """The keys and values of the Secret."""
        return {"AUTH_USERS": self.users, "AUTH_TOKENS": self.tokens, "token": self.token}


def new_login() -> Login:
    command = (sys.executable, "-m", "scripts.make_login")
    users, _ = run(*command, "alice", given=PASSWORD)
    tokens, shown_once = run(*command, "--token", "nightly")
    return Login(users, tokens, shown_once.split()[-1])


def secret(name: str, keys: dict[str, str]) -> Object:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": keys}


def basic(name: str, password: str) -> str:
    return "Basic " + b64encode(f"{name}:{password}".encode()).decode()


def answer(
    web: Web, path: str, authorization: str = "", body: bytes | None = None
) -> tuple[int, str]:
    """Code, and headers with the text."""
    headers = {"Authorization": authorization} if authorization else {}
    try:
        got = urllib.request.urlopen(
            urllib.request.Request(web.url + path, body, headers), timeout=20
        )
    except urllib.error.HTTPError as error:
        got = error
    with got:
        return int(got.status), f"{got.headers}{got.read().decode()}"
