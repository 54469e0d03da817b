"""Jobs as processes of this machine: `python worker.py` with the request in its environment."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence

from scripts.config import ROOT, job_environment
from service.launchers.launcher import JobState, Launcher, LaunchFailed, Work, environment_of

GRACE_SECONDS = 5
COMMAND = (sys.executable, "worker.py")


class LocalProcess(Launcher):
    """Holds its child processes; it belongs to one controller and dies with it. Their logs go where its own go."""

    def __init__(self, command: Sequence[str] = COMMAND) -> None:
        self._command = list(command)
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._numbers: dict[str, int] = {}

    def launch(self, work: Work, number: int) -> None:
        if work.run_id in self._children:
            return
        environment = {**job_environment(), **environment_of(work)}
        try:
            # a session of its own: a terminal's Ctrl-C reaches the controller, and that ends its jobs in order
            child = subprocess.Popen(
                self._command, cwd=ROOT, env=environment, start_new_session=True
            )
            self._children[work.run_id], self._numbers[work.run_id] = child, number
        except OSError as error:
            raise LaunchFailed(str(error)) from error

    def jobs(self, expected: Collection[str] = ()) -> Mapping[str, JobState]:
        codes = {run_id: child.poll() for run_id, child in self._children.items()}
        return {
            run_id: JobState(code is None, code, self._numbers[run_id])
            for run_id, code in codes.items()
        }

    def remove(self, run_id: str, force: bool = False) -> None:
        child = self._children.pop(run_id, None)
        if child is None:
            return
        child.terminate()
        try:
            child.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
