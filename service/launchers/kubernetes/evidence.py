"""What a failed run leaves behind in the cluster, in a form that is stored with it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

MAX_LINES = 200
MAX_LINE_CHARACTERS = 500
MAX_EVENTS = 20
# The database column holds 65,535 bytes.
MAX_BYTES = 60_000
# More lines of a log are read than are kept, because stack traces are left out.
LINES_TO_READ = 1000


def log_lines(text: str) -> list[str]:
    """The last lines that the worker wrote, without stack traces: users must not see those."""
    lines = [line for written in text.splitlines() for line in _message(written).splitlines()]
    kept = [line[:MAX_LINE_CHARACTERS] for line in _without_stack_frames(lines) if line]
    return kept[-MAX_LINES:]


def event_lines(events: Iterable[Mapping[str, Any]]) -> list[str]:
    """The last events of the Job and its pods: moment, object, reason and message of each."""
    return [_event_line(event) for event in sorted(events, key=moment_of)[-MAX_EVENTS:]]


def moment_of(event: Mapping[str, Any]) -> str:
    """When an event was seen the last time, in ISO 8601; empty when it does not say."""
    return str(event.get("lastTimestamp") or event.get("eventTime") or "")


def evidence_json(evidence: Mapping[str, Any]) -> str:
    """The evidence as JSON of at most MAX_BYTES.

    Where it is too long, the oldest lines of the log are left out first, then the oldest events.
    """
    kept = {
        name: list(value) if isinstance(value, list) else value for name, value in evidence.items()
    }
    text = _encode(kept)
    while len(text) > MAX_BYTES:
        lines = kept.get("log") or kept["events"]
        del lines[: len(lines) // 10 + 1]
        text = _encode(kept)
    return text.decode()


def _encode(evidence: Mapping[str, Any]) -> bytes:
    return json.dumps(evidence, ensure_ascii=False).encode(errors="replace")


def _event_line(event: Mapping[str, Any]) -> str:
    about = event.get("involvedObject") or {}
    subject = f"{about.get('kind', '')} {about.get('name', '')}"
    line = f"{moment_of(event)} {subject}: {event.get('reason', '')}: {event.get('message', '')}"
    count = event.get("count") or 1
    if count > 1:
        line += f" ({count} times)"
    return line[:MAX_LINE_CHARACTERS]


def _message(line: str) -> str:
    """An entry of our JSON log as text; any other line, which a rule may have printed, as it is."""
    try:
        entry = json.loads(line)
        return f"{entry['time']} {entry['level']} {entry['logger']}: {entry['message']}"
    except (ValueError, KeyError, TypeError, RecursionError):
        return line


def _without_stack_frames(lines: Iterable[str]) -> Iterator[str]:
    """The lines without the frames of Python's tracebacks; the error at their end is kept.

    The first lines may belong to a traceback whose head was cut off, so that indented lines at the
    beginning are frames too.
    """
    is_in_traceback = True
    for line in lines:
        if "Traceback (most recent call last)" in line:
            is_in_traceback = True
        elif line.startswith(("[SQL:", "[parameters:")):
            continue
        elif not is_in_traceback or not line.startswith((" ", "\t")):
            is_in_traceback = False
            yield line
