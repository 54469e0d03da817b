"""Checks after a fault: nothing is lost, doubled or left hanging, and results are the same."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pymysql
import requests

from service.contract.request import parse_request
from service.contract.result import BacktestResult
from service.contract.status import Status
from service.worker.run import perform
from service.worker.software import Software
from tests.faults.client import Client
from tests.faults.mysql_server import MySQLServer
from tests.faults.readers import read_all
from tests.support.prices import series
from tests.support.requests import RUN_ID

SETTLE_SECONDS = 60  # the promise
SLOWER = 3.0  # than the quiet rate: the machine is shared
CANCELLED = (Status.CANCELLED, "CancelledByUser")
ROWS = """
SELECT run_id, status, reason, attempt, launches, launched_at IS NOT NULL, finished_at, claimed_by
FROM runs
"""


@dataclass(frozen=True)
class Row:
    """The fields of a run that the audit looks at."""

    run_id: str
    status: str
    reason: str | None
    attempt: int
    launches: int
    launched: int
    finished_at: Any
    claimed_by: str | None

    @property
    def final(self) -> bool:
        return Status(self.status).final

    @property
    def in_flight(self) -> bool:
        return not self.final and (bool(self.launched) or self.status != Status.PENDING)

    def settled_since(self, before: Row) -> bool:
        """Ended, or in the queue, or back in flight by way of the queue."""
        return (
            self.final
            or not self.in_flight
            or self.launches > before.launches
            or self.attempt > before.attempt
        )


@dataclass
class Fault:
    """The moments of a fault, and the runs that were in flight at its start."""

    name: str
    in_flight: dict[str, Row]
    started: float = field(default_factory=time.monotonic)
    ended: float = 0.0

    def over(self) -> None:
        """Ends the fault: from now on the promises hold.

        A block that goes on after its fault calls it itself.
        """
        self.ended = self.ended or time.monotonic()


@dataclass(frozen=True)
class Figures:
    """A line of the table at the end of the session."""

    fault: str
    seconds: float
    runs: int
    settled: float
    drained: float
    rate: float
    ends: str


@dataclass
class Audit:
    """Audits one database and one client: call `look` at any time, `close` once at the end."""

    server: MySQLServer
    database: str
    client: Client
    quiet_rate: float
    # The final rows, as they were first seen, each with the digest of its result
    _seen: dict[str, tuple[Row, str | None]] = field(default_factory=dict)

    def rows(self) -> dict[str, Row]:
        """All runs by run_id."""
        rows = [Row(*row) for row in self.server.ask(ROWS, database=self.database)]
        assert len({row.run_id for row in rows}) == len(rows), "a run is there twice"
        return {row.run_id: row for row in rows}

    def in_flight(self) -> list[Row]:
        """Launched or claimed, and not at its end."""
        return [row for row in self.rows().values() if row.in_flight]

    @contextmanager
    def fault(self, name: str) -> Iterator[Fault]:
        """Notes the runs in flight and the end of the fault; only in here may requests fail."""
        fault = Fault(name, {row.run_id: row for row in self.in_flight()})
        with self.client.tolerant():
            yield fault
        fault.over()

    def look(self) -> dict[str, Row]:
        """All runs; those that have ended since the last call are remembered as they are."""
        rows = self.rows()
        for run_id, row in rows.items():
            if row.status == Status.RUNNING:
                self.client.history.note_claim(run_id, row.attempt, str(row.claimed_by))
            if row.final and run_id not in self._seen:
                self._seen[run_id] = row, self._digest(run_id)
        return rows

    def close(self, fault: Fault, url: str, may_fail: Collection[str] = ()) -> Figures:
        """Waits for the last run to end in time, then checks every promise."""
        settled = self._settle(fault)
        left = sum(not row.final for row in self.look().values())
        self._drain(SETTLE_SECONDS + SLOWER * left / self.quiet_rate)
        seconds = time.monotonic() - fault.ended
        rows = self.look()
        self._check_promises(rows)
        self._check_results(rows, url, may_fail)
        read_all(url, self.client)
        contradictions = self.client.history.contradictions()
        assert not contradictions, contradictions[:9]
        ends = Counter(row.reason or row.status for row in rows.values())
        rate = left / max(seconds - settled, 0.1)
        endings = ", ".join(f"{count} {end}" for end, count in ends.most_common())
        return Figures(
            fault.name,
            fault.ended - fault.started,
            len(rows),
            settled,
            seconds,
            rate / self.quiet_rate,
            endings,
        )

    def _settle(self, fault: Fault) -> float:
        """Waits until all runs in flight have ended or are queued again.

        Returns the seconds from the end of the fault until then.
        """
        waiting = dict(fault.in_flight)
        while True:
            rows = self.look()
            waiting = {
                run_id: row
                for run_id, row in waiting.items()
                if not rows[run_id].settled_since(row)
            }
            seconds = time.monotonic() - fault.ended
            if not waiting:
                return seconds
            assert seconds < SETTLE_SECONDS, (
                f"{seconds:.0f} s after the fault: {[rows[i] for i in waiting]}"
            )
            time.sleep(0.2)

    def _drain(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while hanging := [row for row in self.look().values() if not row.final]:
            assert time.monotonic() < deadline, (
                f"hanging after {seconds:.0f} s: {hanging[:5]} of {len(hanging)}"
            )
            time.sleep(0.2)

    def _check_promises(self, rows: dict[str, Row]) -> None:
        lost = self.client.accepted.keys() - rows.keys()
        assert not lost, f"lost: {lost}"
        unknown = rows.keys() - self.client.accepted.keys() - self.client.unanswered.keys()
        assert not unknown, f"nobody asked for: {unknown}"
        for run_id, seen in self._seen.items():
            assert (rows[run_id], self._digest(run_id)) == seen, f"changed after its end: {run_id}"

    def _check_results(self, rows: dict[str, Row], url: str, may_fail: Collection[str]) -> None:
        asked = {**self.client.unanswered, **self.client.accepted}
        for run_id, row in rows.items():
            if row.status != Status.COMPLETED:
                ends = {(Status.FAILED, reason) for reason in may_fail}
                assert (row.status, row.reason) in {*ends, CANCELLED}, row
                continue
            answer = requests.get(
                f"{url}/result/{run_id}", headers={"Accept": "application/json"}, timeout=30
            )
            result = BacktestResult(**answer.json())
            assert result.reproducible() == quiet_result(json.dumps(asked[run_id])), (
                f"other bytes: {run_id}"
            )

    def _digest(self, run_id: str) -> str | None:
        query = "SELECT SHA2(result, 256) FROM results WHERE run_id = %s"
        digests = self.server.ask(query, run_id, database=self.database)
        return digests[0][0] if digests else None


def answers(server: MySQLServer) -> bool:
    """Whether the database does, within seconds."""
    try:
        return bool(server.ask("SELECT 1"))
    except pymysql.MySQLError:
        return False


@cache
def quiet_result(request: str) -> str:
    """The result of the request without any fault, computed here from the same prices."""
    request_of_run = parse_request({**json.loads(request), "run_id": RUN_ID})
    return perform(request_of_run, series(request_of_run.ticker), Software())[0].reproducible()
