"""What becomes of requests when the web or one of its workers ends."""

from __future__ import annotations

import http.client
import json
import random
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.requests import REQUEST
from tests.web_server.served import Web, serving

MAX_CONNECTS = 5


class Load:
    """Clients that ask without pause until no connection is made, and what became of each request.

    A third submits runs over a connection that it keeps, a third over a new one for each run, and
    the last third only connects, so that some connection is always about to be accepted.
    """

    EACH = 4

    def __init__(self, web: Web) -> None:
        self.web = web
        self.accepted = set[str]()
        # What went wrong: with the first request of a connection, and with anything after that.
        self.broken_at_the_door: list[str] = []
        self.broken: list[str] = []
        self.answered = 0
        self.refused = 0
        self.is_over = threading.Event()
        self._lock = threading.Lock()
        work = [self._submit_kept, self._submit_anew, self._knock] * self.EACH
        self._threads = [threading.Thread(target=self._repeat, args=(ask,)) for ask in work]
        for thread in self._threads:
            thread.start()

    def wait_for_answers(self, count: int) -> None:
        """Until so many more submissions have been answered."""
        wanted = self.answered + count
        self.web.wait_for(lambda: self.answered >= wanted)

    def join(self) -> None:
        """Waits for the last client."""
        for thread in self._threads:
            thread.join(60)

    def _repeat(self, ask: Callable[[http.client.HTTPConnection], None]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.web.port, timeout=30)
        while not self.is_over.is_set():
            is_new = connection.sock is None
            if is_new and not self._connect(connection):
                return
            try:
                ask(connection)
            except (OSError, http.client.HTTPException) as error:
                is_at_the_door = is_new and isinstance(error, ConnectionResetError)
                with self._lock:
                    broken = self.broken_at_the_door if is_at_the_door else self.broken
                    broken.append(f"{ask.__name__}: {error!r}")
                connection.close()
        connection.close()

    def _connect(self, connection: http.client.HTTPConnection) -> bool:
        """False once the web refuses connections.

        A connection that the kernel is making while the socket is closed is reset: then the client
        tries again, as any client would.
        """
        for _ in range(MAX_CONNECTS):
            try:
                connection.connect()
            except ConnectionRefusedError:
                with self._lock:
                    self.refused += 1
                return False
            except ConnectionResetError:
                continue
            return True
        return False

    def _submit_kept(self, connection: http.client.HTTPConnection, **headers: str) -> None:
        run_id = str(uuid.uuid4())
        document = json.dumps({**REQUEST, "run_id": run_id})
        headers = {"Content-Type": "application/json", **headers}
        connection.request("POST", "/backtest", document, headers)
        answer = connection.getresponse()
        body = answer.read()
        with self._lock:
            self.answered += 1
            if answer.status == 202 and json.loads(body)["run_id"] == run_id:
                self.accepted.add(run_id)
            else:
                self.broken.append(f"{answer.status} {body[:200]!r}")

    def _submit_anew(self, connection: http.client.HTTPConnection) -> None:
        self._submit_kept(connection, Connection="close")

    def _knock(self, connection: http.client.HTTPConnection) -> None:
        connection.request("GET", "/health", headers={"Connection": "close"})
        answer = connection.getresponse()
        if (answer.status, answer.read()) != (200, b'{"status":"ok"}\n'):
            with self._lock:
                self.broken.append(f"/health: {answer.status}")


def stop_under_load(folder: Path, seed: int) -> Load:
    """Sends SIGTERM at a moment that the seed decides; what its clients saw.

    A client that the kernel has connected and no worker has accepted yet is reset when the last
    worker closes its socket: each can be, once. Everything that a worker has accepted is answered.
    """
    with serving(folder, WEB_WORKERS="2", LOG_LEVEL="WARNING") as web:
        load = Load(web)
        load.wait_for_answers(20 + random.Random(seed).randrange(100))
        assert web.stop() == 0
        load.join()
        assert load.accepted - web.run_ids() == set(), "answered with 202 and not in the database"
    assert load.refused == 3 * load.EACH, "everybody is refused at last"
    assert len(load.broken_at_the_door) <= 3 * load.EACH
    return load


def test_no_accepted_request_is_lost_at_sigterm(tmp_path: Path) -> None:
    assert stop_under_load(tmp_path, 1).broken == []


@pytest.mark.fault
@pytest.mark.parametrize("seed", range(12))
def test_no_accepted_request_is_lost_at_sigterm_at_any_moment(tmp_path: Path, seed: int) -> None:
    load = stop_under_load(tmp_path, seed)
    print(f"{load.answered} answered, {len(load.broken_at_the_door)} reset at the door")
    assert load.broken == []


def disturb_under_load(folder: Path, disturb: Callable[[Web], None]) -> Load:
    """Does something to a web that goes on; what its clients saw."""
    with serving(folder, WEB_WORKERS="2", LOG_LEVEL="WARNING") as web:
        load = Load(web)
        load.wait_for_answers(20)
        disturb(web)
        load.wait_for_answers(20)
        load.is_over.set()
        load.join()
        assert load.accepted - web.run_ids() == set()
    assert load.refused == 0
    return load


@pytest.mark.fault
def test_no_request_is_lost_at_a_reload(tmp_path: Path) -> None:
    load = disturb_under_load(tmp_path, Web.reload)
    assert load.broken + load.broken_at_the_door == []


@pytest.mark.fault
def test_a_killed_worker_is_replaced_and_takes_only_its_own_requests_along(tmp_path: Path) -> None:
    load = disturb_under_load(tmp_path, Web.kill_worker)
    assert len(load.broken + load.broken_at_the_door) <= 3 * Load.EACH, (
        "a client each has one request under way"
    )


def test_an_idle_connection_delays_the_end_no_longer_than_it_may(tmp_path: Path) -> None:
    """Its next request is answered; one that asks nothing is closed in the end."""
    asked = b"GET /health HTTP/1.1\r\nHost: web\r\n\r\n"
    with (
        serving(tmp_path, WEB_GRACEFUL_SECONDS="3", ACCESS_LOG="false") as web,
        web.connect() as silent,
        web.connect() as kept,
    ):
        web.get("/runs")
        kept.sendall(asked)
        assert b"keep-alive" in kept.recv(65536)
        start = time.monotonic()
        web.process.terminate()
        web.wait_for(lambda: "Handling signal: term" in web.log.read_text())
        while b"Connection: close" not in answer_to(kept, asked):
            assert time.monotonic() - start < 2, "the last answer on it says so"
        assert web.process.wait(10) == 0
        assert time.monotonic() - start < 5
        assert silent.recv(10) == b""
        assert_lines_are_text_without_access(web.log.read_text())


def answer_to(connection: socket.socket, asked: bytes) -> bytes:
    """What comes back for one more small request."""
    connection.sendall(asked)
    return connection.recv(65536)


def assert_lines_are_text_without_access(log: str) -> None:
    """ACCESS_LOG=false leaves gunicorn's own lines, in the form of all lines."""
    assert "gunicorn.access" not in log
    pattern = r"[\d-]{10}T[\d:.]{12}Z [A-Z]+ [\w.]+ \[run_id=[-\w]+\] .+"
    assert [line for line in log.splitlines() if not re.fullmatch(pattern, line)] == []
