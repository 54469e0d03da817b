"""One connection of the web: a thread sees a request when all of it is there, and leaves before the answer is out.

gunicorn's threads read and write the socket themselves, so that a client which drips its request or never reads its
answer holds one of them. Here only the event loop of `gunicorn_worker` touches the socket, and never waits for it.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from gunicorn.http import get_parser

from service.contract.documents import canonical_json

HEAD_BYTES = 32_768
READ_BYTES = 65_536
OUTGOING_BYTES = 32 * 2**20  # of one answer that its client does not take
END = b"\r\n\r\n"
CHUNK = re.compile(rb"[0-9A-Fa-f]{1,6}", re.ASCII)


class Refused(Exception):
    """What has come of the request is enough to say no."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class Client:
    """To gunicorn's parser, response and handlers this is connection and socket in one."""

    def __init__(
        self, cfg: Any, connection: socket.socket, address: Any, server: Any, most_body: int
    ) -> None:
        connection.setblocking(False)
        self.connection, self.client, self.server, self._most_body = (
            connection,
            address,
            server,
            most_body,
        )
        self.sock = self  # gunicorn's handlers look for it here
        self.parser = get_parser(cfg, self, address)
        self.deadline = 0.0
        self.idle = True  # nothing of a request has come
        self.busy = False  # a thread works for it
        self.closing = False  # its last answer is out, or on the way
        self.gone = False
        self.oversized = False  # the rest of the body is not waited for
        self._incoming, self._outgoing = bytearray(), bytearray()
        self._searched = self._needed = self._chunk = 0
        self._continued = False

    def fileno(self) -> int:
        """For the selector."""
        return self.connection.fileno()

    def receive(self) -> bool:
        """Takes what has come; False when the client has left."""
        try:
            data = self.connection.recv(READ_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            data = b""
        if (
            not self.closing
        ):  # else it is read to its end only so that the answer is not cut off by a reset
            self._incoming += data
        return bool(data)

    def is_whole(self) -> bool:
        """Whether a thread can work on the request without waiting for more of it; raises Refused."""
        self.idle = not self._incoming
        if self._needed:
            return len(self._incoming) >= self._needed
        if self._chunk:
            return self._chunks_ended()
        end = self._incoming.find(END, max(0, self._searched - len(END)))
        self._searched = len(self._incoming)
        if (end if end >= 0 else self._searched) > HEAD_BYTES:
            message = f"The head of the request is longer than {HEAD_BYTES} bytes."
            raise Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, message)
        return end >= 0 and self._body_is_whole(
            bytes(self._incoming[: end + 2]).lower(), end + len(END)
        )

    def _body_is_whole(self, head: bytes, start: int) -> bool:
        """`head` is looked at to know how long to wait; what it means is for gunicorn's parser to say."""
        lengths = re.findall(rb"\r\ncontent-length:[ \t]*(\d{1,18})[ \t]*(?=\r\n)", head)
        chunked = re.search(rb"\r\ntransfer-encoding:[^\r]*chunked", head)
        if len(lengths) == 1 and not chunked:
            self._needed = start + int(lengths[0])
            self.oversized = int(lengths[0]) > self._most_body
        elif chunked and not lengths:
            self._chunk = start
        whole = self.oversized or (
            self._chunks_ended() if self._chunk else len(self._incoming) >= self._needed
        )
        if not whole and not self._continued and re.search(rb"\r\nexpect:[ \t]*100-continue", head):
            self._continued = True
            self.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.flush()
        return whole

    def _chunks_ended(self) -> bool:
        """Extensions and trailers, which nobody sends, are refused: what passes here passes the parser too."""
        while True:
            end = self._incoming.find(b"\r\n", self._chunk)
            size = bytes(self._incoming[self._chunk : end if end >= 0 else None])
            if not CHUNK.fullmatch(size) and (end >= 0 or len(size) > 8):
                raise Refused(HTTPStatus.BAD_REQUEST, "The chunks of the request are malformed.")
            following = end + 2 + (int(size, 16) if end >= 0 else 0)
            if following > self._most_body * 2 + HEAD_BYTES:
                raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The request is too large.")
            if end < 0 or len(self._incoming) < following + 2:
                return False
            if self._incoming[following : following + 2] != b"\r\n":
                raise Refused(HTTPStatus.BAD_REQUEST, "The chunks of the request are malformed.")
            if not int(size, 16):
                return True
            self._chunk = following + 2

    def next_request(self) -> Any:
        """Parsed by gunicorn; to be called when the request is whole."""
        asked = next(self.parser)
        asked._expected_100_continue = False  # answered long ago, or not at all
        if self.oversized:
            asked.force_close()
        return asked

    def begin_anew(self) -> None:
        """What was sent ahead is the beginning of the next request."""
        self._incoming[:0] = self.parser.unreader.take_buffered()
        self._searched = self._needed = self._chunk = 0
        self._continued, self.idle = False, not self._incoming

    # the socket that gunicorn sees

    def recv(self, size: int) -> bytes:
        """Of what has come already; empty at its end."""
        data = bytes(self._incoming[:size])
        del self._incoming[:size]
        return data

    def sendall(self, data: bytes) -> None:
        """Keeps it for `flush`, which sends head and body in one."""
        if len(self._outgoing) + len(data) > OUTGOING_BYTES:
            raise BrokenPipeError("the answer is too large")
        self._outgoing += data

    def gettimeout(self) -> float:
        """It never blocks."""
        return 0.0

    def shutdown(self, how: int) -> None:
        """gunicorn's way to end an answer that broke off in its middle: `close` follows."""
        raise OSError("not before the event loop says so")

    def close(self) -> None:
        """No request follows."""
        self.closing = True

    # the event loop's side

    def flush(self) -> None:
        """Sends what the client takes now."""
        while self._outgoing:
            try:
                sent = self.connection.send(self._outgoing)
            except BlockingIOError:
                return
            del self._outgoing[:sent]

    @property
    def unsent(self) -> bool:
        """Whether a part of the answer still waits for the client."""
        return bool(self._outgoing)

    def refuse(self, status: HTTPStatus, message: str) -> None:
        """Answers in the shape of all errors, and closes."""
        body = canonical_json(
            {"error": message, "code": CODES.get(status, "BadInput"), "run_id": None}
        ).encode()
        head = f"HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\nContent-Type: application/json\r\n"
        self.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        self.flush()
        self.closing = True

    def no_more(self) -> None:
        """Says that nothing follows; the client's rest is still read, for a reset would cut off the answer."""
        self.closing = True
        try:
            self.connection.shutdown(socket.SHUT_WR)
        except OSError:
            self.gone = True


CODES: Mapping[int, str] = {
    HTTPStatus.REQUEST_TIMEOUT: "TooSlow",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "TooLarge",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "TooLarge",
    HTTPStatus.REQUEST_URI_TOO_LONG: "TooLarge",
    HTTPStatus.INTERNAL_SERVER_ERROR: "InternalError",
}
