"""What many clients asked and were answered under faults, and whether it could be true.

Each call is known by when it began and when its answer was there. One that had its answer before
another began happened before it: what the second says may not contradict the first. Of two that
overlap either may have been first. The idea is that of the checkers of histories for databases
(Jepsen, Knossos), for the promises of this service.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from service.contract.status import Status

# What never changes once a run has ended.
OF_THE_END = ("status", "reason", "attempt", "started_at", "finished_at", "reused_from")
LOST = 404
ACCEPTED = 202
ANSWERED = 200
CONFLICT = 409
SYSTEM_ERROR = 500


@dataclass(frozen=True)
class Call:
    """`what` was asked of a run, and the answer: its HTTP status, 0 where none came, and `seen`.

    `what` is submit, status, result or cancel. `seen` is the answer's document; of a result it has
    the digest of all its bytes.
    """

    what: str
    run_id: str
    began: float
    ended: float
    code: int
    seen: Mapping[str, Any] = field(default_factory=dict)

    def is_before(self, other: Call) -> bool:
        """Whether its answer was there when the other one began."""
        return self.ended <= other.began


class History:
    """Written by many threads."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._claims: dict[tuple[str, int], set[str]] = defaultdict(set)
        self._lock = threading.Lock()

    @contextmanager
    def call(self, what: str, run_id: str) -> Iterator[dict[str, Any]]:
        """Records a call; its `code` and what was `seen` are put into the dictionary."""
        answer: dict[str, Any] = {}
        began = time.monotonic()
        try:
            yield answer
        finally:
            ended = time.monotonic()
            call = Call(what, run_id, began, ended, answer.get("code", 0), answer.get("seen") or {})
            with self._lock:
                self.calls.append(call)

    def note_claim(self, run_id: str, attempt: int, worker: str) -> None:
        """A row was seen with this worker at this attempt."""
        with self._lock:
            self._claims[run_id, attempt].add(worker)

    def contradictions(self) -> list[str]:
        """A sentence for each promise that was not kept; none where the history could be true."""
        calls_of: dict[str, list[Call]] = defaultdict(list)
        for call in sorted(self.calls, key=lambda call: call.began):
            calls_of[call.run_id].append(call)
        found = [
            f"{run_id}: {sentence}"
            for run_id, calls in calls_of.items()
            for sentence in _contradictions(calls)
        ]
        shared = [key for key, workers in self._claims.items() if len(workers) > 1]
        return [*found, *(f"{run_id}: attempt {attempt} is shared" for run_id, attempt in shared)]


def _contradictions(calls: Sequence[Call]) -> Iterator[str]:
    """Of one run, in the order in which its calls began."""
    yield from _lost(calls)
    yield from _refused(calls)
    yield from _changed_ends(calls)
    yield from _steps_back(calls)
    yield from _results(calls)
    yield from _cancelled(calls)


def _lost(calls: Sequence[Call]) -> Iterator[str]:
    """Once accepted, a run is there."""
    accepted = [call for call in calls if (call.what, call.code) == ("submit", ACCEPTED)]
    first = min(accepted, key=lambda call: call.ended, default=None)
    for call in calls:
        if first is not None and call.code == LOST and first.is_before(call):
            yield f"lost: accepted, and then {call.what} says 404"


def _refused(calls: Sequence[Call]) -> Iterator[str]:
    """What is asked rightly is answered: errors of the system may come, others may not.

    Too late to cancel is an answer, and so is that a run_id belongs to another request.
    """
    for call in calls:
        is_expected = call.code in (0, ANSWERED, ACCEPTED, LOST) or call.code >= SYSTEM_ERROR
        is_conflict = call.what in ("cancel", "submit") and call.code == CONFLICT
        if not is_expected and not is_conflict:
            yield f"{call.what} is refused with {call.code}"


def _seen_statuses(calls: Iterable[Call]) -> list[Call]:
    return [call for call in calls if call.what == "status" and call.code == ANSWERED]


def _is_end(call: Call) -> bool:
    return Status(call.seen["status"]).final


def _changed_ends(calls: Sequence[Call]) -> Iterator[str]:
    """There is one end, and everybody sees the same."""
    ends = {_end_of(call) for call in _seen_statuses(calls) if _is_end(call)}
    if len(ends) > 1:
        yield f"it has ended in {len(ends)} ways: {sorted(map(str, ends))}"


def _end_of(call: Call) -> tuple[Any, ...]:
    return tuple(call.seen.get(name) for name in OF_THE_END)


def _steps_back(calls: Sequence[Call]) -> Iterator[str]:
    """What has ended does not go on, and attempts are counted up."""
    seen = _seen_statuses(calls)
    ends = [*filter(_is_end, seen), *(call for call in calls if _is_result(call))]
    for later in seen:
        before = [call for call in seen if call.is_before(later)]
        if not _is_end(later) and any(end.is_before(later) for end in ends):
            yield f"it had ended and is {later.seen['status']} again"
        if max((call.seen["attempt"] for call in before), default=0) > later.seen["attempt"]:
            yield f"attempt {later.seen['attempt']} comes after a later one"


def _results(calls: Sequence[Call]) -> Iterator[str]:
    """A completed run has one result, which everybody sees from its end on."""
    completed = [call for call in _seen_statuses(calls) if call.seen["status"] == Status.COMPLETED]
    results = [call for call in calls if _is_result(call)]
    if completed and len({call.seen["digest"] for call in results}) > 1:
        yield "its result has changed"
    for call in calls:
        is_missing = call.what == "result" and call.code in (ACCEPTED, LOST)
        if is_missing and any(end.is_before(call) for end in (*completed, *results)):
            yield f"it has ended and its result says {call.code}"


def _is_result(call: Call) -> bool:
    """Only a run that has ended has one."""
    return (call.what, call.code) == ("result", ANSWERED)


def _cancelled(calls: Sequence[Call]) -> Iterator[str]:
    """Who was told that it is cancelled never sees it end otherwise, or go on."""
    told = [call for call in calls if (call.what, call.code) == ("cancel", ACCEPTED)]
    for call in _seen_statuses(calls):
        is_later = any(each.is_before(call) for each in told)
        is_other_end = _is_end(call) and call.seen["status"] != Status.CANCELLED
        goes_on = call.seen["status"] not in (Status.CANCELLING, Status.CANCELLED)
        if (told and is_other_end) or (is_later and goes_on):
            yield f"a cancelled run is {call.seen['status']}"
            return
