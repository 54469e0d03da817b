"""Why runs failed: what can still be seen of their jobs is kept beside them."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping

from service.launchers.kubernetes.evidence import fitted
from service.launchers.launcher import JobState, Launcher
from service.store.run_store import EndedRun, RunStore

logger = logging.getLogger(__name__)

EXPLAIN_SECONDS = 60.0  # in which a job ends after its worker has said why
ASKING_SECONDS = (
    10.0  # of one pass: hundreds of runs may fail at once, and an API server may hardly answer
)


class Explainer:
    """Asks the launcher for evidence; to have none is no reason to wait."""

    def __init__(self, store: RunStore, launcher: Launcher) -> None:
        self._store, self._launcher = store, launcher
        self.waiting: dict[
            str, float
        ] = {}  # runs that their workers ended, and until when their jobs are waited for
        self._until: float | None = None  # then no more is asked in this pass

    def evidence(self, run_id: str, job: JobState | None) -> str | None:
        """What was seen of the job, as JSON, for whoever asks later why the run failed."""
        seen = (
            {}
            if job is None
            else {"exit_code": job.exit_code, "launch": job.launch, "retried": job.retried}
        )
        if job is not None and not job.alive and not self._has_time():
            self._later(run_id)
            return None
        try:
            found = {**seen, **(self._launcher.evidence(run_id) if self._has_time() else {})}
        except Exception:  # the launcher promises not to; a run must end all the same
            logger.exception("No evidence of the run's end could be had")
            found = seen
        return fitted(found) if found else None

    def begin(self, ends: Iterable[EndedRun]) -> None:
        """A pass, and what has ended since the last: a worker that fails writes its row before its job has ended."""
        self._until = None
        for end in ends:
            if end.failed_by_worker and self._launcher.independent:
                self._later(end.run_id)

    def _later(self, run_id: str) -> None:
        """An ended Job stays for a while."""
        self.waiting[run_id] = time.monotonic() + EXPLAIN_SECONDS

    def _has_time(self) -> bool:
        self._until = self._until or time.monotonic() + ASKING_SECONDS
        return time.monotonic() < self._until

    def step(self, jobs: Mapping[str, JobState]) -> None:
        """Explains those whose jobs have ended by now; who is left when the time is up comes next time."""
        for run_id, until in list(self.waiting.items()):
            if not self._has_time():
                break
            job = jobs.get(run_id)
            if job is not None and not job.alive:
                del self.waiting[run_id]
                self._store.explain(run_id, self.evidence(run_id, job))
            elif time.monotonic() > until:
                del self.waiting[run_id]
