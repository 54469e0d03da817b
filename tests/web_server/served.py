"""The web under gunicorn as it is deployed: real processes, sockets, and a database of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine

from scripts.config import ROOT, Config
from service.store.database import connect
from service.store.migrate import migrate
from service.store.prices import PriceStore
from tests.support.databases import database_environment
from tests.support.prices import series
from tests.support.stores import EveryStore

CONFIGURATION = "python:service.web.server.gunicorn_conf"
GUNICORN = str(Path(sys.executable).parent / "gunicorn")
POLL_SECONDS = 0.02


class Web:
    """gunicorn's master and its workers, ready to serve."""

    def __init__(
        self,
        engine: Engine,
        folder: Path,
        options: Sequence[str] = (),
        **settings: str,
    ) -> None:
        """The log goes into `folder`.

        `options` go to gunicorn's command line, `settings` are variables of scripts/config.py.
        """
        self.engine = engine
        PriceStore(engine).save(series("GOOG"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        environment = {
            **os.environ,
            "MAX_PENDING_RUNS": "100000",
            "RATE_LIMIT_PER_MINUTE": "0",
            "ALLOWED_HOSTS": "web",
            "WEB_BIND": f"127.0.0.1:{self.port}",
            **database_environment(engine),
            **settings,
        }
        self.log = folder / "log"
        command = [GUNICORN, "--config", CONFIGURATION, *options, "app:app"]
        with self.log.open("w") as out:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=out, stderr=out
            )
        self.wait_for(lambda: status_of(self.get("/ready")) == 200)

    def wait_for(self, condition: Callable[[], bool], seconds: float = 30) -> None:
        """Waits until the condition holds; raises AssertionError with gunicorn's log after that."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if condition():
                    return
            except OSError:
                pass
            time.sleep(POLL_SECONDS)
        raise AssertionError(self.log.read_text())

    def connect(self, seconds: float = 10) -> socket.socket:
        """A plain connection, whose operations time out after so many seconds."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=seconds)

    def send(self, data: bytes, seconds: float = 10) -> bytes:
        """All that is answered until the connection is closed."""
        with self.connect(seconds) as connection:
            connection.sendall(data)
            return read_to_end(connection)

    def get(self, path: str, *headers: str, seconds: float = 10) -> bytes:
        """The whole answer, head and body."""
        lines = [f"GET {path} HTTP/1.1", "Host: web", "Connection: close", *headers, "", ""]
        return self.send("\r\n".join(lines).encode(), seconds)

    def post(self, document: dict[str, object]) -> bytes:
        """The body of the answer to a submission."""
        body = json.dumps(document).encode()
        head = (
            "POST /backtest HTTP/1.1\r\nHost: web\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return body_of(self.send(head.encode() + body))

    def workers(self) -> list[int]:
        """The ids of the processes that serve."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return [int(child) for child in children.split()]

    def resident_bytes(self) -> int:
        """The resident memory of the master and its workers together."""
        return sum(_resident_bytes(pid) for pid in (self.process.pid, *self.workers()))

    def run_ids(self) -> set[str]:
        """The runs in the database."""
        return {run.run_id for run in EveryStore(self.engine).latest(1_000_000)}

    def reload(self) -> None:
        """Sends SIGHUP, and returns when the last of the old workers has gone."""
        before = self.workers()
        self.process.send_signal(signal.SIGHUP)
        self.wait_for(lambda: self._are_replaced(before))

    def kill_worker(self) -> None:
        """Kills one worker, and returns when it is replaced."""
        before = self.workers()
        os.kill(before[0], signal.SIGKILL)
        self.wait_for(lambda: before[0] not in self.workers() and self._count() == len(before))

    def _are_replaced(self, before: list[int]) -> bool:
        return self._count() == len(before) and not set(before) & set(self.workers())

    def _count(self) -> int:
        return len(self.workers())

    def stop(self) -> int:
        """Sends SIGTERM, and returns the exit code."""
        self.process.terminate()
        return self.process.wait(30)

    def end(self) -> None:
        """Ends it at once, whoever is still connected."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(30)


def _resident_bytes(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except FileNotFoundError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def serving(folder: Path, options: Sequence[str] = (), **settings: str) -> Iterator[Web]:
    """A web on a new SQLite database in `folder`, stopped at the end, whatever happened."""
    engine = connect(Config(sqlite_path=str(folder / "web.sqlite3")))
    migrate(engine)
    web = Web(engine, folder, options, **settings)
    try:
        yield web
    finally:
        web.end()
        engine.dispose()


def read_to_end(connection: socket.socket) -> bytes:
    """Everything until the other side closes the connection."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


def status_of(answer: bytes) -> int:
    """The HTTP status of an answer."""
    return int(answer.split(b" ", 2)[1])


def body_of(answer: bytes) -> bytes:
    """The answer without its head."""
    return answer.partition(b"\r\n\r\n")[2]
