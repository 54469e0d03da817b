"""Makes guessing passwords slow, without keeping those out who know theirs.

Refusing an address or a name after some wrong passwords would shut out its owner as well. Instead
attempts wait for each other: at most one from each address, and of these one with each name, is
verified at a time, and after a wrong one both pause. So guesses from one address, or for one name,
are at most four in a second, and whoever knows a password waits for those that came before. Only
where very many wait already a newcomer is refused and tries again; a login that this process has
verified before never comes here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from threading import Lock

from service.contract.errors import TooManyLogins

PAUSE_SECONDS = 0.25
# More are refused; of one lane, and of all that come from different addresses.
MAX_IN_LANE = 32
MAX_AT_ONCE = 256
MAX_IDLE_LANES = 1_000
IPV6_PREFIX = 64


@dataclass
class Lane:
    """Attempts that wait for each other.

    `count` is their number, with the one that is verified; the next may begin at `free_at`.
    """

    turn: Lock = field(default_factory=Lock)
    count: int = 0
    free_at: float = 0.0


@dataclass
class Attempt:
    """Whether the password was right."""

    is_right: bool = False


class Guesses:
    """The attempts at passwords of one process.

    `pause_seconds` is that after a wrong password. An attempt waits in the lane of its address
    first: it is the only one from there in the lane of its name then.
    """

    def __init__(self, pause_seconds: float = PAUSE_SECONDS) -> None:
        self._pause_seconds = pause_seconds
        self._addresses: dict[str, Lane] = {}
        self._names: dict[str, Lane] = {}
        self._count = 0
        self._lock = Lock()

    @contextmanager
    def attempt(self, address: str, name: str) -> Iterator[Attempt]:
        """The body verifies the password, and marks the attempt where it is right.

        Raises TooManyLogins, before the body, where too many wait already.
        """
        attempt = Attempt()
        origin = _network(address)
        with self._turn(self._addresses, origin) as first, self._turn(self._names, name) as second:
            try:
                yield attempt
            finally:
                pause_seconds = 0.0 if attempt.is_right else self._pause_seconds
                first.free_at = second.free_at = time.monotonic() + pause_seconds

    @contextmanager
    def _turn(self, lanes: dict[str, Lane], key: str) -> Iterator[Lane]:
        lane = self._enter(lanes, key)
        try:
            with lane.turn:
                time.sleep(max(0.0, lane.free_at - time.monotonic()))
                yield lane
        finally:
            with self._lock:
                lane.count -= 1
                self._count -= 1

    def _enter(self, lanes: dict[str, Lane], key: str) -> Lane:
        with self._lock:
            lane = lanes.get(key)
            count = 0 if lane is None else lane.count
            if count >= MAX_IN_LANE or self._count >= MAX_AT_ONCE:
                raise TooManyLogins(max(count, 1))
            if lane is None:
                _forget_idle(lanes)
                lane = lanes[key] = Lane()
            lane.count += 1
            self._count += 1
            return lane


def _network(address: str) -> str:
    """The address; of IPv6 the network of which one client has all addresses."""
    try:
        ip = ip_address(address)
    except ValueError:
        return address
    return address if ip.version == 4 else str(ip_network((ip, IPV6_PREFIX), strict=False))


def _forget_idle(lanes: dict[str, Lane]) -> None:
    if len(lanes) < MAX_IDLE_LANES:
        return
    now = time.monotonic()
    idle = [key for key, lane in lanes.items() if not lane.count and lane.free_at <= now]
    for key in idle:
        del lanes[key]
