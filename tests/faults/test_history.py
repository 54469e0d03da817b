"""The checker of histories finds each broken promise, and nothing in a history that may be true."""

from __future__ import annotations

from typing import Any

import pytest

from tests.faults.history import Call, History

RUN = "r"
END = {"status": "completed", "reason": None, "attempt": 1, "finished_at": "12:00"}
WAITS = {"status": "pending", "reason": None, "attempt": 0}
RUNS = {"status": "running", "reason": None, "attempt": 1}


def submitted(began: float, code: int = 202) -> Call:
    return Call("submit", RUN, began, began + 1, code)


def status(began: float, seen: dict[str, Any], code: int = 200) -> Call:
    return Call("status", RUN, began, began + 1, code, seen)


def result(began: float, digest: str = "a", code: int = 200) -> Call:
    return Call("result", RUN, began, began + 1, code, {"digest": digest})


def cancelled(began: float, code: int = 202) -> Call:
    return Call("cancel", RUN, began, began + 1, code)


def found(*calls: Call) -> list[str]:
    history = History()
    history.calls = list(calls)
    return history.contradictions()


TRUE = {
    "an ordinary one": [submitted(0), status(2, WAITS), status(4, RUNS), status(6, END), result(8)],
    "not there before it was accepted": [status(0, {}, 404), submitted(0.5), status(2, WAITS)],
    "accepted twice": [submitted(0), submitted(2), status(4, RUNS)],
    "no answer": [submitted(0), status(2, {}, 0), status(4, {}, 503), status(6, END)],
    "back to the queue": [status(0, RUNS), status(2, {**WAITS, "attempt": 1}), status(4, END)],
    "two at once, in either order": [status(0, END), status(0.5, RUNS)],
    "a result that comes with the end": [result(0, code=202), status(0.5, END), result(2)],
    "cancelled": [submitted(0), cancelled(2), status(4, {**END, "status": "cancelled"})],
    "cancelled while it ran": [
        status(0, RUNS),
        cancelled(2),
        status(4, {**RUNS, "status": "cancelling"}),
    ],
    "running when the cancel came": [cancelled(0), status(0.5, RUNS)],
    "too late to cancel": [status(0, END), cancelled(2, 409), status(4, END)],
    "evidence that came later": [
        status(0, {**END, "status": "failed", "reason": "Timeout"}),
        result(2, "a"),
        result(4, "b"),
    ],
}
FALSE = {
    "lost": [submitted(0), status(2, {}, 404)],
    "2 ways": [status(0, END), status(0.5, {**END, "finished_at": "12:01"})],
    "it had ended and is running again": [status(0, END), status(2, RUNS)],
    "attempt 1 comes after": [status(0, {**RUNS, "attempt": 2}), status(2, RUNS)],
    "its result has changed": [status(0, END), result(2, "a"), result(4, "b")],
    "its result says 404": [status(0, END), result(2, code=404)],
    "its result says 202": [status(0, END), result(2, code=202)],
    "it has ended and its result says 404": [result(0), result(2, code=404)],
    "it has ended and its result says 202": [result(0), result(2, code=202)],
    "it had ended and is pending again": [result(0), status(2, WAITS), status(4, END)],
    "and then result says 404": [submitted(0), result(2, code=404)],
    "result is refused with 409": [submitted(0), result(2, code=409)],
    "status is refused with 410": [submitted(0), status(2, {}, 410)],
    "a cancelled run is running": [cancelled(0), status(2, RUNS)],
    "a cancelled run is completed": [cancelled(0), status(2, END)],
}


@pytest.mark.parametrize("name", TRUE)
def test_what_may_be_true_is_believed(name: str) -> None:
    assert found(*TRUE[name]) == []


@pytest.mark.parametrize("promise", FALSE)
def test_a_broken_promise_is_found(promise: str) -> None:
    (sentence, *_) = found(*FALSE[promise])
    assert promise in sentence


def test_a_claim_belongs_to_one_worker() -> None:
    history = History()
    for worker in ("a", "a", "b"):
        history.note_claim(RUN, 1, worker)
    history.note_claim(RUN, 2, "c")
    assert history.contradictions() == [f"{RUN}: attempt 1 is shared"]


def test_a_call_that_fails_is_recorded_without_an_answer() -> None:
    history = History()
    with pytest.raises(OSError, match="gone"), history.call("status", RUN):
        raise OSError("gone")
    (call,) = history.calls
    assert (call.what, call.run_id, call.code) == ("status", RUN, 0)
    assert call.began <= call.ended
