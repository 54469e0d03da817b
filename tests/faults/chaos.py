"""Faults of every kind, chosen by a seeded hand, one after the other and sometimes two at once."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.faults.installation import AHEAD, Installation
from tests.faults.mysql_server import MySQLServer
from tests.faults.processes import Program, Worker

Fault = Callable[[random.Random], None]
PAUSE_SECONDS = (3.0, 9.0)  # in which work goes on
TWO_AT_ONCE = 0.25


class Chaos:
    """What it kills is started again, as by a cluster or systemd; what it freezes wakes up."""

    def __init__(self, installation: Installation, server: MySQLServer, seed: int) -> None:
        self._installation = installation
        self._server = server
        self._random = random.Random(seed)
        self.done: Counter[str] = Counter()
        self._to_programs: Sequence[Fault] = (
            self.web_killed,
            self.controller_killed,
            self.worker_killed,
            self.web_frozen,
            self.controller_frozen,
            self.worker_frozen,
            self.web_ahead,
        )
        self._to_database: Sequence[Fault] = (
            self.mysql_killed,
            self.mysql_stopped,
            self.mysql_frozen,
            self.mysql_read_only,
            self.mysql_full,
            self.connections_killed,
        )

    def run(self, seconds: float) -> None:
        """Faults for that long; each kind comes once before any comes again."""
        deadline = time.monotonic() + seconds
        decks: tuple[list[Fault], list[Fault]] = ([], [])
        with ThreadPoolExecutor(2) as pool:
            while time.monotonic() < deadline:
                time.sleep(self._random.uniform(*PAUSE_SECONDS))
                both = self._random.random() < TWO_AT_ONCE
                kinds = (0, 1) if both else (int(self._random.random() < 0.4),)
                chosen = [
                    self._draw(decks[kind], (self._to_programs, self._to_database)[kind])
                    for kind in kinds
                ]
                for running in [
                    pool.submit(fault, random.Random(self._random.random())) for fault in chosen
                ]:
                    running.result()

    def _draw(self, deck: list[Fault], kinds: Sequence[Fault]) -> Fault:
        if not deck:
            deck.extend(self._random.sample(kinds, len(kinds)))
        fault = deck.pop()
        self.done[fault.__name__] += 1
        print(f"{time.strftime('%H:%M:%S')} {fault.__name__}")  # shown where the test fails
        return fault

    # to programs

    def web_killed(self, chance: random.Random) -> None:
        self._kill(chance.choice(self._installation.webs), chance)

    def controller_killed(self, chance: random.Random) -> None:
        self._kill(chance.choice(self._installation.controllers), chance)

    def worker_killed(self, chance: random.Random) -> None:
        """Several, one after the other: they are many and live for a second."""
        for _ in range(4):
            worker = self._some_worker(chance)
            if worker is not None and worker.signal(signal.SIGKILL):
                self.done["workers hit"] += 1
            time.sleep(chance.uniform(0, 1.5))

    def web_frozen(self, chance: random.Random) -> None:
        with chance.choice(self._installation.webs).frozen():
            time.sleep(chance.uniform(1, 5))

    def controller_frozen(self, chance: random.Random) -> None:
        """Sometimes long enough for the other to take over."""
        with chance.choice(self._installation.controllers).frozen():
            time.sleep(chance.uniform(2, 12))

    def worker_frozen(self, chance: random.Random) -> None:
        """Sometimes past its lease."""
        worker = self._some_worker(chance)
        if worker is None or not worker.signal(signal.SIGSTOP):
            return
        self.done["workers hit"] += 1
        time.sleep(chance.uniform(2, 14))
        worker.signal(signal.SIGCONT)

    def web_ahead(self, chance: random.Random) -> None:
        """A replica is replaced by one whose clock is ten minutes ahead."""
        web = chance.choice(self._installation.webs)
        web.environment = {**web.environment, **AHEAD}
        self._kill(web, chance)

    # to the database

    def mysql_killed(self, chance: random.Random) -> None:
        self._server.kill()

    def mysql_stopped(self, chance: random.Random) -> None:
        with self._server.stopped():
            time.sleep(chance.uniform(1, 10))

    def mysql_frozen(self, chance: random.Random) -> None:
        with self._server.frozen():
            time.sleep(chance.uniform(1, 8))

    def mysql_read_only(self, chance: random.Random) -> None:
        with self._server.read_only():
            time.sleep(chance.uniform(2, 8))

    def mysql_full(self, chance: random.Random) -> None:
        with self._server.full_disk():
            time.sleep(chance.uniform(3, 10))

    def connections_killed(self, chance: random.Random) -> None:
        for _ in range(10):
            self._server.kill_connections()
            time.sleep(chance.uniform(0, 0.5))

    def _some_worker(self, chance: random.Random) -> Worker | None:
        """Waits a little for one to be there: the database may have been away a moment ago."""
        for _ in range(50):
            workers = self._installation.workers()
            if workers:
                return chance.choice(workers)
            time.sleep(0.1)
        return None

    def _kill(self, program: Program, chance: random.Random) -> None:
        program.kill()
        time.sleep(chance.uniform(0.1, 3))
        program.start()
