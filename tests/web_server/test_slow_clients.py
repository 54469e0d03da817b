"""Clients that do not finish their request, or do not read their answer, hold nobody else up."""

from __future__ import annotations

import json
import select
import socket
import struct
import time
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from werkzeug.security import generate_password_hash

from scripts.config import PASSWORD_METHOD, ROOT
from service.web.middleware.guesses import MAX_IN_LANE
from service.web.middleware.unread import MAX_UNREAD_BYTES
from tests.web_server.conftest import KEEPALIVE_SECONDS
from tests.web_server.hostile import (
    CHECKS,
    HALF_A_HEAD,
    Peak,
    clients_that_never_read,
    count_answered,
    half_open_requests,
    large_answer,
    watch,
)
from tests.web_server.served import Web, body_of, serving, status_of

FORM = b"POST /backtest HTTP/1.1\r\nHost: web\r\nContent-Type: application/json\r\n"
HALF_HEADS = {"nothing at all": b"", "half a head": HALF_A_HEAD}
HALF_BODIES = {
    "half a body": FORM + b"Content-Length: 500\r\n\r\n{",
    "half a chunk": FORM + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
}
ANSWER_BYTES = 9_000_000


def memory_limit() -> int:
    """The bytes that a container of the web may use by the chart's values."""
    values = yaml.safe_load((ROOT / "charts/stock-backtest/values.yaml").read_text())
    limit = values["web"]["resources"]["limits"]["memory"]
    assert limit.endswith("Mi")
    return int(limit.removesuffix("Mi")) * 2**20


def connect_and_send(web: Web, count: int, sent: bytes) -> list[socket.socket]:
    """So many clients, each of which has sent the same."""
    clients = [web.connect() for _ in range(count)]
    for client in clients:
        client.sendall(sent)
    return clients


def assert_others_are_answered(web: Web) -> None:
    """Probes, and pages that need one of the few slots."""
    start = time.monotonic()
    for path in ("/health", "/rules") * 10:
        assert status_of(web.get(path)) == 200
    assert time.monotonic() - start < 1.5


@pytest.mark.parametrize("sent", HALF_HEADS.values(), ids=HALF_HEADS.keys())
def test_fifty_clients_that_do_not_finish_their_head_are_disconnected(
    web: Web, sent: bytes
) -> None:
    start = time.monotonic()
    clients = connect_and_send(web, 50, sent)
    assert_others_are_answered(web)
    for client in clients:
        assert client.recv(65536) == b""
        client.close()
    assert time.monotonic() - start < KEEPALIVE_SECONDS + 3


@pytest.mark.parametrize("sent", HALF_BODIES.values(), ids=HALF_BODIES.keys())
def test_fifty_clients_that_do_not_finish_their_body_hold_nobody_up(web: Web, sent: bytes) -> None:
    clients = connect_and_send(web, 50, sent)
    assert_others_are_answered(web)
    for client in clients:
        client.close()


def test_a_dripping_client_gets_no_more_time_by_dripping(web: Web) -> None:
    start = time.monotonic()
    with web.connect() as client:
        is_closed = False
        while not is_closed and time.monotonic() - start < KEEPALIVE_SECONDS + 3:
            with suppress(OSError):
                client.send(b"G")
            readable, _, _ = select.select([client], [], [], 0.1)
            is_closed = bool(readable)
        with suppress(ConnectionResetError):
            assert client.recv(1000) == b""
    assert is_closed


@pytest.mark.parametrize("sent", HALF_HEADS.values(), ids=HALF_HEADS.keys())
def test_a_thousand_half_open_requests_keep_nobody_out(tmp_path: Path, sent: bytes) -> None:
    with serving(tmp_path) as web:
        clients = connect_and_send(web, 1200, sent)
        assert_others_are_answered(web)
        assert web.resident_bytes() < memory_limit()
        for client in clients:
            client.close()


@pytest.mark.fault
def test_twelve_hundred_half_open_requests_leave_health_answering(tmp_path: Path) -> None:
    with serving(tmp_path) as web, half_open_requests(web, 1200):
        outcome = watch(web, seconds=12)
    assert outcome.answered == CHECKS, outcome
    assert outcome.peak_resident_bytes < memory_limit(), outcome


