"""A whole platform in one process: database, two controllers, jobs and workers, and what they fear.

Nothing happens by itself: each method is one thing that the world does, in whatever order. The
world knows what was promised to whom, and `check` says where the promise is broken.
"""

from __future__ import annotations

import itertools
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from sqlalchemy.exc import OperationalError

from scripts.config import Config
from service.contract.errors import QueueFull
from service.contract.request import BacktestRequest, parse_request
from service.contract.status import ExitCode, Status
from service.controller.leadership import Leadership
from service.controller.reconciler import Controller
from service.launchers.launcher import JobState, LauncherAway, Work
from service.store.claims import ClaimStore
from service.store.database import connect
from service.store.leases import LeaseStore
from service.store.prices import PriceStore
from service.store.requests import NewRun
from service.store.rows import CLAIM_SECONDS, StoredResult
from service.usecases.runs import Runs
from tests.support.clocks import SteadyClock, set_forward
from tests.support.launchers import OnACluster
from tests.support.requests import REQUEST
from tests.support.stores import EveryStore

MAX_PENDING = 4
# Modules that measure durations: here they do by the clock of the world.
CLOCKED = (
    "service.store.watching",
    "service.controller.leadership",
    "service.controller.reconciler",
    "service.controller.dispatcher",
    "service.controller.evidence",
)
STEP_SECONDS = CLAIM_SECONDS // 4  # a worker renews more often than three times a lease
HEALING_STEPS = 200


class Cluster(OnACluster):
    """Jobs of which one may be launched without an answer."""

    def __init__(self) -> None:
        super().__init__()
        self.loses_answers = False

    def launch(self, work: Work, number: int) -> None:
        super().launch(work, number)
        if self.loses_answers:
            self.loses_answers = False
            raise LauncherAway("the answer was lost")


@dataclass
class Worker:
    """One that holds a run; a frozen one does not renew its lease, and may wake up late."""

    run_id: str
    attempt: int
    launch: int
    claims: ClaimStore
    is_frozen: bool = False


@dataclass
class Process:
    """A controller with its leadership."""

    leadership: Leadership
    controller: Controller

    def take_turn(self) -> None:
        """Renews or takes the lease, and makes a pass where it leads."""
        self.leadership.take()
        if self.leadership.held:
            with suppress(LauncherAway):
                self.controller.step()


@dataclass
class Promises:
    """What users were told, and what the world did to their runs."""

    clients: dict[str, str] = field(default_factory=dict)  # of each accepted run
    ends: dict[str, str] = field(default_factory=dict)  # the final state that was seen
    results: dict[str, str] = field(default_factory=dict)  # stored, as its worker was told
    attempts: set[tuple[str, int]] = field(default_factory=set)
    spoiled: set[str] = field(default_factory=set)
    # Cancelled, spoiled, their jobs deleted or their workers frozen: a worker may lose them.
    disturbed: set[str] = field(default_factory=set)


