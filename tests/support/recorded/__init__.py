"""What an API server listed of four runs (tests/e2e/record.py), and copies under other names."""

from __future__ import annotations

import json
import random
import re
import uuid
from collections.abc import Iterator, Mapping
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
    """One object of the cluster: what selectors look at, and its JSON as a list holds it.

    The JSON is `text` with each key of `replacements` replaced by its value, made when it is first
    asked for.
    """

    name: str
    labels: Mapping[str, str]
    fields: Mapping[str, str]
    text: str
    replacements: Mapping[str, str]

    @cached_property
    def body(self) -> bytes:
        return _replace_all(self.text, self.replacements).encode()


def stored(kind: str, document: Object) -> Stored:
    """An object as it is."""
    metadata = document["metadata"]
    item = {key: value for key, value in document.items() if key not in ("kind", "apiVersion")}
    labels = metadata.get("labels", {})
    return Stored(metadata["name"], labels, fields(kind, document), json.dumps(item), {})


def fields(kind: str, document: Object) -> dict[str, str]:
    """What a fieldSelector may ask of such an object; the API server refuses every other field."""
    name = {"metadata.name": document["metadata"]["name"]}
    status = document.get("status", {})
    match kind:
        case "jobs":
            return {**name, "status.successful": str(status.get("succeeded", 0))}
        case "pods":
            node = document["spec"].get("nodeName", "")
            return {**name, "status.phase": status["phase"], "spec.nodeName": node}
        case "events":
            return {
                **name,
                "involvedObject.name": document["involvedObject"]["name"],
                "reason": document["reason"],
                "type": document.get("type", ""),
            }
    return name


@dataclass(frozen=True)
class Pattern:
    """A recorded Job, or a pod of one."""

    kind: str
    document: Object

    @cached_property
    def text(self) -> str:
        return json.dumps(self.document, separators=(",", ":"))

    def copy(self, run_id: str) -> Stored:
        """The same object under another run_id, with uids of its own."""
        metadata = self.document["metadata"]
        uids = [metadata["uid"]]
        # the owner of a pod is its Job; that of every Job is the one ConfigMap
        if self.kind == "pods":
            uids.append(metadata["ownerReferences"][0]["uid"])
        replacements = {metadata["labels"][RUN_LABEL]: run_id}
        for uid in uids:
            replacements[uid] = uid[:8] + run_id[8:]
        name = _replace_all(metadata["name"], replacements)
        labels = {
            label: _replace_all(value, replacements) for label, value in metadata["labels"].items()
        }
        named_fields = {**fields(self.kind, self.document), "metadata.name": name}
        return Stored(name, labels, named_fields, self.text, replacements)


def _replace_all(text: str, replacements: Mapping[str, str]) -> str:
    for old, new in replacements.items():
        text = text.replace(old, new)
    return text


@cache
def recorded() -> dict[str, list[Pattern]]:
    """Job and pods of each recorded run by its state: completed, failed, pending, running.

    All moments are moved, so that the last one is now.
    """
    texts = {kind: (FOLDER / f"{kind}.json").read_text() for kind in ("jobs", "pods")}
    moments = [moment for text in texts.values() for moment in MOMENT.findall(text)]
    last = max(datetime.strptime(moment, FORMAT) for moment in moments)
    since = datetime.now(UTC) - last

    def moved(moment: re.Match[str]) -> str:
        return f"{datetime.strptime(moment[0], FORMAT) + since:%Y-%m-%dT%H:%M:%SZ}"

    items = {kind: json.loads(MOMENT.sub(moved, text))["items"] for kind, text in texts.items()}
    return {_state(job): _patterns(job, items["pods"]) for job in items["jobs"]}


def _patterns(job: Object, pods: list[Object]) -> list[Pattern]:
    """The Job, and those of the pods that are its own."""
    own_pods = [
        pod for pod in pods if pod["metadata"]["labels"]["job-name"] == job["metadata"]["name"]
    ]
    return [Pattern("jobs", job), *(Pattern("pods", pod) for pod in own_pods)]


def _state(job: Object) -> str:
    conditions = {condition["type"] for condition in job["status"].get("conditions", [])}
    if "Failed" in conditions:
        return "failed"
    if "Complete" in conditions:
        return "completed"
    return "running" if job["status"].get("ready") else "pending"


def run_ids(seed: int = 7) -> Iterator[str]:
    """The same ones each time, in no order."""
    numbers = random.Random(seed)
    while True:
        yield str(uuid.UUID(int=numbers.getrandbits(128), version=4))
