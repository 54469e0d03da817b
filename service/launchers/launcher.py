"""What starts, watches and stops jobs; each launcher does it in its own world."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from rules.plugins import digest_of
from service.contract.request import BacktestRequest, text_from_request
from service.contract.status import SWEEP, Reason


@dataclass(frozen=True)
class SweepWork:
    """A sweep as a launcher needs it; all else its workers read from the database. Each shard is an index."""

    run_id: str
    ticker: str
    rule_id: str
    shards: int


Work = BacktestRequest | SweepWork


def environment_of(work: Work) -> dict[str, str]:
    """What a worker reads to know what to do, and which rules it is expected to have."""
    asked = (
        {"RUN_ID": work.run_id, "RUN_KIND": SWEEP}
        if isinstance(work, SweepWork)
        else text_from_request(work)
    )
    return {**asked, "RULES_DIGEST": digest_of(work.rule_id)}


class LaunchFailed(Exception):
    """The job cannot be started, now or later; the message says why."""

    def __init__(self, message: str, reason: Reason = Reason.LAUNCH_FAILED) -> None:
        super().__init__(message)
        self.reason = reason


class LaunchDelayed(Exception):
    """The job cannot be started yet: its run waits on; `reason` says for what, where a user should know.

    `everybody`: the next job would fare the same.
    """

    def __init__(self, message: str, reason: Reason | None = None, everybody: bool = True) -> None:
        super().__init__(message)
        self.reason, self.everybody = reason, everybody


class LauncherAway(Exception):
    """What runs the jobs does not answer: nothing is known about them, which proves nothing about them."""


@dataclass(frozen=True)
class Problem:
    """What keeps a job from starting, or ended it, in a sentence, and for how many seconds it has been seen.

    `about`: which pod or Job has it; another one's wait begins anew.
    """

    reason: Reason
    message: str
    seconds: float = 0.0
    about: str = ""


@dataclass(frozen=True)
class JobState:
    """A job as its launcher sees it: alive, or ended with an exit code (negative: killed by that signal).

    `launch` says which launch of its run it is; a run launched anew since then has nothing to do with it any more.
    `leaving`: told to end, not gone yet, for so many seconds. `retried`: it was tried a second time without the
    controller. `lost`: its node should have ended it long ago and does nothing. `age`: seconds since it was made.
    """

    alive: bool
    exit_code: int | None = None
    launch: int = 1
    leaving: float | None = None
    retried: bool = False
    problem: Problem | None = None
    lost: bool = False
    age: float = 0.0


class Launcher(ABC):
    """One job per run, named after it: launching a run twice gives one job.

    `independent` jobs live without their controller: they go on when it ends, keep their own deadline and stay for a
    while to be looked at when they are over. The others are their controller's to end.
    """

    independent = False

    @abstractmethod
    def launch(self, work: Work, number: int) -> None:
        """Starts the run's job, its launch `number`, unless it is there.

        Raises LaunchFailed or LaunchDelayed, and then there is none; after LauncherAway there may be one.
        """

    @abstractmethod
    def jobs(self, expected: Collection[str] = ()) -> Mapping[str, JobState]:
        """Every job that has not ended well, by run_id, and those `expected` whatever became of them.

        Raises LauncherAway.
        """

    @abstractmethod
    def remove(self, run_id: str, force: bool = False) -> None:
        """Ends the job if it is alive and forgets it; no error when there is none. Raises LauncherAway.

        It may be `leaving` for a while; `force` does not wait for a node that may be dead.
        """

    def evidence(self, run_id: str) -> Mapping[str, Any]:
        """What is still to be seen of the run's job: the last lines of its log, what happened to it. Never raises."""
        return {}

    def check(self) -> str:
        """What would keep every job from being launched, in a sentence; empty when nothing does."""
        return ""
