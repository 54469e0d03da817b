"""Launchers whose jobs do what the test says."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from service.contract.request import BacktestRequest
from service.launchers.launcher import (
    JobState,
    LaunchDelayed,
    Launcher,
    LauncherAway,
    LaunchFailed,
)


class ByHand(Launcher):
    """Jobs that do what the test says."""

    def __init__(self) -> None:
        self.states: dict[str, JobState] = {}
        self.launched: list[str] = []
        self.removed: list[str] = []
        self.refuse = False

    def launch(self, request: BacktestRequest, number: int) -> None:
        if self.refuse:
            raise LaunchFailed("no room")
        self.launched.append(request.run_id)
        self.states[request.run_id] = JobState(alive=True, launch=number)

    def jobs(self, expected: Collection[str] = ()) -> Mapping[str, JobState]:
        return dict(self.states)

    def remove(self, run_id: str, force: bool = False) -> None:
        self.removed.append(run_id)
        self.states.pop(run_id, None)


class OnACluster(ByHand):
    """Jobs that outlive their controller and leave slowly."""

    independent = True

    def __init__(self) -> None:
        super().__init__()
        self.delay: LaunchDelayed | LauncherAway | None = None
        self.forced: list[str] = []

    def launch(self, request: BacktestRequest, number: int) -> None:
        if self.delay:
            raise self.delay
        super().launch(request, number)

    def remove(self, run_id: str, force: bool = False) -> None:
        self.removed.append(run_id)
        self.forced += [run_id] if force else []
        if run_id in self.states:
            self.states[run_id] = replace(
                self.states[run_id], leaving=self.states[run_id].leaving or 1.0
            )
