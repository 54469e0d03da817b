"""Which runs are launched next: free slots, fair turns, pauses while a cluster takes no more."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from scripts.logger_config import run_context
from service.contract.errors import UserError
from service.contract.request import parse_request
from service.contract.status import Reason
from service.controller.ages import waited_seconds
from service.controller.decisions import QUOTA_SECONDS, is_stuck, next_runs
from service.controller.vitals import BAD_ROWS, LAUNCHES
from service.controller.work import (
    work_of_fetch,
    work_of_forward,
    work_of_request,
    work_of_sweep,
)
from service.launchers.launcher import (
    JobState,
    LaunchDelayed,
    Launcher,
    LauncherAway,
    LaunchFailed,
    Work,
)
from service.store.database import AWAY, DatabaseError
from service.store.queue import QueueStore
from service.store.rows import ActiveRun, Run

logger = logging.getLogger(__name__)

LAUNCHES_PER_PASS = 5
# Each Job costs a cluster some 20 changes of objects; Kubernetes promises its speed up to 20 Jobs
# of that size a second.
LAUNCHES_PER_SECOND = 5.0
CLIENTS_PER_PASS = 50
MAX_CLIENTS_KNOWN = 10_000
MAX_WAITING_JOBS = 100  # that a queue of the cluster holds back; the others wait in ours
MAX_LAUNCH_PAUSE_SECONDS = 30.0


class Dispatcher:
    """Launches queued runs while there are free slots.

    First in, first out for each client; the clients take turns.
    """

    def __init__(
        self,
        store: QueueStore,
        launcher: Launcher,
        max_active: int,
        may_act: Callable[[], bool],
        quota_seconds: float = QUOTA_SECONDS,
    ) -> None:
        self._store = store
        self._launcher = launcher
        self._may_act = may_act
        self._quota_seconds = quota_seconds
        self.max_active = max_active
        self._served: dict[str, None] = {}  # clients in the order of their last turns
        self._tokens = float(LAUNCHES_PER_PASS)
        self._tokens_filled = time.monotonic()
        self._pause_seconds = 0.0
        self._paused_until = 0.0
        self._waiting_jobs = 0  # active runs whose Jobs a queue of the cluster holds back

    def has_work(self, active_count: int) -> bool:
        """Whether something waits that could be launched, as far as the rows know."""
        if active_count - self._waiting_jobs >= self.max_active or self._is_pausing():
            return False
        if self._waiting_jobs >= MAX_WAITING_JOBS:
            return False
        return bool(self._store.queued(1))

    def step(self, jobs: Mapping[str, JobState], now: datetime) -> set[str]:
        """Launches by turns; the run_ids of those that were taken for it.

        A run whose last job was there a moment ago waits for the next pass.
        """
        active_clients = self._store.active_clients()
        free_slots = self._free_slots(jobs, active_clients)
        if free_slots <= 0 or self._is_pausing() or not self._may_act():
            return set()
        jobs_in_the_way = sum(
            _is_there(job) for run_id, job in jobs.items() if run_id not in active_clients
        )
        waiting = self._waiting_runs(free_slots + jobs_in_the_way)
        launchable = [run for run in waiting if not self._has_old_job(run.run_id, jobs)]
        turns = {client: number for number, client in enumerate(self._served)}
        chosen = next_runs(launchable, Counter(active_clients.values()), turns, free_slots)
        return self._launch_all(chosen, now)

    def _free_slots(self, jobs: Mapping[str, JobState], active_clients: Mapping[str, str]) -> int:
        """As many as have no Job at work; one that waits in a queue of the cluster takes none."""
        busy = {run_id for run_id, job in jobs.items() if _is_at_work(job)}
        waiting = {run_id for run_id, job in jobs.items() if job.suspended}
        self._waiting_jobs = len(waiting & active_clients.keys())
        free = self.max_active - len((busy | active_clients.keys()) - waiting)
        room = MAX_WAITING_JOBS - self._waiting_jobs
        return min(free, room, self._allowed_launches())

    def _allowed_launches(self) -> int:
        """A bucket of tokens that fills with time; local processes cost nobody else anything."""
        if not self._launcher.jobs_outlive_controller:
            return LAUNCHES_PER_PASS
        now = time.monotonic()
        filled = self._tokens + (now - self._tokens_filled) * LAUNCHES_PER_SECOND
        self._tokens = min(LAUNCHES_PER_PASS, filled)
        self._tokens_filled = now
        return int(self._tokens)

    def try_soon(self) -> None:
        """A pause becomes the shortest one: what it was for is being mended."""
        self._pause_seconds = 0.0
        self._paused_until = min(self._paused_until, time.monotonic() + 1.0)

    def _is_pausing(self) -> bool:
        return time.monotonic() < self._paused_until

    def _waiting_runs(self, limit_per_client: int) -> list[Run]:
        """The first runs of the clients that come after the last one served, by arrival."""
        last = next(reversed(self._served), None)
        clients, nameless = self._store.waiting_clients(last, CLIENTS_PER_PASS)
        missing = CLIENTS_PER_PASS - len(clients)
        if last is not None and missing:
            from_the_start, more = self._store.waiting_clients(None, missing)
            nameless += more
            clients += [client for client in from_the_start if client <= last]
        waiting = self._store.queued_rows(nameless)
        for client in clients:
            waiting += self._store.queued_of(client, limit_per_client)
        readable = [run for run in waiting if not set_aside(self._store, run)]
        return sorted(readable, key=lambda run: run.id)

    def _has_old_job(self, run_id: str, jobs: Mapping[str, JobState]) -> bool:
        """Whether a job of the queued run is still there; it is told to go unless it was."""
        job = jobs.get(run_id)
        if job is not None and job.leaving is None:
            remove_job(self._launcher, run_id)
        return job is not None

    def _launch_all(self, chosen: Sequence[Run], now: datetime) -> set[str]:
        launched: set[str] = set()
        for run in chosen:
            with run_context(run.run_id):
                if not self._may_act() or not self._store.mark_launched(run.run_id):
                    continue
                launched.add(run.run_id)
                self._note_turn(run.client)
                if not self._launch_one(replace(run, launches=run.launches + 1), now):
                    break
        return launched

    def _launch_one(self, run: Run, now: datetime) -> bool:
        """As `_launch`; what is wrong with one run stops no other: it is tried again later."""
        try:
            return self._launch(run, now)
        except (DatabaseError, LauncherAway):
            raise
        except Exception:
            logger.exception("The run could not be launched")
            return True

    def _note_turn(self, client: str) -> None:
        self._served.pop(client, None)
        self._served[client] = None
        if len(self._served) > MAX_CLIENTS_KNOWN:
            longest_ago = next(iter(self._served))
            del self._served[longest_ago]

    def _launch(self, run: Run, now: datetime) -> bool:
        """False when nothing can be launched for now."""
        try:
            self._launcher.launch(self._work(run), run.launches)
        except UserError as error:
            # An older release has accepted it.
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
        self._pause_seconds = 0.0
        return True

    def _work(self, run: Run) -> Work:
        """Raises UserError."""
        if run.is_sweep:
            shards = self._store.number_of_shards(run.run_id)
            return work_of_sweep(run.run_id, run.ticker, run.rule_id, shards)
        if run.is_fetch:
            return work_of_fetch(run.run_id, run.ticker, run.rule_id)
        if run.is_forward:
            return work_of_forward(run.run_id, run.ticker)
        return work_of_request(parse_request(json.loads(run.request)))

    def _delay(self, run: Run, error: LaunchDelayed, now: datetime) -> None:
        """Tries again after a second, then two, then four: whoever refuses has enough to do."""
        logger.warning("The job cannot be started yet: %s", error)
        is_quota = error.reason == Reason.QUOTA_EXCEEDED
        if is_quota and waited_seconds(run, now) > self._quota_seconds:
            self._store.fail(run, Reason.QUOTA_EXCEEDED, str(error))
            return
        message = str(error) if error.reason else None
        self._store.requeue(run, counted_launches=0, reason=error.reason, message=message)
        if self._launcher.jobs_outlive_controller and error.everybody:
            self._pause_seconds = min(max(1.0, 2 * self._pause_seconds), MAX_LAUNCH_PAUSE_SECONDS)
            self._paused_until = time.monotonic() + self._pause_seconds


def set_aside(store: QueueStore, run: ActiveRun) -> bool:
    """Ends a run whose row cannot be read; False where it can be."""
    if not run.bad_columns:
        return False
    if run.is_of_later_release:
        return True
    with run_context(run.run_id):
        try:
            if store.set_aside(run):
                BAD_ROWS.inc()
                message = "Row %d of the runs cannot be read and was set aside: %s"
                logger.error(message, run.id, ", ".join(run.bad_columns))
        except AWAY:
            raise
        except Exception:
            logger.exception("Row %d of the runs cannot be read, nor set aside", run.id)
    return True


def _is_at_work(job: JobState) -> bool:
    """Whether it takes what another job could have."""
    return _is_there(job) and not is_stuck(job) and not job.held_up


def _is_there(job: JobState) -> bool:
    return job.alive or job.leaving is not None


def remove_job(launcher: Launcher, run_id: str) -> None:
    """Tells the job to go; one that may not be removed stops no other. Raises LauncherAway."""
    try:
        launcher.remove(run_id)
    except LauncherAway:
        raise
    except Exception:
        logger.exception("A job could not be removed: %s", run_id)
