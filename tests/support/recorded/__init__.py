"""What a real API server listed of four runs (tests/e2e/record.py), and copies of it under other names."""

from __future__ import annotations

import json
import random
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, cached_property
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
RUN_LABEL = "stock-backtest/run-id"
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
FORMAT = "%Y-%m-%dT%H:%M:%S%z"

Object = dict[str, Any]


@dataclass
class Stored:
    """One object of the cluster: what selectors look at, and its JSON as a list holds it, encoded when first asked."""

    name: str
    labels: Mapping[str, str]
    fields: Mapping[str, str]
    text: str
    changed: Mapping[str, str]  # texts that are others in this copy

    @cached_property
    def body(self) -> bytes:
        return _replaced(self.text, self.changed).encode()


def stored(kind: str, found: Object) -> Stored:
    """An object as it is."""
    metadata = found["metadata"]
    item = {key: value for key, value in found.items() if key not in ("kind", "apiVersion")}
    return Stored(
        metadata["name"], metadata.get("labels", {}), fields(kind, found), json.dumps(item), {}
    )


def fields(kind: str, found: Object) -> dict[str, str]:
    """What a fieldSelector may ask of such an object; the API server refuses every other field."""
    named, status = {"metadata.name": found["metadata"]["name"]}, found.get("status", {})
    if kind == "jobs":
        return {**named, "status.successful": str(status.get("succeeded", 0))}
    if kind == "pods":
        return {
            **named,
            "status.phase": status["phase"],
            "spec.nodeName": found["spec"].get("nodeName", ""),
        }
    if kind == "events":
        about = {"involvedObject.name": found["involvedObject"]["name"]}
        return {**named, **about, "reason": found["reason"], "type": found.get("type", "")}
    return named


@dataclass(frozen=True)
class Pattern:
    """A recorded Job, or a pod of one."""

    kind: str
    found: Object

    @cached_property
    def text(self) -> str:
        return json.dumps(self.found, separators=(",", ":"))

    def copy(self, run_id: str) -> Stored:
        """Under another run_id, with uids of its own."""
        first, owner = self.found["metadata"], self.found["metadata"]["ownerReferences"][0]["uid"]
        old = [
            first["uid"],
            *([owner] if self.kind == "pods" else []),
        ]  # of all Jobs the ConfigMap is the owner
        changed = {first["labels"][RUN_LABEL]: run_id, **{uid: uid[:8] + run_id[8:] for uid in old}}
        labels = {name: _replaced(value, changed) for name, value in first["labels"].items()}
        name = _replaced(first["name"], changed)
        return Stored(
            name,
            labels,
            {**fields(self.kind, self.found), "metadata.name": name},
            self.text,
            changed,
        )


def _replaced(text: str, changed: Mapping[str, str]) -> str:
    for old, new in changed.items():
        text = text.replace(old, new)
    return text


@cache
def recorded() -> dict[str, list[Pattern]]:
    """Job and pods of each recorded run: completed, failed, pending, running; the last moment in them is now."""
    texts = {kind: (FOLDER / f"{kind}.json").read_text() for kind in ("jobs", "pods")}
    last = max(
        datetime.strptime(it, FORMAT) for text in texts.values() for it in MOMENT.findall(text)
    )
    since = datetime.now(UTC) - last
    moved: Callable[[re.Match[str]], str] = lambda it: (
        f"{datetime.strptime(it[0], FORMAT) + since:%Y-%m-%dT%H:%M:%SZ}"
    )
    items = {kind: json.loads(MOMENT.sub(moved, text))["items"] for kind, text in texts.items()}
    found = {_state(job): [Pattern("jobs", job)] for job in items["jobs"]}
    for patterns in found.values():
        name = patterns[0].found["metadata"]["name"]
        patterns += [
            Pattern("pods", pod)
            for pod in items["pods"]
            if pod["metadata"]["labels"]["job-name"] == name
        ]
    return found


def _state(job: Object) -> str:
    status = job["status"]
    ended = {it["type"] for it in status.get("conditions", [])} & {"Complete", "Failed"}
    if ended:
        return "completed" if ended == {"Complete"} else "failed"
    return "running" if status.get("ready") else "pending"


def run_ids(seed: int = 7) -> Iterator[str]:
    """The same ones each time, in no order."""
    numbers = random.Random(seed)
    while True:
        yield str(uuid.UUID(int=numbers.getrandbits(128), version=4))
