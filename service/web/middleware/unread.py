"""Limits the memory of answers that their clients have not read.

An answer stays in memory until its client has taken it. Clients that ask for large results and do
not read them would take all memory of the process, so that one answer too many is replaced by 503.
"""

from __future__ import annotations

from http import HTTPStatus
from threading import Lock

from flask import Flask, Response

from service.web import errors
from service.web.middleware.texts import text

# Of one process: some 14 of the largest results that there are, and hundreds of usual ones.
MAX_UNREAD_BYTES = 128 * 2**20
# Pages, statuses and probes are always answered: as much for each connection that gunicorn accepts
# fits into the memory as well.
MAX_SMALL_BYTES = 64 * 2**10
RETRY_SECONDS = 5


class UnreadAnswers:
    """The bytes of the large answers that this process holds."""

    def __init__(self, max_bytes: int = MAX_UNREAD_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._lock = Lock()

    def limit(self, response: Response) -> Response:
        """Returns the response, counted until the server closes it, or 503 if it does not fit."""
        # None for a file, which is read piece by piece.
        size = response.calculate_content_length() or 0
        if size <= MAX_SMALL_BYTES:
            return response
        with self._lock:
            has_room = self._bytes + size <= self._max_bytes
            if has_room:
                self._bytes += size
        if not has_room:
            response.close()
            return _refusal()
        response.call_on_close(lambda: self._forget(size))
        return response

    def _forget(self, size: int) -> None:
        with self._lock:
            self._bytes -= size


def install(app: Flask) -> None:
    """Counts the answers of this application."""
    app.after_request(UnreadAnswers().limit)


def _refusal() -> Response:
    refusal = errors.error_response(HTTPStatus.SERVICE_UNAVAILABLE, "Busy", text(errors.BUSY))
    return errors.retry_after(refusal, RETRY_SECONDS)
