"""Users, tokens and a trusted proxy, and the headers with which they log in."""

from __future__ import annotations

import base64
import hashlib
from functools import partial

from flask.testing import FlaskClient
from sqlalchemy import Engine

from service.store.migrate import schema_problem
from service.usecases.runs import Runs
from service.web.factory import create_app
from service.web.middleware.auth import Login
from service.web.middleware.guesses import Guesses

PASSWORD = "pass:wörd"
TOKEN = "a-token-of-alice"
SECRET = "a-secret-of-the-proxy"
# The hash of PASSWORD, made once, because it takes a while.
HASH = (
    "scrypt:32768:8:1$cfQezlUgS7gLZS17$93c7c75bd03b9db157c5a690a5adc73757016df61c07e3cebe6e1482"
    "196cd0d149aebc2b498323443d8e069d434522f1676f31410c932172777dd6cc184e9422"
)
USERS = {"alice": HASH}
TOKENS = {"nightly": hashlib.sha256(TOKEN.encode()).hexdigest()}
BASIC = Login("basic", USERS, TOKENS, guesses=Guesses(pause_seconds=0.0))
PROXY = Login("proxy-header", {}, TOKENS, proxy_secret=SECRET)


def client_with(engine: Engine, runs: Runs, login: Login) -> FlaskClient:
    return create_app(runs, partial(schema_problem, engine), login=login).test_client()


def basic(name: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def proxied(name: str, secret: str = SECRET) -> dict[str, str]:
    return {"X-Forwarded-User": name, "X-Auth-Proxy-Secret": secret}
