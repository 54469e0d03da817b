"""Jobs as processes of this machine: `python worker.py` with the request in its environment.

A new interpreter would import pandas and Matplotlib anew for every run, which takes longer than the
run. So one process imports all that a worker needs, and the process of each run is a fork of it.
"""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import sys
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.forkserver import ensure_running
from multiprocessing.process import BaseProcess
from pathlib import Path

from scripts.config import ROOT, forget_logins, job_environment, replace_environment
from service.launchers.launcher import JobState, LaunchDelayed, Launcher, LaunchFailed, Work

GRACE_SECONDS = 5
# All that a fork runs: what it imported itself would come from files that may have changed since.
WORKER = "worker"
PRELOADED = (WORKER, "service.worker.preloaded", __name__)
# What `ps` and `top` show of a worker: Linux keeps 15 characters.
PROCESS_NAME = Path("/proc/self/comm")

Perform = Callable[[], None]


def perform_work() -> None:
    """What `python worker.py` does."""
    sys.exit(import_module(WORKER).main())


@dataclass(frozen=True)
class Child:
    """The process of a job.

    `handle` is its file descriptor (pidfd), which knows the end of the process even where the
    process that it was forked from has died; None where it had ended before there was one.
    """

    process: BaseProcess
    handle: int | None
    launch: int

    @classmethod
    def of(cls, process: BaseProcess, launch: int) -> Child:
        """The child of a process that was started a moment ago."""
        assert process.pid is not None
        try:
            handle = os.pidfd_open(process.pid)
        except ProcessLookupError:
            handle = None
        return cls(process, handle, launch)

    @property
    def exit_code(self) -> int | None:
        """None while it lives."""
        return self.process.exitcode if self.has_ended(0) else None

    def has_ended(self, seconds: float) -> bool:
        """Whether it ends within so many seconds."""
        if self.handle is None:
            return True
        ended, _, _ = select.select([self.handle], [], [], seconds)
        return bool(ended)

    def end(self) -> None:
        """Tells it to end, and kills it where it does not."""
        for number, seconds in ((signal.SIGTERM, GRACE_SECONDS), (signal.SIGKILL, None)):
            if self.handle is None or self.has_ended(0):
                break
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.handle, number)
            select.select([self.handle], [], [], seconds)
        self._end_descendants()
        self.process.join()
        if self.handle is not None:
            os.close(self.handle)

    def _end_descendants(self) -> None:
        """Kills what a rule or a library of its left running: all of its process group.

        A group keeps its number while anything is in it.
        """
        assert self.process.pid is not None
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)


class LocalProcess(Launcher):
    """Runs each job as a child process of this machine; all logs go to the same place.

    `perform` is what the process of a job does in the environment of its work; its exit code is
    that of the process.
    """

    def __init__(self, perform: Perform = perform_work) -> None:
        self._perform = perform
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(PRELOADED))
        self._children: dict[str, Child] = {}
        forget_logins()
        # It begins its imports now, before the first run is there.
        ensure_running()

    def launch(self, work: Work, number: int) -> None:
        if work.run_id in self._children:
            return
        environment = {**job_environment(), **work.environment}
        process = self._context.Process(
            target=_become_worker, args=(work.run_id, environment, self._perform)
        )
        try:
            process.start()
        except (EOFError, ConnectionError) as error:
            # The next attempt starts another one.
            message = "the process that workers are forks of has died"
            raise LaunchDelayed(message) from error
        except OSError as error:
            raise LaunchFailed(str(error)) from error
        self._children[work.run_id] = Child.of(process, number)

    def jobs(self, expected: Collection[str] = ()) -> Mapping[str, JobState]:
        return {run_id: _state_of(child) for run_id, child in self._children.items()}

    def remove(self, run_id: str, force: bool = False) -> None:
        child = self._children.pop(run_id, None)
        if child is not None:
            child.end()

    def close(self) -> None:
        for run_id in list(self._children):
            self.remove(run_id)


def _state_of(child: Child) -> JobState:
    exit_code = child.exit_code
    return JobState(alive=exit_code is None, exit_code=exit_code, launch=child.launch)


def _become_worker(run_id: str, environment: Mapping[str, str], perform: Perform) -> None:
    # In a session of its own a child does not receive the Ctrl-C of the terminal: the controller
    # receives it and ends its jobs in order.
    os.setsid()
    os.chdir(ROOT)
    replace_environment(environment)
    with suppress(OSError):
        PROCESS_NAME.write_text(run_id)
    perform()
