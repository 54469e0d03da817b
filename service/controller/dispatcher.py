"""Who is launched next, and when: free slots, fair turns, and a cluster that cannot take more for now."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime

from scripts.logger_config import run_context
from service.contract.errors import UserError
from service.contract.request import parse_request
from service.contract.status import SWEEP, Reason
from service.controller.decisions import QUOTA_SECONDS, is_stuck, next_runs, waited_enough
from service.controller.vitals import LAUNCHES
from service.launchers.launcher import (
    JobState,
    LaunchDelayed,
    Launcher,
    LauncherAway,
    LaunchFailed,
    SweepWork,
    Work,
)
from service.store.run_store import Run, RunStore

logger = logging.getLogger(__name__)

LAUNCHES_A_PASS = 5
LAUNCHES_A_SECOND = 5.0  # each Job costs a cluster some 20 changes of objects; it promises its speed up to 20 of ours
CLIENTS_A_PASS, CLIENTS_KNOWN = 50, 10_000
LONGEST_PAUSE = 30.0


class Dispatcher:
    """Launches queued runs while there are free slots; first in, first out for each client, clients by turns."""

    def __init__(
        self,
        store: RunStore,
        launcher: Launcher,
        max_active: int,
        may_act: Callable[[], bool],
        quota_seconds: float = QUOTA_SECONDS,
    ) -> None:
        self._store, self._launcher, self._may_act = store, launcher, may_act
        self.max_active, self._quota_seconds = max_active, quota_seconds
        self._served: dict[str, None] = {}  # clients in the order of their last turns
        self._tokens, self._filled = float(LAUNCHES_A_PASS), time.monotonic()
        self._pause, self._paused_until = 0.0, 0.0

    def has_work(self, active: int) -> bool:
        """Whether something waits that could be launched, as far as the rows know."""
        return active < self.max_active and not self._pausing() and bool(self._store.queued(1))

    def step(self, jobs: Mapping[str, JobState], now: datetime) -> set[str]:
        """Launches by turns; a run whose last job was still there a moment ago waits for the next pass."""
        busy = {
            run_id
            for run_id, job in jobs.items()
            if (job.alive or job.leaving is not None) and not is_stuck(job)
        }
        active = self._store.active_clients()
        room = min(self.max_active - len(busy | active.keys()), self._allowed())
        if room <= 0 or self._pausing() or not self._may_act():
            return set()
        there = sum(
            job.alive or job.leaving is not None
            for run_id, job in jobs.items()
            if run_id not in active
        )
        waiting = self._waiting(room + there)
        able = [run for run in waiting if not self._leaves(run.run_id, jobs)]
        turns = {client: number for number, client in enumerate(self._served)}
        launched = set[str]()
        for run in next_runs(able, Counter(active.values()), turns, room):
            with run_context(run.run_id):
                if not self._may_act() or not self._store.mark_launched(run.run_id):
                    continue
                launched.add(run.run_id)
                self._serve(run.client)
                if not self._launch(replace(run, launches=run.launches + 1), now):
                    break
        return launched

    def _allowed(self) -> int:
        """A bucket of launches that fills by so many a second; local processes cost nobody else anything."""
        if not self._launcher.independent:
            return LAUNCHES_A_PASS
        now = time.monotonic()
        self._tokens = min(LAUNCHES_A_PASS, self._tokens + (now - self._filled) * LAUNCHES_A_SECOND)
        self._filled = now
        return int(self._tokens)

    def _pausing(self) -> bool:
        return time.monotonic() < self._paused_until

    def _serve(self, client: str) -> None:
        self._served.pop(client, None)
        self._served[client] = None
        if len(self._served) > CLIENTS_KNOWN:
            del self._served[next(iter(self._served))]

    def _waiting(self, each: int) -> list[Run]:
        """The first runs of the clients that come after the last one served, in the order of arrival."""
        last = next(reversed(self._served), None)
        clients = self._store.waiting_clients(last, CLIENTS_A_PASS)
        if last is not None and len(clients) < CLIENTS_A_PASS:
            first = self._store.waiting_clients(None, CLIENTS_A_PASS - len(clients))
            clients += [client for client in first if client <= last]
        found = (run for client in clients for run in self._store.queued_of(client, each))
        return sorted(found, key=lambda run: run.id)

    def _leaves(self, run_id: str, jobs: Mapping[str, JobState]) -> bool:
        """Whether a job of the queued run is still there; it is told to go if nobody has."""
        job = jobs.get(run_id)
        if job is not None and job.leaving is None:
            removed(self._launcher, run_id)
        return job is not None

    def _launch(self, run: Run, now: datetime) -> bool:
        """False when nothing can be launched for now."""
        try:
            self._launcher.launch(self._work(run), run.launches)
        except UserError as error:  # accepted by an older contract
            self._store.fail(run, Reason.BAD_INPUT, str(error))
        except LaunchFailed as error:
            logger.error("The job could not be started: %s", error)
            self._store.fail(run, error.reason, str(error))
        except LaunchDelayed as error:
            self._delay(run, error, now)
            return not error.everybody
        else:
            LAUNCHES.inc()
            self._tokens -= 1
        self._pause = 0.0
        return True

    def _work(self, run: Run) -> Work:
        """Raises UserError."""
        if run.kind == SWEEP:
            return SweepWork(
                run.run_id, run.ticker, run.rule_id, self._store.shard_counts(run.run_id)[1]
            )
        return parse_request(json.loads(run.request))

    def _delay(self, run: Run, error: LaunchDelayed, now: datetime) -> None:
        """Asks again after a second, then two, then four: whoever refuses has enough to do."""
        logger.warning("The job cannot be started yet: %s", error)
        if error.reason == Reason.QUOTA_EXCEEDED and waited_enough(run, now, self._quota_seconds):
            self._store.fail(run, error.reason, str(error))
            return
        self._store.requeue(
            run, spent=0, reason=error.reason, message=str(error) if error.reason else None
        )
        if self._launcher.independent and error.everybody:
            self._pause = min(max(1.0, 2 * self._pause), LONGEST_PAUSE)
            self._paused_until = time.monotonic() + self._pause


def removed(launcher: Launcher, run_id: str) -> None:
    """Tells the job to go; one that may not be removed stops nobody else. Raises LauncherAway."""
    try:
        launcher.remove(run_id)
    except LauncherAway:
        raise
    except Exception:
        logger.exception("A job could not be removed: %s", run_id)
