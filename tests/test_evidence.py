"""The lines of a log and the events that stand beside a failed run."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from service.launchers.evidence import BYTES, LINE_CHARACTERS, LINES, event_lines, log_lines

TRACE = """Traceback (most recent call last):
  File "/app/worker.py", line 3, in <module>
    import nowhere
ModuleNotFoundError: No module named 'nowhere'
"""


def entry(message: str, **more: str) -> str:
    return json.dumps(
        {"time": "12:00", "level": "ERROR", "logger": "service", "run_id": "r", "message": message, **more}
    )


def test_lines_of_our_own_log_are_read() -> None:
    assert log_lines(entry("The engine failed", trace=TRACE)) == ["12:00 ERROR service: The engine failed"]
    assert log_lines('{"time": 1}\n[1]\nnull\n"x"') == ['{"time": 1}', "[1]", "null", '"x"']


def test_a_crash_is_named_without_its_frames() -> None:
    assert log_lines(f"before\n{TRACE}after\n  indented") == [
        "before", "ModuleNotFoundError: No module named 'nowhere'", "after", "  indented",
    ]  # fmt: skip


def test_the_last_lines_are_the_ones_that_count() -> None:
    found = log_lines("\n".join(f"line {number}" for number in range(1000)))
    assert found == [f"line {number}" for number in range(1000 - LINES, 1000)]


@settings(deadline=None)
@given(st.text(), st.integers(1, 500))
def test_whatever_a_worker_writes_fits_into_the_column(text: str, times: int) -> None:
    lines = log_lines(f"{text}\n" * times)
    assert len(json.dumps(lines, ensure_ascii=False).encode()) <= BYTES + 2 * LINES + 2
    assert all(0 < len(line) <= LINE_CHARACTERS for line in lines)


def test_events_without_moment_or_message() -> None:
    about = {"involvedObject": {"kind": "Pod", "name": "p"}, "reason": "Failed"}
    new = {**about, "lastTimestamp": None, "eventTime": "2026-01-01T12:00:00.000000Z", "message": "x" * 9999}
    first, second = event_lines([new, about])
    assert first == " Pod p: Failed: "
    assert len(second) == LINE_CHARACTERS
