"""What requests do so that others are answered meanwhile.

Under gunicorn's gevent worker all requests of a process share one thread, and take turns only where
they wait. Elsewhere (`flask run`, tests) each request has a thread, and nothing more is needed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from threading import Lock
from typing import Any, TypeVar

import gevent
from gevent import monkey
from gevent.threadpool import ThreadPool

# After a sleep of 0 gevent may go on with greenlets that it knows, a thousand times, before it
# looks at the sockets again; after any other it looks at once.
YIELD_SECONDS = 0.000_001

Result = TypeVar("Result")

_ONE_AT_A_TIME = Lock()


def let_others_run() -> None:
    """Returns after other requests that can go on have done so, and new ones were looked for."""
    time.sleep(YIELD_SECONDS)


def run_one_at_a_time(function: Callable[..., Result], *arguments: object) -> Result:
    """As `run_in_native_thread`, in a thread that does one such thing after the other."""
    if not monkey.is_module_patched("threading"):
        with _ONE_AT_A_TIME:
            return function(*arguments)
    result: Result = _single_thread().apply(function, arguments)
    return result


@cache
def _single_thread() -> Any:
    return ThreadPool(1)


def run_in_native_thread(function: Callable[..., Result], *arguments: object) -> Result:
    """Returns what the function returns, and raises what it raises.

    It should be one that computes for many milliseconds and releases the interpreter's lock. It
    must not use the database: its connections belong to the thread of the requests.
    """
    if not monkey.is_module_patched("threading"):
        return function(*arguments)
    result: Result = gevent.get_hub().threadpool.apply(function, arguments)
    return result
