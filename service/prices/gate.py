"""Which data gate this is: what it found is remembered by its name."""

from __future__ import annotations

import hashlib
import inspect
from functools import cache
from importlib.metadata import version

from service.prices import checks, false_moves, finding, periods

PARTS = (checks, false_moves, finding, periods)


@cache
def gate_name() -> str:
    """SHA-256 of the gate's code and of the release of the calendar it uses.

    Another gate has another name, so that nobody can forget to give it one.
    """
    texts = [inspect.getsource(part) for part in PARTS]
    return hashlib.sha256("\n".join([*texts, version("holidays")]).encode()).hexdigest()
