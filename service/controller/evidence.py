"""Why runs failed: what can still be seen of their jobs is stored with them."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any

from service.launchers.kubernetes.evidence import evidence_json
from service.launchers.launcher import JobState, Launcher
from service.store.queue import EndedRun, QueueStore

logger = logging.getLogger(__name__)

MAX_WAIT_SECONDS = 60.0  # in which a job ends after its worker has ended the run
SECONDS_PER_PASS = 10.0  # hundreds of runs may fail at once, and an API server may hardly answer


class EvidenceCollector:
    """Asks the launcher what it sees of a failed run's job; a run ends all the same without.

    `waiting` has the runs that their workers ended, each with the moment until which the end of
    its job is waited for.
    """

    def __init__(self, store: QueueStore, launcher: Launcher) -> None:
        self._store = store
        self._launcher = launcher
        self._deadline: float | None = None  # of this pass, from its first question on
        self.waiting: dict[str, float] = {}

    def begin_pass(self, ended_runs: Iterable[EndedRun]) -> None:
        """`ended_runs` are those since the last pass: a worker's row ends before its job does."""
        self._deadline = None
        for run in ended_runs:
            if run.lacks_evidence and self._launcher.jobs_outlive_controller:
                self._wait_for(run.run_id)

    def collect(self, run_id: str, job: JobState | None) -> str | None:
        """What is seen of the job, as JSON; None where nothing is, or it is asked for later."""
        if _has_ended(job) and not self._has_time():
            self._wait_for(run_id)
            return None
        evidence = {**_of_state(job), **self._from_launcher(run_id)}
        return evidence_json(evidence) if evidence else None

    def explain_waiting(self, jobs: Mapping[str, JobState]) -> None:
        """Stores the evidence of those whose jobs have ended by now, as far as the time goes."""
        for run_id, deadline in list(self.waiting.items()):
            if not self._has_time():
                break
            job = jobs.get(run_id)
            if _has_ended(job):
                del self.waiting[run_id]
                self._store.explain(run_id, self.collect(run_id, job))
            elif time.monotonic() > deadline:
                del self.waiting[run_id]

    def _from_launcher(self, run_id: str) -> Mapping[str, Any]:
        if not self._has_time():
            return {}
        try:
            return self._launcher.evidence(run_id)
        except Exception:  # the launcher promises not to raise; a run must end all the same
            logger.exception("The evidence of the run's end could not be read")
            return {}

    def _wait_for(self, run_id: str) -> None:
        self.waiting[run_id] = time.monotonic() + MAX_WAIT_SECONDS

    def _has_time(self) -> bool:
        now = time.monotonic()
        if self._deadline is None:
            self._deadline = now + SECONDS_PER_PASS
        return now < self._deadline


def _has_ended(job: JobState | None) -> bool:
    """Whether all is seen that will be seen: no worker of the job goes on."""
    return job is not None and (not job.alive or job.held_up)


def _of_state(job: JobState | None) -> dict[str, Any]:
    if job is None:
        return {}
    return {"exit_code": job.exit_code, "launch": job.launch, "retried": job.retried}
