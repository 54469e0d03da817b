"""The images run under any user, in a read-only file system, as OpenShift starts them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator

import pytest

from scripts.config import ROOT
from tests.e2e.cluster import CommandFailed, run
from tests.e2e.waiters import wait_until
from tests.e2e.web import performed_here, reproducible
from tests.support.requests import REQUEST

pytestmark = pytest.mark.cluster

USER = "1000670000"
ANYBODY = ("--user", f"{USER}:0", "--read-only", "--tmpfs=/tmp", "--cap-drop=ALL")
WEB = "stock-backtest-web:0.3.0"
WORKER = "stock-backtest-worker:0.3.0"
GUNICORN = "gunicorn --config=python:service.web.server.gunicorn_conf app:app"
START = f"python -m service.store.migrate && exec {GUNICORN}"
ASK = """
from urllib.request import urlopen
print(urlopen("http://127.0.0.1:5000/ready").read().decode())
"""


def test_a_worker_of_any_user_gives_the_same_result() -> None:
    request = {"RUN_ID": str(uuid.uuid4()), "DB_HOST": "", "SQLITE_PATH": "", "PRICES_DIR": "/data"}
    request |= {name.upper(): str(value) for name, value in REQUEST.items()}
    variables = [word for item in request.items() for word in ("--env", "=".join(item))]
    data = f"{ROOT / 'data'}:/data:ro"
    said, _ = run(
        "docker", "run", "--rm", *ANYBODY, "--network=none", "--volume", data, *variables, WORKER
    )
    assert reproducible(json.loads(said)) == reproducible(performed_here())


@pytest.fixture
def web() -> Iterator[str]:
    """A container of the web; its name."""
    name = f"any-user-{uuid.uuid4().hex[:8]}"
    database = "SQLITE_PATH=/tmp/any.sqlite3"
    words = ["docker", "run", "--detach", "--name", name, *ANYBODY, "--env", database]
    run(*words, WEB, "sh", "-c", START)
    yield name
    run("docker", "rm", "--force", name)


def test_a_web_of_any_user_is_ready(web: str) -> None:
    def ready() -> str:
        try:
            return run("docker", "exec", web, "python", "-c", ASK)[0]
        except CommandFailed as error:
            return error.said + run("docker", "logs", web)[0][-1000:]

    said = wait_until(ready, lambda text: '"status":' in text, 60, "it is ready")
    assert json.loads(said)["status"] == "ok"
    assert run("docker", "exec", web, "id", "-u")[0].strip() == USER
