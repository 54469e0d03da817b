"""Jobs as processes of this machine: `python worker.py` with the request in its environment."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence

from scripts.config import ROOT, job_environment
from service.launchers.launcher import JobState, Launcher, LaunchFailed, Work

GRACE_SECONDS = 5
COMMAND = (sys.executable, "worker.py")


class LocalProcess(Launcher):
    """Runs each job as a child process of the controller; the logs of both go to the same place."""

    def __init__(self, command: Sequence[str] = COMMAND) -> None:
        self._command = list(command)
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._launches: dict[str, int] = {}

    def launch(self, work: Work, number: int) -> None:
        if work.run_id in self._children:
            return
        environment = {**job_environment(), **work.environment}
        try:
            # In a session of its own a child does not receive the Ctrl-C of the terminal: the
            # controller receives it and ends its jobs in order.
            child = subprocess.Popen(  # noqa: S603  the command is the deployment's own
                self._command, cwd=ROOT, env=environment, start_new_session=True
            )
        except OSError as error:
            raise LaunchFailed(str(error)) from error
        self._children[work.run_id] = child
        self._launches[work.run_id] = number

    def jobs(self, expected: Collection[str] = ()) -> Mapping[str, JobState]:
        return {run_id: self._state(run_id) for run_id in self._children}

    def _state(self, run_id: str) -> JobState:
        exit_code = self._children[run_id].poll()
        return JobState(
            alive=exit_code is None,
            exit_code=exit_code,
            launch=self._launches[run_id],
        )

    def remove(self, run_id: str, force: bool = False) -> None:
        child = self._children.pop(run_id, None)
        if child is None:
            return
        del self._launches[run_id]
        child.terminate()
        try:
            child.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
