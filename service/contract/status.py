"""Status v1: the state of a run, the reason, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """The states of a run; the last three are final."""

    PENDING = "pending"
    RUNNING = "running"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether the run has ended."""
        return self in (Status.COMPLETED, Status.FAILED, Status.CANCELLED)


# The kinds of runs.
BACKTEST = "backtest"
SWEEP = "sweep"
PRICES = "prices"  # a vendor is asked for them
FORWARD = "forward"  # starred runs go on with newer prices
KINDS = (BACKTEST, SWEEP, PRICES, FORWARD)


class Reason(StrEnum):
    """Why a run ended without a result, or is waiting."""

    BAD_INPUT = "BadInput"
    NO_DATA = "NoData"
    ENGINE_ERROR = "EngineError"
    LOOK_AHEAD = "LookAhead"
    RULES_MISMATCH = "RulesMismatch"
    WORKER_LOST = "WorkerLost"
    OUT_OF_MEMORY = "OutOfMemory"
    TIMEOUT = "Timeout"
    RETRIES_EXHAUSTED = "RetriesExhausted"
    NO_RESULT_WRITTEN = "NoResultWritten"
    LAUNCH_FAILED = "LaunchFailed"
    NAME_CONFLICT = "NameConflict"
    ADMISSION_DENIED = "AdmissionDenied"
    QUOTA_EXCEEDED = "QuotaExceeded"
    CONFIG_ERROR = "ConfigError"
    IMAGE_PULL = "ImagePull"
    UNSCHEDULABLE = "Unschedulable"
    JOB_LOST = "JobLost"
    CLUSTER_AWAY = "ClusterAway"
    DISRUPTED = "Disrupted"
    CANCELLED_BY_USER = "CancelledByUser"
    BAD_ROW = "BadRow"
    VENDOR_FAILED = "VendorFailed"
    WAITING_FOR_QUOTA = "WaitingForQuota"


HINTS: Mapping[Reason, str] = {
    Reason.BAD_INPUT: "Change the request as the message says and run it again.",
    Reason.NO_DATA: "Choose other dates or another ticker, or import more prices.",
    Reason.ENGINE_ERROR: (
        "The engine failed; an operator finds the trace in the log by the run_id."
    ),
    Reason.LOOK_AHEAD: (
        "The rule uses prices that nobody knew yet; its author must mend it, then run again."
    ),
    Reason.RULES_MISMATCH: (
        "The rules changed since the web was started; restart the web, then run again."
    ),
    Reason.WORKER_LOST: "The worker was lost several times; run it again or check the log.",
    Reason.OUT_OF_MEMORY: (
        "The worker was killed, probably because it ran out of memory; choose fewer bars or give it"
        " more memory."
    ),
    Reason.TIMEOUT: "The run took longer than RUN_TIMEOUT_SECONDS; choose fewer bars or raise it.",
    Reason.RETRIES_EXHAUSTED: (
        "The worker failed repeatedly; an operator finds the reason in the log by the run_id."
    ),
    Reason.NO_RESULT_WRITTEN: ("The worker ended without a result; run it again or check the log."),
    Reason.LAUNCH_FAILED: (
        "The worker could not be started; an operator finds the reason in the log."
    ),
    Reason.NAME_CONFLICT: (
        "Another Job of the cluster has the name of this run's Job; send a new run_id."
    ),
    Reason.ADMISSION_DENIED: (
        "The cluster refuses the worker; an operator must fix what the message names."
    ),
    Reason.QUOTA_EXCEEDED: (
        "The cluster's quota is used up; the run starts when there is room, or with a larger quota."
    ),
    Reason.CONFIG_ERROR: (
        "The worker's settings are incomplete; an operator must fix what the message names."
    ),
    Reason.IMAGE_PULL: (
        "The cluster cannot get the worker's image; an operator must check worker.image and the"
        " pull secrets."
    ),
    Reason.UNSCHEDULABLE: (
        "No node has room for the worker; an operator must add one or lower worker.resources."
    ),
    Reason.CANCELLED_BY_USER: "Run it again if it was cancelled by mistake.",
    Reason.CLUSTER_AWAY: (
        "The controller cannot reach the cluster's Jobs; an operator must fix what the message"
        " names."
    ),
    Reason.DISRUPTED: ("The cluster took the worker's node away; the run starts again by itself."),
    Reason.BAD_ROW: (
        "Something wrote into the database what the platform cannot read; ask for the run again."
    ),
    Reason.WAITING_FOR_QUOTA: (
        "The run waits for its turn in the cluster's own queue, such as Kueue's, and starts by"
        " itself."
    ),
    Reason.VENDOR_FAILED: "Ask for the prices again later, or store them from a file.",
    Reason.JOB_LOST: "The Job was deleted while it ran; run it again.",
}


NO_CONTROLLER = (
    "Nobody starts runs: no controller is active. Start one with python -m service.controller."
)


ATTACHED = "An identical run is already at work; this one gets the same result."


class ExitCode:
    """The exit codes of a worker, from which the controller learns how it ended."""

    DONE = 0
    BAD_INPUT = 64
    NO_DATA = 65
    ENGINE_ERROR = 70
    DATABASE_AWAY = 75
    STOPPED = 143


@dataclass(frozen=True)
class RunStatus:
    """The answer of GET /status/<run_id>; times are ISO 8601 in UTC."""

    run_id: str
    status: str
    reason: str | None = None
    hint: str | None = None
    attempt: int = 0
    reused_from: str | None = None
    queue_position: int | None = None
    created_at: str | None = None
    started_at: str | None = None
    finished_at: str | None = None
    poll_after_s: float | None = None

    def document(self) -> dict[str, Any]:
        """The JSON document."""
        return asdict(self)
