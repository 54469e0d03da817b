"""gunicorn's threaded worker, with whole requests for its threads and nothing lost when it stops.

Two things of gunicorn 27 are mended. Its threads wait for slow clients: 4 of them and the site stands still; here the
event loop does all waiting (`gunicorn_client`), with deadlines. And it stops accepting at SIGTERM while its listening
socket goes on completing handshakes, so that whoever connected in the last seconds is reset when the process ends; here
new handshakes are turned away first, those under way are served, and then the socket is closed.
"""

from __future__ import annotations

import ctypes
import selectors
import socket
import struct
import time
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Any

from gunicorn.http import errors
from gunicorn.workers.gthread import ThreadWorker

from scripts.config import load_config
from service.web.gunicorn_client import Client, Refused

LAST_ACCEPT_SECONDS = 0.5  # handshakes under way at the stop have ended by then
LINGER_SECONDS = (
    2.0  # for a client that closes after us; for a request that is under way to a stopping worker
)
TICK_SECONDS = 0.5
SO_ATTACH_FILTER = 26  # of Linux, and its filter's two ways to end
DROP, PASS = (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF)
REFUSALS = {
    errors.LimitRequestLine: HTTPStatus.REQUEST_URI_TOO_LONG,
    errors.LimitRequestHeaders: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    errors.ExpectationFailed: HTTPStatus.EXPECTATION_FAILED,
}


