"""What starts, watches and stops jobs; each launcher does it in its own world."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from service.contract.request import BacktestRequest


class LaunchFailed(Exception):
    """The job could not be started; the message says why."""


@dataclass(frozen=True)
class JobState:
    """A job as its launcher sees it: alive, or ended with an exit code (negative: killed by that signal).

    `launch` says which launch of its run it is; a run launched anew since then has nothing to do with it any more.
    """

    alive: bool
    exit_code: int | None = None
    launch: int = 1


class Launcher(ABC):
    """One job per run, named after it: launching a run twice gives one job."""

    @abstractmethod
    def launch(self, request: BacktestRequest, number: int) -> None:
        """Starts the run's job, its launch `number`, unless it is there; raises LaunchFailed."""

    @abstractmethod
    def jobs(self) -> Mapping[str, JobState]:
        """Every job that this launcher knows, by run_id."""

    @abstractmethod
    def remove(self, run_id: str) -> None:
        """Stops the job if it is alive and forgets it; no error when there is none."""
