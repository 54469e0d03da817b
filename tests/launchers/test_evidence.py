"""The lines of a log and the events that stand beside a failed run."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from service.launchers.kubernetes.evidence import (
    MAX_BYTES,
    MAX_LINE_CHARACTERS,
    MAX_LINES,
    event_lines,
    evidence_json,
    log_lines,
)

TRACE = """Traceback (most recent call last):
  File "/app/worker.py", line 3, in <module>
    import nowhere
ModuleNotFoundError: No module named 'nowhere'
"""


def entry(message: str, **more: str) -> str:
    return json.dumps(
        {
            "time": "12:00",
            "level": "ERROR",
            "logger": "service",
            "run_id": "r",
            "message": message,
            **more,
        }
    )


def test_lines_of_our_own_log_are_read() -> None:
    assert log_lines(entry("The engine failed", trace=TRACE)) == [
        "12:00 ERROR service: The engine failed"
    ]
    assert log_lines('{"time": 1}\n[1]\nnull\n"x"') == ['{"time": 1}', "[1]", "null", '"x"']


def test_a_crash_is_named_without_its_frames() -> None:
    assert log_lines(f"before\n{TRACE}after\n  indented") == [
        "before",
        "ModuleNotFoundError: No module named 'nowhere'",
        "after",
        "  indented",
    ]


def test_the_last_lines_are_the_ones_that_count() -> None:
    lines = log_lines("\n".join(f"line {number}" for number in range(1000)))
    assert lines == [f"line {number}" for number in range(1000 - MAX_LINES, 1000)]


def test_a_traceback_whose_head_was_cut_off_or_that_a_message_quotes() -> None:
    assert log_lines("    import nowhere\n" + "x: y\nafter") == ["x: y", "after"]
    assert log_lines(entry(f"Worse:\n{TRACE}[SQL: SELECT secret]")) == [
        "12:00 ERROR service: Worse:",
        "ModuleNotFoundError: No module named 'nowhere'",
    ]
    grouped = "  + Exception Group Traceback (most recent call last):\n  |   File x\nafter"
    assert log_lines(f"before\n{grouped}") == ["before", "after"]


@given(st.text(), st.text(), st.integers(1, 500))
def test_whatever_a_worker_and_a_cluster_say_fits_into_the_column(
    text: str, message: str, times: int
) -> None:
    about = {
        "involvedObject": {"kind": "Pod", "name": "p"},
        "reason": "Failed",
        "message": message * times,
    }
    evidence = {
        "exit_code": 1,
        "log": log_lines(f"{text}\n" * times),
        "events": event_lines([about] * times),
    }
    assert len(evidence_json(evidence).encode()) <= MAX_BYTES
    assert json.loads(evidence_json(evidence))["exit_code"] == 1


def test_the_newest_lines_are_kept_where_it_is_too_much() -> None:
    lines = [f"{number} " + "\U0001f4c9" * 499 for number in range(200)]
    kept = json.loads(evidence_json({"log": lines, "events": ["e"]}))
    assert kept["events"] == ["e"]
    assert kept["log"] == lines[-len(kept["log"]) :] != []


def test_lines_that_no_parser_likes() -> None:
    assert log_lines("[" * 5000)[0].startswith("[[")
    odd = json.dumps({"time": 1, "level": 2, "logger": 3, "message": "\ud800"})
    assert json.loads(evidence_json({"log": log_lines(odd)})) == {"log": ["1 2 3: ?"]}


def test_events_without_moment_or_message() -> None:
    about = {"involvedObject": {"kind": "Pod", "name": "p"}, "reason": "Failed"}
    new = {
        **about,
        "lastTimestamp": None,
        "eventTime": "2026-01-01T12:00:00.000000Z",
        "message": "x" * 9999,
    }
    *bare, long = event_lines([new, about, {}])
    assert bare == [" Pod p: Failed: ", "  : : "]
    assert len(long) == MAX_LINE_CHARACTERS
