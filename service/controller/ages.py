"""How long something has lasted, by a clock that nobody sets.

The clock of a database, or of the machine it is on, may jump: a laptop sleeps, a virtual machine
is moved, somebody corrects it. So moments of rows are compared with it once, when the controller
first sees them; from then on its own monotonic clock counts.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from service.store.rows import ActiveRun


@dataclass(frozen=True)
class Times:
    """Seconds since the run's launch, since its lease was renewed, and since it was asked for.

    `launched` is 0 where it was not launched, `silent` where it has no lease. `waited` is by the
    database's clock alone: it is compared with a day, and other controllers have seen it before.
    """

    launched: float = 0.0
    silent: float = 0.0
    waited: float = 0.0

    @classmethod
    def by_clock(cls, run: ActiveRun, now: datetime, lease_seconds: float) -> Times:
        """By the database's clock `now`, where the lease was given for so many seconds."""
        silent_seconds = 0.0
        if run.lease_until is not None:
            silent_seconds = lease_seconds + _seconds(run.lease_until, now)
        return cls(
            launched=max(0.0, _seconds(run.launched_at, now)),
            silent=max(0.0, silent_seconds),
            waited=waited_seconds(run, now),
        )


@dataclass(frozen=True)
class _Sighting:
    """When something was first seen, and for how many seconds it had lasted by then."""

    seen: float
    seconds: float


class Ages:
    """What one controller has seen of the runs."""

    def __init__(self, lease_seconds: float) -> None:
        self._lease_seconds = lease_seconds
        self._sightings: dict[tuple[object, ...], _Sighting] = {}
        self._leases: dict[str, datetime | None] = {}

    def times(self, run: ActiveRun, now: datetime) -> Times:
        """Of one run at this moment; `now` is the database's clock."""
        first = Times.by_clock(run, now, self._lease_seconds)
        launch = ("launch", run.run_id, run.launches, run.launched_at)
        return Times(
            launched=self._age(launch, first.launched),
            silent=self._silence(run, first.silent),
            waited=first.waited,
        )

    def forget_all_but(self, run_ids: Collection[str]) -> None:
        """Keeps what was seen of these runs only."""
        kept = {key: each for key, each in self._sightings.items() if key[1] in run_ids}
        self._sightings = kept
        self._leases = {run_id: each for run_id, each in self._leases.items() if run_id in run_ids}

    def _silence(self, run: ActiveRun, first_seconds: float) -> float:
        """A run that was seen before, with another lease or none, has renewed it since."""
        key = ("lease", run.run_id)
        is_known = run.run_id in self._leases
        if self._leases.get(run.run_id) != run.lease_until:
            self._sightings.pop(key, None)
        self._leases[run.run_id] = run.lease_until
        if run.lease_until is None:
            return 0.0
        return self._age(key, 0.0 if is_known else first_seconds)

    def _age(self, key: tuple[object, ...], first_seconds: float) -> float:
        now = time.monotonic()
        sighting = self._sightings.setdefault(key, _Sighting(now, first_seconds))
        return sighting.seconds + now - sighting.seen


def waited_seconds(run: ActiveRun, now: datetime) -> float:
    """How long ago the run was asked for, by the database's clock `now`."""
    return max(0.0, _seconds(run.created_at, now))


def _seconds(moment: datetime | None, now: datetime) -> float:
    return 0.0 if moment is None else (now - moment).total_seconds()
