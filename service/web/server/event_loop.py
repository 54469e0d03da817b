"""What requests do so that others are answered meanwhile.

Under gunicorn's gevent worker all requests of a process share one thread, and take turns only where
they wait. Elsewhere (`flask run`, tests) each request has a thread, and nothing more is needed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import gevent
from gevent import monkey

# After a sleep of 0 gevent may go on with greenlets that it knows, a thousand times, before it
# looks at the sockets again; after any other it looks at once.
YIELD_SECONDS = 0.000_001

Result = TypeVar("Result")


def let_others_run() -> None:
    """Returns after other requests that can go on have done so, and new ones were looked for."""
    time.sleep(YIELD_SECONDS)


def run_in_native_thread(function: Callable[..., Result], *arguments: object) -> Result:
    """Returns what the function returns, and raises what it raises.

    It should be one that computes for many milliseconds and releases the interpreter's lock.
    """
    if not monkey.is_module_patched("threading"):
        return function(*arguments)
    result: Result = gevent.get_hub().threadpool.apply(function, arguments)
    return result
