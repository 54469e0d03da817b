"""Clients that try to hold the web up, and what it does for others in the meantime."""

from __future__ import annotations

import random
import select
import socket
import threading
import time
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from sqlalchemy import update

from service.contract.request import parse_request
from service.store.prices import PriceStore
from service.store.tables import results
from service.usecases.runs import Runs
from service.worker.run import RunWorker
from tests.support.requests import REQUEST
from tests.support.stores import EveryStore
from tests.web_server.served import Web, status_of

HALF_A_HEAD = b"GET /health HTTP/1.1\r\nHost: web\r\nX-Slow: "
DRIP_SECONDS = 0.5
CHECKS = 6
CHECK_SECONDS = 1.0


@dataclass(frozen=True)
class Outcome:
    """What the health checks and the memory looked like while hostile clients were there."""

    answered: int
    slowest_seconds: float
    peak_resident_bytes: int


@contextmanager
def half_open_requests(web: Web, count: int) -> Iterator[None]:
    """Half of the clients send half a head and wait, the others go on byte by byte."""
    clients = [_send_half_a_head(web) for _ in range(count)]
    is_over = threading.Event()
    dripping = threading.Thread(target=_drip, args=(clients[::2], is_over))
    dripping.start()
    try:
        yield
    finally:
        is_over.set()
        dripping.join()
        for client in clients:
            client.close()


def _send_half_a_head(web: Web) -> socket.socket:
    client = web.connect()
    client.sendall(HALF_A_HEAD)
    return client


def _drip(clients: list[socket.socket], is_over: threading.Event) -> None:
    while not is_over.wait(DRIP_SECONDS):
        for client in clients:
            with suppress(OSError):
                client.send(b"x")


@contextmanager
def clients_that_never_read(web: Web, count: int, path: str) -> Iterator[list[socket.socket]]:
    """Each asks for the path over a connection whose receive buffer is small, and reads nothing."""
    asked = f"GET {path} HTTP/1.1\r\nHost: web\r\n\r\n".encode()
    clients = []
    for _ in range(count):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(10)
        client.connect(("127.0.0.1", web.port))
        client.sendall(asked)
        clients.append(client)
    try:
        yield clients
    finally:
        for client in clients:
            client.close()


def count_answered(clients: list[socket.socket]) -> int:
    """How many of them have something to read."""
    readable, _, _ = select.select(clients, [], [], 0)
    return len(readable)


def watch(web: Web, seconds: float) -> Outcome:
    """Makes CHECKS health checks, none longer than CHECK_SECONDS; measures the peak of memory."""
    peak = Peak(web)
    times = []
    with peak:
        end = time.monotonic() + seconds
        for number in range(CHECKS):
            times.append(_health_check(web))
            left = end - time.monotonic()
            time.sleep(max(0.0, left / (CHECKS - number)))
    answered = [taken for taken in times if taken <= CHECK_SECONDS]
    return Outcome(len(answered), max(times), peak.resident_bytes)


def _health_check(web: Web) -> float:
    """The seconds until /health answered 200; infinity when it does not within CHECK_SECONDS."""
    start = time.monotonic()
    try:
        status = status_of(web.get("/health", seconds=CHECK_SECONDS))
    except (OSError, IndexError):
        return float("inf")
    return time.monotonic() - start if status == 200 else float("inf")


class Peak:
    """The largest resident memory of gunicorn's processes together, inside the context."""

    def __init__(self, web: Web) -> None:
        self.resident_bytes = 0
        self._web = web
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._is_over.wait(0.02):
            self.resident_bytes = max(self.resident_bytes, self._web.resident_bytes())


def large_answer(web: Web, size: int) -> str:
    """The path of an equity table of `size` bytes, of a completed run."""
    store, prices = EveryStore(web.engine), PriceStore(web.engine)
    run, _ = Runs(store, prices).submit({**REQUEST, "run_id": str(uuid.uuid4())})
    RunWorker(store, prices).work(parse_request({**REQUEST, "run_id": run.run_id}))
    table = random.Random(1).randbytes(size // 2).hex().encode()
    with web.engine.begin() as connection:
        changed = update(results).where(results.c.run_id == run.run_id)
        connection.execute(changed.values(equity_csv=zlib.compress(table, 1), table_csv=None))
    return f"/result/{run.run_id}/equity.csv"
