"""How long something has been as it is, by a clock that nobody sets.

The clock of a database, or of the machine that it is on, may jump: a laptop sleeps, a virtual
machine is moved, somebody corrects it. So nobody compares a moment of a row with it to say that a
lease has run out: whoever wants to know watches the row for that long with a monotonic clock.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Hashable
from dataclasses import dataclass


@dataclass(frozen=True)
class _Sighting:
    """What was seen, and since when."""

    state: object
    since: float


class Watched:
    """What one process has seen, by any key."""

    def __init__(self) -> None:
        self._sightings: dict[Hashable, _Sighting] = {}

    def seconds(self, key: Hashable, state: object) -> float:
        """For how long it has been seen in this state; 0 where it was in another one, or unseen."""
        now = time.monotonic()
        sighting = self._sightings.get(key)
        if sighting is None or sighting.state != state:
            sighting = self._sightings[key] = _Sighting(state, now)
        return now - sighting.since

    def forget_all_but(self, keys: Collection[Hashable]) -> None:
        """Keeps what was seen of these only."""
        self._sightings = {key: each for key, each in self._sightings.items() if key in keys}
