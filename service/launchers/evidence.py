"""What a failed run leaves behind in the cluster, made fit to stand beside it: pure functions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

LINES, LINE_CHARACTERS, BYTES = 200, 500, 40_000  # a database column holds 65,535 bytes of it
EVENTS = 20


def log_lines(text: str) -> list[str]:
    """The last lines that the worker wrote, without stack traces: those never leave the log."""
    shown = [line[:LINE_CHARACTERS] for line in map(_plain, _without_frames(text.splitlines())) if line]
    shown, size = shown[-LINES:], 0
    for kept, line in enumerate(reversed(shown)):
        size += len(json.dumps(line, ensure_ascii=False).encode())
        if size > BYTES:
            return shown[len(shown) - kept :]
    return shown


def event_lines(events: Iterable[Mapping[str, Any]]) -> list[str]:
    """What happened to the Job and its pods, the latest last: moment, object, reason and message."""
    return [_event(event) for event in sorted(events, key=moment_of)[-EVENTS:]]


def moment_of(event: Mapping[str, Any]) -> str:
    """When an event was seen the last time, ISO 8601; empty when it does not say."""
    return str(event.get("lastTimestamp") or event.get("eventTime") or "")


def _event(event: Mapping[str, Any]) -> str:
    about = event["involvedObject"]
    times = f" ({event['count']} times)" if event.get("count", 1) > 1 else ""
    line = f"{moment_of(event)} {about['kind']} {about['name']}: {event['reason']}: {event.get('message', '')}{times}"
    return line[:LINE_CHARACTERS]


def _plain(line: str) -> str:
    """A line of our own JSON log as text."""
    try:
        entry = json.loads(line)
        return f"{entry['time']} {entry['level']} {entry['logger']}: {entry['message']}"
    except (ValueError, KeyError, TypeError):
        return line


def _without_frames(lines: Sequence[str]) -> Iterable[str]:
    """The lines but for the frames of a Python traceback, of which the error at its end stays."""
    inside = False
    for line in lines:
        if line.startswith("Traceback (most recent call last)"):
            inside = True
        elif not (inside and line.startswith(" ")):
            inside = False
            yield line
