"""What a failed run leaves behind in the cluster, made fit to stand beside it: pure functions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

LINES, LINE_CHARACTERS, BYTES = 200, 500, 60_000  # a database column holds 65,535 bytes
MORE_LINES = 1000  # that are asked for: stack traces are left out
EVENTS = 20


def log_lines(text: str) -> list[str]:
    """The last lines that the worker wrote, without stack traces: those never leave the log."""
    plain = [line for written in text.splitlines() for line in _plain(written).splitlines()]
    return [line[:LINE_CHARACTERS] for line in _without_frames(plain) if line][-LINES:]


def event_lines(events: Iterable[Mapping[str, Any]]) -> list[str]:
    """What happened to the Job and its pods, the latest last: moment, object, reason and message."""
    return [_event(event) for event in sorted(events, key=moment_of)[-EVENTS:]]


def moment_of(event: Mapping[str, Any]) -> str:
    """When an event was seen the last time, ISO 8601; empty when it does not say."""
    return str(event.get("lastTimestamp") or event.get("eventTime") or "")


def fitted(evidence: Mapping[str, Any]) -> str:
    """As JSON that fits into its column: the oldest lines of the log go first, then the oldest events."""
    kept = {
        name: list(value) if isinstance(value, list) else value for name, value in evidence.items()
    }
    while len(text := json.dumps(kept, ensure_ascii=False).encode(errors="replace")) > BYTES:
        oldest = kept.get("log") or kept["events"]
        del oldest[: len(oldest) // 10 + 1]
    return text.decode()


def _event(event: Mapping[str, Any]) -> str:
    about = event.get("involvedObject") or {}
    times = f" ({event['count']} times)" if (event.get("count") or 1) > 1 else ""
    said = f"{about.get('kind', '')} {about.get('name', '')}: {event.get('reason', '')}: {event.get('message', '')}"
    return f"{moment_of(event)} {said}{times}"[:LINE_CHARACTERS]


def _plain(line: str) -> str:
    """A line of our own JSON log as text; what a worker's own code prints may be anything."""
    try:
        entry = json.loads(line)
        return f"{entry['time']} {entry['level']} {entry['logger']}: {entry['message']}"
    except (ValueError, KeyError, TypeError, RecursionError):
        return line


def _without_frames(lines: Sequence[str]) -> Iterable[str]:
    """The lines but for the frames of Python's tracebacks, of which the error at their end stays.

    The first ones may belong to a traceback whose head was cut off, as long as they are indented.
    """
    inside = True
    for line in lines:
        if "Traceback (most recent call last)" in line:
            inside = True
        elif line.startswith(("[SQL:", "[parameters:")):
            continue
        elif not (inside and line.startswith((" ", "\t"))):
            inside = False
            yield line
