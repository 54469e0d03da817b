"""Limits how many requests one process works on at the same time; the others wait."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore, Lock

from flask import Flask, g, has_request_context, request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge

from service.web.middleware.auth import OPEN
from service.web.server.event_loop import let_others_run

logger = logging.getLogger(__name__)

# Its connection is accepted, its request is read, it is answered.
STEPS_OF_A_PROBE = 3


def install(app: Flask, count: int) -> None:
    """Gives each request one of `count` slots once all of it has come, until its answer is made.

    A client that is slow to send its request or to read its answer holds no slot. Probes and files
    need none: they are answered while results are made.
    """
    slots = BoundedSemaphore(count)
    turn = Lock()

    @app.before_request
    def take_slot() -> None:
        if request.endpoint in OPEN:
            return
        _receive_body()
        slots.acquire()
        g.slot = slots
        # One by one, so that probes go first between any two that make their answers.
        with turn:
            for _ in range(STEPS_OF_A_PROBE):
                let_others_run()

    @app.teardown_request
    def give_slot_back(_: BaseException | None) -> None:
        if g.pop("slot", None) is not None:
            slots.release()


@contextmanager
def without_slot() -> Iterator[None]:
    """Gives the request's slot back for the time of the body: who waits holds nobody up."""
    slots = g.pop("slot", None)
    if slots is None:
        yield
        return
    slots.release()
    try:
        yield
    finally:
        slots.acquire()
        g.slot = slots


def pause_without_slot(seconds: float) -> None:
    """Sleeps, in a request without its slot: one that waits for the database holds nobody up."""
    if not has_request_context():
        time.sleep(seconds)
        return
    with without_slot():
        time.sleep(seconds)


def _receive_body() -> None:
    """Reads the body, which Flask keeps for the view; raises BadRequest for malformed chunks."""
    try:
        request.get_data()
    except RequestEntityTooLarge:
        # The view says so, if it takes a body.
        return
    except (OSError, ParseException) as error:
        logger.warning("A request's body cannot be read: %s", error)
        raise BadRequest from None
