"""For how long the problems of jobs have been seen."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace

from service.contract.status import Reason
from service.launchers.launcher import JobState, Problem

# After so long without a look at the jobs nothing is known about how long a problem has stood.
MAX_SECONDS_BETWEEN_LOOKS = 60.0


class ProblemTimes:
    """Since when each problem of a job has been seen, by the clock of this process."""

    def __init__(self) -> None:
        self._beginnings: dict[tuple[str, Reason], float] = {}
        self._last_look = -math.inf

    def add_to(self, states: Mapping[str, JobState]) -> Mapping[str, JobState]:
        """The same states, each problem with the seconds for which it has been seen so far."""
        now = time.monotonic()
        if now - self._last_look >= MAX_SECONDS_BETWEEN_LOOKS:
            self._beginnings = {}
        self._last_look = now
        problems = [state.problem for state in states.values() if state.problem is not None]
        self._beginnings = {
            key: self._beginnings.get(key, now) for key in map(_problem_key, problems)
        }
        return {run_id: self._with_seconds(state, now) for run_id, state in states.items()}

    def _with_seconds(self, state: JobState, now: float) -> JobState:
        problem = state.problem
        if problem is None:
            return state
        seen_seconds = now - self._beginnings[_problem_key(problem)]
        seconds = max(problem.seconds, seen_seconds)
        return replace(state, problem=replace(problem, seconds=seconds))


def _problem_key(problem: Problem) -> tuple[str, Reason]:
    return problem.about, problem.reason
