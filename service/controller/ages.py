"""How long a run has been launched, and its worker silent, as one controller has seen it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from service.store.rows import ActiveRun
from service.store.watching import Watched


@dataclass(frozen=True)
class Times:
    """Seconds since the run's launch, since its lease was renewed, and since it was asked for.

    The first two count from when this controller first saw them: one that takes over begins anew.
    `waited` is by the database's clock, for it is compared with a day.
    """

    launched: float = 0.0
    silent: float = 0.0
    waited: float = 0.0


class Ages:
    """What one controller has seen of the runs."""

    def __init__(self) -> None:
        self._launches = Watched()
        self._leases = Watched()

    def times(self, run: ActiveRun, now: datetime) -> Times:
        """Of one run at this moment; `now` is the database's clock."""
        return Times(
            launched=self._launches.seconds(run.run_id, (run.launches, run.launched_at)),
            silent=self._leases.seconds(run.run_id, (run.attempt, run.lease_until)),
            waited=waited_seconds(run, now),
        )

    def forget_all_but(self, run_ids: Collection[str]) -> None:
        """Keeps what was seen of these runs only."""
        self._launches.forget_all_but(run_ids)
        self._leases.forget_all_but(run_ids)


def waited_seconds(run: ActiveRun, now: datetime) -> float:
    """How long ago the run was asked for, by the database's clock `now`."""
    return 0.0 if run.created_at is None else max(0.0, (now - run.created_at).total_seconds())