class Worker(ThreadWorker):  # type: ignore[misc]
    """The event loop reads, writes and waits; a thread gets a request when all of it is there."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        config = load_config()
        self._seconds, self._most_body = config.web_request_seconds, config.max_body_bytes
        self._clients: set[Client] = set()
        self._looked = 0.0

    def run(self) -> None:
        """Until SIGTERM, or until the master is gone."""
        self.poller.register(
            self.method_queue.fileno(), selectors.EVENT_READ, self.method_queue.run_callbacks
        )
        while self.alive and self.is_parent_alive():
            if len(self._clients) >= self.worker_connections:
                self._make_room()
            self.set_accept_enabled(len(self._clients) < self.worker_connections)
            self._turn()
        self._stop()

    def _make_room(self) -> None:
        """A tenth of those who ask nothing leave, the longest silent first: however many they are, others come in."""
        idle = [
            client
            for client in self._clients
            if client.idle and not client.busy and not client.closing
        ]
        for client in sorted(idle, key=lambda client: client.deadline)[
            : self.worker_connections // 10
        ]:
            self._drop(client)

    def _turn(self) -> None:
        self.notify()
        self.wait_for_and_dispatch_events(TICK_SECONDS)
        now = time.monotonic()
        if now - self._looked >= TICK_SECONDS:
            self._looked = now
            for client in [
                client for client in self._clients if not client.busy and client.deadline < now
            ]:
                self._expire(client)

    def _stop(self) -> None:
        """Takes the last handshakes, answers what was asked, with "Connection: close"."""
        begun = time.monotonic()
        self.set_accept_enabled(True)  # also when it is full
        while self._clients or self._accepting:
            now = time.monotonic()
            if now > begun + self.cfg.graceful_timeout:
                break
            if self._accepting and now > begun + LAST_ACCEPT_SECONDS:
                self._accept_no_more()
            for client in [client for client in self._clients if client.idle and not client.busy]:
                client.deadline = min(client.deadline, begun + LINGER_SECONDS)
            self._turn()
        for client in list(self._clients):
            self._drop(client)
        self.tpool.shutdown(wait=False)
        self.poller.close()
        self.method_queue.close()

    def _accept_no_more(self) -> None:
        self.set_accept_enabled(False)
        for listener in self.sockets:
            while self.accept(listener):
                pass
            listener.sock.close()  # not the master's way, which would turn clients away from the other workers too

    # one client: reads, is worked for, writes, and from the start again

    def accept(self, listener: Any) -> bool:
        """Takes one client; False when nobody waits."""
        try:
            connection, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return False
        client = Client(self.cfg, connection, address, listener.getsockname(), self._most_body)
        client.deadline = time.monotonic() + self._seconds
        self._clients.add(client)
        self.poller.register(client, selectors.EVENT_READ, partial(self._read, client))
        self._read(client)  # the request mostly came with the handshake
        return True

    def _read(self, client: Client, _: Any = None) -> None:
        was_idle = client.idle
        if not client.receive():
            self._drop(client)
        elif not client.closing:
            self._look(client, was_idle)

    def _look(self, client: Client, was_idle: bool) -> None:
        """Hands a whole request to a thread; the time for one begins with its first byte."""
        try:
            whole = client.is_whole()
        except (Refused, OSError) as refused:
            self._refuse(client, refused)
            return
        if whole:
            client.busy = True
            self.poller.unregister(client)
            self.enqueue_req(client)
        elif was_idle and not client.idle:
            client.deadline = time.monotonic() + self._seconds

    def _refuse(self, client: Client, refused: Exception) -> None:
        if isinstance(refused, Refused):
            self.log.warning("Refused a request of %s: %s", client.client[0], refused)
            with suppress(OSError):
                client.refuse(refused.status, str(refused))
        self._go_on(client, keep=False)

    def handle(self, client: Client) -> bool:
        """In a thread: whether the connection can be used again."""
        asked = None
        try:
            asked = client.next_request()
            keep = self.handle_request(asked, client) and not client.oversized
            client.flush()
            return bool(keep and client.parser.finish_body())
        except (StopIteration, errors.NoMoreData):
            return False
        except OSError as error:  # the client has left
            self.log.debug("The client has left: %s", error)
        except Exception as error:  # noqa: BLE001  whatever it is, the thread goes on
            self.handle_error(asked, client, client.client, error)
        return False

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
        """What the parser says of a request is the client's to mend, anything else is ours."""
        status, message = REFUSALS.get(type(exc), HTTPStatus.BAD_REQUEST), str(exc)
        ours = isinstance(exc, errors.InvalidResponseHeader | errors.InvalidResponseHeaderName)
        if ours or not isinstance(exc, errors.ParseException):
            self.log.exception("Error handling request %s", getattr(req, "path", ""))
            status, message = HTTPStatus.INTERNAL_SERVER_ERROR, "Internal server error."
        else:
            self.log.warning("Refused a request of %s: %s", addr[0], exc)
        with suppress(OSError):
            client.refuse(status, message)

    def finish_request(self, client: Client, future: Any) -> None:
        """Back in the event loop."""
        client.busy = False
        keep = not future.cancelled() and future.exception() is None and future.result()
        self.poller.register(client, selectors.EVENT_READ, partial(self._read, client))
        self._go_on(client, keep)

    def _go_on(self, client: Client, keep: bool) -> None:
        """Writes what is left of the answer, then reads the next request, or says goodbye."""
        client.closing = client.closing or not keep
        client.deadline = time.monotonic() + self._seconds
        if client.unsent:
            self.poller.modify(client, selectors.EVENT_WRITE, partial(self._write, client))
        elif client.closing:
            self._say_goodbye(client)
        else:
            client.begin_anew()
            if client.idle:
                client.deadline += self.cfg.keepalive - self._seconds
            self._look(client, was_idle=False)

    def _write(self, client: Client, _: Any = None) -> None:
        try:
            client.flush()
        except OSError:
            self._drop(client)
            return
        client.deadline = time.monotonic() + self._seconds
        if not client.unsent:
            self.poller.modify(client, selectors.EVENT_READ, partial(self._read, client))
            self._go_on(client, keep=not client.closing)

    def _say_goodbye(self, client: Client) -> None:
        client.no_more()
        client.deadline = time.monotonic() + LINGER_SECONDS
        if client.gone:
            self._drop(client)

    def _expire(self, client: Client) -> None:
        """Its time is up: half a request is told so, everybody else is closed."""
        if not client.idle and not client.closing:
            self._refuse(
                client, Refused(HTTPStatus.REQUEST_TIMEOUT, "The request did not come in time.")
            )
        else:
            self._drop(client)

    def _drop(self, client: Client) -> None:
        if client in self._clients:
            self._clients.discard(client)
            with suppress(KeyError, ValueError, OSError):
                self.poller.unregister(client)
            client.connection.close()


def turn_away(listener: socket.socket) -> None:
    """Lets the kernel drop new handshakes: a client tries again a second later, and then the address is closed.

    Without this a client can be connected between our last `accept` and the close, and would be reset. The filter reads
    the flags of the TCP header and drops what has SYN without ACK; other packets pass.
    """
    flags, syn_and_ack, is_syn = (0x30, 0, 0, 13), (0x54, 0, 0, 0x12), (0x15, 0, 1, 0x02)
    program = [flags, syn_and_ack, is_syn, DROP, PASS]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    with suppress(
        OSError
    ):  # not on every kernel; then the last moment is open as it is in gunicorn
        listener.setsockopt(
            socket.SOL_SOCKET,
            SO_ATTACH_FILTER,
            struct.pack("HL", len(program), ctypes.addressof(code)),
        )