class World:
    """See the module."""

    def __init__(self, template: Path, folder: Path) -> None:
        self._open = ExitStack()
        self.path = folder / f"{uuid.uuid4()}.sqlite3"
        self.path.write_bytes(template.read_bytes())
        self.clock = SteadyClock()
        for module in CLOCKED:
            self._open.enter_context(patch(f"{module}.time", self.clock))
        self.engine = connect(Config(sqlite_path=str(self.path)))
        self._open.callback(self.engine.dispose)
        self.store = EveryStore(self.engine)
        self.runs = Runs(self.store, PriceStore(self.engine), max_pending=MAX_PENDING)
        self.cluster = Cluster()
        self.workers: list[Worker] = []
        self.promises = Promises()
        self._processes: dict[str, Process] = {}
        # The same in every run of the same events.
        self._numbers = itertools.count(1)
        for name in ("first", "second"):
            self.start_controller(name)

    def close(self) -> None:
        """Gives the clocks and the file back."""
        self._open.close()
        self.path.unlink()

    # What users do

    def submit(self, client: str) -> bool:
        """Asks for a run; whoever has none waiting is never refused while there is any room."""
        run_id = str(uuid.UUID(int=next(self._numbers), version=4))
        request = parse_request({**REQUEST, "run_id": run_id})
        held = self.store.queued_by_client()
        try:
            self.runs.record(request, lambda: _planned(request), client, force=True)
        except QueueFull:
            has_none = not held.get(client)
            assert not has_none or sum(held.values()) >= 2 * MAX_PENDING, "refused for others"
            return False
        self.promises.clients[run_id] = client
        return True

    def cancel(self, run_id: str) -> None:
        """Asks that the run be cancelled."""
        self.promises.disturbed.add(run_id)
        self.store.cancel(run_id)

    # What controllers do

    def start_controller(self, name: str) -> None:
        """A new process; the one that had the name is gone without a word."""
        leases = LeaseStore(self.engine)
        leadership = Leadership(leases, f"{name}-{next(self._numbers)}", lambda: True)
        controller = Controller(self.store, self.cluster, 3, 900.0, may_act=lambda: leadership.held)
        self._processes[name] = Process(leadership, controller)

    def take_turn(self, name: str) -> None:
        """One pass of a controller."""
        self._processes[name].take_turn()

    # What jobs and workers do

    def begin(self) -> None:
        """Every job without a worker starts one, which claims its run."""
        for run_id, job in list(self.cluster.states.items()):
            if job.alive and job.leaving is None and not self._worker_of(run_id, job.launch):
                self._claim(run_id, job.launch)

    def _claim(self, run_id: str, launch: int) -> None:
        claims = ClaimStore(self.engine)
        attempt = claims.claim(run_id, f"worker-{next(self._numbers)}")
        if attempt is None:
            return
        assert (run_id, attempt) not in self.promises.attempts, "a claim is shared"
        self.promises.attempts.add((run_id, attempt))
        self.workers.append(Worker(run_id, attempt, launch, claims))

    def _worker_of(self, run_id: str, launch: int) -> Worker | None:
        here = [each for each in self.workers if (each.run_id, each.launch) == (run_id, launch)]
        return here[0] if here else None

    def finish(self, worker: Worker) -> None:
        """Stores its result, if the run is still its own, and ends its job."""
        result = f'{{"by":"{worker.run_id} {worker.attempt}"}}'
        stored = StoredResult(result, "csv", None)
        if worker.claims.finish(worker.run_id, worker.attempt, stored, {}):
            assert worker.run_id not in self.promises.results, "two results"
            self.promises.results[worker.run_id] = result
        self._end_job(worker, ExitCode.DONE)

    def deliver_twice(self, worker: Worker) -> None:
        """The answer to its result was lost: it stores it again."""
        self.finish(worker)
        self.finish(worker)

    def fail(self, worker: Worker) -> None:
        """It ends with an error of its own."""
        worker.claims.fail_attempt(worker.run_id, worker.attempt, "EngineError", "It failed.")
        self._end_job(worker, ExitCode.ENGINE_ERROR)

    def kill(self, worker: Worker) -> None:
        """It is gone, without a word."""
        self._end_job(worker, 137)

    def freeze(self, worker: Worker) -> None:
        """It stands still and renews nothing; perhaps it wakes up, and ends."""
        self.promises.disturbed.add(worker.run_id)
        worker.is_frozen = True

    def _end_job(self, worker: Worker, exit_code: int) -> None:
        if worker in self.workers:
            self.workers.remove(worker)
        job = self.cluster.states.get(worker.run_id)
        if job is not None and job.launch == worker.launch:
            self.cluster.states[worker.run_id] = JobState(False, exit_code, launch=job.launch)

    def jobs_leave(self) -> None:
        """Those that were told to end are gone, and their workers with them."""
        for run_id, job in list(self.cluster.states.items()):
            if job.leaving is not None:
                del self.cluster.states[run_id]
                has_worker = self._worker_of(run_id, job.launch) is not None
                is_disturbed = run_id in self.promises.disturbed
                assert is_disturbed or not has_worker, "the job of a healthy worker was ended"
                self.workers = [each for each in self.workers if each.run_id != run_id]

    def delete_job(self, run_id: str) -> None:
        """Somebody deletes it by hand."""
        if run_id in self.cluster.states:
            self.promises.disturbed.add(run_id)
            self.cluster.remove(run_id)
            self.jobs_leave()

    # What time, clocks and neighbours do

    def pass_time(self, seconds: int) -> None:
        """Time passes, by all clocks; every worker that can renews its lease meanwhile."""
        for passed in range(0, seconds, STEP_SECONDS):
            step = min(STEP_SECONDS, seconds - passed)
            self.clock.now += step
            set_forward(self.engine, step)
            for worker in list(self.workers):
                if not worker.is_frozen:
                    self._renew(worker)

    def _renew(self, worker: Worker) -> None:
        if worker.claims.renew(worker.run_id, worker.attempt):
            return
        self.workers.remove(worker)
        is_disturbed = worker.run_id in self.promises.disturbed
        assert is_disturbed, "a run was taken from a worker that renewed its lease"

    def jump(self, seconds: float) -> None:
        """The database's clock is set forward or back."""
        set_forward(self.engine, seconds)

    def spoil(self, run_id: str, column: str, value: Any) -> None:
        """Something writes into the row what nobody can read."""
        self.promises.spoiled.add(run_id)
        self.promises.disturbed.add(run_id)
        with closing(sqlite3.connect(self.path)) as connection, connection:
            statement = f"UPDATE runs SET {column} = ? WHERE run_id = ?"
            connection.execute(statement, (value, run_id))

    @contextmanager
    def _without_file(self) -> Iterator[None]:
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        copy = self.path.with_suffix(".copy")
        copy.write_bytes(self.path.read_bytes())
        self.path.unlink()
        yield
        self.path.unlink(missing_ok=True)
        copy.rename(self.path)

    def delete_file(self, client: str) -> None:
        """The file is gone for a moment, and put back as it was: nothing is accepted meanwhile."""
        with self._without_file(), suppress(OperationalError):
            self.submit(client)

    # What must hold

    def check(self) -> None:
        """Whatever happened: what has ended stays so, and everything can be read."""
        rows = self.store.by_ids(list(self.promises.clients))
        assert rows.keys() == self.promises.clients.keys(), "a run was lost"
        for run_id, run in rows.items():
            if run_id in self.promises.spoiled:
                continue
            assert not run.bad_columns
            if run.status.final:
                assert self.promises.ends.setdefault(run_id, run.status) == run.status, "it changed"
            else:
                assert run_id not in self.promises.ends, "it began again"
        assert len(self.store.latest(1000)) == len(rows)
        leaders = [each for each in self._processes.values() if each.leadership.held]
        assert len(leaders) <= 1, "two controllers lead"

    def heal(self) -> None:
        """No more faults: every run ends."""
        self.cluster.loses_answers = False
        for worker in self.workers:
            worker.is_frozen = False
        for _ in range(HEALING_STEPS):
            if all(run.status.final for run in self._rows()):
                break
            self.pass_time(STEP_SECONDS)
            for name in self._processes:
                self.take_turn(name)
            self.jobs_leave()
            self.begin()
            for worker in list(self.workers):
                self.finish(worker)
        self.check()
        for run in self._rows():
            assert run.status.final, f"it hangs: {replace(run, request='')}"
            if run.run_id not in self.promises.spoiled and run.status == Status.COMPLETED:
                stored = self.store.result(run.run_id)
                assert stored is not None
                assert stored.result == self.promises.results[run.run_id], "another result"

    def _rows(self) -> list[Any]:
        return list(self.store.by_ids(list(self.promises.clients)).values())


def _planned(request: BacktestRequest) -> NewRun:
    return NewRun(
        {
            "run_id": request.run_id,
            "request": request.canonical(),
            "ticker": request.ticker,
            "rule_id": request.rule_id,
            "prices_fingerprint": "f" * 64,
            "rules_digest": "d" * 64,
        }
    )
