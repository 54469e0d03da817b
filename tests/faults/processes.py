"""Starts, kills and freezes programs, and finds processes that nobody waits for any more."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from scripts.config import ROOT

MARK = (
    "FAULT_TEST"  # in the environment of everything that a test starts, and so of what that starts
)
RUN_ID_BEGINS = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4")
STOP_SECONDS = 30


@dataclass
class Program:
    """A command in a session of its own, with a log that all its lives write to."""

    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts the program, unless it is alive."""
        if self.alive:
            return
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=ROOT,
                env={**os.environ, **self.environment},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def stop(self) -> None:
        """Stops the program as an operator does, by SIGTERM."""
        if self.process is not None:
            self.signal(signal.SIGTERM)
            self.process.wait(STOP_SECONDS)

    def kill(self) -> None:
        """Kills the process and its group at once; jobs have sessions of their own and live on."""
        if self.process is not None:
            self.signal(signal.SIGKILL)
            self.process.wait(STOP_SECONDS)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Freezes the program inside the block, with its connections open."""
        self.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)

    def signal(self, number: int) -> None:
        """Sends a signal to the whole process group."""
        assert self.process is not None
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def text(self) -> str:
        """The log of all its lives so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""


@dataclass(frozen=True)
class Worker:
    """A job's process, whoever its parent is by now.

    `run_id` is as much of it as the system keeps: 15 characters.
    """

    pid: int
    run_id: str

    def signal(self, number: int) -> bool:
        """False when it has ended."""
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True


def marked(mark: str) -> Iterator[tuple[int, str, dict[str, str]]]:
    """Number, command and environment of every process that carries the mark; a zombie has none."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            environment = dict(
                pair.split("=", 1)
                for pair in (entry / "environ").read_bytes().decode().split("\0")
                if "=" in pair
            )
            command = (entry / "cmdline").read_bytes().decode().replace("\0", " ")
        except (OSError, UnicodeDecodeError):
            continue
        if environment.get(MARK) == mark:
            yield int(entry.name), command, environment


def workers(mark: str) -> list[Worker]:
    """All living workers, frozen ones too."""
    found = []
    for pid, command, _ in marked(mark):
        if "multiprocessing.forkserver" not in command:
            continue
        with suppress(OSError):
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            if RUN_ID_BEGINS.match(name):  # the others are what the workers are forks of
                found.append(Worker(pid, name))
    return found


def end_all(mark: str) -> None:
    """Kills whatever carries the mark, until nothing does."""
    deadline = time.monotonic() + STOP_SECONDS
    while left := [pid for pid, _, _ in marked(mark)]:
        assert time.monotonic() < deadline, f"still alive: {left}"
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)  # a frozen process dies of it too
        time.sleep(0.05)


def wait_until(
    condition: Callable[[], object], seconds: float, what: str, pause: float = 0.1
) -> float:
    """Waits until the condition is true and returns the seconds that it took.

    Raises AssertionError with `what` after so many seconds.
    """
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, f"not within {seconds:.0f} s: {what}"
        time.sleep(pause)
    return time.monotonic() - started
