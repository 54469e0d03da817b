"""The interface of launchers: what starts, watches and removes the job of each run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from service.contract.status import Reason


@dataclass(frozen=True)
class Work:
    """What the job of one run needs to know; a launcher passes it on without understanding it.

    `environment` holds the environment variables of the worker. `annotations` describe the run to
    people who look at its job, `labels` are for rules that choose jobs by them. `shards` is the
    number of parts that a sweep is divided into, each for a worker of its own; it is None where one
    worker does everything.
    """

    run_id: str
    environment: Mapping[str, str]
    annotations: Mapping[str, str] = field(default_factory=dict)
    shards: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


class LaunchFailed(Exception):
    """The job cannot be started, now or later; the message says why."""

    def __init__(self, message: str, reason: Reason = Reason.LAUNCH_FAILED) -> None:
        super().__init__(message)
        self.reason = reason


class LaunchDelayed(Exception):
    """The job cannot be started yet, and its run waits in the queue.

    `reason` says what the run waits for, where a user should know. `everybody` says whether the
    jobs of all other runs would be delayed too.
    """

    def __init__(self, message: str, reason: Reason | None = None, everybody: bool = True) -> None:
        super().__init__(message)
        self.reason = reason
        self.everybody = everybody


class LauncherAway(Exception):
    """The system that runs the jobs does not answer, so nothing is known about any job."""


@dataclass(frozen=True)
class Problem:
    """What keeps a job from starting, or what ended it.

    `message` is a sentence for the user. `seconds` is the time for which the problem has been seen.
    `about` is the uid of the pod or Job that has the problem; for another pod the time starts anew.
    """

    reason: Reason
    message: str
    seconds: float = 0.0
    about: str = ""


@dataclass(frozen=True)
class JobState:
    """The state of a job as its launcher sees it.

    alive: the job has not ended.
    exit_code: of the worker that ended last; negative if a signal killed it, None if unknown.
    launch: the number of the launch of the run that the job belongs to; a run that was launched
        again since then has nothing to do with this job any more.
    leaving: seconds since the job was told to end, None if it was not.
    retried: the job tried its work a second time without the controller.
    problem: what keeps the job from starting, or what ended it.
    lost: a node should have ended a pod of the job long ago and does not respond.
    age: seconds since the job was created.
    suspended: the job may not start yet: the cluster has a queue of its own.
    idle_pods: names of the pods whose worker has ended and which something else keeps alive, as
        the proxy of a mesh does.
    held_up: all living pods of the job are such.
    """

    alive: bool
    exit_code: int | None = None
    launch: int = 1
    leaving: float | None = None
    retried: bool = False
    problem: Problem | None = None
    lost: bool = False
    age: float = 0.0
    suspended: bool = False
    idle_pods: tuple[str, ...] = ()
    held_up: bool = False


class Launcher(ABC):
    """Starts, watches and removes jobs: one job per run, named after it.

    jobs_outlive_controller: jobs go on when the controller ends, keep their own deadline, and stay
        for a while after their end so that their logs can be read. Where it is False, the jobs are
        children of the controller, which has to watch their deadline and to end them.
    """

    jobs_outlive_controller = False

    @abstractmethod
    def launch(self, work: Work, number: int) -> None:
        """Starts the job of a run, its launch `number`, unless that job exists already.

        Raises LaunchFailed or LaunchDelayed when there is no job afterwards, and LauncherAway when
        it is unknown whether there is one.
        """

    @abstractmethod
    def jobs(self, expected: Collection[str] = ()) -> Mapping[str, JobState]:
        """The jobs by run_id: all that have not succeeded, and the `expected` ones in any state.

        Raises LauncherAway.
        """

    @abstractmethod
    def remove(self, run_id: str, force: bool = False) -> None:
        """Ends the job of a run if it is alive, and removes it; without a job nothing happens.

        The job may be `leaving` for a while afterwards; `force` does not wait for the node that it
        runs on, which may be dead. Raises LauncherAway.
        """

    def end_pods(self, names: Collection[str]) -> None:  # noqa: B027  there may be no pods
        """Tells `idle_pods` to end, so that their job goes on. Raises LauncherAway."""

    def make_room(self, kept: Collection[str]) -> int:
        """Removes ended jobs, the oldest first, where a quota that counts them refuses new ones.

        The jobs of the runs `kept` stay. The number of those removed; raises LauncherAway.
        """
        return 0

    def close(self) -> None:  # noqa: B027  most launchers have nothing to end
        """Ends the jobs that cannot go on without their controller, which ends now."""

    def evidence(self, run_id: str) -> Mapping[str, Any]:
        """What can still be seen of the job: the end of its log, and its events. Never raises."""
        return {}

    def check(self) -> str:
        """A sentence on what would keep every job from being launched, empty if nothing does."""
        return ""
