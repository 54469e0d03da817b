"""The parts of listed objects that are looked at; the rest of an object, most of it, is skipped."""

from __future__ import annotations

from typing import Any, Generic, Required, TypedDict, TypeVar

import msgspec

# An object of the cluster as JSON has it
Object = dict[str, Any]

# The labels that are looked at of a listed Job or pod; template.py writes them.
Labels = TypedDict(
    "Labels", {"stock-backtest/run-id": str, "stock-backtest/launch": str}, total=False
)


class Metadata(TypedDict, total=False):
    """The part of the metadata of a Job or a pod that is looked at."""

    name: str
    uid: str
    labels: Labels
    creationTimestamp: str
    deletionTimestamp: str


class Condition(TypedDict, total=False):
    """The part of a condition of a Job or a pod that is looked at."""

    type: str
    status: str
    reason: str
    message: str


class Waiting(TypedDict, total=False):
    """Why a container has not started."""

    reason: str
    message: str


class Terminated(TypedDict, total=False):
    """How a container ended."""

    exitCode: int
    reason: str
    finishedAt: str | None


class ContainerState(TypedDict, total=False):
    """The part of a container's state that is looked at."""

    waiting: Waiting | None
    terminated: Terminated | None


class ContainerStatus(TypedDict, total=False):
    """The part of a container's status that is looked at."""

    name: str
    image: str
    state: ContainerState


class Status(TypedDict, total=False):
    """The part of the status of a Job or a pod that is looked at."""

    conditions: list[Condition] | None
    # of a Job: its numbers of pods
    active: int
    failed: int
    # of a pod
    phase: str
    reason: str
    initContainerStatuses: list[ContainerStatus] | None
    containerStatuses: list[ContainerStatus] | None


class JobOrPod(TypedDict, total=False):
    """The part of a listed Job or pod that is looked at; the rest of it, most of it, is skipped."""

    metadata: Required[Metadata]
    status: Status


Item = TypeVar("Item")


class Page(msgspec.Struct, Generic[Item]):
    """An answer to a LIST; `metadata` may say how to `continue`."""

    items: list[Item] | None
    metadata: Object
