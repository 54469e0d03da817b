"""Launchers whose jobs do what the test says."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from service.launchers.launcher import (
    JobState,
    LaunchDelayed,
    Launcher,
    LauncherAway,
    LaunchFailed,
    Work,
)


class ByHand(Launcher):
    """Jobs that do what the test says."""

    def __init__(self) -> None:
        self.states: dict[str, JobState] = {}
        self.launched: list[str] = []
        self.removed: list[str] = []
        self.refuse = False

    def launch(self, work: Work, number: int) -> None:
        if self.refuse:
            raise LaunchFailed("no room")
        self.launched.append(work.run_id)
        self.states[work.run_id] = JobState(alive=True, launch=number)

    def jobs(self, expected: Collection[str] = ()) -> Mapping[str, JobState]:
        return dict(self.states)

    def remove(self, run_id: str, force: bool = False) -> None:
        self.removed.append(run_id)
        self.states.pop(run_id, None)


class OnACluster(ByHand):
    """Jobs that outlive their controller and leave slowly."""

    jobs_outlive_controller = True

    def __init__(self) -> None:
        super().__init__()
        self.delay: LaunchDelayed | LauncherAway | None = None
        self.forced: list[str] = []

    def launch(self, work: Work, number: int) -> None:
        if self.delay:
            raise self.delay
        super().launch(work, number)

    def remove(self, run_id: str, force: bool = False) -> None:
        self.removed.append(run_id)
        self.forced += [run_id] if force else []
        if run_id in self.states:
            self.states[run_id] = replace(
                self.states[run_id], leaving=self.states[run_id].leaving or 1.0
            )
