"""Local jobs are forks of a process that has imported what a worker needs."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import time
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from service.launchers.launcher import JobState, Work
from service.launchers.local_process import LocalProcess, Perform
from service.worker import preloaded

pytestmark = pytest.mark.process

PATIENCE_SECONDS = 60


def report(path: Path) -> None:
    """Writes what the process is before it does anything."""
    facts = {
        "modules": sorted(sys.modules),
        "environment": dict(os.environ),
        "session": os.getsid(0),
        "pid": os.getpid(),
        "parent": os.getppid(),
        "name": Path("/proc/self/comm").read_text().strip(),
    }
    path.write_text(json.dumps(facts))


def crash() -> None:
    raise ZeroDivisionError


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def launched() -> Iterator[list[LocalProcess]]:
    launchers: list[LocalProcess] = []
    yield launchers
    for launcher in launchers:
        for run_id in list(launcher.jobs()):
            launcher.remove(run_id)


def ended(launched: list[LocalProcess], perform: Perform, run_id: str) -> JobState:
    """The state of a job that did this, after its end."""
    launcher = LocalProcess(perform)
    launched.append(launcher)
    launcher.launch(Work(run_id, {"RUN_ID": run_id}), 1)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (state := launcher.jobs()[run_id]).alive:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return state


def test_a_job_is_a_process_of_its_own_with_everything_imported(
    launched: list[LocalProcess], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTH_USERS", "not for workers")
    run_id = str(uuid.uuid4())
    path = tmp_path / "facts.json"
    state = ended(launched, partial(report, path), run_id)
    assert state == JobState(alive=False, exit_code=0, launch=1)
    facts = json.loads(path.read_text())
    assert {"worker", "pandas", "matplotlib.figure", "service.worker.run"} <= set(facts["modules"])
    assert facts["session"] == facts["pid"], "the terminal's Ctrl-C does not reach it"
    assert facts["parent"] != os.getpid(), "it is a fork of the process with the imports"
    assert facts["name"] == run_id[:15]
    assert facts["environment"]["RUN_ID"] == run_id
    assert "AUTH_USERS" not in facts["environment"]


@pytest.mark.parametrize(
    ("perform", "exit_code"), [(partial(sys.exit, 3), 3), (crash, 1), (killed, -9)]
)
def test_the_exit_code_says_how_it_ended(
    launched: list[LocalProcess], perform: Perform, exit_code: int
) -> None:
    assert ended(launched, perform, str(uuid.uuid4())).exit_code == exit_code


def test_a_job_may_have_processes_of_its_own(launched: list[LocalProcess], tmp_path: Path) -> None:
    state = ended(launched, partial(use_a_pool, tmp_path / "sum"), str(uuid.uuid4()))
    assert state.exit_code == 0
    assert (tmp_path / "sum").read_text() == "6"


def use_a_pool(path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(1) as pool:
        path.write_text(str(pool.apply(sum, [(1, 2, 3)])))


def test_a_job_is_ended_though_the_process_it_was_forked_from_has_died(
    launched: list[LocalProcess], tmp_path: Path
) -> None:
    launcher = LocalProcess(partial(sleep, tmp_path / "up"))
    launched.append(launcher)
    run_id = str(uuid.uuid4())
    launcher.launch(Work(run_id, {}), 1)
    while not (tmp_path / "up").exists():
        time.sleep(0.01)
    forked_from, pid = map(int, (tmp_path / "up").read_text().split())
    os.kill(forked_from, signal.SIGKILL)
    while launcher._children[run_id].process.exitcode is None:
        time.sleep(0.01)
    assert launcher.jobs()[run_id].alive
    launcher.remove(run_id)
    assert is_dead(pid)
    after = ended(launched, partial(sys.exit, 3), str(uuid.uuid4()))
    assert after.exit_code == 3, "another process is forked from"


@pytest.mark.parametrize("outcome", ["stopped", "ended"])
def test_what_a_job_started_ends_with_it(
    launched: list[LocalProcess], tmp_path: Path, outcome: str
) -> None:
    """A rule may start processes that ignore that they are told to end."""
    launcher = LocalProcess(partial(leave_a_process, tmp_path / "up", outcome == "ended"))
    launched.append(launcher)
    run_id = str(uuid.uuid4())
    launcher.launch(Work(run_id, {}), 1)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (tmp_path / "up").exists() or launcher.jobs()[run_id].alive == (outcome == "ended"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    _, pid = map(int, (tmp_path / "up").read_text().split())
    assert not is_dead(pid)
    launcher.remove(run_id)
    while not is_dead(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def leave_a_process(path: Path, ends: bool) -> None:
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sleep(path)
    if ends:
        os._exit(0)
    time.sleep(PATIENCE_SECONDS)


def is_dead(pid: int) -> bool:
    """Whether it is gone, or nobody has asked for its exit code yet."""
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return True


def sleep(path: Path) -> None:
    part = path.with_suffix(".part")
    part.write_text(f"{os.getppid()} {os.getpid()}")
    part.rename(path)
    time.sleep(PATIENCE_SECONDS)


def test_closing_ends_every_job(tmp_path: Path) -> None:
    launcher = LocalProcess(partial(sleep, tmp_path / "up"))
    launcher.launch(Work(str(uuid.uuid4()), {}), 1)
    launcher.close()
    assert launcher.jobs() == {}


def test_a_rule_that_cannot_be_made_stops_no_worker(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A plug-in is left out for it, and a worker begins all the same."""

    def fail() -> None:
        raise ValueError("its default is out of its range")

    preloaded._hash_sources_of(fail)  # type: ignore[arg-type]
    assert "ERROR" not in caplog.text


def test_two_jobs_are_two_workers(launched: list[LocalProcess], tmp_path: Path) -> None:
    for name in ("one", "two"):
        ended(launched, partial(note_worker, tmp_path / name), str(uuid.uuid4()))
    assert (tmp_path / "one").read_text() != (tmp_path / "two").read_text()


def note_worker(path: Path) -> None:
    from service.worker.holding import this_worker

    path.write_text(this_worker())
