"""Limits the memory of answers that their clients have not read.

An answer stays in memory until its client has taken it. Clients that ask for large results and do
not read them would take all memory of the process, so that one answer too many is replaced by 503.
Of what the others have left, a client may have half, or a single answer: so there is room for the
first answer of somebody else.
"""

from __future__ import annotations

from collections import Counter
from http import HTTPStatus
from threading import Lock

from flask import Flask, Response

from service.web import errors
from service.web.middleware.auth import client_name
from service.web.middleware.texts import text

# Of one process: some 14 of the largest results that there are, and hundreds of usual ones.
MAX_UNREAD_BYTES = 128 * 2**20
# Pages, statuses and probes are always answered: as much for each connection that gunicorn accepts
# fits into the memory as well.
MAX_SMALL_BYTES = 64 * 2**10
RETRY_SECONDS = 5


class UnreadAnswers:
    """The bytes of the large answers that this process holds, for each client."""

    def __init__(self, max_bytes: int = MAX_UNREAD_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = Counter[str]()
        self._lock = Lock()

    def limit(self, response: Response) -> Response:
        """Returns the response, counted until the server closes it, or 503 if it does not fit."""
        # None for a file, which is read piece by piece.
        size = response.calculate_content_length() or 0
        if size <= MAX_SMALL_BYTES:
            return response
        client = client_name()
        with self._lock:
            has_room = self._has_room(client, size)
            if has_room:
                self._bytes[client] += size
        if not has_room:
            response.close()
            return _refusal()
        response.call_on_close(lambda: self._forget(client, size))
        return response

    def _has_room(self, client: str, size: int) -> bool:
        own = self._bytes[client]
        left_by_others = self._max_bytes - self._bytes.total() + own
        return own + size <= (left_by_others // 2 if own else left_by_others)

    def _forget(self, client: str, size: int) -> None:
        with self._lock:
            self._bytes[client] -= size
            if not self._bytes[client]:
                del self._bytes[client]


def install(app: Flask) -> None:
    """Counts the answers of this application."""
    app.after_request(UnreadAnswers().limit)


def _refusal() -> Response:
    refusal = errors.error_response(HTTPStatus.SERVICE_UNAVAILABLE, "Busy", text(errors.BUSY))
    return errors.retry_after(refusal, RETRY_SECONDS)