@pytest.mark.fault
def test_sixty_clients_that_never_read_leave_health_and_memory(tmp_path: Path) -> None:
    with serving(tmp_path) as web:
        path = large_answer(web, ANSWER_BYTES)
        with Peak(web) as peak, clients_that_never_read(web, 60, path):
            outcome = watch(web, seconds=6)
            refused = web.get(path)
    assert outcome.answered == CHECKS, outcome
    assert peak.resident_bytes < memory_limit(), peak.resident_bytes
    assert status_of(refused) == 503
    assert json.loads(body_of(refused))["code"] == "Busy"
    assert b"retry-after: " in refused.lower()


@pytest.mark.fault
def test_an_answer_that_is_never_read_is_given_up(tmp_path: Path) -> None:
    with serving(tmp_path) as web:
        path = large_answer(web, ANSWER_BYTES)
        # One client may have half of what nobody else has.
        count = MAX_UNREAD_BYTES // 2 // ANSWER_BYTES
        with clients_that_never_read(web, count, path) as clients:
            web.wait_for(lambda: count_answered(clients) == count)
            assert status_of(web.get(path)) == 503
            before = open_files(web.workers()[0])
            web.wait_for(lambda: status_of(web.get(path)) == 200, seconds=60)
            web.wait_for(lambda: open_files(web.workers()[0]) <= before - count)
    assert "Unhandled error" not in web.log.read_text()


def test_clients_that_never_read_hold_nobody_up(web: Web) -> None:
    """Each asks for far more than the kernel keeps for it."""
    asked = b"GET /static/dashboard.js HTTP/1.1\r\nHost: web\r\n\r\n" * 400
    clients = []
    for _ in range(50):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(10)
        client.connect(("127.0.0.1", web.port))
        client.setblocking(False)
        with suppress(BlockingIOError):
            client.send(asked)
        clients.append(client)
    for _ in range(20):
        assert status_of(web.get("/health")) == 200
    for client in clients:
        client.close()


def test_a_client_that_asks_without_pause_does_not_go_before_others(tmp_path: Path) -> None:
    """Its next request is there before its last one is answered, so that it never has to wait."""
    asked = b"GET /health HTTP/1.1\r\nHost: web\r\n\r\n"
    with serving(tmp_path) as web, web.connect() as client:
        client.sendall(asked * 5000)
        start = time.monotonic()
        assert status_of(web.get("/health")) == 200
        assert time.monotonic() - start < 0.5
        client.settimeout(10)
        answers = client.makefile("rb")
        assert answers.readline().startswith(b"HTTP/1.1 200")


def reset(connection: socket.socket) -> None:
    """Closes it with a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def test_clients_that_leave_in_the_middle_leave_no_trace(web: Web) -> None:
    for number in range(60):
        connection = web.connect()
        connection.sendall(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n"[: None if number % 2 else 20])
        reset(connection)
    assert status_of(web.get("/health")) == 200
    web.wait_for(lambda: max(map(open_files, web.workers())) < 100)
    assert "Traceback" not in web.log.read_text()


def open_files(pid: int) -> int:
    """How many files and connections a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


GUESSES = MAX_IN_LANE + 8


def test_guesses_of_passwords_hold_nobody_up(tmp_path: Path) -> None:
    """They wait for each other; where too many wait the others are told to come again."""
    header = f"Authorization: Basic {b64encode(b'alice:guess').decode()}"
    users = f"alice:{generate_password_hash('secret', PASSWORD_METHOD)}"
    with serving(tmp_path, AUTH_MODE="basic", AUTH_USERS=users) as web:
        with ThreadPoolExecutor(GUESSES) as pool:
            guesses = [pool.submit(web.get, "/runs", header, seconds=60) for _ in range(GUESSES)]
            start = time.monotonic()
            assert status_of(web.get("/health")) == 200
            assert time.monotonic() - start < 0.5
        statuses = {status_of(guess.result()) for guess in guesses}
    assert statuses == {401, 429}
