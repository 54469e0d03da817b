"""Runs as a worker sees them: claimed, held by a lease, finished or given back."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, and_, func, insert, or_

from service.contract.status import Status
from service.store.database import utc_in
from service.store.requests import StoredResult
from service.store.rows import RunRows, failed, held
from service.store.tables import figures, results, runs


class ClaimedRuns(RunRows):
    """What a worker does with its run."""

    def claim(self, run_id: str, worker: str) -> int | None:
        """Takes a pending run, or a running one whose worker is silent; the new attempt, or None."""
        free = or_(
            runs.c.status == Status.PENDING,
            and_(runs.c.status == Status.RUNNING, runs.c.lease_until < utc_in()),
        )
        values = {
            "status": Status.RUNNING,
            "attempt": runs.c.attempt + 1,
            "claimed_by": worker,
            "lease_until": utc_in(self.lease_seconds),
            "started_at": func.coalesce(runs.c.started_at, utc_in()),
            "reason": None,
            "message": None,
        }
        if not self._change(run_id, free, **values):
            return None
        run = self.get(run_id)
        return run.attempt if run and run.claimed_by == worker else None

    def renew(self, run_id: str, attempt: int) -> bool:
        """Keeps the lease; False when the run was taken away."""
        return self._change(run_id, held(attempt), lease_until=utc_in(self.lease_seconds))

    def release(self, run_id: str, attempt: int) -> bool:
        """Gives a claimed run back; its job, or else the controller, tries it again."""
        return self._change(run_id, held(attempt), status=Status.PENDING, lease_until=None)

    def finish(
        self, run_id: str, attempt: int, stored: StoredResult, headline: Mapping[str, Any]
    ) -> bool:
        """Result and status in one transaction; False, and nothing stored, when the run was taken away."""
        table = {
            "run_id": run_id,
            "result": stored.result,
            "equity_csv": zlib.compress(stored.equity_csv.encode(), 6),
        }
        done = {
            "status": Status.COMPLETED,
            "finished_at": utc_in(),
            "reason": None,
            "message": None,
        }

        def write(connection: Connection) -> bool:
            if not self._ended(
                connection, run_id, held(attempt), {**done, "lease_until": None, **headline}
            ):
                return False
            connection.execute(insert(results).values(table))
            if stored.chart_base64 is not None:
                connection.execute(
                    insert(figures).values(run_id=run_id, chart_base64=stored.chart_base64)
                )
            return True

        return self._write(write)

    def fail_attempt(self, run_id: str, attempt: int, reason: str, message: str) -> bool:
        """Ends a run that this attempt holds."""
        return self._end(run_id, held(attempt), failed(reason, message))
